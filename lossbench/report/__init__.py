"""Runs in, a table out: `render(tabulate(frame), "markdown")`. Needs no torch."""

from __future__ import annotations

from lossbench.errors import ConfigError, did_you_mean
from lossbench.report.grouping import tabulate
from lossbench.report.latex import latex
from lossbench.report.markdown import markdown
from lossbench.report.records import comma_separated, records
from lossbench.report.table import Table
from lossbench.report.terminal import terminal

TEXT_FORMATS = {"markdown": markdown, "csv": comma_separated, "json": records, "latex": latex}

__all__ = ["Table", "render", "tabulate"]


def render(table: Table, format: str = "table", width: int | None = None, *, color: bool = False) -> str:
    """Return a table as text that ends with a newline.

    Args:
        table: what `tabulate` returns.
        format: `table` for a terminal; the others for a README, a program or a paper.
        width: characters in a line, for `table` alone; None for as wide as it needs.
        color: escape codes for bold, for `table` alone.

    Raises:
        ConfigError: for another format.
    """
    if format == "table":
        return terminal(table, width, color=color)
    if format not in TEXT_FORMATS:
        raise ConfigError(f"no format named {format!r}{did_you_mean(format, ['table', *TEXT_FORMATS])}")
    return TEXT_FORMATS[format](table)
