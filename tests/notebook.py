"""Run a notebook without a kernel, which takes seconds to start. `python tests/notebook.py FILE` writes its outputs."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
from pathlib import Path
from pprint import pformat
from typing import Any

KINDS = {"_repr_html_": "text/html", "_repr_svg_": "image/svg+xml"}


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The notebook, and the cells of code in it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return notebook, [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(cells: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The outputs of each cell: what it printed, and the value of its last line."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    return [_outputs("".join(cell["source"]), namespace) for cell in cells]


def _outputs(source: str, namespace: dict[str, Any]) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, outputs = io.StringIO(), []
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), namespace)
        value = None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"name": "stdout", "output_type": "stream", "text": text})
    if value is not None:
        method = next((name for name in KINDS if hasattr(value, name)), None)
        text = pformat(value, sort_dicts=False) if method is None else getattr(value, method)()
        data = {KINDS.get(method or "", "text/plain"): text.splitlines(keepends=True)}
        outputs.append({"data": data, "metadata": {}, "output_type": "display_data"})
    return outputs


def main() -> None:
    path = Path(sys.argv[1])
    notebook, cells = read(path)
    for number, (cell, outputs) in enumerate(zip(cells, run(cells), strict=True), 1):
        cell["execution_count"], cell["outputs"] = number, outputs
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
