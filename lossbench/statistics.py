"""What a difference between losses is worth: intervals, paired tests and their correction, ranks over data sets.

Every test is two-sided but that of bounds. Values that are equal but for rounding count as equal, and where a number is
not defined it is nan: nothing here raises on data and nothing makes a p-value from fewer than MIN_PAIRS pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lossbench.errors import ShapeError

CONFIDENCE = 0.95  # of intervals
SIGNIFICANCE = 0.05  # of p-values, after correction
MIN_PAIRS = 3  # two differences always have a t, and it says next to nothing
DIGITS = 12  # of the largest value are looked at: 0.9 - 0.8 and 0.8 - 0.7 are the same difference
MOST_PLACES = 300  # of 10**places, which is infinite from 309 on

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One loss against another over paired runs: what `compare` returns."""

    n: int  # pairs
    difference: float  # mean, in the metric's own units
    low: float
    high: float
    p: float  # paired t
    p_wilcoxon: float
    effect_size: float  # Cohen's d_z
    p_holm: float = math.nan  # set by `corrected`

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below SIGNIFICANCE; without one it is not."""
        return self.p_holm < SIGNIFICANCE


@dataclass(frozen=True)
class Ranks:
    """Treatments ranked on several data sets: what `friedman` returns. Rank 1 is the best."""

    n: int  # data sets
    average: Array  # [k]
    p: float
    critical_difference: float


def t_interval(values: ArrayLike) -> tuple[float, float]:
    """Return the 95 % interval of a mean.

        mean ± t_{0.975, n-1} · s/√n,   s² = Σ (v_i - mean)² / (n - 1)

    Args:
        values: independent, about normal, [n].

    Returns:
        Its ends, in the values' units; nan for n < 2 or where a value is not finite.

    Source: Student 1908, "The Probable Error of a Mean".
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2 or not np.isfinite(sample).all():
        return math.nan, math.nan
    half = _t_quantile(len(sample)) * float(sample.std(ddof=1)) / math.sqrt(len(sample))
    return float(sample.mean()) - half, float(sample.mean()) + half


def bounds_p(values: ArrayLike, low: float, high: float) -> float:
    """Return the p-value of a mean that should lie between two bounds.

        p = max(P(T ≥ (mean - low)/(s/√n)),  P(T ≤ (mean - high)/(s/√n))),   T of Student's t with n - 1

    Each is one-sided: of two finite bounds these are the two one-sided tests of equivalence. It is below 0.025 where
    the whole 95 % interval lies between the bounds.

    Args:
        values: independent, about normal, [n].
        low: in the values' units; -∞ for none.
        high: likewise; ∞ for none.

    Returns:
        p; nan below MIN_PAIRS values, without spread but for rounding, or where a value is not finite.

    Source: Schuirmann 1987, "A Comparison of the Two One-Sided Tests Procedure and the Power Approach for Assessing the
    Equivalence of Average Bioavailability".
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < MIN_PAIRS or not np.isfinite(sample).all() or np.ptp(_rounded(sample, np.abs(sample).max())) == 0:
        return math.nan
    error = float(sample.std(ddof=1)) / math.sqrt(len(sample))
    above, below = (float(sample.mean()) - low) / error, (float(sample.mean()) - high) / error
    return float(max(special.stdtr(len(sample) - 1, -above), special.stdtr(len(sample) - 1, below)))


def compare(values: ArrayLike, baseline: ArrayLike) -> Comparison:
    """Compare two losses over paired runs.

        d_i = values_i - baseline_i,   t = mean d / (s_d/√n),   d_z = mean d / s_d

    Args:
        values: one per pair, [m].
        baseline: the other of each pair, [m]. A pair with a nan is left out.

    Returns:
        The n pairs left, their mean difference with its 95 % interval, p of the paired t-test, p of the Wilcoxon test
        and d_z. No interval and no d_z below two pairs, no p below MIN_PAIRS, nothing but the difference where a value
        is infinite. Where no pair differs in a digit that the largest value has, p = 1 and d_z = 0, and the Wilcoxon
        test looks at each pair's own digits; where all differ by the same amount, that has no spread to be judged by:
        no p and no d_z.

    Raises:
        ShapeError: if the two are not of one length.

    Source: Student 1908; Wilcoxon 1945, "Individual Comparisons by Ranking Methods"; Cohen 1988, "Statistical Power
    Analysis for the Behavioral Sciences", p. 48, for d_z.
    """
    ours, theirs = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if ours.ndim != 1 or ours.shape != theirs.shape:
        raise ShapeError(f"paired values must be two lists of one length; got {list(ours.shape)}, {list(theirs.shape)}")
    paired = ~(np.isnan(ours) | np.isnan(theirs))
    ours, theirs = ours[paired], theirs[paired]
    n = len(ours)
    if not (np.isfinite(ours) & np.isfinite(theirs)).all():
        with np.errstate(invalid="ignore"):
            return Comparison(n, float((ours - theirs).mean()), *[math.nan] * 5)
    if n == 0:
        return Comparison(n, *[math.nan] * 6)
    differences = _differences(ours, theirs)
    mean = float((ours - theirs).mean())
    spread = 0.0 if np.ptp(differences) == 0 else float(differences.std(ddof=1))
    # Differences all the same but not zero have no spread to be judged by.
    half = _t_quantile(n) * spread / math.sqrt(n) if spread or not differences.any() else math.nan
    effect_size = math.nan
    if n > 1 and (spread or not differences.any()):
        effect_size = mean / spread if spread else 0.0
    testable = n >= MIN_PAIRS and not math.isnan(effect_size)
    return Comparison(
        n,
        mean,
        low=mean - half,
        high=mean + half,
        p=float(_t_p(differences[None])[0]),
        # Each by the size of its own pair, beside which another's difference may be nothing.
        p_wilcoxon=_signed_rank_p(_rounded(ours - theirs, np.maximum(np.abs(ours), np.abs(theirs))))
        if testable
        else math.nan,
        effect_size=effect_size,
    )


def holm(p_values: ArrayLike) -> Array:
    """Correct p-values for being many.

        p̃_(i) = max over j ≤ i of min(1, (m - j + 1) · p_(j)),   p_(1) ≤ … ≤ p_(m)

    The chance that any true null hypothesis is rejected at level α stays below α, however the tests depend on each
    other.

    Args:
        p_values: [k]; nan where there was no test, which then does not count.

    Returns:
        Corrected, [k], nan where it was nan.

    Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    corrected_p = np.array(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(corrected_p))
    rising = tested[np.argsort(corrected_p[tested], kind="stable")]
    factors = np.arange(len(rising), 0, -1)
    corrected_p[rising] = np.minimum(1.0, np.maximum.accumulate(factors * corrected_p[rising]))
    return corrected_p


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons of one table with `p_holm`, Holm's correction of p over all of them."""
    p_holm = holm([comparison.p for comparison in comparisons])
    return [replace(comparison, p_holm=float(p)) for comparison, p in zip(comparisons, p_holm, strict=True)]


def against_best(badness: ArrayLike, best: Sequence[int]) -> Array:
    """Hold losses against the best ones: which are significantly worse, and which cannot be told from them.

    All k·(k-1)/2 pairs of losses are tested by paired t and Holm-corrected together, though only those with the best
    are read: which loss is the best is read off the same numbers, and a correction for the k-1 tests with it alone
    excludes some equally good loss in 6 to 10 % of tables (simulated, k = 5 and 10), not in 5.

    Args:
        badness: smaller is better, [k, n]; one column for each kind of run that losses are paired on, nan where a loss
            has no such run.
        best: those of the k that share the best mean.

    Returns:
        [k]: 1 for what is significantly worse than one of the best; -1 for what is none of that but significantly
        better on the runs that both have, as can be where the mean of the best is over others; 0 for what cannot be
        told from them; nan where there was no test, for want of pairs, or of spread in their differences. The best
        themselves are 0.
    """
    table = np.asarray(badness, dtype=np.float64)
    first, second = np.triu_indices(len(table), 1)
    p = np.full(len(first), math.nan)
    start = 0
    for i, row in enumerate(table[:-1]):  # one loss against all after it: k² of them at once would not fit in memory
        has = ~np.isnan(row)
        p[start : start + len(table) - 1 - i] = _t_p(_differences(table[i + 1 :, has], row[has]))
        start += len(table) - 1 - i
    p = holm(p)
    relation = np.full(len(table), math.nan)
    for one in best:
        with_it = ((first == one) | (second == one)) & ~np.isnan(p)
        others, p_of = (first + second - one)[with_it], p[with_it]
        towards = np.where(p_of < SIGNIFICANCE, np.sign(np.nanmean(table[others] - table[one], axis=1)), 0.0)
        # Worse than one of them is worse; else better than one is better.
        said = relation[others]
        relation[others] = np.where((towards > 0) | np.isnan(said) | ((said == 0) & (towards < 0)), towards, said)
    relation[list(best)] = 0.0
    return relation


def bootstrap_interval(values: ArrayLike, *, n_resamples: int = 1000, seed: int = 0) -> tuple[Array, Array]:
    """Return the 95 % interval of means over examples, by resampling the examples with replacement.

    It says how much the mean would move with another test set of this size. How much it would move with another
    training, it cannot know.

    Args:
        values: one row per example, one column per quantity, [N, J].
        n_resamples: number of resamples.
        seed: of the resampling.

    Returns:
        The 2.5 % and 97.5 % percentiles of the resampled means, [J] each.

    Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife".
    """
    table = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty((n_resamples, table.shape[1]))
    at_once = max(1, 200_000 // len(table))  # so many multiplicities as a processor's cache holds
    for start in range(0, n_resamples, at_once):
        size = min(at_once, n_resamples - start)
        # How often each example is drawn is all a mean needs: one product of matrices for all resamples and columns.
        drawn = generator.integers(len(table), size=(size, len(table))) + np.arange(size)[:, None] * len(table)
        times = np.bincount(drawn.ravel(), minlength=size * len(table)).reshape(size, len(table))
        means[start : start + size] = times.astype(np.float64) @ table / len(table)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def friedman(badness: ArrayLike) -> Ranks:
    """Rank k treatments on each of N data sets; ask whether their average ranks differ, and which do.

        χ²_F = 12N / (k(k+1)) · [Σ_j R_j² - k(k+1)²/4],   CD = q_{0.05,k} · √(k(k+1) / (6N))

    Two treatments differ where their average ranks R_j are further apart than the critical difference (Nemenyi's test).
    q is the studentised range for infinite degrees of freedom over √2. Equal values share the mean of their ranks, and
    χ²_F is corrected for them. With few data sets (N ≤ 10) or treatments (k ≤ 5) χ² is only roughly its distribution.

    Args:
        badness: smaller is better, finite, [N, k] with N ≥ 2 and k ≥ 3.

    Returns:
        Average ranks, p and the critical difference. p = 1 where all treatments tie everywhere.

    Raises:
        ShapeError: for fewer data sets or treatments.

    Source: Demšar 2006, "Statistical Comparisons of Classifiers over Multiple Data Sets", section 3.2.
    """
    from scipy import stats  # takes a third of a second to import, and most reports need none of it

    table = np.asarray(badness, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 3:
        raise ShapeError(f"ranks need two data sets and three treatments, [N ≥ 2, k ≥ 3]; got {list(table.shape)}")
    n, k = table.shape
    table = _rounded(table, np.abs(table))  # each by its own size: an exploded loss must not round the others
    differ = np.ptp(table, axis=1).any()
    p = float(stats.friedmanchisquare(*table.T).pvalue) if differ else 1.0
    q = float(stats.studentized_range.ppf(1 - SIGNIFICANCE, k, math.inf)) / math.sqrt(2)
    return Ranks(n, stats.rankdata(table, axis=1).mean(axis=0), p, q * math.sqrt(k * (k + 1) / (6 * n)))


def _t_quantile(n: int) -> float:
    """Of the t distribution with n - 1 degrees, by that of the beta, which has more digits in scipy below 1.17."""
    if n < 2:
        return math.nan
    x = float(special.betaincinv((n - 1) / 2, 0.5, 1 - CONFIDENCE))
    return math.sqrt((n - 1) * (1 - x) / x)


def _differences(values: Array, baseline: Array) -> Array:
    """Of each row of values, [m, n] or [n], whose last digits are its own: a huge row must not round the others."""
    with np.errstate(invalid="ignore"):  # ∞ - ∞
        differences = values - baseline
    sizes = [np.where(np.isfinite(numbers), np.abs(numbers), 0.0) for numbers in (values, baseline)]
    return _rounded(differences, np.maximum(*sizes).max(axis=-1, initial=0.0))


def _rounded(values: Array, scale: ArrayLike) -> Array:
    """Without the last digits, in which equal numbers may differ; `scale` is one number, one a row, or one a value."""
    with np.errstate(divide="ignore"):
        places = np.minimum(DIGITS - np.ceil(np.log10(scale)), MOST_PLACES)
    rounded = values.copy()
    for digits in np.unique(places[np.isfinite(places)]):
        rows = places == digits
        rounded[rows] = np.round(values[rows], int(digits))
    return rounded


def _t_p(differences: Array) -> Array:
    """Paired t-test of each row, [m, n] → p [m]; nan below MIN_PAIRS or without spread, 1 without a difference."""
    p = np.full(len(differences), math.nan)
    n = (~np.isnan(differences)).sum(axis=1)
    testable = (n >= MIN_PAIRS) & ~np.isinf(differences).any(axis=1)
    rows, n = differences[testable], n[testable]
    mean = np.nansum(rows, axis=1) / n
    spread = np.sqrt(np.nansum((rows - mean[:, None]) ** 2, axis=1) / (n - 1))
    constant = np.nanmax(rows, axis=1, initial=-math.inf) == np.nanmin(rows, axis=1, initial=math.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_t = 2 * special.stdtr(n - 1, -np.abs(mean) / (spread / np.sqrt(n)))
    p[testable] = np.where(constant, np.where(mean == 0, 1.0, math.nan), by_t)
    return p


def _signed_rank_p(differences: Array) -> float:
    """Exact p of the Wilcoxon test, ties and all. Zeros are dropped, as Wilcoxon does; nothing but zeros has p = 1."""
    differences = differences[differences != 0]
    # Twice the ranks, so that those of ties are whole. Under the null hypothesis each has either sign with chance ½:
    # the distribution of the sum of the positive ones is built up a rank at a time, so that no approximation is needed.
    _, tie, counts = np.unique(np.abs(differences), return_inverse=True, return_counts=True)
    ranks = (2 * np.cumsum(counts) - counts + 1)[tie]  # ranks a to b of a tie have the mean (a + b) / 2
    chances = np.ones(1)
    for rank in ranks:
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    positive = int(ranks[differences > 0].sum())
    return min(1.0, 2 * float(min(chances[: positive + 1].sum(), chances[positive:].sum())))
