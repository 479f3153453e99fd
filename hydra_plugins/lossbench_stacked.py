"""`hydra/launcher=stacked`. Hydra finds launchers in this namespace package alone; what it does is in lossbench."""

# No `from __future__ import annotations`: a dataclass would look them up in its module, which Hydra has not
# registered yet when it runs this.

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

if TYPE_CHECKING:
    from lossbench.config import Job


@dataclass
class StackedConf:
    """Settings, `hydra.launcher.…`."""

    _target_: str = "hydra_plugins.lossbench_stacked.StackedLauncher"
    max_runs: int | None = None  # at once; null: as many as fit into memory


ConfigStore.instance().store(group="hydra/launcher", name="stacked", node=StackedConf, provider="lossbench")


class StackedLauncher(Launcher):
    """Trains runs that differ in numbers alone as one model."""

    config: DictConfig
    context: HydraContext
    task_function: "Job"

    def __init__(self, max_runs: int | None) -> None:
        """Take the settings."""
        self.max_runs = max_runs

    def setup(self, *, hydra_context: HydraContext, task_function: "Job", config: DictConfig) -> None:
        """Take what Hydra gives before it launches."""
        self.context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train the runs."""
        from lossbench.config import returned
        from lossbench.launchers.stacked import train_sweep  # imports torch

        job = self.task_function
        runs = [job.compose(overrides, self.context, self.config) for overrides in job_overrides]
        outcomes = train_sweep(runs, job.task, self.max_runs)
        return [returned(overrides, outcome) for overrides, outcome in zip(job_overrides, outcomes, strict=True)]
