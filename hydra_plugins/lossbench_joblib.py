"""`hydra/launcher=joblib`; what it does is in lossbench.

Hydra's own plugin for joblib has a launcher of this name, too. It composes each run anew in the process that trains it,
which for a small model takes longer than the training.
"""

# No `from __future__ import annotations`: see lossbench_stacked.py.

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
class JoblibConf:
    """Settings, `hydra.launcher.…`."""

    _target_: str = "hydra_plugins.lossbench_joblib.JoblibLauncher"
    n_jobs: int = -1  # processes; -1: one per core


def store() -> None:
    """Make it known to Hydra, in place of what its own plugin stored if that is installed as well."""
    ConfigStore.instance().store(group="hydra/launcher", name="joblib", node=JoblibConf, provider="lossbench")


class JoblibLauncher(SweepLauncher):
    """Trains runs side by side, in processes of this machine."""

    def __init__(self, n_jobs: int) -> None:
        """Take the settings."""
        self.n_jobs = n_jobs

    def train(self, runs: "Sequence[tuple[Config, tuple[str, ...]]]", task: "Task") -> "list[Outcome]":
        """Train the runs."""
        from lossbench.launchers.side_by_side import train_sweep

        return train_sweep(runs, task, self.n_jobs)
