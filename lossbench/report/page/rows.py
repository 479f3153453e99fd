"""The rows of a table as the page shows them: text for the table, numbers for the figures."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossbench.errors import RequestError
from lossbench.evaluation import stored_reliability
from lossbench.report.labels import FREE
from lossbench.report.notation import decimals, fixed, marks, number, printable, setting, spread
from lossbench.report.selection import meets
from lossbench.report.series import QUANTITIES, WITHIN, by_epoch, mean_and_interval, pooled
from lossbench.report.table import Column, Row, Table
from lossbench.report.verdict import block_label, row_labels
from lossbench.store import Store

FIRST = 4  # rows that the figures show before anyone chooses
MOST_EPOCHS = 200


@dataclass(frozen=True)
class Entry:
    """A cell as text."""

    text: str
    after: str  # `± 0.0031`, or nothing
    marks: str
    best: bool
    sort: float | None  # by which a column is sorted, None last


@dataclass(frozen=True)
class Line:
    """A row of the page: `data` is what the figures are drawn from."""

    label: str
    block: str
    first_of_block: bool
    settings: tuple[str, ...]
    n: int
    entries: tuple[Entry, ...]
    chosen: bool
    data: dict[str, Any]


def gather(table: Table, store: Store) -> list[Line]:
    """Return the rows of a table, each with its reliability bins, training curves and means.

    Args:
        table: what `tabulate` returns.
        store: where its runs are. What a run lacks is missing in its row.
    """
    labels, chosen = row_labels(table), first_choice(table)
    several = any(row.block for row in table.rows)
    lines = []
    for i, (row, label) in enumerate(zip(table.rows, labels, strict=True)):
        block = block_label(table, row)
        data = {
            "label": f"{block}: {label}" if several else label,
            "block": row.block,
            "bins": _bins(table, row, store),
            "epochs": training_curves(store, [run.id for run in row.runs]),
            "cells": [_numbers(cell.mean, cell.low, cell.high) for cell in row.cells],
        }
        first = i == 0 or table.rows[i - 1].block != row.block
        settings = tuple(printable(setting(row, column)) for column in settings_shown(table))
        lines.append(Line(label, block, first, settings, row.n, _entries(table, row), i in chosen, data))
    return lines


def settings_shown(table: Table) -> list[Column]:
    """Return the settings that tell rows of one dataset and model apart: the others stand above those rows."""
    columns = (*table.across, *table.columns)
    return [column for column in columns if not column.key.startswith(("dataset.", "model."))]


def first_choice(table: Table) -> set[int]:
    """Return a few rows worth looking at first: baselines, then the best of each metric, then what comes first."""
    block = first_block(table)
    rows = [i for i, row in enumerate(table.rows) if row.block == block]
    base = [
        i for i in rows if table.baseline and all(meets(table.rows[i].config, c) for c in table.baseline.split(" "))
    ]
    best = [i for j in range(len(table.metrics)) for i in rows if table.rows[i].cells[j].best]
    return set(list(dict.fromkeys([*base, *best, *rows]))[:FIRST])


def first_block(table: Table) -> int:
    """Return the dataset and model to begin with: the one of most rows that are compared, or else of most rows."""
    compared = Counter(row.block for row in table.rows if any(cell.difference for cell in row.cells))
    rows = Counter(row.block for row in table.rows)
    return max(rows, key=lambda block: (compared[block], rows[block]))  # the first of several


def training_curves(store: Store, run_ids: Sequence[str]) -> dict[str, list[list[float | None]]]:
    """Return the mean over runs of what each epoch gave, and its interval; long ones are thinned.

    Args:
        store: where the runs are. A run without a readable history is left out.
        run_ids: those of a row.

    Returns:
        Quantity → `[epoch, mean, low, high]` for each epoch, the ends None where fewer than two runs got that far.
    """
    histories = []
    for run_id in run_ids:
        try:
            histories.append(store.history(run_id))
        except (RequestError, OSError, TypeError, ValueError, csv.Error):
            continue
    curves: dict[str, list[list[float | None]]] = {}
    for column, quantity in QUANTITIES.items():
        values = by_epoch(histories, column)
        kept = np.array(list(values))[_thinned(len(values))].tolist() if values else []
        ends = WITHIN.get(column, FREE)
        points = [[epoch, *map(_rounded, mean_and_interval(values[epoch], ends).values())] for epoch in kept]
        if points:
            curves[quantity] = points
    return curves


def _thinned(n: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, n - 1, min(n, MOST_EPOCHS)).round().astype(np.int64))


def _bins(table: Table, row: Row, store: Store) -> dict[str, Any]:
    """Calibration → `ece` and the columns of its bins, of all seeds pooled; nothing where a run has none stored.

    Those of a run that is older than stored bins are not worked out here: of large predictions that takes minutes.
    """
    stored = []
    for run in row.runs:
        try:
            stored.append(stored_reliability(store.metrics(run.id)).get(table.split, {}))
        except (RequestError, OSError):
            return {}
    found = {}
    for calibration in dict.fromkeys(column.calibration for column in table.metrics):
        if not all(calibration in of_run and sum(of_run[calibration]["n"]) for of_run in stored):
            continue
        bins = pooled([of_run[calibration] for of_run in stored])
        columns = {name: [_rounded(one[name]) for one in bins] for name in ("lo", "hi", "n", "confidence", "accuracy")}
        found[calibration] = {"ece": _rounded(bins[0]["ece"]), **columns}
    return found


def _entries(table: Table, row: Row) -> tuple[Entry, ...]:
    entries = []
    for i, (column, cell) in enumerate(zip(table.metrics, row.cells, strict=True)):
        places, after = decimals(table.rows, i, column), spread(cell, table)
        text = number(cell.mean, places, column).replace("-", "−")
        behind = "" if after is None else f"± {fixed(after, places)}"
        sort = cell.mean if math.isfinite(cell.mean) else None
        entries.append(Entry(text, behind, marks(cell), cell.best, sort))
    return tuple(entries)


def _numbers(*values: float) -> list[float | None]:
    return [_rounded(value) if math.isfinite(value) else None for value in values]


def _rounded(value: float | None) -> float | None:
    """Six digits are more than a figure shows, and half of what a float takes to write."""
    return None if value is None else float(f"{value:.6g}")
