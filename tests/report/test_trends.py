"""Rows of a table as points of a sweep or a scatter plot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lossbench import metrics
from lossbench.errors import ConfigError, RequestError
from lossbench.report import trends
from lossbench.report.grouping import tabulate
from lossbench.report.table import BESIDE

Run = Callable[..., dict[str, Any]]
Frame = Callable[..., Any]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.5, 1, 2, 4], "log"),
        ([1, 4, 16], "log"),
        ([0, 0.05, 0.1, 0.2], "linear"),
        ([0, 1, 10, 100], "symlog"),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], "linear"),
        ([-1, 1, 10, 100], "linear"),
        ([1, 1000], "linear"),
    ],
)
def test_an_axis_is_logarithmic_where_values_are_spread_geometrically(values: list[float], scale: str) -> None:
    assert trends.spacing(values) == scale


def test_a_sweep_has_a_point_per_value_with_its_mean_and_interval(run: Run, frame: Frame) -> None:
    """Two seeds at 0.19 and 0.21: mean 0.2, and t_{0.975, 1} = 12.706, so that half the interval is 12.706 · 0.01."""
    runs = [
        run("label_smoothing", seed, loss__epsilon=e, ece=0.19 + 0.02 * seed) for e in (0.0, 0.5) for seed in (0, 1)
    ]
    found = trends.sweep(tabulate(frame(*runs), metrics=["ece"], calibrations=["raw"]), None, [])
    assert [(point["x"], point["metric"], point["series"]) for point in found.points] == [
        (0, "ECE ↓", "label_smoothing"),
        (0.5, "ECE ↓", "label_smoothing"),
    ]
    assert found.points[0]["mean"] == pytest.approx(0.2)
    assert found.points[0]["high"] - found.points[0]["mean"] == pytest.approx(0.12706, abs=1e-5)
    assert (found.x_title, found.baselines, found.left_out) == ("ε", [], [])


def test_what_is_after_temperature_scaling_is_a_series_of_its_own(run: Run, frame: Frame) -> None:
    runs = [run("label_smoothing", loss__epsilon=e, scaled={"ece": 0.01}) for e in (0.0, 0.5)]
    table = tabulate(frame(*runs), metrics=["accuracy", "ece"], calibrations=["raw", "temperature_scaled"])
    found = trends.sweep(table, None, [])
    assert {(point["metric"], point["series"], point["mean"]) for point in found.points} == {
        ("accuracy ↑", "label_smoothing", 0.9),
        ("ECE ↓", "label_smoothing", 0.1),
        ("ECE ↓", "label_smoothing (T-scaled)", 0.01),
    }


def test_a_baseline_is_level_and_rows_without_the_setting_are_left_out(run: Run, frame: Frame) -> None:
    runs = [run("label_smoothing", loss__epsilon=e) for e in (0.1, 0.5)]
    runs += [run("cross_entropy", loss__epsilon=0.0, ece=0.07), run("dice")]
    table = tabulate(frame(*runs), metrics=["ece"], calibrations=["raw"])
    found = trends.sweep(table, None, ["loss=cross_entropy"])
    assert {point["series"] for point in found.points} == {"label_smoothing"}
    assert [(row["series"], row["mean"]) for row in found.baselines] == [("cross_entropy", 0.07)]
    assert found.left_out == ["left out dice, which has no number as loss.epsilon"]


def test_a_baseline_within_the_sweep_stays_a_point_of_it(run: Run, frame: Frame) -> None:
    table = tabulate(
        frame(*(run("label_smoothing", loss__epsilon=e) for e in (0.0, 0.1, 0.5))),
        metrics=["ece"],
        calibrations=["raw"],
    )
    found = trends.sweep(table, None, ["loss.epsilon=0"])
    assert [point["x"] for point in found.points] == [0, 0.1, 0.5]
    assert [row["series"] for row in found.baselines] == ["ε=0"]


def test_a_sweep_of_two_settings_asks_which(run: Run, frame: Frame) -> None:
    runs = [run("label_smoothing", loss__epsilon=e, loss__temperature=t) for e in (0.0, 0.5) for t in (1.0, 2.0)]
    table = tabulate(frame(*runs), metrics=["ece"], calibrations=["raw"])
    with pytest.raises(ConfigError, match=r"loss\.epsilon, loss\.temperature; choose one with --x"):
        trends.sweep(table, None, [])
    found = trends.sweep(table, "temperature", [])
    assert found.x_title == "temperature T"
    assert {point["series"] for point in found.points} == {"ε=0", "ε=0.5"}
    with pytest.raises(ConfigError, match=r"did you mean loss\.temperature"):
        trends.sweep(table, "loss.temprature", [])


def test_nothing_to_sweep_is_said(run: Run, frame: Frame) -> None:
    table = tabulate(frame(run(), run("dice")), metrics=["ece"], calibrations=["raw"])
    with pytest.raises(RequestError, match="no number varies"):
        trends.sweep(table, None, [])
    with pytest.raises(RequestError, match="no row has loss=focal; the baseline must be among"):
        trends.sweep(table, None, ["loss=focal"])


def test_a_scatter_plot_has_a_point_per_row_and_calibration(run: Run, frame: Frame) -> None:
    runs = [run(), run("dice", accuracy=0.8, scaled={"ece": 0.02}), run("focal", accuracy=float("nan"))]
    both = ["raw", "temperature_scaled"]
    rows, left_out = trends.scatter(tabulate(frame(*runs), metrics=["accuracy", "ece"], calibrations=both), both)
    assert {(row["series"], row["x"], row["y"]) for row in rows} == {
        ("cross_entropy (raw)", 0.1, 0.9),
        ("cross_entropy (T-scaled)", 0.1, 0.9),
        ("dice (raw)", 0.1, 0.8),
        ("dice (T-scaled)", 0.02, 0.8),
    }
    assert {row["plot"] for row in rows} == {""}
    assert left_out[0] == "left out focal (raw), which lacks one of accuracy and ece"
    assert rows[0]["x_low"] is None


def test_a_scatter_plot_has_a_plot_for_each_data_set_and_model(run: Run, frame: Frame) -> None:
    runs = [run(loss, dataset__name=name) for name in ("digits", "wine") for loss in ("cross_entropy", "dice")]
    rows, _ = trends.scatter(tabulate(frame(*runs), metrics=["accuracy", "ece"], calibrations=["raw"]), ["raw"])
    assert [(row["plot"], row["series"]) for row in rows] == [
        ("digits", "cross_entropy"),
        ("digits", "dice"),
        ("wine", "cross_entropy"),
        ("wine", "dice"),
    ]


def test_models_with_a_point_each_share_a_plot(run: Run, frame: Frame) -> None:
    runs = [run(model__name=name) for name in ("mlp", "cnn", "linear")]
    rows, _ = trends.scatter(tabulate(frame(*runs), metrics=["accuracy", "ece"], calibrations=["raw"]), ["raw"])
    assert {row["plot"] for row in rows} == {""}
    assert {row["series"] for row in rows} == {"mlp", "cnn", "linear"}


def test_intervals_end_where_a_metric_does(run: Run, frame: Frame) -> None:
    """Accuracy 0.9 and 1: mean 0.95, half the interval 12.706 · 0.05 = 0.635; ECE 0.0 and 0.1 likewise; NLL above 0."""
    runs = [run(seed=s, accuracy=0.9 + 0.1 * s, ece=0.1 * s, nll=0.1 * s, loss__epsilon=0.1) for s in (0, 1)]
    table = tabulate(frame(*runs), metrics=["accuracy", "ece"], calibrations=["raw"])
    ((point,), _) = trends.scatter(table, ["raw"])
    assert (point["y_high"], point["x_low"]) == (1, 0)
    assert point["y_low"] == pytest.approx(0.95 - 0.6353, abs=1e-4)
    assert trends.bounds("nll") == (0, float("inf"))
    assert trends.bounds("somebody's own") == (-float("inf"), float("inf"))


def test_bounds_are_those_of_metrics_that_there_are() -> None:
    assert {*trends.SHARES, *trends.POSITIVE} <= {*metrics.ALL, *BESIDE}
