"""What our launchers have in common. Hydra looks for plugins in no module whose name begins with an underscore."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

if TYPE_CHECKING:
    from lossbench.config import Config, Job
    from lossbench.launchers.stacked import Task
    from lossbench.progress import Outcome


class SweepLauncher(Launcher):
    """Composes all runs, has them trained, and gives Hydra what came of each."""

    config: DictConfig
    context: HydraContext
    task_function: "Job"

    def setup(self, *, hydra_context: HydraContext, task_function: "Job", config: DictConfig) -> None:
        """Take what Hydra gives before it launches."""
        self.context, self.task_function, self.config = hydra_context, task_function, config

    def check(self, runs: int, configs: "Sequence[Config]") -> None:  # most have nothing to refuse
        """Refuse settings before anything is written.

        Args:
            runs: how many there will be at once.
            configs: those that are known beforehand, resolved.

        Raises:
            ConfigError: for what cannot be.
        """

    @abstractmethod
    def train(self, runs: "Sequence[tuple[Config, tuple[str, ...]]]", task: "Task") -> "list[Outcome]":
        """Train runs, each with the overrides that made it."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Train the runs."""
        from lossbench.config import returned

        job = self.task_function
        runs = [job.compose(overrides, self.context, self.config) for overrides in job_overrides]
        outcomes = self.train(runs, job.task)
        return [returned(overrides, outcome) for overrides, outcome in zip(job_overrides, outcomes, strict=True)]
