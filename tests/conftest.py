from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from lossbench import build, config
from lossbench.cli import main


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Lossbench = Callable[..., Answer]


def pytest_configure() -> None:
    # Small tensors: a second thread only waits for the first, and here also for whoever else uses the machine.
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))


@pytest.fixture
def lossbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Lossbench:
    """The command line, in an empty folder. In this process, which has paid for importing torch."""

    def call(*arguments: str) -> Answer:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["lossbench", *arguments])
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setenv("COLUMNS", "120")
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        stdout, stderr = capfd.readouterr()
        return Answer(int(caught.value.code or 0), stdout, stderr)

    return call


def compose(*overrides: str, config_dir: Path | None = None) -> config.Config:
    """One checked configuration."""
    (only,) = compose_all(*overrides, config_dir=config_dir)
    return only


def compose_all(*overrides: str, config_dir: Path | None = None) -> list[config.Config]:
    """The checked configurations of a sweep."""
    with config.session(config_dir) as hydra:
        runs = hydra.plan(config.translate(overrides)).runs
    assert runs is not None
    return [build.check(run) for run in runs]


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
