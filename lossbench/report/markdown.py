"""A table for a README."""

from __future__ import annotations

import re

from lossbench.report.layout import Number, fields, headings, lines, settings
from lossbench.report.notation import best_note, printable, title
from lossbench.report.sheets import sheets
from lossbench.report.table import Table


def markdown(table: Table) -> str:
    """Return a GitHub table: title, rows with the best in bold, notes. What goes across stands before each metric."""
    of = lines(table)
    columns = fields(table, of)
    heads = [*headings(table), *(": ".join([*field.above, field.heading]) for field in columns)]
    texts = [[escaped(text) for text in heads]]
    for index, line in enumerate(of):
        texts.append([*map(escaped, settings(table, line)), *(_number(field.numbers[index]) for field in columns)])
    notes = " ".join([*best_note(table, "Bold"), *table.notes])
    parts = [_part(title(table), texts, len(columns), notes)]
    for sheet in sheets(table):
        texts = [[escaped(text) for text in line] for line in (sheet.headings, *sheet.rows)]
        parts.append(_part(sheet.title, texts, len(sheet.headings) - sheet.words, sheet.note))
    return "\n".join(parts)


def escaped(text: str) -> str:
    """Return text that markdown shows as it is, on one line."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|~$#])", r"\\\1", text)
    # What GitHub would make a link: an address, before it is read, and a user or an issue even where they are escaped.
    text = re.sub(r":(?=//)", "&#58;", text)
    text = re.sub(r"(?i)\b(www)\.", r"\1&#46;", text)
    text = re.sub(r"(@|\\#)(?=\w)", r"\1<!-- -->", text)
    # Between letters an underscore is only an underscore: label_smoothing stays readable as it is.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def _number(number: Number) -> str:
    text = number.mean if number.after is None else f"{number.mean} ± {number.after}"
    return (f"**{text}**" if number.best else text) + number.mark


def _part(title: str, lines: list[list[str]], numeric: int, notes: str) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths[-numeric:] = [max(2, width) for width in widths[-numeric:]]  # a hyphen and a colon
    rule = ["-" * width for width in widths[:-numeric]] + ["-" * (width - 1) + ":" for width in widths[-numeric:]]
    rows = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
        for line in [lines[0], rule, *lines[1:]]
    ]
    return "\n".join([f"**{escaped(title)}**", "", *rows, "", escaped(notes)]) + "\n"
