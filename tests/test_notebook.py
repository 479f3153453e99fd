"""docs/compare.ipynb runs, and what stands in it is what comes out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import notebook
import pytest

COMPARE = Path(__file__).parent.parent / "docs/compare.ipynb"
LARGEST = 100_000  # bytes


def text(output: dict[str, Any]) -> str:
    return "".join(output["text"] if output["output_type"] == "stream" else next(iter(output["data"].values())))


def test_a_cell_shows_what_it_prints_and_its_last_value() -> None:
    cells = [{"source": ["print(1)\n", "a = 2"]}, {"source": ["a"]}, {"source": ["print(a)\n", "None"]}]
    printed, value, nothing = notebook.run(cells)
    assert printed == [{"name": "stdout", "output_type": "stream", "text": ["1\n"]}]
    assert value == [{"data": {"text/plain": ["2"]}, "metadata": {}, "output_type": "display_data"}]
    assert [text(output) for output in nothing] == ["2\n"]
    with pytest.raises(ZeroDivisionError):
        notebook.run([{"source": ["1 / 0"]}])


def test_the_notebook_runs_and_holds_what_comes_out() -> None:
    """Its words and layout to the letter, its means within 0.03: another machine rounds otherwise."""
    _, cells = notebook.read(COMPARE)
    for cell, outputs in zip(cells, notebook.run(cells), strict=True):
        assert [list(output.get("data", ())) for output in cell["outputs"]] == [
            list(output.get("data", ())) for output in outputs
        ]
        for stored, new in zip(cell["outputs"], outputs, strict=True):
            if "image/svg+xml" in new.get("data", {}):
                continue
            assert means(text(stored)) == pytest.approx(means(text(new)), abs=0.03)
            assert headings(text(stored)) == headings(text(new))
    assert COMPARE.stat().st_size < LARGEST


def means(shown: str) -> list[float]:
    """The means of the table, or all numbers of what is none."""
    cells = re.findall(r"<td>(?:<b>)?([-\d.]+) ±", shown) if "<table>" in shown else re.findall(r"\d+\.\d+", shown)
    return [float(cell) for cell in cells]


def headings(shown: str) -> list[str]:
    return re.findall(r"<(?:th|caption)>(.*?)</", shown)
