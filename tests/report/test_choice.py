"""`--select`: hyperparameters picked on validation, judged on test."""

import csv
import io
import json
import math

import pandas as pd
import pytest

from lossbench.errors import ConfigError, RequestError
from lossbench.report import render, tabulate

NLL = {"metrics": ["nll"], "calibrations": ["raw"]}


@pytest.fixture
def sweep(run, frame):
    """ε of label smoothing: validation likes 0.1 for seed 0 and 0.2 for seed 1, test is better at 0.2 for both."""
    validation = {(0, 0.1): 0.30, (0, 0.2): 0.40, (1, 0.1): 0.50, (1, 0.2): 0.35}
    return frame(
        run("cross_entropy", 0, nll=1.0, val={"nll": 0.9}),
        run("cross_entropy", 1, nll=1.2, val={"nll": 0.9}),
        *[
            run("ls", seed, loss__epsilon=epsilon, nll=2.0 - epsilon + 0.5 * seed, val={"nll": nll})
            for (seed, epsilon), nll in validation.items()
        ],
    )


def test_each_seed_reports_on_test_what_was_best_on_validation(sweep):
    cross_entropy, ls = tabulate(sweep, **NLL, select="nll").rows
    assert ls.cells[0].values == (2.0 - 0.1, 2.0 - 0.2 + 0.5)
    assert cross_entropy.cells[0].values == (1.0, 1.2)
    assert [picked for _, picked in sorted(ls.picked.items())] == [{"loss.epsilon": 0.1}, {"loss.epsilon": 0.2}]
    assert not cross_entropy.picked  # one candidate is no choice


def test_the_table_has_one_row_per_loss_and_says_what_was_picked(sweep):
    table = tabulate(sweep, **NLL, select="nll")
    note = "Picked for each seed by NLL on validation: ls of 2 settings: epsilon=0.1 (seed 0), epsilon=0.2 (seed 1)."
    assert note in table.notes
    assert "| ls            | 2.100 ± " in render(table, "markdown")
    assert json.loads(render(table, "json"))["rows"][1]["picked"] == {
        "0": {"loss.epsilon": 0.1},
        "1": {"loss.epsilon": 0.2},
    }
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert [row["picked"] for row in rows] == ["{}", '{"0": {"loss.epsilon": 0.1}, "1": {"loss.epsilon": 0.2}}']


def test_of_equals_on_validation_the_first_is_taken_and_said(run, frame):
    runs = [run("ls", seed, loss__epsilon=e, val={"nll": 0.3 + seed * e}) for seed in (0, 1) for e in (0.2, 0.1)]
    (note,) = (note for note in tabulate(frame(*runs), **NLL, select="nll").notes if note.startswith("Picked"))
    equals = "equals on validation for seed 0: the first of them"
    assert note == f"Picked for each seed by NLL on validation: of 2 settings: epsilon=0.1 (seeds 0, 1); {equals}."


def test_what_was_picked_is_told_by_names_and_not_by_where_its_code_is_nor_by_what_it_lacks(run, frame):
    parts = {
        "first": {"name": "focal", "_target_": "a.focal", "gamma": 2.0},
        "second": {"name": "dice", "_target_": "a.dice"},
    }
    runs = [
        run("sum", loss__first__name=part["name"], loss__first___target_=part["_target_"], val={"nll": nll}, nll=nll)
        for part, nll in zip(parts.values(), (0.1, 0.2), strict=True)
    ]
    runs[0]["config"]["loss.first.gamma"] = 2.0
    table = tabulate(frame(*runs), **NLL, select="nll")
    assert "Picked for each seed by NLL on validation: of 2 settings: first=focal, gamma=2 (seed 0)." in table.notes


def test_a_setting_that_only_one_loss_sweeps_reads_picked_in_its_column(run, frame):
    runs = [run("a", optimizer__rate=0.1)] + [run("b", optimizer__rate=rate) for rate in (0.1, 0.2)]
    table = tabulate(frame(*runs), select="nll")
    assert [row.config["optimizer.rate"] for row in table.rows] == [0.1, "picked"]
    assert [column.heading for column in table.columns] == ["loss", "rate"]


@pytest.mark.parametrize(
    ("metric", "values", "wanted"),
    [
        ("nll", (0.3, 0.2, 0.4), 0.2),
        ("accuracy", (0.3, 0.2, 0.4), 0.3),
        ("confidence_gap", (-0.3, 0.2, -0.1), 0.3),
        ("ece", (0.2, math.nan, 0.1), 0.3),
        ("nll", (0.3, 0.3, 0.3), 0.1),  # the first of equals
    ],
)
def test_any_metric_that_judges_picks_its_best_value(run, frame, metric, values, wanted):
    runs = [run("ls", loss__epsilon=e, val={metric: v}) for e, v in zip((0.1, 0.2, 0.3), values, strict=True)]
    (row,) = tabulate(frame(*runs), select=metric).rows
    assert list(row.picked.values()) == [{"loss.epsilon": wanted}]


def test_each_dataset_and_model_picks_for_itself(run, frame):
    runs = [
        run("ls", dataset__name=data, loss__epsilon=epsilon, val={"nll": abs(epsilon - best)})
        for data, best in (("digits", 0.1), ("wine", 0.2))
        for epsilon in (0.1, 0.2)
    ]
    table = tabulate(frame(*runs), select="nll")
    assert (
        "Picked for each seed by NLL on validation: digits of 2 settings: epsilon=0.1 (seed 0); "
        "wine of 2 settings: epsilon=0.2 (seed 0)."
    ) in table.notes


def test_seeds_with_unequal_choice_are_said_so(run, frame):
    runs = [run("ls", 0, loss__epsilon=0.1), run("ls", 1, loss__epsilon=0.1), run("ls", 1, loss__epsilon=0.2)]
    (note,) = (note for note in tabulate(frame(*runs), select="nll").notes if note.startswith("Picked"))
    assert "of 1 to 2 settings: epsilon=0.1 (seeds 0, 1); equals on validation for seed 1: the first of them." in note


def test_precision_and_the_version_of_ones_own_code_are_not_picked(run, frame):
    runs = frame(run("a", device__precision="fp32"), run("a", device__precision="bf16"))
    runs["sources"] = "x"
    assert len(tabulate(runs, select="nll").rows) == 2
    runs["device.precision"] = "fp32"
    runs["sources"] = [f"version {name}" for name in runs["run"]]
    assert len(tabulate(runs, select="nll").rows) == 2


def test_what_was_picked_is_compared_with_the_baseline_seed_by_seed(sweep):
    _, ls = tabulate(sweep, **NLL, select="nll", baseline=["loss=cross_entropy"]).rows
    assert ls.cells[0].difference.difference == pytest.approx(((1.9 - 1.0) + (2.3 - 1.2)) / 2)


def test_validation_cannot_judge_what_it_picked(sweep):
    with pytest.raises(ConfigError, match="--select chooses on validation, so only --split test can judge"):
        tabulate(sweep, select="nll", split="val")


def test_a_metric_that_does_not_judge_cannot_pick(sweep):
    with pytest.raises(ConfigError, match="mean_confidence does not say which of its values are better"):
        tabulate(sweep, select="mean_confidence")


def test_a_misspelt_metric_is_answered_with_the_nearest(sweep):
    with pytest.raises(ConfigError, match="no metric named 'nl'; did you mean nll"):
        tabulate(sweep, select="nl")


def test_a_metric_without_a_value_cannot_pick(sweep):
    with pytest.raises(RequestError, match="mce has no value on validation for cross_entropy, seed 0"):
        tabulate(sweep, select="mce")


def test_candidates_measured_with_different_bins_are_not_compared(run, frame):
    runs = frame(run("ls", loss__epsilon=0.1), run("ls", loss__epsilon=0.2))
    runs["metrics.n_bins"] = [10, 10, 10, 10, 15, 15, 15, 15]
    with pytest.raises(RequestError, match="measured with n_bins 10 and 15"):
        tabulate(runs, **NLL, select="ece")
    assert len(tabulate(runs, **NLL, select="nll").rows) == 1


@pytest.mark.parametrize("calibration", ["isotonic", "vector_scaled"])
def test_what_was_fitted_on_validation_with_many_parameters_does_not_choose_there(run, frame, calibration):
    # In-sample isotonic regression likes 0.1 on validation, temperature scaling 0.2: the latter decides, and is named.
    runs = frame(*[run("ls", loss__epsilon=epsilon, nll=1.0) for epsilon in (0.1, 0.2)])
    fitted = runs[runs["calibration"] == "raw"].assign(calibration=calibration)
    both = pd.concat([runs, fitted], ignore_index=True)
    for name, values in ((calibration, (0.0, 0.5)), ("temperature_scaled", (0.4, 0.3)), ("raw", (0.6, 0.7))):
        for run_id, nll in zip(("run-0", "run-1"), values, strict=True):
            at = (both["run"] == run_id) & (both["split"] == "val") & (both["calibration"] == name)
            both.loc[at, "nll"] = nll
    table = tabulate(both, metrics=["nll"], calibrations=[calibration], select="nll")
    assert list(table.rows[0].picked.values()) == [{"loss.epsilon": 0.2}]
    assert "Picked for each seed by NLL (T-scaled) on validation: of 2 settings: epsilon=0.2 (seed 0)." in table.notes
    raw = tabulate(both, metrics=["nll"], calibrations=["raw"], select="nll")
    assert list(raw.rows[0].picked.values()) == [{"loss.epsilon": 0.1}]
