"""Rows for `lossbench.report.charts`, from finished runs or from files of logits. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench import curves, evaluation, predictions
from lossbench.metrics.inputs import Predictions, read
from lossbench.report.labels import FREE, Bounds
from lossbench.report.selection import Value, written
from lossbench.report.table import CALIBRATED, NAMES, Column, Row, Table
from lossbench.statistics import t_interval
from lossbench.store import Store

Rows: TypeAlias = list[dict[str, Any]]
Array: TypeAlias = NDArray[np.float64]

SHARE: Bounds = (0.0, 1.0)
N_BINS = 20  # of histograms of confidence
COVERAGES = np.linspace(0.01, 1, 100)
# Columns of history.csv.
QUANTITIES = {"train_loss": "training loss", "val_loss": "validation loss", "val_accuracy": "validation accuracy"}
WITHIN: dict[str, Bounds] = {"val_accuracy": SHARE}  # which an interval by Student's t does not know
SYMBOLS = {"epsilon": "ε", "gamma": "γ", "alpha": "α", "beta": "β", "temperature": "T", "lambda": "λ"}


@dataclass(frozen=True)
class Series:
    """What one line of a figure, or one of its plots, is drawn from: runs that differ in the seed, or a file."""

    label: str
    calibration: str
    split: str
    sources: tuple[str | Path, ...]  # run ids, or one file
    store: Store

    def reliability(self) -> list[dict[str, Array]]:
        """Return the bins of each run."""
        return [
            evaluation.reliability_of(self.store, source, self.split, [self.calibration])[self.calibration]
            if isinstance(source, str)
            else evaluation.curve(
                "reliability", predictions.of_file(source), predictions.SOFTMAX, split=self.split,
                calibrated=self.calibration
            )
            for source in self.sources
        ]  # fmt: skip

    def predictions(self) -> Iterator[Predictions]:
        """Yield what each run says, one at a time: a million pixels of each at once may be too many to hold."""
        for source in self.sources:
            arrays, link = predictions.of_either(self.store, str(source))
            log_probs = evaluation.calibrated_log_probs(arrays, link, self.split, self.calibration)
            yield read(log_probs, arrays[f"{self.split}_targets"], predictions.IGNORE_INDEX)


def symbol(heading: str) -> str:
    """Return a setting as figures write it: `teacher epsilon` is `teacher ε`."""
    *before, last = heading.split(" ")
    return " ".join([*before, SYMBOLS.get(last, last)])


def named(column: Column, value: Value) -> str:
    """Return a value that stands without its column's heading: `γ=2`; a data set, model or loss says itself what it is.

    None is `γ=null`, which is also how `--where` asks for the rows without.
    """
    return written(value) if column.key in NAMES else f"{symbol(column.heading)}={written(value)}"


def label(row: Row, columns: Sequence[Column]) -> str:
    """Return what tells a row apart: `label_smoothing ε=0.1`; its loss where nothing does."""
    parts = [named(column, value) for column in columns if (value := row.config[column.key]) is not None]
    return " ".join(parts) or written(row.config["loss.name"])


def with_calibration(name: str, calibration: str, among: Sequence[str]) -> str:
    """Return a label with the calibration behind it, where a figure shows several or one that is not raw."""
    if len(among) == 1:
        return name
    return f"{name} ({CALIBRATED[calibration][0] if calibration in CALIBRATED else calibration})"


def series_of_runs(table: Table, store: Store, calibrations: Sequence[str]) -> list[Series]:
    """Return a series for each row of a table and each calibration."""
    return [
        Series(
            with_calibration(label(row, table.columns), calibration, calibrations),
            calibration,
            table.split,
            tuple(run.id for run in row.runs),
            store,
        )
        for row in table.rows
        for calibration in calibrations
    ]


def series_of_files(paths: Sequence[Path], store: Store, split: str, calibrations: Sequence[str]) -> list[Series]:
    """Return a series for each file of logits and each calibration."""
    return [
        Series(with_calibration(path.stem, calibration, calibrations), calibration, split, (path,), store)
        for path in paths
        for calibration in calibrations
    ]


def reliability_bins(series: Sequence[Series]) -> Rows:
    """Bins of `charts.reliability`. The examples of all seeds are pooled; the ECE is the mean over the seeds.

    Bins of other edges cannot be pooled, which `tabulate` refuses before.
    """
    return [{"series": one.label, **bin} for one in series for bin in pooled(one.reliability())]


def pooled(runs: Sequence[Mapping[str, ArrayLike]]) -> Rows:
    """Pool the bins of several runs, by rising confidence: rows of `charts.reliability` but for their series.

    Args:
        runs: the columns of `lossbench.curves.reliability` of each.
    """
    sums: dict[tuple[float, float], Array] = {}
    errors = []
    for run in runs:
        n, confidence, accuracy = (np.asarray(run[name], dtype=np.float64) for name in ("n", "confidence", "accuracy"))
        errors.append(float((n * np.abs(accuracy - confidence)).sum() / n.sum()))
        edges = zip(*(np.round(np.asarray(run[end]), 9).tolist() for end in ("lo", "hi")), strict=True)
        for between, *of_bin in zip(edges, n, n * confidence, n * accuracy, strict=True):
            sums[between] = sums.get(between, np.zeros(3)) + np.array(of_bin)
    ece = float(np.mean(errors))
    return [
        {"lo": lo, "hi": hi, "n": int(n), "confidence": float(confidence / n), "accuracy": float(right / n), "ece": ece}
        for (lo, hi), (n, confidence, right) in sorted(sums.items())
    ]


def risk_points(series: Sequence[Series]) -> Rows:
    """Points of `charts.risk_coverage`: the mean over seeds at each hundredth of coverage, with its interval."""
    rows: Rows = []
    for one in series:
        risks = []
        for said in one.predictions():
            curve = curves.risk_coverage(said.log_probs, said.classes)
            risks.append(np.interp(COVERAGES, curve["coverage"], curve["risk"]))
        for coverage, values in zip(COVERAGES, np.array(risks).T, strict=True):
            rows.append({"series": one.label, "coverage": float(coverage), **mean_and_interval(values, SHARE)})
    return rows


def confidence_bins(series: Sequence[Series]) -> Rows:
    """Bins of `charts.confidence`, the examples of all seeds pooled. An outcome that never comes has no bins."""
    rows: Rows = []
    edges = np.linspace(0, 1, N_BINS + 1)
    for one in series:
        counts = {"right": np.zeros(N_BINS), "wrong": np.zeros(N_BINS)}
        sums = dict.fromkeys(counts, 0.0)
        for said in one.predictions():
            for outcome, chosen in (("right", said.correct), ("wrong", ~said.correct)):
                counts[outcome] += np.histogram(said.confidence[chosen], edges)[0]
                sums[outcome] += float(said.confidence[chosen].sum())
        for outcome, n in counts.items():
            for i in np.flatnonzero(n):
                share, mean = float(n[i] / n.sum()), sums[outcome] / float(n.sum())
                head = {"series": one.label, "outcome": outcome}
                rows.append({**head, "lo": float(edges[i]), "hi": float(edges[i + 1]), "share": share, "mean": mean})
    return rows


def confusion_cells(series: Sequence[Series]) -> Rows:
    """Cells of `charts.confusion`, the examples of all seeds pooled."""
    rows: Rows = []
    for one in series:
        counts: NDArray[np.int64] | None = None
        for said in one.predictions():
            k = said.num_classes
            matrix = np.bincount(said.classes * k + said.predicted, minlength=k * k).reshape(k, k)
            counts = matrix if counts is None else counts + matrix
        assert counts is not None
        names = class_names(one, len(counts))
        for i, of_class in enumerate(counts):
            for j, n in enumerate(of_class):
                share = float(n / of_class.sum()) if of_class.sum() else None
                rows.append(
                    {"series": one.label, "target": names[i], "predicted": names[j], "share": share, "n": int(n)}
                )
    return rows


def class_names(series: Series, num_classes: int) -> list[str]:
    """Return what a run calls its classes; numbers where it does not say, or names fewer."""
    source = series.sources[0]
    names = series.store.environment(source).get("class_names") if isinstance(source, str) else None
    if not isinstance(names, list) or len({*map(str, names)}) < num_classes:
        return [str(k) for k in range(num_classes)]
    return [str(name) for name in names]


def epochs(series: Sequence[Series]) -> Rows:
    """Epochs of `charts.training`: means over the seeds that got that far."""
    histories = [[one.store.history(str(source)) for source in one.sources] for one in series]
    rows: Rows = []
    for column, quantity in QUANTITIES.items():
        for one, of_runs in zip(series, histories, strict=True):
            for epoch, values in by_epoch(of_runs, column).items():
                head = {"quantity": quantity, "series": one.label, "epoch": epoch}
                rows.append({**head, **mean_and_interval(values, WITHIN.get(column, FREE))})
    return rows


def by_epoch(histories: Sequence[Sequence[Mapping[str, float]]], column: str) -> dict[int, list[float]]:
    """Return the finite values of a column of several runs' histories: epoch → one for each run that has it."""
    values: dict[int, list[float]] = {}
    for line in (line for history in histories for line in history):
        if math.isfinite(line.get(column, math.nan)) and "epoch" in line:
            values.setdefault(int(line["epoch"]), []).append(line[column])
    return dict(sorted(values.items()))


def mean_and_interval(values: Sequence[float] | Array, bounds: Bounds = FREE) -> dict[str, float | None]:
    """Return `mean`, and `low` and `high`, the ends of its 95 % interval by Student's t; None below two values."""
    return {"mean": float(np.mean(values)), **interval(*t_interval(values), bounds)}


def interval(low: float, high: float, bounds: Bounds = FREE) -> dict[str, float | None]:
    """Return the ends as a figure takes them: None where there are none, cut where no value can lie beyond."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return {"low": None, "high": None}
    return {"low": max(low, bounds[0]), "high": min(high, bounds[1])}


def numeric(value: Value) -> bool:
    """Whether a setting can stand on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)
