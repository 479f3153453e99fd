"""TAB, in the shells themselves: a script of ours between a shell's own completion and `lossbench complete`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from support import Lossbench
from test_imports import command, loaded_by

from lossbench.cli.completing import SCRIPTS
from lossbench.cli.plotting import Kind
from lossbench.record import SCHEMA
from lossbench.report.figures import KINDS

# What bash does at TAB: words broken at = and :, as readline does, and the position of the last.
BASH = r"""
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
compopt() { echo "$@"; }
_lossbench
printf '%s\n' "${COMPREPLY[@]}"
"""
# And zsh, whose completion system cannot be asked outside a terminal: what compadd is given.
ZSH = r"""
compdef() { :; }
_files() { echo files; }
compadd() { print -l -- "$@"; }
source $1
words=(${(z)2}); [[ $2 == *' ' ]] && words+=('')
CURRENT=$#words
_lossbench
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with `lossbench` on it."""
    program = tmp_path / "bin/lossbench"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m lossbench "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


def run(*words: str, path: str) -> list[str]:
    answer = subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True)
    assert answer.stderr == ""
    return answer.stdout.splitlines()


def bash(line: str, path: str) -> list[str]:
    return run("bash", "--norc", "-c", SCRIPTS["bash"] + BASH, "bash", line, path=path)


def fish(line: str, path: str) -> list[str]:
    script = f"{SCRIPTS['fish']}\ncomplete -C {line!r}"
    return run("fish", "--no-config", "-c", script, path=path)


def zsh(line: str, path: str, script: Path) -> list[str]:
    script.write_text(SCRIPTS["zsh"])
    return run("zsh", "-f", "-c", ZSH, "zsh", str(script), line, path=path)


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def test_bash_completes_what_is_after_the_equals_sign_for_readline_breaks_words_there(path: str) -> None:
    assert bash("lossbench train dataset=fas", path) == ["fashion_mnist"]


def test_bash_adds_no_space_after_a_key(path: str) -> None:
    assert bash("lossbench train loss=focal loss.ga", path) == ["-o nospace", "loss.gamma="]


def test_bash_takes_a_candidate_for_what_it_is_and_not_for_a_pattern_of_files(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder `results` would match `re*`."""
    (tmp_path / "results/runs/re*").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert bash("lossbench show re", path) == ["re*"]


@needs("fish")
def test_fish_completes_overrides(path: str) -> None:
    assert fish("lossbench train loss=focal,dice_", path) == ["loss=focal,dice_cross_entropy"]


@needs("zsh")
def test_zsh_completes_overrides(path: str, tmp_path: Path) -> None:
    assert zsh("lossbench train +exp", path, tmp_path / "script") == ["-S", "", "--", "+experiment=", "--"]


@needs("zsh")
def test_where_nothing_is_known_zsh_completes_files(path: str, tmp_path: Path) -> None:
    assert zsh("lossbench train --config-dir ", path, tmp_path / "script") == ["files"]


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("lossbench tr", ["train"]),
        ("lossbench compl", ["completion"]),
        ("lossbench report --sp", ["--split", "--spread"]),
        ("lossbench report --split ", ["test", "val"]),
        ("lossbench curve r", ["reliability", "risk_coverage"]),
        ("lossbench plot tr", ["training"]),
        ("lossbench list mo", ["models"]),
        ("lossbench check foc", ["focal", "focal_tversky"]),
        ("lossbench check focal ga", ["gamma="]),
        ("lossbench train dataset=w", ["dataset=wine"]),
        ("lossbench train dataset=_", []),
        ("lossbench train --force loss=foc", ["loss=focal", "loss=focal_tversky"]),
        ("lossbench train loss=focal loss._", []),
        ("lossbench train loss=focal,flsd loss.ga", ["loss.gamma="]),
        ("lossbench train 'loss=foc", ["loss=focal", "loss=focal_tversky"]),
        ("lossbench train 'seed=range(3)' \"loss.epsilon=interval(0, 0.3)\" sched", ["schedule=", "schedule."]),
        ("lossbench train teacher.loss=bri", ["teacher.loss=brier"]),
        ("lossbench train loss=sum loss.first", ["loss.first.", "loss.first=", "loss.first_weight="]),
        ("lossbench train hydra/sweeper=o", ["hydra/sweeper=optuna"]),
        ("lossbench train hydra/sweeper=optuna hydra.sweeper.n_t", ["hydra.sweeper.n_trials="]),
        ("lossbench train epochs=", ["epochs=20"]),
        ("lossbench train loss=nothing loss.", []),
        ("lossbench train 'loss=[", []),
        ("lossbench nothing ", []),
        ("lossbench train --config-dir nowhere loss=", []),
    ],
)
def test_a_line_is_completed(line: str, candidates: list[str], lossbench: Lossbench) -> None:
    answer = lossbench("complete", "--", line)
    assert sorted(answer.stdout.split()) == sorted(candidates)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_runs_are_completed_from_the_results_that_are_named(lossbench: Lossbench, tmp_path: Path) -> None:
    for folder in ("results/runs/digits-a", "results/runs/digits-b.partial", "other/runs/wine-c"):
        (tmp_path / folder).mkdir(parents=True)
    assert lossbench("complete", "--", "lossbench show ").stdout.split() == ["digits-a"]
    assert lossbench("complete", "--", "lossbench diff --results-dir other wi").stdout.split() == ["wine-c"]


RUNS = (
    ("focal", {"gamma": 1.0, "class_weights": [1.0, 2.5]}, 0),
    ("focal", {"gamma": 2.5, "class_weights": [1.0, 2.5]}, 1),
    ("dice", {}, 0),
)


def write_runs(runs: Path) -> None:
    """What a report reads of three runs, of two losses and two seeds."""
    values = {"raw": {"nll": 1.0, "ece": 0.1}, "temperature_scaled": {"nll": 0.9, "ece": 0.0}}
    metrics = {"val": values, "test": values, "temperature": 1.0, "options": {}, "beside": {}, "schema": SCHEMA}
    for number, (loss, settings, seed) in enumerate(RUNS):
        config = {
            "dataset": {"name": "wine"},
            "model": {"name": "mlp"},
            "loss": {"name": loss, **settings},
            "seed": seed,
        }
        (runs / f"run-{number}").mkdir(parents=True)
        (runs / f"run-{number}/config.yaml").write_text(yaml.safe_dump({**config, "device": {"precision": "fp32"}}))
        (runs / f"run-{number}/metrics.json").write_text(json.dumps(metrics))
        (runs / f"run-{number}/environment.json").write_text("{}")


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("report --metrics ", ["nll", "ece"]),
        ("report --metrics nll,e", ["nll,ece"]),
        ("evaluate --metrics e", ["ece"]),
        ("report --select n", ["nll"]),
        ("report --ranks n", ["nll"]),
        ("report --calibration raw,t", ["raw,temperature_scaled"]),
        ("plot sweep --calibration r", ["raw"]),
        # What no two runs differ in is no filter, but for the three that everyone asks for.
        ("report --where ", ["dataset=", "model=", "loss=", "loss.gamma=", "seed="]),
        ("runs --where loss=", ["loss=focal", "loss=dice"]),
        ("report --where loss=focal,d", ["loss=focal,dice"]),
        ("report --baseline loss.gamma=", ["loss.gamma=1", "loss.gamma=2.5"]),
        ("report --where loss.nothing=", []),
        ("report --rows loss,s", ["loss,seed"]),
        ("report --sort e", ["ece"]),
        ("plot sweep --x loss.", ["loss.gamma"]),
        ("report --results-dir nowhere --where ", []),
        ("report --results-dir nowhere --metrics bri", ["brier_score"]),
        ("plot --title ", []),
    ],
)
def test_values_of_options_are_completed_by_what_there_is_in_the_runs(
    line: str, candidates: list[str], lossbench: Lossbench, tmp_path: Path
) -> None:
    write_runs(tmp_path / "results/runs")
    assert sorted(lossbench("complete", "--", f"lossbench {line}").stdout.split()) == sorted(candidates)


def test_recipes_are_completed(lossbench: Lossbench, tmp_path: Path) -> None:
    (tmp_path / "conf/experiment").mkdir(parents=True)
    claims = [{"says": "it is good", "metric": "accuracy", "of": "loss=focal", "above": 0.5}]
    recipe = {"recipe": {"source": "us", "claims": claims}}
    (tmp_path / "conf/experiment/my_own.yaml").write_text(yaml.safe_dump(recipe))
    assert lossbench("complete", "--", "lossbench reproduce --config-dir conf my_").stdout.split() == ["my_own"]


def test_the_kinds_of_figures_are_those_that_are_drawn() -> None:
    assert get_args(Kind) == tuple(KINDS)


def test_a_loss_of_ones_own_is_completed(lossbench: Lossbench, tmp_path: Path) -> None:
    (tmp_path / "conf/loss").mkdir(parents=True)
    (tmp_path / "conf/loss/my_own.yaml").write_text("_target_: lossbench.losses.brier\n")
    for before in ("train", "check"):
        word = {"train": "loss=my_", "check": "my_"}[before]
        line = f"lossbench {before} --config-dir conf {word}"
        assert lossbench("complete", "--", line).stdout.split() == [f"{word}own"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell: str, lossbench: Lossbench) -> None:
    assert lossbench("completion", shell).stdout == SCRIPTS[shell]


def test_a_tab_loads_neither_torch_nor_pandas_nor_scipy() -> None:
    for line in "train loss=focal loss.", "report --where ", "plot tr":
        assert not loaded_by(command("complete", "--", f"lossbench {line}"), "torch", "pandas", "scipy")
