"""What the report says of differences: the best and its equals, the baseline, and when it refuses."""

import csv
import io
import json
import math

import numpy as np
import pytest

from lossbench.errors import ConfigError, RequestError
from lossbench.report import render, tabulate
from lossbench.report.verdict import verdict

NLL = {"metrics": ["nll"], "calibrations": ["raw"]}
BASELINE = {**NLL, "baseline": ["loss=cross_entropy"]}


def losses(run, **values):
    """Runs of several losses: one number per seed, which is its nll."""
    return [run(loss, seed, nll=nll) for loss, numbers in values.items() for seed, nll in enumerate(numbers)]


@pytest.fixture
def three(run, frame):
    """`far` is always worse by about 2 (p of t = 2.1·√3/0.1 is 0.0008), `near` is not always worse."""
    values = {"cross_entropy": (1.0, 1.1, 1.2), "far": (3.0, 3.2, 3.4), "near": (1.2, 1.1, 1.3)}
    return frame(*losses(run, **values))


def tied(table):
    return [row.cells[0].tied for row in table.rows]


def differences(table):
    return [row.cells[0].difference for row in table.rows]


def test_what_paired_tests_cannot_tell_from_the_best_is_marked_and_the_note_says_how(three):
    table = tabulate(three, **NLL)
    assert [row.cells[0].best for row in table.rows] == [True, False, False]
    assert tied(table) == [False, False, True]
    assert "≈: cannot be told from the best (paired t, Holm over all pairs of rows, p ≥ 0.05)." in table.notes
    rows = [line for line in render(table).splitlines() if " ± 0" in line]
    assert [line[-1] for line in rows] == ["*", "7", "≈"]


def test_two_gaps_of_one_size_and_two_signs_are_equally_good(run, frame):
    gaps = {"a": (0.05, 0.051, 0.052), "b": (-0.050, -0.0512, -0.0521), "c": (-0.15, -0.151, -0.1525)}
    runs = [run(loss, s, confidence_gap=gap) for loss, values in gaps.items() for s, gap in enumerate(values)]
    table = tabulate(frame(*runs), metrics=["confidence_gap"], calibrations=["raw"])
    assert [row.cells[0].best for row in table.rows] == [True, False, False]
    assert tied(table) == [False, True, False]


def test_the_best_gap_is_the_mean_nearest_zero_and_the_test_is_of_that_mean(run, frame):
    # Means 0, 0.05 and -0.15. Of a the sizes |gap| average 0.1, above those of b; what is shown, and tested, is the
    # mean: b - a = 0.05 ± a lot, and the sign of c's mean turned, c - a = 0.15 ± a lot.
    gaps = {"a": (0.15, -0.15, 0.0), "b": (0.05, 0.06, 0.04), "c": (-0.15, -0.16, -0.14)}
    runs = [run(loss, s, confidence_gap=gap) for loss, values in gaps.items() for s, gap in enumerate(values)]
    table = tabulate(frame(*runs), metrics=["confidence_gap"], calibrations=["raw"])
    assert [row.cells[0].best for row in table.rows] == [True, False, False]
    assert tied(table) == [False, True, True]


def test_a_gap_surely_farther_from_zero_is_worse_whichever_side_it_is_on(run, frame):
    # By seed: a -0.01, -0.011, -0.012; b 0.10, 0.102, 0.101. Turned to their sides b - a = 0.09, 0.091, 0.089.
    gaps = {"a": (-0.01, -0.011, -0.012), "b": (0.10, 0.102, 0.101)}
    runs = [run(loss, s, confidence_gap=gap) for loss, values in gaps.items() for s, gap in enumerate(values)]
    table = tabulate(frame(*runs), metrics=["confidence_gap"], calibrations=["raw"])
    assert [row.cells[0].best for row in table.rows] == [True, False]
    assert tied(table) == [False, False]


def test_two_seeds_are_not_tested_and_the_note_says_what_it_takes(run, frame):
    table = tabulate(frame(*losses(run, a=(1.0, 1.1), b=(3.0, 3.2))), **NLL)
    assert tied(table) == [False, False]
    assert "Not tested: that takes 3 paired runs." in table.notes


def test_a_row_that_is_not_paired_with_the_best_is_not_tested_and_not_marked(run, frame):
    other = [run("other", seed, nll=9.0 + seed, fingerprint__batch_order=f"else {seed}") for seed in range(3)]
    runs = losses(run, a=(1.0, 1.1, 1.2), far=(3.0, 3.2, 3.4))
    table = tabulate(frame(*runs, *other), **NLL)
    assert tied(table) == [False, False, False]
    assert [row.cells[0].untested for row in table.rows] == ["", "", "pairs"]
    assert "Not tested: 1 of 3 rows, which share fewer than 3 runs with the best." in table.notes


def test_a_note_on_what_is_not_tested_names_the_columns_where_that_is_not_all(run, frame):
    best = [run("best", seed, nll=1.0 + seed, brier_score=0.1 * seed) for seed in range(3)]
    worse = [run("worse", seed, nll=3.0 + seed, brier_score=0.5 + 0.1 * seed**2) for seed in range(3)]
    table = tabulate(frame(*best, *worse), metrics=["nll", "brier_score"], calibrations=["raw"])
    assert [[cell.untested for cell in row.cells] for row in table.rows] == [["", ""], ["spread", ""]]
    note = "Not tested: 1 of 2 rows, whose differences from the best in NLL have no spread to be judged by."
    assert note in table.notes


def test_an_infinite_row_is_named_beside_one_of_too_few_seeds_and_only_where_the_best_has_that_seed(run, frame):
    runs = losses(run, a=(1.0, 1.1, 1.2), few=(2.0,), c=(2.0, 2.1, math.inf))
    table = tabulate(frame(*runs), **NLL)
    assert [row.cells[0].untested for row in table.rows] == ["", "finite", "pairs"]
    assert "Not tested: 1 of 3 rows, which are infinite in some run." in table.notes
    shifted = losses(run, a=(1.0, 1.1, 1.2), c=(2.0, 2.1, 2.2, math.inf))
    assert [row.cells[0].untested for row in tabulate(frame(*shifted), **NLL).rows] == ["", "spread"]


def test_a_row_that_is_worse_by_the_same_in_every_seed_is_not_tested_and_not_marked(run, frame):
    table = tabulate(frame(*losses(run, a=(1.0, 1.1, 1.2), b=(1.2, 1.05, 1.3), far=(3.0, 3.1, 3.2))), **NLL)
    assert tied(table) == [False, True, False]
    assert [row.cells[0].untested for row in table.rows] == ["", "", "spread"]
    note = "Not tested: 1 of 3 rows, whose differences from the best have no spread to be judged by."
    assert note in table.notes
    assert verdict(table)[0].sentences == (
        "NLL: a has the best mean (1.100 ± 0.248); b cannot be told from it (corrected for all pairs of rows); far is "
        "untested: the difference has no spread to be judged by.",
    )


def test_a_row_that_is_better_on_the_seeds_that_it_shares_with_the_best_is_not_marked_and_said_to_be(run, frame):
    best = (1.0, 1.1, 1.2, *[0.5] * 6)
    table = tabulate(frame(*losses(run, a=best, b=(0.9, 0.99, 1.11))), **NLL)
    assert [row.cells[0].best for row in table.rows] == [True, False]
    assert [row.cells[0].better_where_shared for row in table.rows] == [False, True]
    assert tied(table) == [False, False]
    assert any(note.startswith("Not marked: 1 of 2 rows, significantly better than the best") for note in table.notes)
    (sentence,) = verdict(table)[0].sentences
    assert sentence.endswith("; b is significantly better on the seeds that both have.")


def test_rows_over_different_seeds_are_said_to_be(run, frame):
    note = "Rows are over different seeds: a mean over easier ones is better by that alone."
    even, uneven = losses(run, a=(1.0, 1.1), b=(1.2, 1.0)), losses(run, a=(1.0, 1.1), b=(1.2,))
    other = [run("a", seed, dataset__name="wine") for seed in range(4)]  # what is compared with nothing here
    assert note in tabulate(frame(*uneven), **NLL).notes
    assert note not in tabulate(frame(*even, *other), **NLL).notes


def test_marks_do_not_depend_on_which_of_two_best_rows_comes_first(run, frame):
    runs = losses(run, a=(1.0, 1.1, 1.2, 1.3), b=(2.1, 0.2, 2.2, 0.1), c=(1.5, 1.61, 1.69, 1.8))
    for sort in "loss", "loss:desc":
        table = tabulate(frame(*runs), **NLL, sort=sort)
        marked = {row.config["loss.name"]: (row.cells[0].best, row.cells[0].tied) for row in table.rows}
        assert marked == {"a": (True, False), "b": (True, False), "c": (False, False)}


def test_where_every_mean_is_infinite_none_is_best(run, frame):
    table = tabulate(frame(*losses(run, a=(math.inf, 1.0), b=(math.inf, 2.0))), **NLL)
    assert not any(row.cells[0].best for row in table.rows)


@pytest.mark.parametrize("of", ["data", "split", "initial_weights"])
def test_rows_of_different_data_or_initial_weights_have_no_best_and_a_note_names_two_runs(run, frame, of):
    runs = losses(run, a=(1.0, 1.1, 1.2), b=(1.1, 1.2, 1.3))
    other = [run("other", seed, nll=0.5, **{f"fingerprint__{of}": f"else {seed}"}) for seed in range(3)]
    table = tabulate(frame(*runs, *other), **NLL)
    assert not any(cell.best or cell.tied for row in table.rows for cell in row.cells)
    assert f"No best is marked, for runs of one seed differ in {of.replace('_', ' ')}: run-0 and run-6." in table.notes
    assert verdict(table)[0].sentences == (
        "No row is best, for their runs are of different data or initial weights: see the notes.",
    )


def test_data_of_other_settings_are_another_block_whose_best_is_marked(run, frame):
    runs = [
        run(loss, nll=nll, dataset__label_noise=noise, fingerprint__data=f"noise {noise}")
        for noise in (0.0, 0.4)
        for loss, nll in (("a", 1.0), ("b", 2.0))
    ]
    table = tabulate(frame(*runs), **NLL)
    assert [row.cells[0].best for row in table.rows] == [True, False, True, False]


def test_students_that_go_on_from_different_teachers_have_a_best(run, frame):
    runs = [
        run(loss, nll=nll, dataset__learn="new", fingerprint__initial_weights=loss)
        for loss, nll in (("a", 1.0), ("b", 2.0))
    ]
    assert [row.cells[0].best for row in tabulate(frame(*runs), **NLL).rows] == [True, False]


def test_a_description_is_not_judged(three):
    table = tabulate(three, metrics=["mean_confidence", "temperature"], calibrations=["raw"])
    assert not any(cell.best or cell.tied for row in table.rows for cell in row.cells)


def test_the_difference_from_the_baseline_is_that_of_paired_runs(three):
    table = tabulate(three, **BASELINE)
    none, far, near = differences(table)
    assert none is None
    # far: differences 2.0, 2.1, 2.2: mean 2.1, deviation 0.1. near: 0.2, 0.0, 0.1.
    assert (far.n, near.n) == (3, 3)
    assert far.difference == pytest.approx(2.1)
    assert far.effect_size == pytest.approx(21)
    half = 0.95 * math.sqrt(2 / (1 - 0.95**2)) * 0.1 / math.sqrt(3)  # t with two degrees of freedom
    assert (far.low, far.high) == pytest.approx((2.1 - half, 2.1 + half))
    # p = 1 - t/√(2 + t²) with t = 21√3 and √3; Holm doubles the smaller.
    assert far.p_holm == pytest.approx(2 * (1 - 21 / math.sqrt(21**2 + 2 / 3)), rel=1e-6)
    assert near.p_holm == near.p == pytest.approx(1 - 1 / math.sqrt(1 + 2 / 3), rel=1e-6)
    assert (far.significant, near.significant) == (True, False)


def test_holm_corrects_over_all_columns_and_blocks_of_the_table(run, frame):
    runs = [
        run(loss, seed, dataset__name=data, nll=nll + 0.1 * seed + (loss == "b") * 0.01 * seed, ece=0.1 * seed**2)
        for data in ("digits", "wine")
        for loss, nll in (("cross_entropy", 1.0), ("b", 1.2))
        for seed in range(3)
    ]
    table = tabulate(frame(*runs), metrics=["nll", "ece"], calibrations=["raw"], baseline=["loss=cross_entropy"])
    found = [cell.difference for row in table.rows for cell in row.cells if cell.difference]
    # Two of the four tests are of differences 0.2, 0.21, 0.22, two of none at all, whose p is 1: 4·p, twice.
    assert [difference.p for difference in found] == [found[0].p, 1.0, found[0].p, 1.0]
    assert [difference.p_holm for difference in found] == pytest.approx([4 * found[0].p, 1, 4 * found[0].p, 1])
    assert "Holm-corrected over the table's 4 tests." in render(table, "markdown")


def test_significant_differences_are_marked_in_every_format(three):
    table = tabulate(three, **BASELINE)
    assert "†: differs from loss=cross_entropy (paired t, Holm over the table, p < 0.05)." in table.notes
    assert "| far           | 3.200 ± 0.497†    |" in render(table, "markdown")
    assert r"far & 3.200 & $\pm$\,0.497\rlap{$^{\dagger}$} \\" in render(table, "latex")
    assert "far            3.200 ± 0.497†" in render(table)


def test_no_significant_difference_is_said_so(run, frame):
    table = tabulate(frame(*losses(run, cross_entropy=(1, 2, 3), b=(1.1, 1.9, 3.1))), **BASELINE)
    assert "None differs from loss=cross_entropy significantly (paired t, Holm over the table)." in table.notes


def test_the_lines_below_the_table_have_interval_p_effect_size_and_n(three):
    lines = render(tabulate(three, **BASELINE), "table", 80).splitlines()
    below = lines[lines.index("Difference from loss=cross_entropy") :]
    assert below[2:7] == [
        "loss  difference     95 % interval      p   d_z  n",
        "───────────────────────────────────────────────────",
        "NLL ↓",
        "far       +2.100  [+1.852, +2.348]  0.002  21.0  3",
        "near      +0.100  [-0.148, +0.348]  0.225   1.0  3",
    ]
    assert max(map(len, lines)) <= 80
    assert "|        | near | +0.100     | \\[-0.148, +0.348\\] |" in render(tabulate(three, **BASELINE), "markdown")
    latex = render(tabulate(three, **BASELINE), "latex")
    assert r"near & +0.100 & {[}$-$0.148, +0.348] & 0.225 & 1.0 & 3 \\" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2


def test_one_test_needs_no_correction_and_none_is_said(run, frame):
    table = tabulate(frame(*losses(run, cross_entropy=(1.0, 1.1, 1.2), far=(3.0, 3.2, 3.4))), **BASELINE)
    assert "p: paired t, of one test." in render(table, "markdown")


def test_csv_and_json_have_the_whole_comparison(three):
    table = tabulate(three, **BASELINE)
    (_, far, _) = differences(table)
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    parts = ("mean", "low", "high", "p", "p_holm", "p_wilcoxon", "effect_size", "n_pairs")
    numbers = [far.difference, far.low, far.high, far.p, far.p_holm, far.p_wilcoxon, far.effect_size, far.n]
    assert [float(rows[1][f"nll.raw.difference.{part}"]) for part in parts] == numbers
    assert {rows[0][f"nll.raw.difference.{part}"] for part in parts} == {""}
    report = json.loads(render(table, "json"))
    assert report["baseline"] == "loss=cross_entropy"
    cells = [row["metrics"]["nll"]["raw"] for row in report["rows"]]
    assert cells[1]["difference"] == dict(zip(parts, numbers, strict=True))
    assert "difference" not in cells[0]
    assert cells[2]["tied"]
    assert any("Cohen's" in note for note in report["notes"])


@pytest.mark.parametrize("n", [1, 2])
def test_below_three_pairs_there_is_a_difference_and_no_p_value_and_the_note_says_why(run, frame, n):
    table = tabulate(frame(*losses(run, cross_entropy=(1.0, 1.1)[:n], b=(3.0, 3.2)[:n])), **BASELINE)
    (_, found) = differences(table)
    assert math.isnan(found.p_holm)
    assert found.difference == pytest.approx((2.0 + 2.1) / 2 if n == 2 else 2.0)
    assert "No p-value below 3 pairs" in render(table, "markdown")
    assert "significantly" not in render(table, "markdown")  # nothing was tested


def test_differences_that_are_all_the_same_have_no_p_value_and_the_note_says_why(run, frame):
    table = tabulate(frame(*losses(run, cross_entropy=(1.0, 1.1, 1.2), b=(2.0, 2.1, 2.2))), **BASELINE)
    (line,) = (line for line in render(table, "markdown").splitlines() if "+1.000" in line)
    assert line.split()[-6:] == ["–", "|", "–", "|", "3", "|"]
    assert "No p-value where all pairs differ by the same amount" in render(table, "markdown")


def test_runs_are_paired_by_seed_and_a_seed_that_one_lacks_is_left_out(run, frame):
    runs = losses(run, cross_entropy=(1.0, 1.1, 1.2, 9.0), b=(2.0, 2.2, 2.4))
    assert differences(tabulate(frame(*runs), **BASELINE))[1].n == 3


@pytest.mark.parametrize("of", ["data", "split", "initial_weights", "batch_order"])
def test_runs_that_differ_in_a_fingerprint_are_not_compared_and_are_named(run, frame, of):
    runs = losses(run, cross_entropy=(1.0, 1.1, 1.2), b=(2.0, 2.2, 2.4))
    runs[3]["config"][f"fingerprint.{of}"] = "another"
    runs[4]["config"][f"fingerprint.{of}"] = "yet another"
    table = tabulate(frame(*runs), **BASELINE)
    assert differences(table)[1].n == 1
    wanted = f"Not compared, for the two differ in {of.replace('_', ' ')}: run-3 and run-0, and 1 more."
    assert wanted in table.notes


def test_runs_without_fingerprints_are_not_compared(run, frame):
    runs = frame(*losses(run, cross_entropy=(1.0, 1.1, 1.2), b=(2.0, 2.2, 2.4)))
    bare = runs.drop(columns=[key for key in runs if key.startswith("fingerprint.")])
    table = tabulate(bare, **BASELINE)
    assert differences(table)[1].n == 0
    assert any("the two have no fingerprints to be paired by: run-3 and run-0" in note for note in table.notes)
    assert tied(table) == [False, False]


def test_two_runs_of_one_seed_in_one_row_are_not_paired_and_are_named(run, frame):
    runs = losses(run, cross_entropy=(1.0, 1.1, 1.2), b=(2.0, 2.2, 2.4))
    table = tabulate(frame(*runs, run("b", 0, nll=7.0)), **BASELINE)
    assert differences(table)[1].n == 2
    assert any("the two are runs of one row and one seed: run-3 and run-6" in note for note in table.notes)
    assert tied(table) == [False, False]  # two pairs are too few


def test_the_baseline_is_that_of_the_rows_own_dataset_and_model(run, frame):
    runs = [
        run(loss, seed, dataset__name=data, nll=base + gain * (1 + 0.1 * seed))
        for data, base in (("digits", 1.0), ("wine", 5.0))
        for loss, gain in (("cross_entropy", 0.0), ("b", 0.5))
        for seed in range(3)
    ]
    found = [difference for difference in differences(tabulate(frame(*runs), **BASELINE)) if difference]
    assert [difference.difference for difference in found] == pytest.approx([0.55, 0.55])


def test_a_block_without_the_baseline_is_not_compared_and_the_note_says_so(run, frame):
    wine = [run("b", seed, dataset__name="wine") for seed in range(3)]
    table = tabulate(frame(*losses(run, cross_entropy=(1, 2, 3), b=(1, 2, 4)), *wine), **BASELINE)
    assert [found is None for found in differences(table)] == [True, False, True]
    assert "Not compared, for want of loss=cross_entropy: 1 of the datasets and models." in table.notes


def test_of_several_baselines_a_row_has_the_one_of_its_own_other_settings(run, frame):
    runs = [
        run(loss, seed, optimizer__rate=rate, nll=rate + gain * (1 + 0.1 * seed), loss__epsilon=epsilon)
        for rate in (1.0, 2.0)
        for loss, gain, epsilon in (("cross_entropy", 0.0, None), ("b", 0.5, 0.1))
        for seed in range(3)
    ]
    found = [difference for difference in differences(tabulate(frame(*runs), **BASELINE)) if difference]
    assert [difference.difference for difference in found] == pytest.approx([0.55, 0.55])


def test_a_baseline_that_fits_two_rows_asks_which(run, frame):
    runs = [run("ls", s, loss__epsilon=epsilon) for epsilon in (0.0, 0.1) for s in range(3)]
    with pytest.raises(RequestError) as caught:
        tabulate(frame(*runs, run("b", 0)), **NLL, baseline=["loss=ls"])
    assert str(caught.value) == (
        "the baseline loss=ls fits 2 rows, which differ in epsilon; say which: --baseline loss.epsilon=…"
    )
    both = tabulate(frame(*runs, run("b", 0)), **NLL, baseline=["loss=ls", "loss.epsilon=0"])
    assert both.baseline == "loss=ls loss.epsilon=0"
    assert sum(difference is not None for difference in differences(both)) == 2


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ("loss=focl", "the baseline must be a row of the table, and none has loss=focl; did you mean focal?"),
        ("lss=focal", "no run has a key 'lss'; did you mean loss?"),
        ("focal", "a filter is key=value, such as loss=label_smoothing; got 'focal'"),
        ("seed=0", "no run has a key 'seed'"),
    ],
)
def test_a_baseline_that_is_not_there_is_answered_with_what_is(run, frame, baseline, message):
    with pytest.raises(ConfigError) as caught:
        tabulate(frame(run("focal"), run("cross_entropy")), baseline=[baseline])
    assert str(caught.value).startswith(message)


def test_a_baseline_that_every_row_is_has_nothing_to_be_compared_with(run, frame):
    runs = [run("sum", seed, loss__first=first) for first in ("focal", "dice") for seed in range(3)]
    with pytest.raises(RequestError) as caught:
        tabulate(frame(*runs), baseline=["loss=sum"])
    assert str(caught.value) == (
        "every row has loss=sum, and none is left to compare with it; name a setting that one row has: --baseline "
        "loss.first=…"
    )


def test_rows_that_a_baseline_fits_are_told_by_names_and_not_by_where_their_code_is(run, frame):
    runs = [
        run(loss, loss__first__name=first, loss__first___target_=f"lossbench.losses.{first}")
        for loss in ("sum", "focal")
        for first in ("dice", "brier")
    ]
    with pytest.raises(RequestError) as caught:
        tabulate(frame(*runs), baseline=["loss=sum"])
    assert "differ in first; say which: --baseline loss.first=…" in str(caught.value)


def test_the_deviation_is_shown_where_it_is_asked_for(three):
    # far: 3.0, 3.2, 3.4 has the deviation 0.2; half its interval is 4.303·0.2/√3 = 0.4968.
    assert "3.200 ± 0.200" in render(tabulate(three, **NLL, spread="sd"), "markdown")
    assert "3.200 ± 0.497" in render(tabulate(three, **NLL), "markdown")
    with pytest.raises(ConfigError, match="no spread named 'var'"):
        tabulate(three, spread="var")


def test_rows_that_differ_in_their_own_code_alone_are_said_to(run, frame):
    runs = frame(run("mine", 0), run("mine", 1))
    runs["sources"] = [f'{{"mine": "{name}"}}' for name in runs["run"]]
    table = tabulate(runs)
    assert [row.n for row in table.rows] == [1, 1]
    assert "Rows that look alike differ in the code, the weights or the data of one's own." in table.notes


@pytest.mark.slow
def test_of_2000_tables_without_a_difference_5_percent_mark_one(run, frame):
    """A baseline and four losses, five seeds: what a seed adds is shared, the rest is each run's own noise."""
    names = ("cross_entropy", "a", "b", "c", "d")
    runs = frame(*[run(loss, seed) for loss in names for seed in range(5)])
    runs = runs[(runs["split"] == "test") & (runs["calibration"] == "raw")].copy()
    generator = np.random.default_rng(0)
    marked = told = 0
    for _ in range(2000):
        runs["nll"] = (generator.normal(size=(5, 5)) + generator.normal(size=5)).ravel()
        rows = tabulate(runs, **BASELINE).rows
        marked += any(row.cells[0].difference.significant for row in rows[1:])
        told += not all(row.cells[0].best or row.cells[0].tied for row in rows)
    print(
        f"of 2,000 tables {marked / 20:.1f} % mark a difference from the baseline, {told / 20:.1f} % one from the best"
    )
    assert marked / 2000 <= 0.06
    assert told / 2000 <= 0.06


@pytest.mark.slow
def test_each_metric_shown_may_mark_one_by_chance_where_nothing_differs(run, frame):
    """`≈` is corrected within a column, and five have five chances where they have nothing to do with each other."""
    metrics = ["nll", "accuracy", "brier_score", "smooth_ece", "ks_error"]
    names = ("cross_entropy", "a", "b", "c", "d")
    runs = frame(*[run(loss, seed, **dict.fromkeys(metrics, 0.0)) for loss in names for seed in range(5)])
    runs = runs[(runs["split"] == "test") & (runs["calibration"] == "raw")].copy()
    generator = np.random.default_rng(0)
    told = 0
    for _ in range(1000):
        for metric in metrics:
            runs[metric] = (generator.normal(size=(5, 5)) + generator.normal(size=5)).ravel()
        rows = tabulate(runs, metrics=metrics, calibrations=["raw"]).rows
        told += any(not all(row.cells[j].best or row.cells[j].tied for row in rows) for j in range(5))
    print(f"of 1,000 tables of five columns {told / 10:.1f} % mark one from the best")
    assert 100 < told < 200


def test_what_differs_in_more_than_the_loss_is_not_compared_and_said(run, frame):
    rows = [run("cross_entropy", seed, optimizer__learning_rate=0.01) for seed in range(3)]
    rows += [run("focal", seed, optimizer__learning_rate=0.1, accuracy=0.5 + 0.01 * seed) for seed in range(3)]
    table = tabulate(frame(*rows), baseline=["loss=cross_entropy"])
    assert all(cell.difference is None for row in table.rows for cell in row.cells)
    assert "Not compared, for they differ from loss=cross_entropy in learning_rate too: 1 row." in table.notes


def test_a_diverged_loss_does_not_round_the_others_to_the_same(run, frame):
    values = {"good": (0.20, 0.21, 0.19, 0.205), "bad": (0.9, 0.93, 0.88, 0.9), "lost": (1e10, 2e10, 3e10, 1e10)}
    table = tabulate(
        frame(*(run(loss, s, nll=v) for loss, of in values.items() for s, v in enumerate(of))), metrics=["nll"]
    )
    tied = {row.config["loss.name"]: row.cells[0].tied for row in table.rows}
    assert not tied["bad"]
