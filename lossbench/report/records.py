"""A table for a program: full precision, full names."""

from __future__ import annotations

import csv
import inspect
import io
import json
import math

from lossbench import metrics as library
from lossbench.report.selection import written
from lossbench.report.table import BESIDE, NAMES, Table


def comma_separated(table: Table) -> str:
    """Return CSV: a line per row, `<metric>.<calibration>.mean`, `.sd` and `.n` as columns; empty where missing."""
    differing = [key for key in table.rows[0].config if len({row.config[key] for row in table.rows}) > 1]
    keys = list(dict.fromkeys([*NAMES, *differing]))
    names = [f"{column.metric}.{column.calibration}" for column in table.metrics]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*keys, "split", "n", *(f"{name}.{part}" for name in names for part in ("mean", "sd", "n"))])
    for row in table.rows:
        settings = ["" if row.config[key] is None else written(row.config[key]) for key in keys]
        numbers = [part for cell in row.cells for part in ("" if cell.n == 0 else cell.mean, cell.sd, cell.n)]
        writer.writerow([*settings, table.split, row.n, *numbers])
    return buffer.getvalue()


def records(table: Table) -> str:
    """Return JSON: `metrics` defines each metric, `rows` has the whole config of each row; null where missing."""
    rows = []
    for row in table.rows:
        values: dict[str, dict[str, object]] = {}
        for column, cell in zip(table.metrics, row.cells, strict=True):
            mean = cell.mean if math.isfinite(cell.mean) else None  # JSON knows neither nan nor infinity
            numbers = {"mean": mean, "sd": cell.sd, "n": cell.n, "best": cell.best}
            values.setdefault(column.metric, {})[column.calibration] = numbers
        rows.append({"config": dict(row.config), "n": row.n, "metrics": values})
    definitions = {
        column.metric: {"better": column.better, "definition": _first_line(column.metric)} for column in table.metrics
    }
    report = {
        "title": list(table.title),
        "split": table.split,
        "notes": list(table.notes),
        "metrics": definitions,
        "rows": rows,
    }
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _first_line(metric: str) -> str:
    if metric in BESIDE:
        return BESIDE[metric]
    return (inspect.getdoc(library.ALL[metric]) or "").partition("\n")[0]
