"""Our docstrings are written to be read as they stand; Sphinx reads reStructuredText."""

from __future__ import annotations

import re
from typing import Any

from lossbench import errors

SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")  # their texts are indented and are no formulas
ERROR = re.compile(rf"^(    )({'|'.join(name for name in vars(errors) if name.endswith('Error'))}):")
CODE = re.compile(r"`([^`]+)`")


def process(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of a docstring in place, for Sphinx's event `autodoc-process-docstring`."""
    better = getattr(thing, "better", "")
    lines[:] = restructured(lines)
    if what == "function" and hasattr(thing, "better"):
        lines[1:1] = ["", f"**Better:** {better or 'neither higher nor lower'}."]


def restructured(lines: list[str]) -> list[str]:
    """Return a docstring as reStructuredText: what is indented is literal, backticks are code, the rest is text.

    Args:
        lines: without the indentation that all of them share.
    """
    result: list[str] = []
    section = literal = False
    for line in lines:
        if line and not line.startswith(" "):
            section, literal = bool(SECTION.match(line)), False
        elif line and not section and not literal:
            result += ["::", ""]
            literal = True
        result.append(line if literal else _text(line, section))
    return result


def _text(line: str, section: bool) -> str:
    """Escape what is markup to Sphinx and none to us."""
    if section:
        line = ERROR.sub(r"\1~lossbench.errors.\2:", line)
    indent = line[: len(line) - len(line.lstrip())]
    return indent + "".join(
        _code(part[1:-1]) if CODE.fullmatch(part) else re.sub(r"([*|\\]|_\b)", r"\\\1", part)
        for part in re.split(r"(`[^`]+`)", line.lstrip())
    )


def _code(text: str) -> str:
    return f":py:obj:`{text}`" if re.fullmatch(r"lossbench(\.\w+)+", text) else f"``{text.strip()}``"
