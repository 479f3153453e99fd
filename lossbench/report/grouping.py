"""From a frame of runs to a table of means over seeds, before any formatting."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lossbench import metrics as library
from lossbench.errors import ConfigError, RequestError, did_you_mean
from lossbench.report.notes import notes
from lossbench.report.selection import Value, order, parse, select, value, written
from lossbench.report.table import (
    BESIDE,
    NAMES,
    SAME_AFTER_TEMPERATURE,
    Cell,
    Column,
    MetricColumn,
    Row,
    Table,
    short_name,
)

CALIBRATIONS = ("raw", "temperature_scaled")
DEFAULT_METRICS = ("accuracy", "nll", "ece", "confidence_gap")
# What separates two runs without making them different experiments: seeds, and what cannot change the numbers.
# A teacher's id repeats its settings, which are compared one by one, and its seed, which is its student's.
NOT_COMPARED = {"run", "split", "calibration", "seed", "teacher.id", *BESIDE}
NOT_COMPARED |= {"results_dir", "dataset.root"}
NO_RUNS = "no finished runs; train some first: lossbench train loss=label_smoothing loss.epsilon=0,0.1 'seed=range(3)'"


def tabulate(
    frame: pd.DataFrame,
    *,
    where: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    calibrations: Sequence[str] = CALIBRATIONS,
    split: str = "test",
) -> Table:
    """Group runs over seeds and mark the best of each dataset × model.

    Args:
        frame: a row per run × split × calibration; config keys with dots, one column per metric.
        where: filters, `key=value` each; see `select`.
        metrics: names from `lossbench.metrics`, in the order to show; none for the usual five columns.
        calibrations: `raw`, `temperature_scaled` or both, in the order to show.
        split: `val` or `test`.

    Raises:
        ConfigError: if a filter, a metric or a calibration is not known.
        RequestError: if no run is left.
    """
    if frame.empty:
        raise RequestError(NO_RUNS)
    shown = _metric_columns(metrics, calibrations)
    keys = [key for key in map(str, frame.columns) if _compared(key)]
    filterable = [*keys, "seed", "run"]
    chosen = select(frame, where, filterable)
    chosen = chosen[chosen["split"] == split]
    if chosen.empty:
        raise RequestError(f"no run has the split {split!r}; there are: {', '.join(sorted(set(frame['split'])))}")

    # Missing for all of them is missing: an older store may lack a metric that was added since.
    chosen = chosen.reindex(columns=[*chosen.columns, *({c.metric for c in shown} - set(chosen.columns))])
    groups: dict[tuple[Value, ...], list[dict[Hashable, Any]]] = {}
    for record in chosen.to_dict("records"):
        groups.setdefault(tuple(value(record[key]) for key in keys), []).append(record)
    configs = [dict(zip(keys, group, strict=True)) for group in groups]

    columns = _columns(keys, configs)
    rows = [
        Row(config, len({record["run"] for record in records}), 0, tuple(_cell(records, column) for column in shown))
        for config, records in zip(configs, groups.values(), strict=True)
    ]
    rows = _mark_best(_sorted(rows, columns), shown)
    counts = {row.n for row in rows}
    return Table(
        title=_title(chosen, rows, [parse(condition, filterable)[0] for condition in where]),
        split=split,
        columns=columns,
        metrics=shown,
        rows=tuple(rows),
        n=counts.pop() if len(counts) == 1 else None,
        notes=tuple(notes(rows, [column.key for column in columns], shown)),
    )


def _compared(key: str) -> bool:
    of_the_device = key.startswith("device.") and key != "device.precision"
    return not of_the_device and key not in NOT_COMPARED and key not in library.ALL


def _metric_columns(metrics: Sequence[str] | None, calibrations: Sequence[str]) -> tuple[MetricColumn, ...]:
    calibrations = list(dict.fromkeys(calibrations)) or CALIBRATIONS
    known_metrics = {**{name: metric.better for name, metric in library.ALL.items()}, **dict.fromkeys(BESIDE)}
    for kind, names, known in (("calibration", calibrations, CALIBRATIONS), ("metric", metrics or (), known_metrics)):
        for name in names:
            if name not in known:
                raise ConfigError(f"no {kind} named {name!r}{did_you_mean(name, known)}")
    first, *rest = calibrations
    if not metrics:
        pairs = [(name, first) for name in DEFAULT_METRICS] + [("ece", calibration) for calibration in rest]
    else:
        pairs = [
            (name, calibration)
            for name in dict.fromkeys(metrics)
            for calibration in ([first] if name in (*SAME_AFTER_TEMPERATURE, *BESIDE) else calibrations)
        ]
    return tuple(MetricColumn(name, calibration, known_metrics[name]) for name, calibration in pairs)


def _cell(records: list[dict[Hashable, Any]], column: MetricColumn) -> Cell:
    values = np.array([r[column.metric] for r in records if r["calibration"] == column.calibration], dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return Cell(math.nan, None, 0)
    # An infinite nll has a mean, ∞, but no deviation from it.
    finite = bool(np.isfinite(values).all())
    return Cell(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 and finite else None, len(values))


def _columns(keys: Sequence[str], configs: Sequence[Mapping[str, Value]]) -> tuple[Column, ...]:
    sections = ("dataset", "model", "loss")
    rank = {key: (sections.index(s) if (s := key.partition(".")[0]) in sections else len(sections)) for key in keys}
    inner = sorted(keys, key=lambda key: (rank[key], key not in NAMES))
    # A function's path tells rows apart too, but its name is what people read.
    hidden = ("_target_", "sources")
    varying = [key for key in inner if not key.endswith(hidden) and _tells_rows_apart(key, configs)]
    # The three names keep their words even when they stand in the title.
    taken = Counter(short_name(key) for key in {*varying, *NAMES})
    return tuple(Column(key, short_name(key) if taken[short_name(key)] == 1 else key) for key in varying)


def _tells_rows_apart(key: str, configs: Sequence[Mapping[str, Value]]) -> bool:
    if len({config[key] for config in configs} - {None}) > 1:
        return True
    # One value, which some rows lack: no column if the row's own loss, model, … decides whether there is one.
    section = key.partition(".")[0]
    owners = ("loss.name", "dataset.learn") if section == "teacher" else (f"{section}.name",)
    missing: dict[tuple[Value, ...], set[bool]] = {}
    for config in configs:
        missing.setdefault(tuple(map(config.get, owners)), set()).add(config[key] is None)
    return any(len(kinds) > 1 for kinds in missing.values())


def _sorted(rows: list[Row], columns: Sequence[Column]) -> list[Row]:
    def place(row: Row) -> list[tuple[bool, tuple[int, float, str]]]:
        return [
            (c.key == "loss.name" and row.config[c.key] != "cross_entropy", order(row.config[c.key])) for c in columns
        ]

    return sorted(rows, key=place)


def _mark_best(rows: list[Row], shown: Sequence[MetricColumn]) -> list[Row]:
    def dataset_and_model(row: Row) -> tuple[Value, ...]:
        # With all their settings: two levels of label noise are two problems, each with its own best loss.
        return tuple(v for key, v in row.config.items() if key.startswith(("dataset.", "model.")))

    blocks = list(dict.fromkeys(map(dataset_and_model, rows)))
    numbers = [blocks.index(dataset_and_model(row)) for row in rows]
    best = {
        (block, column): _best([r.cells[column].mean for r, b in zip(rows, numbers, strict=True) if b == block], better)
        for block in set(numbers)
        for column, better in enumerate(metric.better for metric in shown)
    }
    return [
        Row(
            row.config,
            row.n,
            block,
            tuple(
                Cell(cell.mean, cell.sd, cell.n, best=_badness(cell.mean, shown[i].better) == best[block, i])
                for i, cell in enumerate(row.cells)
            ),
        )
        for row, block in zip(rows, numbers, strict=True)
    ]


def _best(means: Sequence[float], better: str | None) -> float | None:
    if better is None or len(means) < 2:
        return None
    return min((_badness(mean, better) for mean in means if not math.isnan(mean)), default=None)


def _badness(mean: float, better: str | None) -> float:
    # Rounded, so that two means of the same values added in another order still tie.
    return round({"higher": -mean, "lower": mean, "zero": abs(mean), None: math.nan}[better], 12)


def _title(chosen: pd.DataFrame, rows: Sequence[Row], filtered: Sequence[str]) -> tuple[str, ...]:
    title = []
    for key in dict.fromkeys([*NAMES, *filtered]):
        values = {value(cell) for cell in chosen[key]} if key in chosen else set()
        if len(values) == 1:
            (only,) = values
            title.append(written(only) if key in NAMES else f"{short_name(key)} {written(only)}")
    return tuple(title)
