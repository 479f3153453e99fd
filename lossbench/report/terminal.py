"""A table for the terminal, as wide as it may be and no wider."""

from __future__ import annotations

import io
import textwrap

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from lossbench.report.notation import ARROWS, best_note, decimals, heading, marks, number, setting, spread, title
from lossbench.report.sheets import Sheet, sheets
from lossbench.report.table import MetricColumn, Table, metric_name

# From roomy to tight: the decimals given up, and how ± is set. Digits go before columns do.
LAYOUTS = ((0, " ± "), (1, " ± "), (1, "±"))
NOTE_WIDTH = 60  # notes below a narrow table need not be as narrow


def terminal(table: Table, width: int | None = None, *, color: bool = False) -> str:
    """Return the table as text for a terminal.

    Args:
        table: what `tabulate` returns.
        width: characters in a line; None for as wide as the table needs. Metric columns that do not fit are left
            out from the right, and a note names them.
        color: mark the best in bold, by escape codes, rather than by an asterisk.
    """
    console = Console(
        file=io.StringIO(),
        width=width or 10_000,
        force_terminal=color,
        color_system="standard" if color else None,
        legacy_windows=False,
        highlight=False,
    )
    candidates = [(len(table.metrics), less, plus_minus) for less, plus_minus in LAYOUTS]
    candidates += [(kept, *LAYOUTS[-1]) for kept in range(len(table.metrics) - 1, 0, -1)]
    for kept, less, plus_minus in candidates:
        grid = _grid(table, kept, less, plus_minus, color=color)
        needed = console.measure(grid, options=console.options.update(max_width=10_000)).maximum
        if needed <= console.width:
            break
    notes = [*best_note(table, "Bold" if color else "*"), *table.notes]
    note_width = min(console.width, max(needed, NOTE_WIDTH))
    with console.capture() as capture:
        console.print(Text(title(table), style="bold"))
        console.print()
        console.print(grid)
        console.print()
        for paragraph in [" ".join(notes), *_left_out(table.metrics[kept:])]:
            console.print(Text(paragraph, style="dim"), width=note_width)
        for sheet in sheets(table):
            console.print()
            console.print(Text(sheet.title, style="bold"))
            console.print()
            console.print(_sheet(sheet))
            console.print()
            console.print(Text(sheet.note, style="dim"), width=min(console.width, 80))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _grid(table: Table, kept: int, less: int, plus_minus: str, *, color: bool) -> Grid:
    # Two spaces between columns: the box draws one, and the other is the last character of every cell, where the
    # asterisk goes.
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, header_style="bold")
    for column in table.columns:
        grid.add_column(Text(f"{column.heading} "), overflow="fold")
    if table.n is None:
        grid.add_column("n ")
    metrics = []
    for i, metric in enumerate(table.metrics[:kept]):
        cells = _cells(table, i, decimals(table, i) - less, plus_minus, mark="" if color else "*")
        grid.add_column(Text(_wrapped(heading(metric), max(map(len, cells)) - 1)), no_wrap=True)
        metrics.append(cells)
    for index, row in enumerate(table.rows):
        settings = [Text(f"{setting(row, column)} ") for column in table.columns]
        count = [Text(f"{row.n} ")] if table.n is None else []
        means = [
            Text(cells[index], style="bold" if color and cell.best else "")
            for cells, cell in zip(metrics, row.cells, strict=False)
        ]
        grid.add_row(*settings, *count, *means, end_section=table.ends_block(index))
    return grid


def _cells(table: Table, index: int, decimals: int, plus_minus: str, *, mark: str) -> list[str]:
    # Padded here and not by Rich, so that the means line up even where some rows have no deviation.
    cells = [row.cells[index] for row in table.rows]
    means = [number(cell.mean, decimals, table.metrics[index]) for cell in cells]
    widest = max(map(len, means))
    spreads = [spread(cell, table) for cell in cells]
    texts = [
        f"{mean:>{widest}}{'' if after is None else f'{plus_minus}{after:.{decimals}f}'}"
        for mean, after in zip(means, spreads, strict=True)
    ]
    return [f"{text}{(mark if cell.best else '') + marks(cell):1}" for text, cell in zip(texts, cells, strict=True)]


def _sheet(sheet: Sheet) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0, header_style="bold")
    # What stands once for several lines has a line of its own: the words beside it need the width.
    grouped = sheet.words > 1
    for index, name in enumerate(sheet.headings[grouped:], start=int(grouped)):
        grid.add_column(
            Text(f"{name} "),
            overflow="fold",
            justify="left" if index < sheet.words else "right",
            no_wrap=index >= sheet.words,
        )
    for row in sheet.rows:
        if grouped and row[0]:
            grid.add_row(Text(row[0], style="italic"))
        grid.add_row(*(Text(f"{text} ") for text in row[grouped:]))
    return grid


def _wrapped(heading: str, width: int) -> str:
    for arrow in ARROWS.values():  # stays with the word before it
        heading = heading.replace(arrow, arrow.replace(" ", "\u00a0"))
    lines = textwrap.wrap(heading, max(width, *map(len, heading.split(" "))))
    return "\n".join(f"{line} " for line in lines).replace("\u00a0", " ")


def _left_out(columns: tuple[MetricColumn, ...]) -> list[str]:
    if not columns:
        return []
    names = ", ".join(metric_name(column.metric, column.calibration) for column in columns)
    return [f"Too narrow for {names}: widen the terminal or choose another format."]
