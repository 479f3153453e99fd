"""Whatever the pages in docs/ say that a test holds, a test of that name holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
NAMED = re.compile(r"tests/[\w/]+\.py(?:::\w+)?")


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def missing(text: str) -> list[str]:
    """The tests that a text names and that are not there."""
    found = []
    for name in NAMED.findall(text):
        file, _, test = name.partition("::")
        path = ROOT / file
        if not path.is_file() or (test and test not in functions_of(path)):
            found.append(name)
    return found


def rows(text: str) -> list[list[str]]:
    """The rows of all tables, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    ruled = [number for number, line in enumerate(lines) if set(line) <= set("|-: ")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for number, line in enumerate(lines)
        if number not in ruled and number + 1 not in ruled
    ]


def test_a_test_that_is_not_there_is_found() -> None:
    here = f"tests/test_docs.py::{test_a_test_that_is_not_there_is_found.__name__}"
    assert missing(f"`{here}`, tests/test_docs.py") == []
    assert missing(f"{here}_either and tests/nowhere.py") == [f"{here}_either", "tests/nowhere.py"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    assert missing(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_promise_names_a_test() -> None:
    promises = rows((ROOT / "docs/promises.md").read_text())
    assert len(promises) > 30
    assert [promise for promise, *tests in promises if not any("tests/" in cell for cell in tests)] == []
