"""Where runs are looked at beside `lossbench report`: one file for each tracker, which imports its package itself.

A tracker of one's own is a class with these methods and a yaml below `tracker/` in a `--config-dir`. Two names are
looked up in the class before any training, where it has them: `package`, the one that it imports, and `check`, a static
method that takes what `__init__` does and raises a ConfigError for what cannot work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from lossbench.errors import ConfigError
from lossbench.folders import obstacle
from lossbench.settings import HOUSEKEEPING, flat

PLACES = {"tensorboard": "directory", "mlflow": "uri"}  # the setting of each of ours that says where it writes
CURVES = "training"  # what stands before the name of a column of history.csv


@dataclass(frozen=True)
class Run:
    """What a tracker is told of a run before it trains."""

    run_id: str
    config: Mapping[str, Any]  # resolved, as it is stored
    overrides: Sequence[str]  # what the user typed for it, but for those of trackers
    finished_at: str | None = None  # ISO 8601; None of a run that trains
    results: Callable[[], str] = str  # gives the id of the results folder: others have runs of the same id

    def settings(self) -> dict[str, str | float | bool]:
        """Return the config with dotted keys, without what says where things are and how they are held."""
        return {
            key: "null" if value is None else value
            for key, value in flat(self.config)
            if key not in HOUSEKEEPING and not key.endswith("_target_")
        }


@dataclass(frozen=True)
class Result:
    """What a tracker is told of a run that is finished."""

    metrics: Mapping[str, float]  # `test/raw/accuracy`; what is not defined is left out
    facts: Mapping[str, str]  # versions, device, fingerprints and the like
    config: str  # config.yaml
    reliability: bytes  # the reliability diagram of the test split, a PNG
    finished_at: str  # ISO 8601


class Tracker(Protocol):
    """Shows one run at a time. What it raises stops no training."""

    def begin(self, run: Run, history: Sequence[Mapping[str, float]], ended: float) -> None:
        """Begin with a run, or go on with it.

        Args:
            run: which.
            history: of the epochs done before. Without any, whatever was shown under its id before is of another
                training, and goes; with some, the same tracker run goes on, and no epoch is shown twice.
            ended: when the last of these epochs did, seconds since 1970.
        """

    def epoch(self, row: Mapping[str, float]) -> None:
        """Show an epoch that ended just now: a row of history.csv."""

    def finish(self, result: Result) -> None:
        """Show what the run gave. That may be known already: it is not shown twice."""

    def stop(self, *, failed: bool) -> None:
        """Leave a run that failed, or was interrupted and may go on."""


def check_installed(asked: str, extra: str, package: str | None) -> None:
    """Hold what was asked for against what is installed.

    Args:
        asked: what the user typed, such as `tracker=mlflow`.
        extra: of ours, that installs it.
        package: that it imports; None where that is not known.

    Raises:
        ConfigError: if that is not there.
    """
    if package is not None and find_spec(package) is None:
        raise ConfigError(f"{asked} needs a package that is not installed: pip install 'lossbench[{extra}]'")


def check_folder(key: str, folder: Path) -> None:
    """Hold a folder that a tracker writes into against what is there.

    Raises:
        ConfigError: if it cannot be written to, or made.
    """
    if there := obstacle(folder):
        raise ConfigError(f"{key} must be in a folder to write to; {there} is not one")


def without_login(text: str) -> str:
    """Return text without what a URI has before its host and after its path: a password may stand in either."""
    text = re.sub(r"(?<!sqlite)://\S*@", "://", text)
    return re.sub(r"(://[^\s?]*)\?[^\s'\")]*", r"\1", text)


def curve(row: Mapping[str, float]) -> dict[str, float]:
    """Return the points of an epoch by their names: `training/val_loss`."""
    return {f"{CURVES}/{name}": value for name, value in row.items() if name != "epoch"}


def timed(history: Sequence[Mapping[str, float]], ended: float) -> Iterator[tuple[Mapping[str, float], float]]:
    """Yield each epoch and when it ended, seconds since 1970, as if there had been no interruption.

    Args:
        history: rows of history.csv.
        ended: when the last one did.
    """
    total = list(accumulate(row["seconds"] for row in history))
    yield from ((row, ended - total[-1] + passed) for row, passed in zip(history, total, strict=True))
