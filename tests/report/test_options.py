"""A table says what its metrics were measured with, and holds one way of measuring."""

import pandas as pd
import pytest

from lossbench import metrics
from lossbench.calibration import CALIBRATIONS
from lossbench.errors import ConfigError, RequestError
from lossbench.report import tabulate
from lossbench.report.table import CALIBRATED, SAME_AFTER_TEMPERATURE

ECE = {"metrics": ["ece"], "calibrations": ["raw"]}


def names(table):
    return [(column.metric, column.calibration) for column in table.metrics]


def calibrated(frame, run):
    """A run's frame with the rows of all calibrations."""
    plain = frame(run())
    other = plain[plain["calibration"] == "raw"]
    return pd.concat([plain, *(other.assign(calibration=name) for name in ("vector_scaled", "isotonic"))])


def test_the_note_says_the_bins_that_were_used(run, frame):
    assert "ECE: 10 bins of equal width." in tabulate(frame(run(metrics__n_bins=10)), **ECE).notes
    assert "ECE: 15 bins of equal width." in tabulate(frame(run()), **ECE).notes


def test_bins_of_equal_mass_and_thresholds_are_said_too(run, frame):
    shown = {"metrics": ["adaptive_ece", "confident_errors"], "calibrations": ["raw"]}
    notes = tabulate(frame(run(metrics__threshold=0.8)), **shown).notes
    assert "adaptive ECE: 15 bins of equal mass." in notes
    assert "confident errors: at a confidence above 0.8." in notes


def test_runs_measured_with_different_bins_share_no_table(run, frame):
    mixed = frame(run("a", metrics__n_bins=10), run("b", metrics__n_bins=20))
    with pytest.raises(RequestError, match="with n_bins 10 and 20, which one table cannot hold: `lossbench evaluate"):
        tabulate(mixed, **ECE)
    with pytest.raises(RequestError, match="n_bins 10 and 20"):
        tabulate(mixed, metrics=["nll"], select="ece")
    assert len(tabulate(mixed, metrics=["nll"]).rows) == 2
    assert len(tabulate(mixed, where=["metrics.n_bins=20"], **ECE).rows) == 1


def test_a_run_older_than_the_options_was_measured_with_the_defaults(run, frame):
    assert len(tabulate(frame(run("a"), run("b", metrics__n_bins=15)), **ECE).rows) == 2
    with pytest.raises(RequestError, match="n_bins 10 and 15"):
        tabulate(frame(run("a"), run("b", metrics__n_bins=10)), **ECE)


def test_how_runs_were_measured_does_not_make_them_different_experiments(run, frame):
    table = tabulate(frame(run(metrics__threshold=0.8), run("cross_entropy", 1, metrics__threshold=0.9)), **ECE)
    (row,) = table.rows
    assert row.n == 2
    assert table.columns == ()


def test_the_usual_columns_are_raw_and_the_ece_after_temperature(run, frame):
    usual = names(tabulate(calibrated(frame, run)))
    assert usual == names(tabulate(frame(run())))
    assert {calibration for _, calibration in usual} == {"raw", "temperature_scaled"}


def test_every_calibration_is_a_column_that_is_named_and_explained(run, frame):
    table = tabulate(calibrated(frame, run), metrics=["nll"], calibrations=CALIBRATIONS)
    assert names(table) == [("nll", name) for name in CALIBRATIONS]
    for name, (label, meaning) in CALIBRATED.items():
        assert f"{label[0].upper()}{label[1:]}: {meaning}" in table.notes, name


def test_only_a_temperature_leaves_the_accuracy_as_it_is(run, frame):
    table = tabulate(calibrated(frame, run), metrics=["accuracy"], calibrations=CALIBRATIONS)
    assert names(table) == [("accuracy", name) for name in ("raw", "vector_scaled", "isotonic")]


def test_the_metrics_that_one_temperature_leaves_alone_are_those_of_the_order_of_the_classes():
    logits, targets = [[3.0, 1.0, 0.0], [0.0, 0.5, 0.1], [1.0, 0.0, 2.0]], [0, 2, 2]
    half = [[value / 2 for value in row] for row in logits]
    same = {name for name, metric in metrics.ALL.items() if metric(logits, targets) == metric(half, targets)}
    assert set(SAME_AFTER_TEMPERATURE) <= same
    assert not {"nll", "ece", "brier_score", "mean_entropy"} & same


def test_an_unknown_calibration_is_named(run, frame):
    with pytest.raises(ConfigError, match="no calibration named 'isotonc'; did you mean isotonic"):
        tabulate(frame(run()), calibrations=["isotonc"])
