"""Every command of the README is run, every table in it is what its command prints."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Lossbench
from yaml import safe_load

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


def write_own_loss(folder: Path) -> None:
    """The section "Your own loss" as files."""
    for language in ("python", "toml"):
        for block in blocks(language):
            if block.startswith("# my-losses/"):
                path = folder / block.splitlines()[0].removeprefix("# ")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block)
    (yaml,) = (block for block in blocks("yaml") if "my_losses.squared" in block)
    (folder / "conf/loss").mkdir(parents=True)
    (folder / "conf/loss/squared.yaml").write_text(yaml)


def config_of(run_file: Path) -> Any:
    return safe_load((run_file.parent / "config.yaml").read_text())


def test_every_command_is_one_that_these_tests_know_how_to_run() -> None:
    for command in commands():
        assert command[0] in ("lossbench", "scripts/demo", "scripts/test") or command[:2] == ["pip", "install"]


def test_the_scripts_named_are_there_and_ci_calls_them() -> None:
    for command in commands():
        if command[0].startswith("scripts/"):
            assert (ROOT / command[0]).stat().st_mode & 0o100
    assert "scripts/test" in (ROOT / ".ci/run").read_text()


def test_the_lossbench_commands_run_in_the_order_they_stand(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_own_loss(tmp_path)
    logits = np.random.default_rng(0).normal(size=(50, 3))
    np.savez(tmp_path / "logits.npz", **{f"{split}_logits": logits for split in ("val", "test")},
             **{f"{split}_targets": logits.argmax(1) for split in ("val", "test")})  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path / "my-losses/src")  # pip's part is the next test's
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
    assert ran >= 15
    assert r"\toprule" in (tmp_path / "table.tex").read_text()


def test_a_loss_in_a_package_of_ones_own_is_listed_checked_and_trained(lossbench: Lossbench, tmp_path: Path) -> None:
    """The README's package is built and installed; with one yaml it is a loss like any other, in another folder."""
    write_own_loss(tmp_path)
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    build = ["build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(tmp_path / "my-losses")]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("my_losses-*.whl")
    install = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True)

    def user(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lossbench", *arguments, "--config-dir", str(tmp_path / "conf")]
        environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "120"}
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)

    assert re.search(r"^squared +ℓ \+ weight · ℓ² · my idea", user("list", "losses").stdout, re.MULTILINE)
    check = user("check", "squared")
    assert check.returncode == 0, check.stdout + check.stderr
    assert check.stdout.startswith("squared weight=0.1\n✓ The loss of a batch is one finite number")

    quick = ("dataset=wine", "model=linear", "epochs=2", "device=cpu", "device.threads=1", "--quiet")
    train = user("train", "loss=squared", "loss.weight=0,1", *quick)
    assert train.returncode == 0, train.stderr
    assert lossbench("train", "loss=cross_entropy", *quick).returncode == 0
    (plain,) = tmp_path.glob("results/runs/*/predictions.npz")
    squared = {
        config_of(path)["loss"]["weight"]: np.load(path)["test_logits"]
        for path in elsewhere.glob("results/runs/*/predictions.npz")
    }
    # At weight 0 it is torch's cross-entropy, which trains as ours does but for rounding; at 1 it is another loss.
    assert np.allclose(squared[0.0], np.load(plain)["test_logits"], atol=1e-5)
    assert not np.allclose(squared[1.0], squared[0.0], atol=0.1)


def test_the_library_example_runs() -> None:
    (example,) = (block for block in blocks("python") if "fit_temperature" in block)
    exec(compile(example, "README.md", "exec"), {})


def test_the_comparison_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = (block for block in blocks("python") if "import compare" in block)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert {path.name for path in tmp_path.iterdir()} == {"wine.html", "wine.pdf"}


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
    (shown,) = (block for block in blocks("") if "epsilon" in block)

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


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_ci_runs_the_demo_itself() -> None:
    assert "scripts/demo" in (ROOT / ".ci/run").read_text()
