"""A table for a README and one for a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lossbench.report.notation import best_note, decimals, heading, marks, mean_and_spread, setting, title
from lossbench.report.sheets import sheets
from lossbench.report.table import Table

LATEX = {
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
    # Without fontenc T1 these four come out as other characters.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "−": "$-$",
    "–": r"\textendash{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "≈": r"$\approx$",
    "≥": r"$\geq$",
    "†": r"\dag{}",
    "[": "{[}",  # after the \\ of the row above it would begin an argument
}


def markdown(table: Table) -> str:
    """Return a GitHub table: title, rows with the best in bold, notes."""
    lines = [[_markdown(text) for text in _headings(table)]]
    lines += [
        [_markdown(text) for text in settings]
        + [(f"**{text}**" if best else text) + mark for text, best, mark in cells]
        for settings, cells in _body(table)
    ]
    notes = " ".join([*best_note(table, "Bold"), *table.notes])
    parts = [_markdown_part(title(table), lines, len(table.metrics), notes)]
    for sheet in sheets(table):
        lines = [[_markdown(text) for text in line] for line in (sheet.headings, *sheet.rows)]
        parts.append(_markdown_part(sheet.title, lines, len(sheet.headings) - sheet.words, sheet.note))
    return "\n".join(parts)


def _markdown_part(title: str, lines: list[list[str]], numeric: int, notes: str) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths[-numeric:] = [max(2, width) for width in widths[-numeric:]]  # a hyphen and a colon
    rule = ["-" * width for width in widths[:-numeric]] + ["-" * (width - 1) + ":" for width in widths[-numeric:]]
    rows = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
        for line in [lines[0], rule, *lines[1:]]
    ]
    return "\n".join([f"**{_markdown(title)}**", "", *rows, "", _markdown(notes)]) + "\n"


def _markdown(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|~$#])", r"\\\1", text)
    # Between letters an underscore is only an underscore: label_smoothing stays readable as it is.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def latex(table: Table) -> str:
    r"""Return a `table` for `\input{}`; needs booktabs."""
    rows: list[str] = []
    for index, (settings, cells) in enumerate(_body(table)):
        numbers = [
            # The marks take no width, so that the numbers stand below each other.
            (rf"\textbf{{{_latex_number(text)}}}" if best else _latex_number(text))
            + (rf"\rlap{{{_latex(mark)}}}" if mark else "")
            for text, best, mark in cells
        ]
        rows.append(" & ".join([*map(_latex, settings), *numbers]) + r" \\")
        if table.ends_block(index):
            rows.append(r"\midrule")
    notes = " ".join([*best_note(table, "Bold"), *table.notes])
    words = len(_headings(table)) - len(table.metrics)
    parts = [r"% \usepackage{booktabs}", *_latex_part(title(table), _headings(table), words, rows, notes)]
    for sheet in sheets(table):
        rows = [
            " & ".join([*map(_latex, line[: sheet.words]), *map(_latex_number, line[sheet.words :])]) + r" \\"
            for line in sheet.rows
        ]
        parts += ["", *_latex_part(f"{title(table)}: {sheet.title}", sheet.headings, sheet.words, rows, sheet.note)]
    return "\n".join(parts) + "\n"


def _latex_part(title: str, headings: Sequence[str], words: int, rows: list[str], notes: str) -> list[str]:
    return [
        r"\begin{table}[t]",
        r"\centering\small",
        rf"\caption{{{_latex(f'{title}. {notes}')}}}",
        rf"\label{{tab:{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}}}",
        rf"\begin{{tabular}}{{{'l' * words}{'r' * (len(headings) - words)}}}",
        r"\toprule",
        " & ".join(map(_latex, headings)) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _latex(text: str) -> str:
    escaped = "".join(LATEX.get(character, character) for character in text)
    return re.sub(r"-(?=-)", "-{}", escaped)  # two hyphens in a name are no dash


def _latex_number(text: str) -> str:
    return _latex(text.replace("-", "−"))  # a minus, not a hyphen


def _headings(table: Table) -> list[str]:
    count = ["n"] if table.n is None else []
    return [*(column.heading for column in table.columns), *count, *map(heading, table.metrics)]


def _body(table: Table) -> list[tuple[list[str], list[tuple[str, bool, str]]]]:
    """Return for each row its settings, and its cells each with whether it is best, and its marks."""
    places = [decimals(table, i) for i in range(len(table.metrics))]
    return [
        (
            [setting(row, column) for column in table.columns] + ([str(row.n)] if table.n is None else []),
            [
                (mean_and_spread(cell, place, metric, table), cell.best, marks(cell))
                for cell, place, metric in zip(row.cells, places, table.metrics, strict=True)
            ],
        )
        for row in table.rows
    ]
