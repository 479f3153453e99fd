"""A table for a program: full precision, full names."""

from __future__ import annotations

import csv
import inspect
import io
import json
import math

from lossbench import metrics as library
from lossbench.report.selection import Value, written
from lossbench.report.sheets import sheets
from lossbench.report.table import BESIDE, NAMES, UNKNOWN, Cell, RankTable, Row, Table

# What is written of a difference from the baseline, and its name in `lossbench.statistics.Comparison`.
DIFFERENCE = {
    "mean": "difference",
    "low": "low",
    "high": "high",
    "p": "p",
    "p_holm": "p_holm",
    "p_wilcoxon": "p_wilcoxon",
    "effect_size": "effect_size",
    "n_pairs": "n",
}


def comma_separated(table: Table) -> str:
    """Return CSV: a line per row, `<metric>.<calibration>.mean`, `.sd`, … as columns; empty where missing.

    `.low` and `.high` are the ends of the 95 % interval; `.difference.…` is from the baseline, where there is one.
    """
    differing = [key for key in table.rows[0].config if len({row.config[key] for row in table.rows}) > 1]
    keys = list(dict.fromkeys([*NAMES, *differing]))
    names = [f"{column.metric}.{column.calibration}" for column in table.metrics]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    parts = [
        "mean",
        "sd",
        "n",
        "low",
        "high",
        *([f"difference.{part}" for part in DIFFERENCE] if table.baseline else []),
    ]
    picks = ["picked"] if any(row.picked for row in table.rows) else []
    writer.writerow([*keys, "split", "n", *picks, *(f"{name}.{part}" for name in names for part in parts)])
    for row in table.rows:
        settings = ["" if row.config[key] is None else written(row.config[key]) for key in keys]
        picked = [json.dumps(_picked(row))] if picks else []
        numbers: list[object] = []
        for cell in row.cells:
            numbers += ["" if cell.n == 0 else cell.mean, cell.sd, cell.n, _number(cell.low), _number(cell.high)]
            numbers += list(_difference(cell).values()) if table.baseline else []
        writer.writerow([*settings, table.split, row.n, *picked, *numbers])
    return buffer.getvalue()


def records(table: Table) -> str:
    """Return JSON: `metrics` defines each metric, `rows` has the whole config of each row; null where missing."""
    rows = []
    for row in table.rows:
        values: dict[str, dict[str, object]] = {}
        for column, cell in zip(table.metrics, row.cells, strict=True):
            numbers: dict[str, object] = {"mean": _number(cell.mean), "sd": cell.sd, "n": cell.n}
            numbers |= {"low": _number(cell.low), "high": _number(cell.high)}
            numbers["interval"] = None if math.isnan(cell.low) else "bootstrap" if cell.resampled else "t"
            numbers |= {"best": cell.best, "tied": cell.tied}
            if cell.difference is not None:
                numbers["difference"] = _difference(cell)
            values.setdefault(column.metric, {})[column.calibration] = numbers
        picked = {"picked": _picked(row)} if row.picked else {}
        runs = [run.id for run in row.runs]
        rows.append({"config": dict(row.config), "n": row.n, "runs": runs, **picked, "metrics": values})
    definitions = {
        column.metric: {"better": column.better, "definition": _first_line(column.metric)} for column in table.metrics
    }
    report = {
        "title": list(table.title),
        "split": table.split,
        "notes": [*table.notes, *(sheet.note for sheet in sheets(table))],
        **({"baseline": table.baseline} if table.baseline else {}),
        **({"ranks": _ranks(table.ranks)} if table.ranks else {}),
        "metrics": definitions,
        "rows": rows,
    }
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _difference(cell: Cell) -> dict[str, object]:
    return {
        part: None if cell.difference is None else _number(getattr(cell.difference, name))
        for part, name in DIFFERENCE.items()
    }


def _picked(row: Row) -> dict[str, dict[str, Value]]:
    return {written(run.seed): dict(row.picked[run.id]) for run in row.runs if run.id in row.picked}


def _ranks(ranks: RankTable) -> dict[str, object]:
    return {
        "metric": ranks.metric.metric,
        "calibration": ranks.metric.calibration,
        "average": dict(ranks.rows),
        "n": ranks.n,
        "p": ranks.p,
        "critical_difference": ranks.critical_difference,
        "left_out": list(ranks.left_out),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON knows neither nan nor infinity


def _first_line(metric: str) -> str:
    if metric in BESIDE:
        return BESIDE[metric]
    if metric in UNKNOWN:
        return UNKNOWN[metric][1]
    return (inspect.getdoc(library.ALL[metric]) or "").partition("\n")[0]
