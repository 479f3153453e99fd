"""How headings and numbers are written wherever a person reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from lossbench.errors import printable as printable
from lossbench.report.selection import Value, written
from lossbench.report.table import DIFFERS, TIED, Cell, Column, MetricColumn, Row, Table, metric_name
from lossbench.statistics import SIGNIFICANCE

MOST_DECIMALS, HUGE = 8, 1e8
ARROWS = {"higher": " ↑", "lower": " ↓", "zero": " → 0"}


def title(table: Table) -> str:
    """Return what all rows share: `digits · mlp · test split`."""
    return " · ".join([*map(printable, table.title), f"{table.split} split"])


def heading(column: MetricColumn) -> str:
    """Return a metric with the way to better: `ECE ↓ (T-scaled)`."""
    name, bracket, scaled = metric_name(column.metric, column.calibration).partition(" (")
    return name + ARROWS.get(column.better or "", "") + bracket + scaled


def best_note(table: Table, mark: str) -> list[str]:
    """Say what the mark means, if any cell has it."""
    if not any(cell.best for row in table.rows for cell in row.cells):
        return []
    scope = " for its dataset and model, settings included" if any(row.block for row in table.rows) else ""
    return [f"{mark}: best mean{scope}."]


def setting(row: Row, column: Column) -> str:
    """Return a config value as the command line writes it, nothing where the row has none."""
    return written_setting(row.config[column.key])


def written_setting(value: Value) -> str:
    """Return a value as the command line writes it, nothing for none."""
    return "" if value is None else written(value)


def decimals(rows: Sequence[Row], index: int, column: MetricColumn) -> int:
    """Return how many decimals one metric column needs for about four digits of most of its means, two of small ones.

    One number per column, so that the decimal points stand below each other; by the median, so that one run that went
    astray does not round the others away.
    """
    typical = median([abs(row.cells[index].mean) for row in rows if math.isfinite(row.cells[index].mean)] or [0.0])
    if 0 < typical < 1e-3 and column.better != "zero":  # a gap that small is none
        return min(MOST_DECIMALS, 1 + math.ceil(-math.log10(typical)))
    return 4 - sum(typical > limit for limit in (1, 10, 100))


def number(value: float, decimals: int, column: MetricColumn) -> str:
    """Return a mean: signed where the best is zero, never `-0.0000`, a dash where there is none."""
    if math.isnan(value):
        return "–"
    rounded = round(value, decimals) + 0.0  # -0.0 + 0.0 is 0.0
    return fixed(rounded, decimals, "+" if column.better == "zero" and rounded else "")


def fixed(value: float, decimals: int, sign: str = "") -> str:
    """Return a number with so many decimals, or a huge one, of a loss that went astray, by its power of ten."""
    return f"{value:{sign}.{decimals}f}" if abs(value) < HUGE else f"{value:{sign}.3g}"


def signed(value: float, decimals: int) -> str:
    """Return a difference with its sign, and a dash where there is none; what rounds to nothing has no sign."""
    if math.isnan(value):
        return "–"
    rounded = round(value, decimals) + 0.0  # -0.0 + 0.0 is 0.0
    return fixed(rounded, decimals, "+" if rounded else "")


def spread(cell: Cell, table: Table) -> float | None:
    """Return what follows ±: half the 95 % interval or the standard deviation; None where there is none."""
    if table.spread == "sd":
        return cell.sd
    return None if math.isnan(cell.low) else (cell.high - cell.low) / 2


def marks(cell: Cell) -> str:
    """Return what stands behind a number beside the mark of the best; the notes explain it."""
    significant = cell.difference is not None and cell.difference.significant
    return (TIED if cell.tied else "") + (DIFFERS if significant else "")


def p_value(p: float) -> str:
    """Return `0.034`, `<0.001`, or a dash where there is no test."""
    if math.isnan(p):
        return "–"
    if p < 0.001:
        return "<0.001"
    # 0.0498 is significant, and 0.050 would not be.
    digits = next(d for d in range(3, 18) if (round(p, d) < SIGNIFICANCE) == (p < SIGNIFICANCE))
    return f"{p:.{digits}f}"
