"""A table for a paper."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lossbench.report.escapes import escaped, known, width_of
from lossbench.report.layout import Line, fields, heading_lines, headings, lines, over_calibrations, settings
from lossbench.report.narrow import held, leaving
from lossbench.report.notation import best_note, printable, title
from lossbench.report.sheets import Sheet, may_go, sheets, without
from lossbench.report.table import DIFFERS, NAMES, TIED, Table

MARKS = {TIED: r"\approx", DIFFERS: r"\dagger"}
BOLDER = 1.15  # how much wider bold digits are
# How wide the text of a page is, in points: 345 of the article class, 487 of two columns together in most conferences';
# less what widths here, which are added up by letters, may be wrong about.
TEXT, BOTH_COLUMNS = 338.0, 480.0
HEIGHT = 500.0  # of a page of the article class, 550, less what this file may be wrong about
TALL = 350.0  # what an article sets at the top of a page; higher ones have a page of their own
TOO_WIDE = "% too wide: "


@dataclass(frozen=True)
class Size:
    """Type, and the space on either side of a column."""

    name: str
    scale: float  # how wide letters are beside ten-point type
    space: int  # points
    line: float  # points from line to line


# From the usual to the least that reads well.
SIZES = (
    Size(r"\small", 0.9, 6, 11),
    Size(r"\small", 0.9, 4, 11),
    Size(r"\footnotesize", 0.83, 4, 9.5),
    Size(r"\scriptsize", 0.78, 3, 8),
)


@dataclass(frozen=True)
class TexColumn:
    """One column of the table, which is two to LaTeX where numbers have a ± to stand below each other."""

    above: tuple[str, ...]  # headings that span columns, from the top
    heading: tuple[str, ...]  # lines
    cells: tuple[str, ...]  # LaTeX
    points: float  # how wide its widest cell is, about, in ten-point type
    spec: str  # l, r or r@{\,}l
    words: tuple[str, ...] = ()  # the cells with what stands once for several, for the top of a page

    @property
    def span(self) -> int:
        """How many columns it is to LaTeX."""
        return 2 if "@" in self.spec else 1


def latex(table: Table) -> str:
    r"""Return a `table` for `\input{}`; needs booktabs.

    The best is bold, and marks take no width, so that the numbers stand below each other. A setting stands once for the
    lines that share it and all settings to its left. Where a table is too wide for the text of an article, type and
    spaces shrink, then a decimal goes, then settings that others repeat, which the caption states; then it is several
    tables, some metrics each. One that is too long is several, too. A comment says what fits nowhere: see `too_wide`.
    """
    of = lines(table)
    notes = " ".join([*best_note(table, "Bold"), *table.notes])
    rules = ["\\midrule" if line.starts_block else "" for line in of]
    texts = [line.settings for line in of]
    named = [i for i, column in enumerate(table.columns) if column.key in NAMES or "rows" in table.asked]
    out = leaving(texts, named) if table.columns else []
    shown = [i for i in range(len(table.columns)) if i not in out]
    names = [column.heading for column in table.columns]
    said = " ".join(f"{text}." for i in out if (text := held(texts, names, i, shown)))
    choices = [(_columns(table, of, less), notes) for less in (0, 1)]
    if out:
        choices += [
            ([c for i, c in enumerate(columns) if i not in out], f"{notes} {said}") for columns, _ in choices[:2]
        ]
    parts = _tables(title(table), choices, rules)
    for sheet in sheets(table):
        parts += ["", *_sheet(f"{title(table)}: {sheet.title}", sheet)]
    text = "\n".join(parts) + "\n"
    comments = [r"% needs \usepackage{booktabs}"]
    if foreign := sorted({character for character in text if not known(character)}):
        comments.append(f"% for LuaLaTeX or XeLaTeX, and a font that has them: {' '.join(foreign)}")
    return "\n".join([*comments, text])


def too_wide(text: str) -> list[str]:
    """Return what a text of `latex` says of tables that are wider than a page."""
    return [line.removeprefix(TOO_WIDE) for line in text.splitlines() if line.startswith(TOO_WIDE)]


def _columns(table: Table, of: Sequence[Line], less: int) -> list[TexColumn]:
    texts = [settings(table, line) for line in of]
    columns = []
    for index, name in enumerate(headings(table)):
        words = [text[index] for text in texts]
        shown = [
            "" if i and not of[i].starts_block and texts[i][: index + 1] == texts[i - 1][: index + 1] else escaped(text)
            for i, text in enumerate(words)
        ]
        if name == "n" and index == len(table.columns):
            shown = words
        columns.append(replace(_words(name, words, shown), words=tuple(map(escaped, words))))
    of_numbers = fields(table, of, less)
    for field, path in zip(of_numbers, over_calibrations(table, of_numbers), strict=True):
        spread = any(number.after is not None for number in field.numbers)
        cells = []
        for number in field.numbers:
            mean = escaped(number.mean.replace("-", "−"))  # a minus, not a hyphen
            text = rf"\textbf{{{mean}}}" if number.best else mean
            after = "" if number.after is None else rf"$\pm$\,{number.after}"
            mark = rf"\rlap{{$^{{{''.join(MARKS[m] for m in number.mark)}}}$}}" if number.mark else ""
            cells.append(f"{text} & {after}{mark}" if spread else text + mark)
        means = max(width_of(number.mean) * (BOLDER if number.best else 1) for number in field.numbers)
        afters = max(width_of(f"±  {number.after}") if number.after else 0.0 for number in field.numbers)
        characters = max(len(number.mean) + len(number.after or "") for number in field.numbers) + 3
        columns.append(_column(path, characters, means + afters, cells, r"r@{\,}l" if spread else "r"))
    return columns


def _sheet(title: str, sheet: Sheet) -> list[str]:
    # What stands once for several lines has a line of its own: the words beside it need the width.
    grouped = int(sheet.words > 1)
    columns = []
    for index, name in enumerate(sheet.headings[grouped:], grouped):
        words = [row[index] for row in sheet.rows]
        if index < sheet.words:
            cells = tuple(map(escaped, words))
            columns.append(replace(_words(name, words, cells), words=cells))
        else:
            numbers = [word.replace("-", "−") for word in words]
            widest = max(map(width_of, numbers))
            columns.append(_column((name,), max(map(len, words)), widest, list(map(escaped, numbers)), "r"))
    titles, above = [], ""
    for row in sheet.rows:
        above = row[0] if grouped and row[0] else above
        titles.append(escaped(above))
    rules = [r"\addlinespace" if index and grouped and row[0] else "" for index, row in enumerate(sheet.rows)]
    choices = [(columns, sheet.note)]
    if out := may_go(sheet):
        fewer = [column for index, column in enumerate(columns, grouped) if index not in out]
        choices.append((fewer, " ".join([sheet.note, *without(sheet, out)])))
    return _tables(title, choices, rules, titles)


def _words(heading: str, words: Sequence[str], cells: Sequence[str]) -> TexColumn:
    return _column((heading,), max(map(len, words)), max(map(width_of, words)), cells, "l")


def _column(path: tuple[str, ...], characters: int, points: float, cells: Sequence[str], spec: str) -> TexColumn:
    *above, heading = path
    wrapped = tuple(heading_lines(printable(heading), characters))
    return TexColumn(tuple(above), wrapped, tuple(cells), max(points, *map(width_of, wrapped)), spec)


def _tables(
    title: str, choices: Sequence[tuple[Sequence[TexColumn], str]], rules: Sequence[str], titles: Sequence[str] = ()
) -> list[str]:
    """Return floating tables of the first choice that fits, of columns and notes; in several parts if none does.

    `rules` stand above the lines, and `titles`, each once for the lines that share it.
    """
    *usual, smallest = SIZES
    # The smallest type last, for it is harder to miss than a decimal.
    sizes = [(*choice, size) for choice in choices for size in usual] + [(*choices[-1], smallest)]
    columns, notes, size = next((fit for fit in sizes if _width(fit[0], fit[2]) <= TEXT), sizes[-1])
    widths: Sequence[Sequence[TexColumn]] = [columns]
    if _width(columns, size) > TEXT:
        splits = [(_split(columns, size), size) for size in (usual[-1], smallest)]
        widths, size = next(((w, s) for w, s in splits if all(_width(part, s) <= TEXT for part in w)), splits[-1])
    parts = [(part, of) for part in widths for of in _pages(part, size, f"{title}. {notes}", rules)]
    found: list[str] = []
    for number, (part, of) in enumerate(parts, 1):
        which = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        text = notes if number == 1 else "Notes as in the first."
        found += [*([""] if found else []), *_part(title, which, text, part, size, rules, titles, of)]
    return found


def _split(columns: Sequence[TexColumn], size: Size) -> list[list[TexColumn]]:
    """Columns of numbers in as few tables as their widths allow, each with the columns of words."""
    words = [column for column in columns if column.words]
    parts: list[list[TexColumn]] = []
    for column in columns[len(words) :]:
        if parts and _width([*parts[-1], column], size) <= TEXT:
            parts[-1].append(column)
        else:
            parts.append([*words, column])
    return parts


def _pages(columns: Sequence[TexColumn], size: Size, caption: str, rules: Sequence[str]) -> list[range]:
    """The lines of each table, so that none is higher than a page; blocks are not torn if they need not be."""
    found, first = [], 0
    while first < len(rules):
        end = first + 1
        while end < len(rules) and _height(columns, size, caption, rules[first : end + 1]) <= HEIGHT:
            end += 1
        if end < len(rules):
            end = next((i for i in range(end, first, -1) if rules[i]), end)
        found.append(range(first, end))
        first, caption = end, ""
    return found


def _part(
    title: str,
    which: str,
    notes: str,
    columns: Sequence[TexColumn],
    size: Size,
    rules: Sequence[str],
    titles: Sequence[str],
    of: range,
) -> list[str]:
    """Return one floating table of some lines."""
    rows = [
        rule_or_line
        for index in of
        for rule_or_line in (
            rules[index] if index > of.start else "",
            _titled(titles, index, of, sum(column.span for column in columns)),
            " & ".join(c.words[index] if c.words and index == of.start else c.cells[index] for c in columns) + r" \\",
        )
        if rule_or_line
    ]
    width = _width(columns, size)
    page, comments = "table", []
    if width > TEXT:
        page = "table*"
        comments = [f"{TOO_WIDE}about {width:.0f}pt, for a page of two columns, which table* spans"]
    if width > BOTH_COLUMNS:
        comments = [f"{TOO_WIDE}about {width:.0f}pt, which fits no page: choose fewer --rows or --columns"]
    caption = f"{title}{which}"
    place = "t" if _height(columns, size, f"{caption}. {notes}", [rules[i] for i in of]) <= TALL else "p"
    return [
        *comments,
        rf"\begin{{{page}}}[{place}]",
        rf"\centering{size.name}"
        + (rf"\setlength{{\tabcolsep}}{{{size.space}pt}}" if size.space != SIZES[0].space else ""),
        # An article leaves no space between a caption and the table below it.
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption[{{{escaped(caption)}}}]{{{escaped(f'{caption}. {notes}')}}}",
        rf"\label{{tab:{re.sub('[^a-z0-9]+', '-', caption.lower()).strip('-')}}}",
        rf"\begin{{tabular}}{{{''.join(column.spec for column in columns)}}}",
        r"\toprule",
        *_header(columns),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\end{{{page}}}",
    ]


def _titled(titles: Sequence[str], index: int, of: range, span: int) -> str:
    if not titles or not titles[index] or (index > of.start and titles[index] == titles[index - 1]):
        return ""
    return rf"\multicolumn{{{span}}}{{l}}{{\textit{{{titles[index]}}}}} \\"


def _width(columns: Sequence[TexColumn], size: Size) -> float:
    return sum(size.scale * column.points + 2 * size.space for column in columns)


def _height(columns: Sequence[TexColumn], size: Size, caption: str, rules: Sequence[str]) -> float:
    captions = math.ceil(len(caption) / 72) + 1
    heading = max(len(column.heading) for column in columns) + max(len(column.above) for column in columns)
    return 30 + size.line * (captions + heading + len(rules)) + 17 * sum(map(bool, rules))


def _header(columns: Sequence[TexColumn]) -> list[str]:
    found = []
    for level in range(max(len(column.above) for column in columns)):
        cells, rules, first = [], [], 1
        keys = [column.above[: level + 1] for column in columns]
        for key, group in itertools.groupby(zip(keys, columns, strict=True), lambda pair: pair[0]):
            span = sum(column.span for _, column in group)
            named = len(key) > level
            cells.append(rf"\multicolumn{{{span}}}{{c}}{{{escaped(key[level])}}}" if named else "& " * (span - 1))
            rules += [rf"\cmidrule(lr){{{first}-{first + span - 1}}}"] if named else []
            first += span
        found += [" & ".join(cells).replace("&  &", "& &") + r" \\", " ".join(rules)]
    height = max(len(column.heading) for column in columns)
    for line in range(height):
        cells = []
        for column in columns:
            position = line - (height - len(column.heading))
            text = escaped(column.heading[position]) if position >= 0 else ""
            kind = "l" if column.spec == "l" else "c"
            cells.append(rf"\multicolumn{{{column.span}}}{{{kind}}}{{{text}}}" if column.spec != "l" else text)
        found.append(" & ".join(cells) + r" \\")
    return found
