"""A table for the terminal, as wide as it may be and no wider."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from lossbench.report.layout import Field, Line, fields, heading_lines, headings, lines, settings
from lossbench.report.notation import best_note, printable, title
from lossbench.report.sheets import Sheet, sheets
from lossbench.report.table import NAMES, Table, metric_name

NOTE_WIDTH = 60  # notes below a narrow table need not be as narrow
SHEET_NOTE_WIDTH = 80
FOLDS = (20, 14)  # characters of a setting in a line, before numbers are left out
OF_A_SHEET = ("d_z", "n", "95 % interval")  # what differences do without on a narrow terminal
NARROW_FOLDS = (10, 8, 6, 4, 2, 1)  # and after
JOINTED = r"[^\s_.,/-]*[\s_.,/-]+|[^\s_.,/-]+"  # where a name may be broken


@dataclass(frozen=True)
class Fit:
    """What of a table is shown, and how tightly."""

    columns: tuple[int, ...]  # of settings, by position
    metrics: tuple[int, ...]  # by position
    groups: int  # how many of those that go across, from the left
    less: int = 0  # decimals given up
    plus_minus: str = " ± "
    fold: int | None = None  # characters of a setting in a line


@dataclass(frozen=True)
class Strip:
    """One column of characters. Its texts may have several lines, and end with the space before the next column."""

    heading: str
    cells: tuple[str, ...]
    bold: tuple[bool, ...] = ()  # which cells; none for none
    right: bool = False
    above: tuple[str, ...] = ()  # what goes across

    @functools.cached_property
    def width(self) -> int:
        """Characters."""
        return max(cell_len(line) for text in (self.heading, *self.cells) for line in text.split("\n"))


def terminal(table: Table, width: int | None = None, *, color: bool = False) -> str:
    """Return the table as text for a terminal.

    Args:
        table: what `tabulate` returns.
        width: characters in a line; None for as wide as the table needs. Where it is too wide it gives up digits, the
            spaces around ±, then folds settings, and leaves out settings that repeat others and metrics in the order
            of `_least_important`; a note names them.
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
    of = lines(table)
    for fit in _fits(table, of):
        strips = _strips(table, of, fit, mark="" if color else "*")
        needed = _width(strips)
        if needed <= console.width:
            break
    notes = [*best_note(table, "Bold" if color else "*"), *table.notes]
    note_width = min(console.width, max(needed, NOTE_WIDTH))
    with console.capture() as capture:
        console.print(Text(title(table), style="bold"))
        console.print()
        _print(console, strips, [line.starts_block for line in of])
        console.print()
        for paragraph in [" ".join(notes), *_left_out(table, fit)]:
            console.print(Text(printable(paragraph), style="dim"), width=note_width)
        for sheet in sheets(table):
            _print_sheet(console, sheet)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _fits(table: Table, of: Sequence[Line]) -> Iterator[Fit]:
    """What to show, from everything to hardly anything. Digits go before columns do."""
    groups = len(of[0].rows)
    fit = Fit(tuple(range(len(table.columns))), tuple(range(len(table.metrics))), groups)
    yield fit
    yield (fit := replace(fit, less=1))
    yield (fit := replace(fit, plus_minus="±"))
    for fold in FOLDS:
        yield (fit := replace(fit, fold=fold))
        while (kept := _without_a_repeated(table, of, fit.columns)) != fit.columns:
            yield (fit := replace(fit, columns=kept))
    for metric in _least_important(table):
        fit = replace(fit, metrics=tuple(kept for kept in fit.metrics if kept != metric))
        for again in (None, *FOLDS):  # there is room again
            yield (fit := replace(fit, fold=again))
    for count in range(groups - 1, 0, -1):
        yield (fit := replace(fit, groups=count))
    for fold in NARROW_FOLDS:
        yield replace(fit, fold=fold)


def _without_a_repeated(table: Table, of: Sequence[Line], columns: tuple[int, ...]) -> tuple[int, ...]:
    """Leave out the last setting that tells no lines apart which the others do not, if there is one."""
    apart = len({tuple(line.settings[i] for i in columns) for line in of})
    for column in reversed(columns):
        kept = tuple(i for i in columns if i != column)
        if (
            table.columns[column].key not in NAMES
            and len({tuple(line.settings[i] for i in kept) for line in of}) == apart
        ):
            return kept
    return columns


def _least_important(table: Table) -> list[int]:
    """The metrics in the order in which a narrow terminal leaves them out; never the first.

    First what judges nothing, then what is best at zero (how far the calibration error says, but for the direction),
    then other calibrations than the first, then the rest; from the right.
    """

    def importance(index: int) -> tuple[int, int]:
        column = table.metrics[index]
        other = 2 if column.calibration != table.metrics[0].calibration else 3
        return {None: 0, "zero": 1}.get(column.better, other), -index

    return sorted(range(1, len(table.metrics)), key=importance)


def _strips(table: Table, of: Sequence[Line], fit: Fit, *, mark: str) -> list[Strip]:
    texts = [settings(table, line) for line in of]
    strips = []
    for index, name in enumerate(headings(table)):
        if index < len(table.columns) and index not in fit.columns:
            continue
        column = [_folded(printable(line[index]), fit.fold) for line in texts]
        widest = max(cell_len(part) for text in column for part in text.split("\n"))
        # A heading is broken between words, and within one only where nothing else helps.
        word = max(map(cell_len, re.findall(JOINTED, printable(name))))
        narrow = fit.fold and max(widest, min(word, fit.fold))
        strips.append(Strip(_folded(printable(name), narrow), tuple(column)))
    strips = [replace(s, heading=_spaced(s.heading), cells=tuple(map(_spaced, s.cells))) for s in strips]
    for field in fields(table, of, fit.less):
        if field.metric in fit.metrics and field.group < fit.groups:
            cells = _cells(field, fit.plus_minus, mark)
            wrapped = _spaced("\n".join(heading_lines(field.heading, max(map(len, cells)) - 1)))
            bold = tuple(number.best and not mark for number in field.numbers)
            strips.append(Strip(wrapped, tuple(cells), bold, above=tuple(map(printable, field.above))))
    return strips


def _cells(field: Field, plus_minus: str, mark: str) -> list[str]:
    # Padded so that the means line up even where some rows have no deviation. The last character is for a mark.
    widest = max(len(number.mean) for number in field.numbers)
    return [
        f"{number.mean:>{widest}}{'' if number.after is None else plus_minus + number.after}"
        f"{(mark if number.best else '') + number.mark:1}"
        for number in field.numbers
    ]


def _print_sheet(console: Console, sheet: Sheet) -> None:
    # What stands once for several lines has a line of its own: the words beside it need the width.
    grouped = int(sheet.words > 1)
    tries: list[tuple[int | None, tuple[str, ...]]] = [(fold, ()) for fold in (None, *FOLDS)]
    tries += [(fold, OF_A_SHEET[:2]) for fold in (*FOLDS, *NARROW_FOLDS[:3])]
    tries += [(fold, OF_A_SHEET) for fold in NARROW_FOLDS]
    for fold, without in tries:
        left_out = [name for name in without if name in sheet.headings[sheet.words :]]
        strips = [
            Strip(
                _spaced(_folded(printable(name), fold) if index < sheet.words else name),
                tuple(
                    _spaced(_folded(printable(row[index]), fold if index < sheet.words else None)) for row in sheet.rows
                ),
                right=index >= sheet.words,
            )
            for index, name in enumerate(sheet.headings)
            if index >= grouped and not (index >= sheet.words and name in left_out)
        ]
        if _width(strips) <= console.width:
            break
    titles = [printable(row[0]) if grouped else "" for row in sheet.rows]
    note = sheet.note + (f" Too narrow for {', '.join(left_out)}." if left_out else "")
    console.print()
    console.print(Text(printable(sheet.title), style="bold"))
    console.print()
    _print(console, strips, [False] * len(sheet.rows), titles)
    console.print()
    console.print(Text(printable(note), style="dim"), width=min(console.width, SHEET_NOTE_WIDTH))


def _print(console: Console, strips: Sequence[Strip], spaced: Sequence[bool], titles: Sequence[str] = ()) -> None:
    """Print headings, a rule and the lines, after an empty line where `spaced` says so, and a title if there is one."""

    def put(text: Text) -> None:
        console.print(text, soft_wrap=True)

    for level in range(max(len(strip.above) for strip in strips)):
        put(Text(_spanning(strips, level), style="bold"))
    for line in _beside(strips, [strip.heading for strip in strips], bottom=True):
        put(Text(" ".join(text for text, _ in line), style="bold"))
    put(Text("─" * _width(strips)))
    for index, blank in enumerate(spaced):
        if blank:
            put(Text())
        if titles and titles[index]:
            put(Text(titles[index], style="italic"))
        for line in _beside(strips, [strip.cells[index] for strip in strips]):
            texts = [Text(text, style="bold" if strip.bold and strip.bold[index] else "") for text, strip in line]
            put(Text(" ").join(texts))


def _beside(
    strips: Sequence[Strip], texts: Sequence[str], *, bottom: bool = False
) -> Iterator[list[tuple[str, Strip]]]:
    """Texts of several lines side by side, each line padded to its column's width."""
    parts = [text.split("\n") for text in texts]
    height = max(map(len, parts))
    parts = [[""] * (height - len(p)) + p if bottom else p + [""] * (height - len(p)) for p in parts]
    for line in zip(*parts, strict=True):
        padding = [" " * (strip.width - cell_len(text)) for text, strip in zip(line, strips, strict=True)]
        yield [
            (pad + text if strip.right else text + pad, strip)
            for text, pad, strip in zip(line, padding, strips, strict=True)
        ]


def _spanning(strips: Sequence[Strip], level: int) -> str:
    """`digits ─────────  wine ─────────`, each above its columns."""
    parts: list[tuple[tuple[str, ...], int]] = []
    for strip in strips:
        key = strip.above[: level + 1]
        if key and parts and parts[-1][0] == key:
            parts[-1] = key, parts[-1][1] + 1 + strip.width
        else:
            parts.append((key, strip.width))
    texts = []
    for key, width in parts:
        name = f"{_cut(key[-1], width - 2)} " if key else ""
        texts.append(name + ("─" if key else " ") * (width - 1 - cell_len(name)) + " ")
    return " ".join(texts)


def _width(strips: Sequence[Strip]) -> int:
    return sum(strip.width + 1 for strip in strips) - 1


def _spaced(text: str) -> str:
    return "\n".join(f"{line} " for line in text.split("\n"))


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else chop_cells(text, max(width - 1, 1))[0] + "…"


def _folded(text: str, width: int | None) -> str:
    """Break a name that is too long, where it has a joint if it has one."""
    if width is None or cell_len(text) <= width:
        return text
    found = [""]
    for piece in re.findall(JOINTED, text):
        for part in [piece] if cell_len(piece.rstrip()) <= width else chop_cells(piece, width):
            if cell_len((found[-1] + part).rstrip()) <= width:
                found[-1] += part
            else:
                found.append(part)
    return "\n".join(line.rstrip() for line in found if line.strip())


def _left_out(table: Table, fit: Fit) -> list[str]:
    names = [printable(column.heading) for i, column in enumerate(table.columns) if i not in fit.columns]
    columns = [column for i, column in enumerate(table.metrics) if i not in fit.metrics]
    names += [metric_name(column.metric, column.calibration) for column in columns]
    of = lines(table)
    names += [" ".join(f.above) for f in fields(table, of) if f.metric == 0 and f.group >= fit.groups]
    return [f"Too narrow for {', '.join(names)}: widen the terminal or choose another format."] if names else []
