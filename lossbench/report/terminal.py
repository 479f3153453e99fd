"""A table for the terminal, as wide as it may be and no wider."""

from __future__ import annotations

import functools
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from lossbench.report.fit import BROKEN_FOLD, FOLDS, NARROW_FOLDS, Fit, fits, more
from lossbench.report.layout import Field, Line, fields, heading_lines, headings, lines, settings
from lossbench.report.narrow import held, in_one
from lossbench.report.notation import best_note, printable, title, written_setting
from lossbench.report.notes import without_metrics
from lossbench.report.series import symbol
from lossbench.report.sheets import Sheet, may_go, sheets, without
from lossbench.report.table import Table, metric_name

NOTE_WIDTH = 60  # notes below a narrow table need not be as narrow
SHEET_NOTE_WIDTH = 80
LEAST = 20  # characters: on a terminal of fewer, what is made for so many is easier to read, though it does not fit

OF_A_SHEET = ("d_z", "n", "95 % interval")  # what differences do without on a narrow terminal, the last where it must
WORD = 16  # letters of a word that is not broken before
JOINT = r"(?<=[_,/=\s])(?=\S)|(?<=[.-])(?=[^\d\s])"  # where a name may be broken, but no number


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
            of `lossbench.report.fit`; notes name them and say what the settings held. Where all that is not enough,
            the end says how many characters it takes.
        color: mark the best in bold, by escape codes, rather than by an asterisk.
    """
    console = Console(
        file=io.StringIO(),
        force_jupyter=False,  # in a notebook rich would display what is only captured here
        width=10_000 if width is None else max(width, LEAST),
        force_terminal=color,
        color_system="standard" if color else None,
        legacy_windows=False,
        highlight=False,
    )
    of = lines(table)
    mark = "" if color else "*"

    def fitting(fit: Fit) -> bool:
        return _width(_strips(table, of, fit, mark=mark)) <= console.width

    for fit in fits(table, of):
        if fitting(fit):
            break
    for again in more(table, of, fit):
        fit = again(fit) if fitting(again(fit)) else fit
    strips = _strips(table, of, fit, mark=mark)
    if _width(roomy := _with_room_above(strips)) <= console.width:
        strips = roomy
    needed = _width(strips)
    below = sheets(table)
    # The differences below a table name every metric.
    of_shown = table.notes if table.baseline else without_metrics(table, fit.metrics)
    notes = [*best_note(table, mark or "Bold"), *of_shown, *_held(table, of, fit)]
    note_width = min(console.width, max(needed, NOTE_WIDTH))
    with console.capture() as capture:
        console.print(Text(title(table), style="bold"))
        console.print()
        _print(console, strips, [line.starts_block for line in of])
        console.print()
        for paragraph in [" ".join(notes), *_left_out(table, fit)]:
            console.print(Text(printable(paragraph), style="dim"), width=note_width)
        for sheet in below:
            _print_sheet(console, sheet)
    written = [line.rstrip() for line in capture.get().splitlines()]
    taken = max(Text.from_ansi(line).cell_len for line in written)
    if width is not None and taken > width:
        written += ["", f"This takes {taken} characters and has {width}: widen the terminal."]
    return "\n".join(written) + "\n"


def _in_one(table: Table, of: Sequence[Line], fit: Fit) -> tuple[list[str], str]:
    names = [symbol(column.heading).replace(" ", "\u00a0") for column in table.columns]
    losses = [next(row for row in line.rows if row is not None).config["loss.name"] for line in of]
    return in_one([line.settings for line in of], names, fit.in_one, [written_setting(loss) for loss in losses])


def _held(table: Table, of: Sequence[Line], fit: Fit) -> list[str]:
    """Say what the columns held that are left out."""
    texts, names = [line.settings for line in of], [column.heading for column in table.columns]
    out = [i for i in range(len(names)) if i not in (*fit.columns, *fit.in_one)]
    said = [text for i in out if (text := held(texts, names, i, (*fit.columns, *fit.in_one)))]
    unsaid = _in_one(table, of, fit)[1] if fit.in_one else ""
    return [f"{text}." for text in said] + ([unsaid.replace("\u00a0", " ")] if unsaid else [])


def _strips(table: Table, of: Sequence[Line], fit: Fit, *, mark: str) -> list[Strip]:
    texts = [settings(table, line) for line in of]
    words = [
        (name, [line[index] for line in texts])
        for index, name in enumerate(headings(table))
        if index in fit.columns or index >= len(table.columns)
    ]
    if fit.in_one:
        words.insert(len(fit.columns), ("settings", _in_one(table, of, fit)[0]))
    strips = [_word_strip(name, cells, fit.fold) for name, cells in words]
    for field in fields(table, of, fit.less):
        if field.metric in fit.metrics and field.group < fit.groups:
            cells = _cells(field, fit.plus_minus, mark)
            wrapped = _spaced("\n".join(heading_lines(field.heading, max(map(len, cells)) - 1)))
            bold = tuple(number.best and not mark for number in field.numbers)
            strips.append(Strip(wrapped, tuple(cells), bold, above=tuple(map(printable, field.above))))
    return strips


def _word_strip(name: str, texts: Sequence[str], fold: int | None) -> Strip:
    column = [_folded(printable(text), fold) for text in texts]
    widest = max(cell_len(part) for text in column for part in text.split("\n"))
    # A heading is broken between words, and within one only where nothing else helps.
    word = max(map(cell_len, re.split(JOINT, printable(name))))
    narrow = fold and max(widest, word if fold > BROKEN_FOLD else min(word, fold))
    return Strip(_spaced(_folded(printable(name), narrow)), tuple(map(_spaced, column)))


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
    words, going = range(grouped, sheet.words), may_go(sheet)
    tries: list[tuple[int | None, int, int]] = [(fold, 0, 0) for fold in (None, *FOLDS)]
    tries += [(fold, count, 0) for fold in (None, *FOLDS) for count in range(1, len(going) + 1)]
    tries += [(fold, len(going), count) for count in (0, 1, 2) for fold in (FOLDS[-1], *NARROW_FOLDS)]
    tries += [(fold, len(going), len(OF_A_SHEET)) for fold in (*NARROW_FOLDS, BROKEN_FOLD)]
    for fold, count, fewer in tries:
        shown = [i for i in words if i not in going[:count]]
        left_out = [name for name in OF_A_SHEET[:fewer] if name in sheet.headings[sheet.words :]]
        strips = [_word_strip(sheet.headings[i], [row[i] for row in sheet.rows], fold) for i in shown]
        strips += [
            Strip(_spaced(name), tuple(_spaced(printable(row[index])) for row in sheet.rows), right=True)
            for index, name in enumerate(sheet.headings)
            if index >= sheet.words and name not in left_out
        ]
        if _width(strips) <= console.width:
            break
    titles = [printable(row[0]) if grouped else "" for row in sheet.rows]
    note = sheet.note
    for name in left_out:
        note = note.replace(f" {sheet.defined.get(name, '')}", "") if name in sheet.defined else note
    out = [i for i in words if i not in shown]
    left_out = [*(sheet.headings[i] for i in out), *left_out]
    narrow = [f"Too narrow for {', '.join(left_out)}."] if left_out else []
    note = " ".join([note, *narrow, *without(sheet, out)])
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
        name = key[-1] if key else ""
        if cell_len(name) > width - 2:  # a setting that has no room keeps its value
            name = _cut(name.rpartition("=")[2], width - 2)
        name += " " if name else ""
        texts.append(name + ("─" if key else " ") * (width - 1 - cell_len(name)) + " ")
    return " ".join(texts)


def _with_room_above(strips: Sequence[Strip]) -> list[Strip]:
    """Columns wide enough for what goes across to stand above them uncut; the last one of each group gets the room."""
    found = list(strips)
    for level in range(max(len(strip.above) for strip in strips)):
        keys = [strip.above[: level + 1] for strip in strips]
        for key, members in itertools.groupby(range(len(keys)), keys.__getitem__):
            *_, last = group = list(members)
            missing = cell_len(key[-1]) + 2 - _width([found[i] for i in group]) if key else 0
            if missing > 0:
                *above, lowest = found[last].heading.split("\n")
                wider = lowest + " " * (found[last].width - cell_len(lowest) + missing)
                found[last] = replace(found[last], heading="\n".join([*above, wider]))
    return found


def _width(strips: Sequence[Strip]) -> int:
    return sum(strip.width + 1 for strip in strips) - 1


def _spaced(text: str) -> str:
    return "\n".join(f"{line} " for line in text.split("\n"))


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else chop_cells(text, max(width - 1, 1))[0] + "…"


def _folded(text: str, width: int | None) -> str:
    """Break a name that is too long, where it has a joint; a word only if it is very long or there is hardly room."""
    if width is None or cell_len(text) <= width:
        return text.replace("\u00a0", " ")
    least = width if width <= BROKEN_FOLD else max(width, WORD)
    found = [""]
    for word in re.findall("[^ ]+ *| +", text):
        for piece in [word] if cell_len(word.rstrip()) <= width else re.split(JOINT, word):
            for part in [piece] if cell_len(piece.rstrip()) <= least else chop_cells(piece, least):
                if cell_len((found[-1] + part).rstrip()) <= width:
                    found[-1] += part
                else:
                    found.append(part)
    return "\n".join(line.rstrip() for line in found if line.strip()).replace("\u00a0", " ")


def _left_out(table: Table, fit: Fit) -> list[str]:
    names = [
        printable(column.heading) for i, column in enumerate(table.columns) if i not in (*fit.columns, *fit.in_one)
    ]
    columns = [column for i, column in enumerate(table.metrics) if i not in fit.metrics]
    names += [metric_name(column.metric, column.calibration) for column in columns]
    of = lines(table)
    names += [" ".join(f.above) for f in fields(table, of) if f.metric == 0 and f.group >= fit.groups]
    return [f"Too narrow for {', '.join(names)}: widen the terminal or choose another format."] if names else []
