"""`hydra/launcher=submitit_slurm` and `submitit_local`; what they do is in lossbench.

Hydra's own plugin for submitit knows launchers of these names, too. It waits without end for a job that is killed where
Slurm keeps no accounts, gives up all others where it does, and checks nothing beforehand.
"""

# No `from __future__ import annotations`: see lossbench_stacked.py.

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from hydra_plugins._lossbench import SweepLauncher

if TYPE_CHECKING:
    from lossbench.config import Config
    from lossbench.launchers.stacked import Task
    from lossbench.progress import Outcome


@dataclass
class LocalConf:
    """Settings, `hydra.launcher.…`, of jobs that are processes of this machine: to try what Slurm would do."""

    _target_: str = "hydra_plugins.lossbench_submitit.SubmititLauncher"
    cluster: str = "local"
    folder: str = "${hydra.sweep.dir}/local"  # what jobs are given and give back, and their logs
    timeout_min: int = 600  # of a job; a run that takes longer goes on from its checkpoint in the next one
    max_num_timeout: int = 10  # such next ones, at most
    signal_delay_s: int = 120  # before the time limit: when a run is saved, and its job queued again
    array_parallelism: int = 2  # jobs at once
    runs_per_job: int = 1  # one after another: more where they are short, and a start of Python and torch is not
    gpus_per_node: int | None = None  # all jobs see the same


@dataclass
class SlurmConf(LocalConf):
    """Settings of jobs of Slurm, in arrays, by the names that submitit has for those of sbatch; null is Slurm's own."""

    cluster: str = "slurm"
    folder: str = "${hydra.sweep.dir}/slurm/%A"  # %A is the id of the whole array
    name: str = "lossbench"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    gres: str | None = None
    timeout_min: int = 60
    array_parallelism: int = 256
    cpus_per_task: int = 2
    mem_gb: int | None = None
    mem_per_cpu: str | None = None
    mem_per_gpu: str | None = None
    gpus_per_node: int | None = None  # of a job, which is one node
    setup: list[str] = field(default_factory=list)  # shell commands before lossbench
    # What sbatch takes and is not here: +hydra.launcher.additional_parameters.mail-user=…
    additional_parameters: dict[str, Any] = field(default_factory=lambda: {"requeue": True})


def store() -> None:
    """Make them known to Hydra, in place of what its own plugin stored if that is installed as well."""
    for name, node in (("submitit_local", LocalConf), ("submitit_slurm", SlurmConf)):
        ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="lossbench")


class SubmititLauncher(SweepLauncher):
    """Trains every run in a job of a cluster."""

    def __init__(self, cluster: str, **settings: Any) -> None:
        """Take the settings."""
        self.cluster = cluster
        self.settings = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in settings.items()
        }

    def check(self, runs: int, configs: "Sequence[Config]") -> None:
        """Refuse what the cluster would, before anything is written."""
        from lossbench.launchers import jobs

        jobs.check(self.cluster, self.settings, runs)

    def train(self, runs: "Sequence[tuple[Config, tuple[str, ...]]]", task: "Task") -> "list[Outcome]":
        """Train the runs."""
        from lossbench.launchers import jobs

        return jobs.train_sweep(runs, task, self.cluster, self.settings)
