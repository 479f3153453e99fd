"""When a claim holds, when it does not, and when that cannot be said."""

from __future__ import annotations

import math

import pytest
from report.frames_by_hand import frame, run

from lossbench.errors import ConfigError
from lossbench.recipes.judging import NO_SPREAD, judge
from lossbench.recipes.recipe import FAILS, HOLDS, OPEN, Claim

SMOOTHED, PLAIN = ("loss=label_smoothing",), ("loss=cross_entropy",)
# Differences 0.05, 0.06, 0.07: mean 0.06, s = 0.01, interval 0.06 ± 4.3027 · 0.01/√3 = 0.0352 … 0.0848,
# t = 0.06 / (0.01/√3) = 10.39, one-sided p = 0.0046.
RUNS = frame(
    *(run("cross_entropy", seed, ece=value) for seed, value in enumerate((0.05, 0.06, 0.07))),
    *(run("label_smoothing", seed, ece=value) for seed, value in enumerate((0.10, 0.12, 0.14))),
)


def difference(**region: float) -> Claim:
    return Claim("", "ece", SMOOTHED, PLAIN, **region)


def test_a_difference_has_the_interval_and_the_p_of_paired_runs() -> None:
    found = judge(difference(low=0.0), RUNS)
    assert (found.n, found.value) == (3, pytest.approx(0.06))
    assert (found.low, found.high) == pytest.approx((0.03516, 0.08484), abs=1e-5)
    assert found.p == pytest.approx(0.004567, abs=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.0, 1.0, HOLDS),
        (0.0352, 1.0, OPEN),  # the interval begins at 0.03516
        (0.0351, 1.0, HOLDS),
        (0.05, 0.07, OPEN),
        (0.0849, 1.0, FAILS),  # and ends at 0.08484
        (-1.0, 0.0, FAILS),
        (-1.0, 0.0352, OPEN),
    ],
)
def test_the_verdict_goes_by_where_the_interval_lies(low: float, high: float, verdict: str) -> None:
    found = judge(difference(low=low, high=high), RUNS)
    assert found.verdict == verdict
    assert found.why == ("3 seeds leave it open" if verdict == OPEN else "")


def test_a_number_by_itself_has_the_interval_of_its_mean_and_the_p_of_two_one_sided_tests() -> None:
    # Mean 0.12, s = 0.02: 0.12 ± 4.3027 · 0.02/√3 = 0.0703 … 0.1697. To either bound it is
    # t = 0.05 / (0.02/√3) = 4.330; Student's t with 2 degrees has P(T > t) = ½ - t / (2 √(2 + t²)) = 0.0247.
    found = judge(Claim("", "ece", SMOOTHED, low=0.07, high=0.17, published=0.12), RUNS)
    assert (found.verdict, found.n) == (HOLDS, 3)
    assert (found.low, found.high) == pytest.approx((0.07032, 0.16968), abs=1e-5)
    assert found.p == pytest.approx(0.5 - 4.3301 / (2 * (2 + 4.3301**2) ** 0.5), abs=1e-6)


def test_a_ratio_is_of_geometric_means_over_pairs() -> None:
    # 2, 4, 4: the cube root of 32 is 3.175
    runs = frame(
        *(run("cross_entropy", seed, ece=value) for seed, value in enumerate((0.05, 0.05, 0.1))),
        *(run("label_smoothing", seed, ece=value) for seed, value in enumerate((0.1, 0.2, 0.4))),
    )
    found = judge(Claim("", "ece", SMOOTHED, PLAIN, ratio=True, low=1.0), runs)
    assert found.value == pytest.approx(32 ** (1 / 3))
    assert found.low < found.value < found.high
    nothing = frame(run("cross_entropy", 0, ece=0.0), run("label_smoothing", 0, ece=0.1))
    assert (
        judge(Claim("", "ece", SMOOTHED, PLAIN, ratio=True, low=1.0), nothing).why
        == "ECE that is not above zero has no ratio"
    )


def test_shorter_trainings_are_not_held_against_what_was_published_but_against_each_other() -> None:
    cell = Claim("", "ece", SMOOTHED, low=0.07, high=0.17, published=0.12)
    assert judge(cell, RUNS, unlike="shorter").why == "shorter"
    assert judge(cell, RUNS, unlike="shorter").verdict == OPEN
    assert judge(difference(low=0.0), RUNS, unlike="shorter").verdict == HOLDS


def test_one_seed_no_spread_and_no_pairs_are_not_testable() -> None:
    one = frame(run("cross_entropy", 0, ece=0.1), run("label_smoothing", 0, ece=0.2))
    assert judge(difference(low=0.0), one).why == "one seed has no interval: 3 or more would"
    losses = (("cross_entropy", 0.1), ("label_smoothing", 0.2))
    two = frame(*(run(loss, seed, ece=ece + seed / 100) for loss, ece in losses for seed in range(2)))
    assert judge(difference(low=0.0), two).why == "two seeds say little: 3 or more would"
    same = frame(*(run(loss, seed, ece=ece) for loss, ece in losses for seed in range(3)))
    assert judge(difference(low=0.0), same).why == NO_SPREAD
    other = frame(
        *(run("cross_entropy", seed, ece=0.1 + seed / 100) for seed in range(3)),
        *(run("label_smoothing", seed, ece=0.2, fingerprint__split="another") for seed in range(3)),
    )
    assert judge(difference(low=0.0), other).why == "no runs, or none that are paired: 3 or more would"


def test_runs_that_are_missing_are_not_testable_and_the_reason_is_given() -> None:
    claim = Claim("", "ece", ("loss=focal",), low=0.0)
    assert judge(claim, RUNS, missing="mnist: not here").why == "mnist: not here"
    assert "no run has loss=focal" in judge(claim, RUNS).why


def test_a_claim_whose_runs_are_not_all_there_is_not_judged_by_those_that_did_well() -> None:
    found = judge(difference(low=0.0), RUNS, expected=5, missing="2 runs failed")
    assert (found.verdict, found.why, found.n) == (OPEN, "3 of 5 seeds; 2 runs failed", 3)
    # A metric that is nan for a seed is no number of that seed.
    lost = frame(*(run("label_smoothing", seed, ece=value) for seed, value in enumerate((0.1, 0.12, 0.14, math.nan))))
    assert judge(Claim("", "ece", SMOOTHED, low=0.0), lost, expected=4).why == "3 of 4 seeds have ECE"
    none = frame(*(run("label_smoothing", seed, ece=math.nan) for seed in range(3)))
    why = judge(Claim("", "ece", SMOOTHED, low=0.0), none).why
    assert why == "these runs have no ECE; of runs of an earlier version lossbench evaluate computes it"


def test_an_infinite_value_is_no_want_of_spread() -> None:
    runs = frame(*(run("label_smoothing", seed, nll=value) for seed, value in enumerate((0.1, 0.2, math.inf))))
    found = judge(Claim("", "nll", SMOOTHED, low=0.0), runs)
    assert (found.verdict, found.why) == (OPEN, "a value is infinite")


def test_a_claim_that_fits_two_rows_is_a_mistake_of_the_recipe() -> None:
    runs = frame(*(run("label_smoothing", seed, loss__epsilon=e) for e in (0.1, 0.2) for seed in range(2)))
    with pytest.raises(ConfigError, match="2 rows, which differ in epsilon"):
        judge(Claim("says", "ece", SMOOTHED, low=0.0), runs)


def test_validation_chooses_among_the_runs_that_meet_the_conditions() -> None:
    # ε = 0.2 has the better accuracy on validation for both seeds, and an ECE of 0.3 and 0.32 on test.
    runs = frame(
        *(run("label_smoothing", s, loss__epsilon=0.1, ece=0.1, val={"accuracy": 0.8}) for s in range(2)),
        *(run("label_smoothing", s, loss__epsilon=0.2, ece=0.3 + s / 50, val={"accuracy": 0.9}) for s in range(2)),
    )
    found = judge(Claim("", "ece", SMOOTHED, low=0.0), runs, select="accuracy")
    assert (found.n, found.value) == (2, pytest.approx(0.31))
