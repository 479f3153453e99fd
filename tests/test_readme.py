"""Every command of the README is run, every table in it is what its command prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support import Lossbench

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

# Which commands a test may run as they stand, and what makes the others quick: a smaller training, never another path.
QUICK = ("epochs=1",)


def blocks(language: str) -> list[str]:
    fenced = README.split("```")[1::2]
    return [block.removeprefix(f"{language}\n") for block in fenced if block.partition("\n")[0] == language]


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if not line.startswith("#")]


def test_every_command_is_one_that_these_tests_know_how_to_run() -> None:
    for command in commands():
        assert command[0] in ("lossbench", "scripts/demo", "scripts/test") or command[:2] == ["pip", "install"]


def test_the_scripts_named_are_there_and_ci_calls_them() -> None:
    for command in commands():
        if command[0].startswith("scripts/"):
            assert (ROOT / command[0]).stat().st_mode & 0o100
    assert "scripts/test" in (ROOT / ".ci/run").read_text()


def test_the_lossbench_commands_run_in_the_order_they_stand(
    lossbench: Lossbench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (python,) = (block for block in blocks("python") if block.startswith("# my_losses.py"))
    (yaml,) = (block for block in blocks("yaml") if "my_losses.squared" in block)
    (tmp_path / "my_losses.py").write_text(python)
    (tmp_path / "conf/loss").mkdir(parents=True)
    (tmp_path / "conf/loss/squared.yaml").write_text(yaml)
    ran = 0
    for program, verb, *arguments in (command for command in commands() if command[0] == "lossbench"):
        assert program == "lossbench"
        answer = lossbench(verb, *arguments, *(QUICK if verb == "train" else ()))
        if "loss.epsilon=1.2" in arguments:
            assert answer.returncode == 2
            assert f"# {answer.stderr.strip()}" in README
        else:
            assert answer.returncode == 0, (verb, arguments, answer.stderr)
        ran += 1
    assert ran >= 13
    assert r"\toprule" in (tmp_path / "table.tex").read_text()


def test_the_library_example_runs() -> None:
    (example,) = (block for block in blocks("python") if "fit_temperature" in block)
    exec(compile(example, "README.md", "exec"), {})


def test_the_table_is_what_the_demo_prints(lossbench: Lossbench) -> None:
    """The demo's own two commands, at its own length: its table stands in the README to the last row.

    Digits may differ in the last places on another machine: names and layout must not, and each mean must lie within
    two of the table's own standard deviations, or 0.02, of what comes out here.
    """
    script = (ROOT / "scripts/demo").read_text()
    train, report = (
        shlex.split(line)[1:] for line in script.splitlines() if line.startswith(".venv/bin/lossbench")
        and "--output" not in line
    )  # fmt: skip
    assert lossbench(*train, "-q").returncode == 0
    printed = lossbench(*report).stdout
    (shown,) = (block for block in blocks("") if "epsilon" in block)

    def shape(table: str) -> list[str]:
        return [re.sub(r"[-+]?\d\.\d+|\*| +", "", line) for line in table.strip().splitlines()]

    def numbers(table: str) -> list[float]:
        return [float(number) for number in re.findall(r"[-+]?\d\.\d{4}", table)]

    assert shape(printed) == shape(shown)
    pairs = list(zip(numbers(printed), numbers(shown), strict=True))
    assert len(pairs) == 4 * 5 * 2
    for mean in range(0, len(pairs), 2):
        (ours, theirs), (_, spread) = pairs[mean], pairs[mean + 1]
        assert abs(ours - theirs) <= max(2 * spread, 0.02)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_ci_runs_the_demo_itself() -> None:
    assert "scripts/demo" in (ROOT / ".ci/run").read_text()
