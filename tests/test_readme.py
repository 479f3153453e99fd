"""Every command of the README is run, every table in it is what its command prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pages
import pytest
from support import Lossbench

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_readme_runs_in_the_order_it_stands(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = np.random.default_rng(0).normal(size=(50, 3))
    np.savez(tmp_path / "logits.npz", **{f"{split}_logits": logits for split in ("val", "test")},
             **{f"{split}_targets": logits.argmax(1) for split in ("val", "test")})  # fmt: skip
    assert pages.run(README, tmp_path, lossbench, monkeypatch) >= 15
    assert r"\toprule" in (tmp_path / "table.tex").read_text()
    assert {"wine.html", "wine.pdf"} <= {path.name for path in tmp_path.iterdir()}


def test_ci_calls_the_scripts_that_the_readme_names() -> None:
    named = {pages.words(command)[0] for block in pages.blocks(README) for command in pages.commands(block)
             if block.language == "sh" and command.startswith("scripts/")}  # fmt: skip
    assert named == {"scripts/demo", "scripts/test"}
    assert all(script in (ROOT / ".ci/run").read_text() for script in named)


def test_the_table_is_what_the_demo_prints(lossbench: Lossbench) -> None:
    """The demo's own two commands, at its own length: its table stands in the README to the last row.

    Digits may differ in the last places on another machine: names and layout must not, and each mean must lie within
    the table's own interval, or 0.02, of what comes out here.
    """
    script = (ROOT / "scripts/demo").read_text()
    train, report = (
        shlex.split(line)[1:] for line in script.splitlines() if line.startswith(".venv/bin/lossbench")
        and "--output" not in line
    )  # fmt: skip
    assert lossbench(*train, "-q").returncode == 0
    printed = lossbench(*report).stdout
    (shown,) = (block.text for block in pages.blocks(README) if not block.language and "epsilon" in block.text)

    def shape(table: str) -> list[str]:
        return [re.sub(r"[-+]?\d\.\d+|[*≈]| +", "", line) for line in table.strip().splitlines()]

    def numbers(table: str) -> list[float]:
        return [float(number) for number in re.findall(r"[-+]?\d\.\d{4}", table)]

    assert shape(printed) == shape(shown)
    pairs = list(zip(numbers(printed), numbers(shown), strict=True))
    assert len(pairs) == 4 * 5 * 2
    for mean in range(0, len(pairs), 2):
        (ours, theirs), (_, half) = pairs[mean], pairs[mean + 1]
        assert abs(ours - theirs) <= max(half, 0.02)
