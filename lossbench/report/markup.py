"""A table for a README and one for a paper."""

from __future__ import annotations

import re

from lossbench.report.notation import best_note, decimals, heading, mean_and_sd, setting, title
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
}


def markdown(table: Table) -> str:
    """Return a GitHub table: title, rows with the best in bold, notes."""
    lines = [[_markdown(text) for text in _headings(table)]]
    lines += [
        [_markdown(text) for text in settings] + [f"**{text}**" if best else text for text, best in cells]
        for settings, cells in _body(table)
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numeric = len(table.metrics)
    rule = ["-" * width for width in widths[:-numeric]] + ["-" * (width - 1) + ":" for width in widths[-numeric:]]
    rows = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
        for line in [lines[0], rule, *lines[1:]]
    ]
    notes = " ".join([*best_note(table, "Bold"), *table.notes])
    return "\n".join([f"**{_markdown(title(table))}**", "", *rows, "", _markdown(notes)]) + "\n"


def _markdown(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|~$#])", r"\\\1", text)
    # Between letters an underscore is only an underscore: label_smoothing stays readable as it is.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def latex(table: Table) -> str:
    r"""Return a `table` for `\input{}`; needs booktabs."""
    headings = " & ".join(map(_latex, _headings(table)))
    rows: list[str] = []
    for index, (settings, cells) in enumerate(_body(table)):
        numbers = [rf"\textbf{{{_latex_number(text)}}}" if best else _latex_number(text) for text, best in cells]
        rows.append(" & ".join([*map(_latex, settings), *numbers]) + r" \\")
        if table.ends_block(index):
            rows.append(r"\midrule")
    name = title(table)
    caption = _latex(" ".join([f"{name}.", *best_note(table, "Bold"), *table.notes]))
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering\small",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}}}",
        rf"\begin{{tabular}}{{{'l' * (len(_headings(table)) - len(table.metrics))}{'r' * len(table.metrics)}}}",
        r"\toprule",
        headings + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex(text: str) -> str:
    escaped = "".join(LATEX.get(character, character) for character in text)
    return re.sub(r"-(?=-)", "-{}", escaped)  # two hyphens in a name are no dash


def _latex_number(text: str) -> str:
    return _latex(text.replace("-", "−"))  # a minus, not a hyphen


def _headings(table: Table) -> list[str]:
    count = ["n"] if table.n is None else []
    return [*(column.heading for column in table.columns), *count, *map(heading, table.metrics)]


def _body(table: Table) -> list[tuple[list[str], list[tuple[str, bool]]]]:
    """Return for each row its settings, and its cells each with whether it is best."""
    places = [decimals(table, i) for i in range(len(table.metrics))]
    return [
        (
            [setting(row, column) for column in table.columns] + ([str(row.n)] if table.n is None else []),
            [
                (mean_and_sd(cell, place, metric), cell.best)
                for cell, place, metric in zip(row.cells, places, table.metrics, strict=True)
            ],
        )
        for row in table.rows
    ]
