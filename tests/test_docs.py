"""Whatever the pages in docs/ say that a test holds, a test of that name holds."""

from __future__ import annotations

import ast
import csv
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs/howto").glob("*.md")])
TEXTS = [
    *PAGES,
    *ROOT.glob("*.md"),
    *(
        path
        for folder in ("conf", "lossbench")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml")
    ),
]
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


def test_every_promise_names_a_test() -> None:
    promises = rows((ROOT / "docs/promises.md").read_text())
    assert len(promises) > 30
    assert [promise for promise, *tests in promises if not any("tests/" in cell for cell in tests)] == []


def test_the_speeds_of_the_page_are_those_of_the_table_it_names() -> None:
    columns = ["bare", "textbook", "lightning", "textbook, fp32", "lightning, fp32"]
    with (ROOT / "results/bench/epoch/speed.csv").open(newline="") as file:
        table = {(row["model"], row["precision"], row["loop"]): row for row in csv.DictReader(file)}
    page = [row for row in rows((ROOT / "docs/speed.md").read_text()) if re.fullmatch(r"\w+, (fp32|bf16)", row[0])]
    assert len(page) >= 4
    for (model, _, precision), cells in [(row[0].partition(", "), row[1:]) for row in page]:
        for loop, cell in zip(columns, cells, strict=True):
            if cell:
                measured = table[model, precision, loop]
                for said, column in zip(
                    re.findall(r"[\d.]+", cell), ["lossbench is × as fast", "least", "most"], strict=True
                ):
                    digits = len(said.partition(".")[2])
                    assert float(said) == pytest.approx(float(measured[column]), abs=0.51 * 10**-digits)


def test_extras_are_named_in_one_form_and_there_are_such() -> None:
    """That from a clone it is `.[…]` stands in one sentence of the README."""
    texts = [path.read_text() for path in TEXTS]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra for text in texts for found in re.findall(r"lossbench\[([\w,]+)\]", text) for extra in found.split(",")
    }
    assert named <= set(extras)
    assert len(named) > 5
    assert sum(text.count("'.[") for text in texts) == (ROOT / "README.md").read_text().count("'.[slurm]'") == 1


def test_the_layout_of_the_readme_has_every_folder_of_the_package() -> None:
    layout = (ROOT / "README.md").read_text().partition("## Layout")[2]
    folders = [path.parent.name for path in (ROOT / "lossbench").glob("*/__init__.py")]
    assert [name for name in sorted(folders) if f"{name}/" not in layout] == []
