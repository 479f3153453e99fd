"""`hydra/launcher=stacked`. Hydra finds launchers in this namespace package alone; what it does is in lossbench."""

# No `from __future__ import annotations`: a dataclass would look them up in its module, which Hydra has not
# registered yet when it runs this.

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore

from hydra_plugins._lossbench import SweepLauncher

if TYPE_CHECKING:
    from lossbench.config import Config
    from lossbench.launchers.stacked import Task
    from lossbench.progress import Outcome

# How often a thread of GNU's OpenMP, with which torch comes on Linux, looks whether there is work before it sleeps. By
# default it is 300,000 times: where the machine also does something else, a thread that waits for another keeps it from
# running. A step of a stack is many small pieces of work, and takes times as long then (`scripts/bench/waiting.py`).
TURNS = 5000


@dataclass
class StackedConf:
    """Settings, `hydra.launcher.…`."""

    _target_: str = "hydra_plugins.lossbench_stacked.StackedLauncher"
    max_runs: int | None = None  # at once; null: as many as fit into memory


ConfigStore.instance().store(group="hydra/launcher", name="stacked", node=StackedConf, provider="lossbench")


class StackedLauncher(SweepLauncher):
    """Trains runs that differ in numbers alone as one model."""

    def __init__(self, max_runs: int | None) -> None:
        """Take the settings."""
        self.max_runs = max_runs

    def begin(self, runs: int) -> None:
        """Start the processes that measure beside this one, and have its own threads sleep soon while they wait."""
        from lossbench.launchers import measuring

        if "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault("GOMP_SPINCOUNT", str(TURNS))  # read when torch is imported
        measuring.begin(runs)

    def train(self, runs: "Sequence[tuple[Config, tuple[str, ...]]]", task: "Task") -> "list[Outcome]":
        """Train the runs."""
        from lossbench.launchers.stacked import train_sweep  # imports torch

        return train_sweep(runs, task, self.max_runs)
