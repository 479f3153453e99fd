"""Rows of a table as points: one metric against another, or against a setting that was swept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lossbench.errors import ConfigError, RequestError, did_you_mean
from lossbench.report.labels import FREE, Bounds
from lossbench.report.notation import heading
from lossbench.report.selection import meets
from lossbench.report.series import SHARE, Rows, interval, label, numeric, symbol, with_calibration
from lossbench.report.table import Cell, Column, Row, Table

# What values of a metric lie between, where that is not all numbers; intervals by Student's t do not know.
SHARES = (
    *("accuracy", "top5_accuracy", "balanced_accuracy", "worst_class_accuracy", "pixel_accuracy"),
    *("macro_f1", "mean_iou", "worst_class_iou", "dice_score"),
    *("ece", "mce", "rmsce", "smooth_ece", "adaptive_ece", "classwise_ece", "ks_error"),
    *("overconfidence_error", "underconfidence_error", "mean_confidence", "confidence_of_errors", "confident_errors"),
    *("aurc", "eaurc", "failure_auroc", "failure_fpr95"),
    *("teacher_accuracy", "teacher_ece", "old_accuracy", "new_accuracy"),
    *("many_shot_accuracy", "medium_shot_accuracy", "few_shot_accuracy", "class_tightness", "train_class_tightness"),
)
POSITIVE = ("nll", "mean_entropy", "entropy_of_errors", "optimal_temperature", "temperature")
WIDE = 8  # times the least of a hyperparameter's values is the largest, before its axis is worth a logarithm


@dataclass(frozen=True)
class Sweep:
    """What `charts.sweep` draws, and the rows that are not in it."""

    points: Rows
    baselines: Rows
    x_title: str
    scale: str
    left_out: list[str]


def scatter(table: Table, calibrations: Sequence[str]) -> tuple[Rows, list[str]]:
    """Return the points of `charts.scatter`, and what is left out of them.

    Args:
        table: with two metrics, the first of them on the vertical axis.
        calibrations: a point for each; a metric that one does not change has its value under the first.
    """
    beside = _plots(table)
    others = [column for column in table.columns if column not in beside]
    names = list(dict.fromkeys(column.metric for column in table.metrics))
    rows: Rows = []
    left_out = []
    for row in table.rows:
        for calibration in calibrations:
            name = with_calibration(label(row, others), calibration, calibrations)
            plot = label(row, beside) if beside else ""
            cells = [_cell(row, table, metric, calibration) for metric in names]
            if all(math.isfinite(cell.mean) for cell in cells):
                y, x = map(_numbers, cells, names)
                ends = {f"{axis}_{end}": of[end] for axis, of in (("x", x), ("y", y)) for end in ("low", "high")}
                rows.append({"plot": plot, "series": name, "x": x["mean"], "y": y["mean"], **ends})
            else:
                left_out.append(
                    f"left out {' '.join(filter(None, (plot, name)))}, which lacks one of {' and '.join(names)}"
                )
    return rows, left_out


def bounds(metric: str) -> Bounds:
    """Return what values of a metric lie between."""
    if metric in SHARES:
        return SHARE
    return {"confidence_gap": (-1.0, 1.0), "brier_score": (0.0, 2.0)}.get(
        metric, (0.0, math.inf) if metric in POSITIVE else FREE
    )


def _plots(table: Table) -> list[Column]:
    """The settings whose combinations have a plot each: data set and model; without the model if each had one point."""
    for prefixes in (("dataset.", "model."), ("dataset.",)):
        chosen = [column for column in table.columns if column.key.startswith(prefixes)]
        if chosen and len({label(row, chosen) for row in table.rows}) < len(table.rows):
            return chosen
    return []


def sweep(table: Table, x: str | None, baseline: Sequence[str]) -> Sweep:
    """Return what `charts.sweep` draws.

    Args:
        table: rows with a setting that varies, and metrics.
        x: the setting, as `loss.epsilon` or by its last word; None for the only number that varies.
        baseline: `key=value` each, for the rows to draw as level lines.

    Raises:
        ConfigError: if there is no such setting, or none or several that could be meant.
        RequestError: if no row is the baseline.
    """
    level = [row for row in table.rows if baseline and all(meets(row.config, condition) for condition in baseline)]
    if baseline and not level:
        raise RequestError(f"no row has {' '.join(baseline)}; the baseline must be among the runs that --where keeps")
    key = _swept(table, x, [row for row in table.rows if row not in level])
    others = [column for column in table.columns if column.key != key.key]
    along = {label(row, others) for row in table.rows if row not in level and _number(row, key) is not None}
    # A baseline that is a point of a sweep stays one; another would be a line of one point.
    swept = [row for row in table.rows if _number(row, key) is not None and (label(row, others) in along)]
    left_out = [
        f"left out {label(row, table.columns)}, which has no number as {key.key}"
        for row in table.rows
        if row not in swept and row not in level
    ]
    points, baselines = _points(table, swept, others), []
    for point in points:
        point["x"] = point.pop("row").config[key.key]
    for point in _points(table, level, others):
        row = point.pop("row")
        if point["series"].partition(" (")[0] in along:  # its setting tells it from the sweep
            point["series"] = point["series"].replace(label(row, others), label(row, table.columns), 1)
        baselines.append(point)
    values = sorted({float(point["x"]) for point in points})
    return Sweep(points, baselines, _title(key), spacing(values), left_out)


def spacing(values: Sequence[float]) -> str:
    """Return the scale on which rising values lie most evenly: `linear`, `log`, or `symlog` where one is 0."""
    positive = [value for value in values if value > 0]
    if len(positive) < 3 or positive[-1] < WIDE * positive[0] or positive != [value for value in values if value != 0]:
        return "linear"
    linear, logarithmic = (np.diff(numbers) for numbers in (positive, np.log(positive)))
    if linear.std() / linear.mean() <= 2 * logarithmic.std() / logarithmic.mean():  # in doubt, what needs no explaining
        return "linear"
    return "log" if len(positive) == len(values) else "symlog"


def _points(table: Table, rows: Sequence[Row], others: Sequence[Column]) -> Rows:
    """A point per metric column and row that has a mean, with the `row` it is of."""
    first = {column.metric: column for column in reversed(table.metrics)}
    calibrations = list(dict.fromkeys(column.calibration for column in table.metrics))
    result = []
    for i, column in enumerate(table.metrics):
        for row in rows:
            if not math.isfinite(row.cells[i].mean):
                continue
            name = label(row, others)
            if column.calibration != first[column.metric].calibration:
                name = with_calibration(name, column.calibration, calibrations)
            head = {"metric": heading(first[column.metric]), "series": name}
            result.append({**head, **_numbers(row.cells[i], column.metric), "row": row})
    return result


def _cell(row: Row, table: Table, metric: str, calibration: str) -> Cell:
    cells: dict[str, Cell] = {}
    for column, cell in zip(table.metrics, row.cells, strict=True):
        if column.metric == metric:
            cells[column.calibration] = cell
    return cells.get(calibration, next(iter(cells.values())))


def _numbers(cell: Cell, metric: str) -> dict[str, float | None]:
    return {"mean": cell.mean, **interval(cell.low, cell.high, bounds(metric))}


def _number(row: Row, column: Column) -> float | None:
    setting = row.config.get(column.key)
    return float(setting) if numeric(setting) else None  # type: ignore[arg-type]


def _swept(table: Table, x: str | None, rows: Sequence[Row]) -> Column:
    varying = [column for column in table.columns if len({_number(row, column) for row in rows} - {None}) > 1]
    names = ", ".join(column.key for column in varying)
    if x is not None:
        chosen = [column for column in varying if x in (column.key, column.heading, column.key.rpartition(".")[2])]
        if len(chosen) == 1:
            return chosen[0]
        raise ConfigError(
            f"--x {x} is no number that varies among these runs{did_you_mean(x, [column.key for column in varying])}"
        )
    if len(varying) == 1:
        return varying[0]
    if varying:
        raise ConfigError(f"several settings vary: {names}; choose one with --x, such as --x {varying[0].key}")
    raise RequestError("no number varies among these runs; a sweep is, say, lossbench train loss.epsilon=0,0.1,0.2")


def _title(column: Column) -> str:
    """A Greek letter stands for itself; T is a word too short."""
    greek = symbol(column.heading)
    return f"{column.heading} T" if greek.endswith("T") else greek
