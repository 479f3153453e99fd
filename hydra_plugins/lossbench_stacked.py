"""`hydra/launcher=stacked`. Hydra finds launchers in this namespace package alone; what it does is in lossbench."""

# No `from __future__ import annotations`: a dataclass would look them up in its module, which Hydra has not
# registered yet when it runs this.

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore

from hydra_plugins._lossbench import SweepLauncher

if TYPE_CHECKING:
    from lossbench.config import Config
    from lossbench.launchers.stacked import Task
    from lossbench.progress import Outcome


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

    def train(self, runs: "Sequence[tuple[Config, tuple[str, ...]]]", task: "Task") -> "list[Outcome]":
        """Train the runs."""
        from lossbench.launchers.stacked import train_sweep  # imports torch

        return train_sweep(runs, task, self.max_runs)
