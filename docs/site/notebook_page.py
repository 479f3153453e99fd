"""A notebook as a page, with the outputs that are stored in it: nothing is run."""

from __future__ import annotations

import json
from typing import Any


def markdown(text: str) -> str:
    """Return a notebook, given as its file's text, as Markdown."""
    return "\n\n".join(part for cell in json.loads(text)["cells"] for part in _cell(cell))


def _cell(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        return [source]
    return [f"```python\n{source}\n```", *(_output(output) for output in cell["outputs"])]


def _output(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text'])}\n```"
    kind, lines = next(iter(output["data"].items()))
    text = "".join(lines)
    return (
        f"```text\n{text}\n```" if kind == "text/plain" else f'````{{raw}} html\n<div class="output">{text}</div>\n````'
    )
