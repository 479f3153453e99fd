"""A table for a program: full precision, full names."""

from __future__ import annotations

import csv
import inspect
import io
import json
import math
from collections.abc import Iterable

from lossbench import metrics as library
from lossbench.report.selection import Value, written
from lossbench.report.sheets import sheets
from lossbench.report.table import BESIDE, NAMES, UNKNOWN, Cell, RankTable, Row, Table
from lossbench.report.verdict import verdict

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would run
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
    Settings have a column where they tell rows apart and do not merely repeat another; JSON has all of them. A line is
    one combination of settings, whatever goes across in other formats.
    """
    keys = _keys(table)
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
        settings = [cell_text(row.config[key]) for key in keys]
        picked = [json.dumps(_picked(row))] if picks else []
        numbers: list[object] = []
        for cell in row.cells:
            numbers += ["" if cell.n == 0 else cell.mean, cell.sd, cell.n, _number(cell.low), _number(cell.high)]
            numbers += list(_difference(cell).values()) if table.baseline else []
        writer.writerow([*settings, table.split, row.n, *picked, *numbers])
    return buffer.getvalue()


def cell_text(value: Value) -> str:
    """Return a setting as a CSV cell: nothing for none, and words after an apostrophe if they begin like a formula.

    A spreadsheet would run `=…`, `+…`, `-…` and `@…` in a file from someone else; JSON has such a name as it is.
    """
    text = "" if value is None else written(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text


def _keys(table: Table) -> list[str]:
    """The settings to write: names, what has a column, then of the others those that say something new."""
    keys = list(dict.fromkeys([*NAMES, *(column.key for column in (*table.columns, *table.across))]))
    columns = {tuple(row.config[key] for row in table.rows) for key in keys}
    for key in table.rows[0].config:
        values = tuple(row.config[key] for row in table.rows)
        if key in keys or key.endswith("_target_") or len(set(values)) == 1:
            continue
        # The loss's own are what a table is about; of the others, one value and none is what the loss decides.
        if key.startswith("loss.") or (len(set(values) - {None}) > 1 and not _repeats(values, columns)):
            keys.append(key)
            columns.add(values)
    return keys


def _repeats(values: tuple[Value, ...], columns: Iterable[tuple[Value, ...]]) -> bool:
    """Whether a column groups the rows as another does."""
    return any(len(set(zip(values, column, strict=True))) == len(set(values)) == len(set(column)) for column in columns)


def records(table: Table) -> str:
    """Return JSON: `metrics` defines each metric, `rows` has the whole config of each row; null where missing."""
    rows = []
    for row in table.rows:
        values: dict[str, dict[str, object]] = {}
        for column, cell in zip(table.metrics, row.cells, strict=True):
            numbers: dict[str, object] = {"mean": _number(cell.mean), "sd": cell.sd, "n": cell.n}
            numbers |= {"low": _number(cell.low), "high": _number(cell.high)}
            numbers["interval"] = None if math.isnan(cell.low) else "bootstrap" if cell.resampled else "t"
            numbers |= {"best": cell.best, "tied": cell.tied, "untested": cell.untested or None}
            numbers["better_where_shared"] = cell.better_where_shared
            if cell.difference is not None:
                numbers["difference"] = _difference(cell)
            values.setdefault(column.metric, {})[column.calibration] = numbers
        picked = {"picked": _picked(row)} if row.picked else {}
        runs = [run.id for run in row.runs]
        rows.append({"config": dict(row.config), "n": row.n, "runs": runs, **picked, "metrics": values})
    definitions = {
        column.metric: {"better": column.better, "definition": definition(column.metric)} for column in table.metrics
    }
    report = {
        "title": list(table.title),
        "split": table.split,
        "verdict": [{"of": one.of, "sentences": [*one.sentences, *one.more]} for one in verdict(table)],
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
        "of_different_data": ranks.unlike,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON knows neither nan nor infinity


def definition(metric: str) -> str:
    """Return what a metric is, in one sentence."""
    if metric in BESIDE:
        return BESIDE[metric]
    if metric in UNKNOWN:
        return UNKNOWN[metric][1]
    return (inspect.getdoc(library.ALL[metric]) or "").partition("\n")[0]
