"""The verdict says what the tests of the table say, and no more."""

from __future__ import annotations

import json

from lossbench.report import render, tabulate
from lossbench.report.verdict import row_labels, verdict

ACCURACY = {"metrics": ["accuracy"], "calibrations": ["raw"]}


def said(table):
    """All sentences of a table of one dataset and model."""
    (only,) = verdict(table)
    return [*only.sentences, *only.more]


def of(run, loss, values, metric="accuracy", **settings):
    """A run for each value, by seed."""
    return [run(loss, seed, **{metric: value}, **settings) for seed, value in enumerate(values)]


def test_a_clear_best_is_said_to_be_better_with_its_mean_and_interval(run, frame):
    # 0.90, 0.91, 0.92: mean 0.91, s = 0.01, t(0.975, 2) = 4.303, half = 4.303 · 0.01 / √3 = 0.0248. The other
    # is lower by 0.300, 0.301, 0.302: t is far beyond any doubt.
    table = tabulate(
        frame(*of(run, "a", [0.9, 0.91, 0.92]), *of(run, "b", [0.6, 0.609, 0.618])),
        **ACCURACY,
    )
    assert said(table) == ["Accuracy: a has the best mean (0.9100 ± 0.0248); b is significantly worse."]


def test_what_cannot_be_told_from_the_best_is_named(run, frame):
    # The differences are 0.01, −0.01, 0.03: mean 0.01, s = 0.02, t = 0.87, p = 0.48.
    table = tabulate(frame(*of(run, "a", [0.9, 0.91, 0.92]), *of(run, "b", [0.89, 0.92, 0.89])), **ACCURACY)
    (sentence,) = said(table)
    assert sentence.endswith("(0.9100 ± 0.0248), but it cannot be told from b.")


def test_of_many_rows_that_cannot_be_told_apart_only_the_number_is_said(run, frame):
    noise = [[0.9, 0.92, 0.91], [0.91, 0.9, 0.92], [0.92, 0.91, 0.9], [0.9, 0.91, 0.92], [0.91, 0.92, 0.9]]
    clear = [0.6, 0.609, 0.62]
    rows = [r for i, values in enumerate(noise) for r in of(run, f"n{i}", [v - i * 1e-4 for v in values])]
    table = tabulate(frame(*of(run, "best", [0.911, 0.911, 0.911]), *rows, *of(run, "z", clear)), **ACCURACY)
    (sentence,) = said(table)
    assert "; 5 rows cannot be told from it, z is significantly worse (corrected for all pairs of rows)." in sentence


def test_two_seeds_tell_nothing(run, frame):
    table = tabulate(frame(*of(run, "a", [0.9, 0.91]), *of(run, "b", [0.1, 0.11])), **ACCURACY)
    (sentence,) = said(table)
    assert sentence.endswith("but nothing is tested: that takes 3 paired seeds.")


def test_runs_that_are_not_paired_are_not_said_to_be_worse(run, frame):
    """Five seeds each, but other batches: no test was made, whatever the means."""
    apart = {"fingerprint__batch_order": "another"}
    table = tabulate(
        frame(*of(run, "a", [0.9, 0.91, 0.92, 0.9, 0.91]), *of(run, "b", [0.1, 0.11, 0.12, 0.1, 0.11], **apart)),
        **ACCURACY,
    )
    (sentence,) = said(table)
    assert "nothing is tested" in sentence
    assert "worse" not in sentence


def test_a_row_alone_is_compared_with_nothing(run, frame):
    assert said(tabulate(frame(run()))) == ["cross_entropy stands alone: there is nothing to compare it with."]


def test_against_a_baseline_each_row_has_its_differences(run, frame):
    # ECE rises by 0.04 − 0.001, 0.04, 0.04 + 0.001: mean 0.04, t = 0.04 / (0.001/√3) = 69, p = 0.0002 (twice that after
    # Holm over two tests). Accuracy falls by 0.01, rises by 0.01, is the same: mean 0.
    base = [run("cross_entropy", seed, accuracy=0.9, ece=0.02) for seed in range(3)]
    ours = [
        run("label_smoothing", seed, accuracy=0.9 + a, ece=0.06 + e)
        for seed, (a, e) in enumerate([(-0.01, -0.001), (0.01, 0), (0, 0.001)])
    ]
    table = tabulate(
        frame(*base, *ours), metrics=["accuracy", "ece"], calibrations=["raw"], baseline=["loss=cross_entropy"]
    )
    assert said(table) == [
        "label_smoothing against loss=cross_entropy, n = 3, after correction for the table's 2 tests: worse in ECE by "
        # t(0.975, 2) · 0.01 / √3 = 0.0248
        "0.0400 (p < 0.001); not significant: accuracy (0.0000, uncorrected 95 % interval −0.0248 … +0.0248)."
    ]


def test_a_row_equal_to_the_baseline_is_said_to_be(run, frame):
    """ε = 0 is cross-entropy."""
    runs = [run(loss, seed, accuracy=0.9 + seed / 100) for loss in ("a", "b") for seed in range(3)]
    table = tabulate(frame(*runs), **ACCURACY, baseline=["loss=a"])
    assert said(table)[1:] == ["b against loss=a, n = 3: the same numbers in every pair."]
    assert said(table)[0] == "No row differs significantly from loss=a in any of these metrics."


def test_what_is_equal_in_every_pair_has_no_interval_of_zeros(run, frame):
    """Accuracy is the same; NLL rises by 0, 0.01, 0.02: mean 0.01, t = 0.01 / (0.01/√3) = 1.73, p = 0.23."""
    runs = [run(loss, seed, nll=0.3 + seed / 100 * (loss == "b")) for loss in ("a", "b") for seed in range(3)]
    table = tabulate(frame(*runs), metrics=["accuracy", "nll"], calibrations=["raw"], baseline=["loss=a"])
    # t(0.975, 2) · 0.01 / √3 = 0.0248
    assert said(table) == [
        "No row differs significantly from loss=a in any of these metrics, after correction for the table's 2 tests.",
        "b against loss=a, n = 3, after correction for the table's 2 tests: not significant: NLL (+0.0100, uncorrected "
        "95 % interval −0.0148 … +0.0348); the same in every pair: accuracy.",
    ]


def test_two_corrections_that_disagree_are_both_named(run, frame):
    """ECE rises by 0.015, 0.02, 0.025: t = 0.02 / (0.005/√3) = 6.93, p = 0.0202; times three tests it is above 0.05."""
    eces = {"a": [0.1, 0.1, 0.1], "b": [0.115, 0.12, 0.125]}
    noise = {"a": [0.9, 0.9, 0.9], "b": [0.9, 0.92, 0.89]}
    runs = [
        run(loss, seed, ece=eces[loss][seed], accuracy=noise[loss][seed], nll=noise[loss][seed])
        for loss in "ab"
        for seed in range(3)
    ]
    shown = {"metrics": ["ece", "accuracy", "nll"], "calibrations": ["raw"]}
    assert said(tabulate(frame(*runs), **shown))[0].endswith("; b is significantly worse.")  # of one pair of rows
    none, sentence = said(tabulate(frame(*runs), **shown, baseline=["loss=a"]))
    assert none.endswith("after correction for the table's 3 tests.")
    # t(0.975, 2) · 0.005 / √3 = 0.0124
    assert sentence == (
        "b against loss=a, n = 3, after correction for the table's 3 tests: not significant: ECE (+0.0200, uncorrected "
        "95 % interval +0.0076 … +0.0324), accuracy and NLL."
    )


def test_rows_of_too_few_shared_seeds_are_named_apart(run, frame):
    table = tabulate(
        frame(*of(run, "a", [0.9, 0.91, 0.92]), *of(run, "b", [0.6, 0.609, 0.618]), *of(run, "c", [0.89, 0.9])),
        **ACCURACY,
    )
    (sentence,) = said(table)
    assert sentence.endswith(
        "; b is significantly worse (corrected for all pairs of rows); c is untested: fewer than 3 seeds shared with "
        "it."
    )


def test_a_best_mean_of_one_seed_says_so(run, frame):
    table = tabulate(frame(*of(run, "a", [0.9, 0.91, 0.92]), run("lucky", 0, accuracy=0.95)), **ACCURACY)
    assert said(table) == [
        "Accuracy: lucky has the best mean (0.9500, n = 1), but nothing is tested: that takes 3 paired seeds."
    ]


def test_rows_that_share_the_best_mean_have_no_spread_and_are_they(run, frame):
    # c is lower by 0.01, −0.01, 0.03, as above.
    alike, other = [0.9, 0.91, 0.92], [0.89, 0.92, 0.89]
    both = [*of(run, "a", alike), *of(run, "b", alike[::-1])]
    assert said(tabulate(frame(*both, *of(run, "c", other)), **ACCURACY)) == [
        "Accuracy: a and b have the best mean (0.9100), but they cannot be told from c (corrected for all pairs of "
        "rows)."
    ]
    assert said(tabulate(frame(*both), **ACCURACY)) == [
        "Accuracy: a and b have the best mean (0.9100); there is no other."
    ]


def test_a_gap_moves_and_is_neither_better_nor_worse(run, frame):
    gaps = zip([0.02, 0.021, 0.022], [-0.08, -0.079, -0.0785], strict=True)
    runs = [
        run(loss, seed, confidence_gap=gap)
        for seed, both in enumerate(gaps)
        for loss, gap in zip("ab", both, strict=True)
    ]
    (sentence,) = said(tabulate(frame(*runs), metrics=["confidence_gap"], calibrations=["raw"], baseline=["loss=a"]))
    assert "confidence gap moves by −0.1002 to −0.0792" in sentence  # means 0.021 and −0.079167
    assert "better" not in sentence
    assert "worse" not in sentence


def test_too_few_pairs_for_a_baseline_say_so(run, frame):
    runs = [run(loss, seed, accuracy=a) for seed in range(2) for loss, a in (("a", 0.9), ("b", 0.1 + seed / 100))]
    first, second = said(tabulate(frame(*runs), **ACCURACY, baseline=["loss=a"]))
    assert first == "Nothing can be told from loss=a: a test takes 3 paired seeds."
    assert second.endswith("no test of accuracy.")


def test_each_dataset_has_its_own_verdict_and_what_is_too_long_is_left_for_later(run, frame):
    runs = [
        run(loss, seed, ece=0.1 * i + 0.001 * seed, dataset__name=dataset)
        for dataset in ("digits", "wine")
        for i, loss in enumerate(["a", *"bcdefghi"])
        for seed in range(3)
    ]
    # All differences are the same number, which has no spread to test; a thousandth more on one seed gives it one.
    for record in runs:
        record["raw"]["ece"] += 0.0005 * (record["config"]["loss.name"] != "a") * (record["config"]["seed"] == 1)
    both = verdict(tabulate(frame(*runs), metrics=["ece"], calibrations=["raw"], baseline=["loss=a"]))
    assert [one.of for one in both] == ["digits · mlp", "wine · mlp"]
    assert [(len(one.sentences), len(one.more)) for one in both] == [(5, 3), (5, 3)]


def test_labels_say_what_tells_rows_apart_and_no_more(run, frame):
    rows = [
        run("cross_entropy", loss__epsilon=0.0),
        run("label_smoothing", loss__epsilon=0.1),
        run("label_smoothing", loss__epsilon=0.2),
        run("focal", loss__gamma=2.0),
    ]
    assert row_labels(tabulate(frame(*rows))) == [
        "cross_entropy",
        "focal",
        "label_smoothing ε=0.1",
        "label_smoothing ε=0.2",
    ]


def test_a_setting_that_repeats_another_is_not_said_twice(run, frame):
    rows = [
        run("distillation", teacher__loss__name="a", teacher__loss__epsilon=0.0),
        run("distillation", teacher__loss__name="b", teacher__loss__epsilon=0.1),
    ]
    assert row_labels(tabulate(frame(*rows))) == ["teacher loss=a", "teacher loss=b"]


def test_json_has_the_verdict(run, frame):
    table = tabulate(frame(run("a"), run("b")), **ACCURACY)
    assert json.loads(render(table, "json"))["verdict"] == [{"of": "digits · mlp", "sentences": said(table)}]
