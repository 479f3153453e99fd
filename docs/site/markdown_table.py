"""Text and tables in Markdown."""

from __future__ import annotations

import re


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is; what is in backticks stays code."""
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*_\[\]<>|$])", r"\\\1", part)
        for part in re.split(r"(`[^`]+`)", text)
    )


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Return a table of cells that are Markdown."""
    lines = [headings, ["---"] * len(headings), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text.replace("\n", " "))
