"""A table laid out on paper or a screen: lines, groups of columns and headings above headings, as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from lossbench.report.arrangement import place
from lossbench.report.notation import ARROWS, decimals, fixed, heading, marks, number, setting, spread
from lossbench.report.selection import Value
from lossbench.report.series import named
from lossbench.report.table import CALIBRATED, Row, Table, leading


@dataclass(frozen=True)
class Line:
    """One line of a table: the texts of its settings, and the row of each group of metrics if there is one."""

    settings: tuple[str, ...]
    n: str  # how many seeds: `3`, or `3, 5` where the groups differ
    rows: tuple[Row | None, ...]
    starts_block: bool


@dataclass(frozen=True)
class Number:
    """One number of a line, in parts; `after` is what follows ±."""

    mean: str = ""
    after: str | None = None
    best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Field:
    """One column of numbers: of a metric, in a group."""

    group: int
    metric: int  # its position in the table's metrics
    above: tuple[str, ...]  # what goes across, from the top: `digits`, `γ=2`; empty where nothing does
    heading: str  # `ECE ↓ (T-scaled)`
    numbers: tuple[Number, ...]  # one for each line


def groups(table: Table) -> list[tuple[Value, ...]]:
    """Return the values of what goes across, in order; one empty group where nothing does."""
    there = {tuple(row.config[column.key] for column in table.across) for row in table.rows}
    keys = [column.key for column in table.across]
    return sorted(there, key=lambda values: [place(key, value) for key, value in zip(keys, values, strict=True)])


def lines(table: Table) -> list[Line]:
    """Return the lines of a table in the order of its rows."""
    of_groups = groups(table)
    places: dict[object, list[Row | None]] = {}
    for index, row in enumerate(table.rows):
        values = tuple(row.config[column.key] for column in table.columns)
        # Rows that look alike, and differ in what has no column, stay apart.
        line = places.setdefault(values if table.across else index, [None] * len(of_groups))
        line[of_groups.index(tuple(row.config[column.key] for column in table.across))] = row
    found: list[Line] = []
    blocks = leading(table.columns)
    before: tuple[str, ...] | None = None
    for rows in places.values():
        there = [row for row in rows if row is not None]
        texts = tuple(setting(there[0], column) for column in table.columns)
        n = ", ".join(map(str, sorted({row.n for row in there})))
        found.append(Line(texts, n, tuple(rows), before not in (None, texts[:blocks])))
        before = texts[:blocks]
    return found


def fields(table: Table, of: Sequence[Line], less: int = 0) -> list[Field]:
    """Return the columns of numbers from left to right.

    Args:
        table: the table.
        of: its lines.
        less: how many decimals to give up.
    """
    found = []
    for group, values in enumerate(groups(table)):
        above = tuple(map(named, table.across, values))
        for metric, column in enumerate(table.metrics):
            rows = [line.rows[group] for line in of]
            places = decimals([row for row in rows if row is not None], metric, column) - less
            numbers = []
            for row in rows:
                if row is None:
                    numbers.append(Number())
                    continue
                cell = row.cells[metric]
                after = spread(cell, table)
                text = None if after is None else fixed(after, places)
                numbers.append(Number(number(cell.mean, places, column), text, cell.best, marks(cell)))
            found.append(Field(group, metric, above, heading(column), tuple(numbers)))
    return found


def headings(table: Table) -> list[str]:
    """Return the headings of the columns of settings, and n where rows differ in it."""
    return [*(column.heading for column in table.columns), *(["n"] if table.n is None else [])]


def settings(table: Table, line: Line) -> list[str]:
    """Return the texts of a line below `headings`."""
    return [*line.settings, *([line.n] if table.n is None else [])]


def heading_lines(heading: str, width: int) -> list[str]:
    """Break a heading between words into lines of a width, or of its longest word; an arrow stays with its word."""
    for arrow in ARROWS.values():
        heading = heading.replace(arrow, arrow.replace(" ", "\u00a0"))
    found = textwrap.wrap(heading, max(width, *map(len, heading.split(" ")))) or [""]
    return [line.replace("\u00a0", " ") for line in found]


def over_calibrations(table: Table, of: Sequence[Field]) -> list[tuple[str, ...]]:
    """Return for each column its headings from the top: a metric stands once above its calibrations side by side."""
    paths = []
    for index, field in enumerate(of):
        column = table.metrics[field.metric]
        beside = [of[i] for i in (index - 1, index + 1) if 0 <= i < len(of)]
        alike = [other for other in beside if other.group == field.group and _metric(table, other) == column.metric]
        if alike:
            top = heading(column).partition(" (")[0]
            label = CALIBRATED[column.calibration][0] if column.calibration in CALIBRATED else column.calibration
            paths.append((*field.above, top, label))
        else:
            paths.append((*field.above, field.heading))
    return paths


def _metric(table: Table, field: Field) -> str:
    return table.metrics[field.metric].metric
