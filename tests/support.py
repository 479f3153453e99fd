"""What tests share beside fixtures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossbench import checking, config


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Lossbench = Callable[..., Answer]


def compose(*overrides: str, config_dir: Path | None = None) -> config.Config:
    """One checked configuration."""
    (only,) = compose_all(*overrides, config_dir=config_dir)
    return only


def compose_all(*overrides: str, config_dir: Path | None = None) -> list[config.Config]:
    """The checked configurations of a sweep."""
    with config.session(config_dir) as hydra:
        runs = hydra.plan(overrides).runs
    assert runs is not None
    return [checking.check(run) for run in runs]


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def tree(folder: Path) -> dict[str, str | bytes]:
    """All that is below a folder: what files hold, where links lead, and `else` for folders, pipes and the like."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else "else"
        for path in folder.rglob("*")
    }


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
