"""A table for a paper."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from lossbench.report.layout import Line, fields, heading_lines, headings, lines, over_calibrations, settings
from lossbench.report.notation import best_note, printable, title
from lossbench.report.sheets import Sheet, sheets
from lossbench.report.table import DIFFERS, TIED, Table

GREEK = (
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"),
    *("nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
)
ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    # Without fontenc T1 these four come out as other characters.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    # After the \\ of the row above, these would belong to it.
    "[": "{[}",
    "*": "{*}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "−": "$-$",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "²": "$^2$",
    "†": r"\dag{}",
}
MARKS = {TIED: r"\approx", DIFFERS: r"\dagger"}
# What every font of pdfLaTeX has: a letter with one of these accents, and a few letters of their own.
ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
LETTERS = "ßæœøłÆŒØŁ"

BOLDER = 1.15  # how much wider bold digits are
# How wide the text of a page is, in points: of the article class, and of two columns together in most conferences'.
PAGES = (("table", 345.0), ("table*", 487.0))
# Type, how wide it is beside ten-point type, and the space on either side of a column; from the usual to the least that
# reads well.
SIZES = ((r"\small", 0.9, 6), (r"\small", 0.9, 4), (r"\footnotesize", 0.83, 4), (r"\scriptsize", 0.78, 3))


@dataclass(frozen=True)
class TexColumn:
    """One column of the table, which is two to LaTeX where numbers have a ± to stand below each other."""

    above: tuple[str, ...]  # headings that span columns, from the top
    heading: tuple[str, ...]  # lines
    cells: tuple[str, ...]  # LaTeX
    points: float  # how wide its widest cell is, about, in ten-point type
    spec: str  # l, r or r@{\,}l

    @property
    def span(self) -> int:
        """How many columns it is to LaTeX."""
        return 2 if "@" in self.spec else 1


def latex(table: Table) -> str:
    r"""Return a `table` for `\input{}`; needs booktabs.

    The best is bold, and marks take no width, so that the numbers stand below each other. A setting stands once for the
    lines that share it and all settings to its left. Where a table is too wide for the text of an article, type and
    spaces shrink, then a decimal goes, then it is a `table*`; a comment says if even that is too narrow.
    """
    of = lines(table)
    notes = " ".join([*best_note(table, "Bold"), *table.notes])
    rules = ["\\midrule" if line.starts_block else "" for line in of]
    parts = _part(title(table), notes, [_columns(table, of, less) for less in (0, 1)], rules)
    for sheet in sheets(table):
        parts += ["", *_sheet(f"{title(table)}: {sheet.title}", sheet)]
    text = "\n".join(parts) + "\n"
    comments = [r"% needs \usepackage{booktabs}"]
    if foreign := sorted({character for character in text if not _known(character)}):
        comments.append(f"% for LuaLaTeX or XeLaTeX, and a font that has them: {' '.join(foreign)}")
    return "\n".join([*comments, text])


def escaped(text: str) -> str:
    """Return text that LaTeX sets as it is."""
    text = "".join(ESCAPES.get(character, _greek(character)) for character in printable(text))
    return re.sub(r"-(?=-)", "-{}", text)  # two hyphens in a name are no dash


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
        columns.append(_words(name, words, shown))
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
        means = max(_points(number.mean) * (BOLDER if number.best else 1) for number in field.numbers)
        afters = max(_points(f"±  {number.after}") if number.after else 0.0 for number in field.numbers)
        characters = max(len(number.mean) + len(number.after or "") for number in field.numbers) + 3
        columns.append(_column(path, characters, means + afters, cells, r"r@{\,}l" if spread else "r"))
    return columns


def _sheet(title: str, sheet: Sheet) -> list[str]:
    columns = []
    for index, name in enumerate(sheet.headings):
        words = [row[index] for row in sheet.rows]
        if index < sheet.words:
            columns.append(_words(name, words, list(map(escaped, words))))
        else:
            numbers = [word.replace("-", "−") for word in words]
            widest = max(map(_points, numbers))
            columns.append(_column((name,), max(map(len, words)), widest, list(map(escaped, numbers)), "r"))
    apart = sheet.words > 1  # what stands once for several lines
    rules = [r"\addlinespace" if apart and index and row[0] else "" for index, row in enumerate(sheet.rows)]
    return _part(title, sheet.note, [columns], rules)


def _words(heading: str, words: Sequence[str], cells: Sequence[str]) -> TexColumn:
    return _column((heading,), max(map(len, words)), max(map(_points, words)), cells, "l")


def _column(path: tuple[str, ...], characters: int, points: float, cells: Sequence[str], spec: str) -> TexColumn:
    *above, heading = path
    wrapped = tuple(heading_lines(printable(heading), characters))
    return TexColumn(tuple(above), wrapped, tuple(cells), max(points, *map(_points, wrapped)), spec)


def _part(title: str, notes: str, choices: Sequence[Sequence[TexColumn]], rules: Sequence[str]) -> list[str]:
    """Return one floating table: of the choices of columns the first that fits; `rules` stand above the lines."""
    fits = [
        (page, room, columns, size, space, sum(scale * column.points + 2 * space for column in columns))
        for page, room in PAGES
        for columns, size, scale, space in _sizes(choices)
    ]
    page, room, columns, size, space, width = next((fit for fit in fits if fit[-1] <= fit[1]), fits[-1])
    rows = [
        rule_or_line
        for index, rule in enumerate(rules)
        for rule_or_line in (rule, " & ".join(column.cells[index] for column in columns) + r" \\")
        if rule_or_line
    ]
    comments = [f"% about {width:.0f}pt wide: for a page of two columns, which {page} spans"] if page != "table" else []
    if width > room:
        comments = [f"% about {width:.0f}pt wide, which fits no page: choose fewer --metrics or --columns"]
    return [
        *comments,
        rf"\begin{{{page}}}[t]",
        rf"\centering{size}" + (rf"\setlength{{\tabcolsep}}{{{space}pt}}" if space != SIZES[0][2] else ""),
        # An article leaves no space between a caption and the table below it.
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption[{{{escaped(title)}}}]{{{escaped(f'{title}. {notes}')}}}",
        rf"\label{{tab:{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}}}",
        rf"\begin{{tabular}}{{{''.join(column.spec for column in columns)}}}",
        r"\toprule",
        *_header(columns),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\end{{{page}}}",
    ]


def _sizes(choices: Sequence[Sequence[TexColumn]]) -> list[tuple[Sequence[TexColumn], str, float, int]]:
    """Every way to set a table; the smallest type last, for it is harder to miss than a decimal."""
    *usual, smallest = SIZES
    return [(columns, *size) for columns in choices for size in usual] + [(choices[-1], *smallest)]


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


def _points(text: str) -> float:
    """About how wide a text is in ten-point Computer Modern, in points."""
    return sum(
        5.0 if c.isdigit() else 2.8 if c in ".,ijlt[]()' " else 7.8 if c in "±≈−+" or c.isupper() else 5.1 for c in text
    )


def _greek(character: str) -> str:
    name = unicodedata.name(character, "").removeprefix("GREEK SMALL LETTER ").lower().replace("lamda", "lambda")
    return rf"$\{'var' * (name == 'epsilon')}{name}$" if name in GREEK else character


def _known(character: str) -> bool:
    """Whether pdfLaTeX sets a character without more packages."""
    parts = unicodedata.normalize("NFD", character)
    return character in LETTERS or (parts[0].isascii() and parts[1:] in ACCENTS)
