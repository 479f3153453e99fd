"""A table for a notebook: html without style or script of its own, so that it looks like what is around it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lossbench.report.layout import Number, fields, headings, lines, settings
from lossbench.report.notation import best_note, printable, title
from lossbench.report.sheets import sheets
from lossbench.report.table import Table
from lossbench.report.verdict import verdict


def fragment(table: Table) -> str:
    """Return what the tests allow to be said, the table with the best in bold, and its notes."""
    of = lines(table)
    columns = fields(table, of)
    heads = [*headings(table), *(": ".join([*field.above, field.heading]) for field in columns)]
    rows = [
        [*map(_text, settings(table, line)), *(_number(field.numbers[index]) for field in columns)]
        for index, line in enumerate(of)
    ]
    notes = " ".join([*best_note(table, "Bold"), *table.notes])
    said = [f"<p>{_text(sentence)}</p>" for found in verdict(table) for sentence in found.sentences]
    parts = [*said, _part(title(table), heads, rows, notes)]
    parts += [
        _part(sheet.title, sheet.headings, [[_text(text) for text in row] for row in sheet.rows], sheet.note)
        for sheet in sheets(table)
    ]
    return "\n".join(parts)


def _text(text: str) -> str:
    return escape(printable(text))


def _number(number: Number) -> str:
    text = _text(number.mean if number.after is None else f"{number.mean} ± {number.after}")
    return (f"<b>{text}</b>" if number.best else text) + _text(number.mark)


def _part(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], notes: str) -> str:
    head = "".join(f"<th>{_text(text)}</th>" for text in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<table>\n<caption>{_text(title)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"
        f"</table>\n<p><small>{_text(notes)}</small></p>"
    )
