"""Hand-computed values, scipy's answers, and simulations in which the truth is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from lossbench import statistics
from lossbench.errors import ShapeError

NAN, INF = math.nan, math.inf
# t quantiles at 0.975: one degree of freedom is Cauchy, tan(0.475π); two have the closed form 0.95·√(2/(1 - 0.95²)).
T1 = math.tan(0.475 * math.pi)
T2 = 0.95 * math.sqrt(2 / (1 - 0.95**2))


def test_the_interval_of_three_values_is_that_of_student() -> None:
    # Mean 2, deviation 1: 2 ± 4.303/√3.
    low, high = statistics.t_interval([1, 2, 3])
    assert (low, high) == pytest.approx((2 - T2 / math.sqrt(3), 2 + T2 / math.sqrt(3)), rel=1e-12)


def test_the_interval_of_two_values_is_wide() -> None:
    # Mean 0.5, deviation 1/√2: 0.5 ± 12.706/2.
    assert statistics.t_interval([0, 1]) == pytest.approx((0.5 - T1 / 2, 0.5 + T1 / 2), rel=1e-12)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, INF], [0.5, NAN]])
def test_there_is_no_interval_of_one_value_or_of_one_that_is_not_finite(values: list[float]) -> None:
    assert all(math.isnan(end) for end in statistics.t_interval(values))


def test_a_comparison_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1, t = 2√3 with two degrees of freedom, whose two-sided p is
    # 1 - t/√(2 + t²) = 1 - √(12/14). All three signs agree, which chance does in 2 of 8 cases: Wilcoxon's p is 0.25.
    found = statistics.compare([2, 4, 6], [1, 2, 3])
    assert (found.n, found.difference, found.effect_size) == (3, 2, 2)
    assert (found.low, found.high) == pytest.approx((2 - T2 / math.sqrt(3), 2 + T2 / math.sqrt(3)), rel=1e-12)
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14), rel=1e-9)
    assert found.p_wilcoxon == 0.25


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=3, max_size=7, unique=True))
@settings(max_examples=40, deadline=None)
def test_comparisons_agree_with_scipy(pairs: list[tuple[float, float]]) -> None:
    values, baseline = np.round(np.array(pairs), 2).T
    differences = np.round(values - baseline, 2)  # many ties and zeros, on purpose
    found = statistics.compare(values, baseline)
    if np.ptp(differences) == 0:
        assert math.isnan(found.p) or (found.p == 1 and not differences.any())
        return
    theirs = stats.ttest_rel(values, baseline)
    interval = theirs.confidence_interval()
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)
    # scipy's exact method does not know ties; enumerating all signs does.
    every_sign = stats.PermutationMethod(n_resamples=10_000)
    if np.count_nonzero(differences) > 1:
        exact = stats.wilcoxon(differences[differences != 0], method=every_sign).pvalue
        assert found.p_wilcoxon == pytest.approx(exact, rel=1e-9)


def test_the_wilcoxon_test_gives_ties_their_mean_rank_and_drops_zeros() -> None:
    # Differences 1, 1, -1, 2, 0: ranks 2, 2, 2, 4. The negative ranks sum to 2; of the 16 choices of signs those with a
    # sum of at most 2 are none and one of the three 2s: 4 of 16, and as many at the other end.
    assert statistics.compare([1, 1, -1, 2, 0], [0] * 5).p_wilcoxon == 0.5


def test_equal_runs_do_not_differ() -> None:
    found = statistics.compare([0.9, 0.8, 0.7], [0.9, 0.8, 0.7])
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert (found.p, found.p_wilcoxon, found.effect_size) == (1, 1, 0)


def test_one_and_the_same_difference_has_no_spread_to_be_judged_by_even_if_rounding_makes_some() -> None:
    assert 0.9 - 0.8 != 0.8 - 0.7
    found = statistics.compare([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])
    assert found.difference == pytest.approx(0.1)
    assert all(math.isnan(value) for value in (found.p, found.p_wilcoxon, found.effect_size))


@pytest.mark.parametrize("scale", [1e-100, 1e-6, 1.0, 1e6, 1e100])
def test_units_do_not_matter(scale: float) -> None:
    found = statistics.compare([2 * scale, 4 * scale, 6 * scale], [scale, 2 * scale, 3 * scale])
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14), rel=1e-9)


def test_two_pairs_have_an_interval_and_no_p_value() -> None:
    # Differences 0 and 1: mean ½, deviation 1/√2, d_z = 1/√2.
    found = statistics.compare([1, 2], [1, 1])
    assert (found.low, found.high) == pytest.approx((0.5 - T1 / 2, 0.5 + T1 / 2), rel=1e-12)
    assert found.effect_size == pytest.approx(1 / math.sqrt(2))
    assert math.isnan(found.p)
    assert math.isnan(found.p_wilcoxon)


def test_one_pair_has_a_difference_alone_and_none_has_nothing() -> None:
    one = statistics.compare([3], [1])
    assert (one.n, one.difference) == (1, 2)
    assert all(math.isnan(value) for value in (one.low, one.high, one.p, one.p_wilcoxon, one.effect_size))
    none = statistics.compare([], [])
    assert none.n == 0
    assert math.isnan(none.difference)


def test_a_pair_with_a_nan_is_left_out() -> None:
    found, others = statistics.compare([2, NAN, 4, 6, 1], [1, 9, 2, 3, NAN]), statistics.compare([2, 4, 6], [1, 2, 3])
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(others), rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(("values", "difference"), [([INF, 1, 2], INF), ([-INF, 1, 2], -INF)])
def test_an_infinite_value_has_a_difference_and_no_test(values: list[float], difference: float) -> None:
    found = statistics.compare(values, [0, 0, 0])
    assert (found.n, found.difference) == (3, difference)
    assert all(math.isnan(value) for value in (found.low, found.high, found.p, found.p_wilcoxon, found.effect_size))


def test_infinity_less_infinity_is_nothing() -> None:
    assert math.isnan(statistics.compare([INF, 1, 2], [INF, 1, 1]).difference)


def test_lists_of_two_lengths_are_no_pairs() -> None:
    with pytest.raises(ShapeError, match=r"two lists of one length; got \[2\], \[3\]"):
        statistics.compare([1, 2], [1, 2, 3])


def test_holm_by_hand() -> None:
    # Rising: 0.01·4 = 0.04; 0.02·3 = 0.06; 0.03·2 = 0.06, not below the one before it; 0.5·1.
    assert statistics.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    # 0.02·3 = 0.06 is more than the 0.05·1 after it: never below what a smaller p became.
    assert statistics.holm([0.02, 0.025, 0.05]) == pytest.approx([0.06, 0.06, 0.06])


def test_holm_stops_at_one_and_does_not_count_what_was_not_tested() -> None:
    corrected = statistics.holm([0.6, NAN, 0.01, NAN, 0.9])
    assert corrected[[0, 2, 4]] == pytest.approx([1.0, 0.03, 1.0])
    assert np.isnan(corrected[[1, 3]]).all()
    assert statistics.holm([]).shape == (0,)


def test_corrected_comparisons_are_significant_below_five_percent() -> None:
    # p is 1 - t/√(2 + t²): differences 1, 1.1, 1.2 have t = 11√3 and p = 0.0027, twice that with two tests.
    clear, unclear = statistics.compare([1, 1.1, 1.2], [0] * 3), statistics.compare([-1, 0, 2], [0] * 3)
    assert not clear.significant  # nothing is, before it is corrected
    clear, unclear = statistics.corrected([clear, unclear])
    assert clear.p_holm == pytest.approx(2 * clear.p)
    assert clear.significant
    assert not unclear.significant


def test_values_that_differ_by_rounding_alone_lie_between_no_bounds() -> None:
    assert math.isnan(statistics.bounds_p([0.1 * 3, 0.3, 0.1 + 0.2, 0.3], 0.0, INF))
    assert statistics.bounds_p([0.3, 0.31, 0.29, 0.3], 0.0, INF) < 1e-4


def text(relations: statistics.Array) -> str:
    return " ".join("-" if math.isnan(relation) else f"{relation:.0f}" for relation in relations)


def test_where_all_pairs_differ_by_the_same_there_is_no_test() -> None:
    badness = [[1.0, 1.25, 1.5], [2.0, 2.25, 2.5], [1.0, 1.25, 1.5], [1.5, 1.2, 1.6]]
    assert text(statistics.against_best(badness, [0])) == "0 - 0 0"


def test_of_several_that_are_best_being_worse_than_one_is_enough_in_whatever_order() -> None:
    # The first two have a mean of 1.15. The third is surely above the first, and cannot be told from the second.
    badness = [[1.0, 1.1, 1.2, 1.3], [2.1, 0.2, 2.2, 0.1], [1.5, 1.61, 1.69, 1.8]]
    assert text(statistics.against_best(badness, [0, 1])) == "0 0 1"
    assert text(statistics.against_best(badness, [1, 0])) == "0 0 1"
    assert text(statistics.against_best(badness, [1])) == "0 0 0"


def test_what_is_worse_than_the_best_and_what_cannot_be_told_from_it() -> None:
    badness = [
        [1.0, 1.1, 1.2],  # the best
        [1.2, 1.1, 1.0],  # as good
        [3.0, 3.1, 3.3],  # always worse by about 2
        [3.0, NAN, 3.2],  # worse too, but two pairs do not show it
        [NAN, NAN, NAN],
    ]
    assert text(statistics.against_best(badness, [0])) == "0 0 1 - -"


def test_the_best_is_held_against_those_before_it_too() -> None:
    badness = [[3.0, 3.1, 3.3], [1.0, 1.1, 1.2]]
    assert text(statistics.against_best(badness, [1])) == "1 0"


def test_one_that_is_better_on_the_shared_runs_is_neither_worse_nor_as_good() -> None:
    # By its mean over all runs the first is the best, by the runs that both have the second.
    badness = [[3.0, 3.1, 3.3, -90.0], [1.0, 1.1, 1.2, NAN]]
    assert text(statistics.against_best(badness, [0])) == "0 -1"


def test_infinite_badness_is_not_tested_and_one_loss_alone_has_no_rival() -> None:
    assert text(statistics.against_best([[1, 2, 3], [INF, 3, 4], [INF, INF, INF]], [0])) == "0 - -"
    assert text(statistics.against_best([[1, 2, 3]], [0])) == "0"


def test_the_bootstrap_of_a_constant_is_the_constant_and_of_a_mean_is_about_normal() -> None:
    values = np.stack([np.ones(400), np.tile([0.0, 1.0], 200)], axis=1)
    low, high = statistics.bootstrap_interval(values, n_resamples=4000, seed=1)
    assert (low[0], high[0]) == (1, 1)
    # ½ ± 1.96·½/√400 = ½ ± 0.049. The density there is φ(1.96)/0.025 = 2.3, so that a percentile of 4,000 resamples
    # errs by √(0.025·0.975/4000)/2.3 = 0.001.
    assert (low[1], high[1]) == pytest.approx((0.451, 0.549), abs=0.004)


def test_a_resampling_is_that_of_its_seed_whatever_stands_beside_it() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    together = statistics.bootstrap_interval(values, seed=3)
    alone = statistics.bootstrap_interval(values[:, 1:2], seed=3)
    assert [ends[1] for ends in together] == pytest.approx([ends[0] for ends in alone], rel=1e-12)
    assert statistics.bootstrap_interval(values, seed=4)[0][1] != together[0][1]


def test_friedman_by_hand() -> None:
    # Ranks 1 2 3, 1 2 3, 2 1 3, so averages 4/3, 5/3, 3: χ² = 12·3/(3·4)·(16/9 + 25/9 + 9 - 3·16/4) = 14/3, and with
    # two degrees of freedom p = e^{-7/3}. CD = 2.343·√(12/18), with Demšar's table 5a.
    found = statistics.friedman([[1, 2, 3], [10, 20, 30], [0.2, 0.1, 0.3]])
    assert found.average == pytest.approx([4 / 3, 5 / 3, 3])
    assert found.n == 3
    assert found.p == pytest.approx(math.exp(-7 / 3), rel=1e-9)
    assert found.critical_difference == pytest.approx(2.343 * math.sqrt(12 / 18), abs=1e-3)


@pytest.mark.parametrize(("k", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_demsars_table(k: int, q: float) -> None:
    found = statistics.friedman(np.random.default_rng(0).normal(size=(6, k)))
    assert found.critical_difference == pytest.approx(q * math.sqrt(k * (k + 1) / 36), abs=1e-3)


def test_values_that_are_equal_but_for_rounding_share_their_rank() -> None:
    found = statistics.friedman([[0.1 + 0.2, 0.3, 0.5], [1, 1, 2]])
    assert found.average == pytest.approx([1.5, 1.5, 3])


def test_treatments_that_tie_everywhere_do_not_differ() -> None:
    found = statistics.friedman([[1, 1, 1], [0, 0, 0]])
    assert (found.p, found.average.tolist()) == (1, [2, 2, 2])


@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (6,)])
def test_ranks_of_too_few_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="two data sets and three treatments"):
        statistics.friedman(np.zeros(shape))


# Simulations. k equal losses over paired runs: what a seed adds is shared by all, and each has noise of its own.


def null_table(generator: np.random.Generator, k: int, n: int) -> np.ndarray:
    return generator.normal(size=(k, n)) + generator.normal(size=n)


@pytest.mark.parametrize(("k", "n"), [(5, 5), (5, 3), (10, 5)])
def test_of_200_tables_without_a_difference_few_mark_one(k: int, n: int) -> None:
    # At 5 %, Binomial(200, 0.05): mean 10, deviation 3.1; 20 is three of them above.
    generator = np.random.default_rng(0)
    from_baseline = from_best = 0
    for _ in range(200):
        table = null_table(generator, k, n)
        compared = statistics.corrected([statistics.compare(row, table[0]) for row in table[1:]])
        from_baseline += any(comparison.significant for comparison in compared)
        from_best += statistics.against_best(table, [int(table.mean(axis=1).argmin())]).any()
    assert from_baseline <= 20
    assert from_best <= 20


def test_of_200_intervals_about_95_percent_hold_the_truth() -> None:
    # Binomial(200, 0.95): mean 190, deviation 3.1; three of them either way.
    generator = np.random.default_rng(0)
    tables = [null_table(generator, 2, 5) for _ in range(200)]
    intervals = [statistics.t_interval(table[0]) for table in tables]
    differences = [statistics.compare(*table) for table in tables]
    assert 180 <= sum(low <= 0 <= high for low, high in intervals) <= 199
    assert 180 <= sum(found.low <= 0 <= found.high for found in differences) <= 199


@pytest.mark.slow
def test_of_2000_intervals_93_to_97_percent_hold_the_truth() -> None:
    generator = np.random.default_rng(0)
    seeds, paired, resampled = [], [], []
    for _ in range(2000):
        table = null_table(generator, 2, 5)
        low, high = statistics.t_interval(table[0])
        seeds.append(low <= 0 <= high)
        found = statistics.compare(*table)
        paired.append(found.low <= 0 <= found.high)
        correct = generator.random(1000) < 0.9  # accuracy on 1,000 examples
        lows, highs = statistics.bootstrap_interval(correct[:, None])
        resampled.append(lows[0] <= 0.9 <= highs[0])
    print(
        f"coverage: {np.mean(seeds):.3f} over seeds, {np.mean(paired):.3f} paired, {np.mean(resampled):.3f} bootstrap"
    )
    for covered in (seeds, paired, resampled):
        assert 0.93 <= np.mean(covered) <= 0.97


def test_p_of_bounds_is_of_one_sided_tests_and_of_two_bounds_the_larger() -> None:
    # Mean 2, s = 1, n = 3: t = 2/(1/√3) = 3.4641 from 0; with 2 degrees P(T > t) = ½ - t/(2√(2 + t²)) = 0.0371.
    sample = [1.0, 2.0, 3.0]
    assert statistics.bounds_p(sample, 0.0, math.inf) == pytest.approx(0.03709, abs=1e-5)
    assert statistics.bounds_p(sample, -math.inf, 0.0) == pytest.approx(1 - 0.03709, abs=1e-5)
    assert statistics.bounds_p(sample, 0.0, 4.0) == pytest.approx(0.03709, abs=1e-5)
    assert statistics.bounds_p(sample, 0.0, 3.0) == pytest.approx(
        0.5 - 3**0.5 / (2 * 5**0.5), abs=1e-9
    )  # the nearer bound's


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=9).filter(lambda v: np.std(v) > 0.01), st.floats(-5, 5))
def test_p_of_bounds_is_below_0_025_where_the_interval_lies_within_them(values: list[float], low: float) -> None:
    ends = statistics.t_interval(values)
    assume(min(abs(ends[0] - low), abs(ends[1] - low - 3)) > 1e-6)
    assert (statistics.bounds_p(values, low, low + 3) < 0.025) == (low < ends[0] and ends[1] < low + 3)


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 1.0, 1.0], [1.0, 2.0, math.inf]])
def test_p_of_bounds_is_nothing_without_three_values_spread_and_numbers(values: list[float]) -> None:
    assert math.isnan(statistics.bounds_p(values, 0.0, math.inf))


def test_an_exploded_value_rounds_no_other_dataset_and_no_other_pair():
    table = [[1e10, 2e10, 3e10], [0.1230, 0.1234, 0.1239], [0.21, 0.2104, 0.2107]]
    assert statistics.friedman(table).average.tolist() == [1, 2, 3]
    assert statistics.friedman([[0.1, 0.2, 1e13], [0.1, 0.2, 0.3]]).average.tolist() == [1, 2, 3]
    half = [[0.1, 0.2, 1e13, 2e13], [0, 3e-10, 0.3, 0.1 + 0.2], [1e-305, 2e-300, 3e-300, 4e-300]]
    assert statistics.friedman(half).average.tolist() == [1, 2, pytest.approx(3 + 0.5 / 3), pytest.approx(4 - 0.5 / 3)]
    # All six are larger: of the 64 ways to put the signs two are as far out.
    ours, theirs = [1e9, 0.5, 0.6001, 0.7, 0.8, 0.95], [0, 0.4999, 0.6, 0.6998, 0.7997, 0.9494]
    assert statistics.compare(ours, theirs).p_wilcoxon == pytest.approx(2 / 64)
