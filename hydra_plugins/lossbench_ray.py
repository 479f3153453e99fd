"""`hydra/launcher=ray`; what it does is in lossbench.

Hydra's own plugin for Ray has a launcher of this name, too. It gives Ray an `object_store_memory`, which an existing
cluster refuses, waits for all runs before it says anything of one, and depends on boto3 and on cloudpickle < 3.
"""

# No `from __future__ import annotations`: see lossbench_stacked.py.

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore

from hydra_plugins._lossbench import SweepLauncher

if TYPE_CHECKING:
    from lossbench.config import Config
    from lossbench.launchers.stacked import Task
    from lossbench.progress import Outcome


@dataclass
class RayConf:
    """Settings, `hydra.launcher.…`."""

    _target_: str = "hydra_plugins.lossbench_ray.RayLauncher"
    address: str | None = None  # null: a Ray of its own on this machine; auto: the cluster of this machine; host:6379
    num_cpus: float = 1  # of each run
    num_gpus: float | None = None  # 0.25: four runs share a GPU; null: 1 where there are GPUs and device allows
    max_retries: int = 3  # how often a run goes on elsewhere when its process or node is lost


def store() -> None:
    """Make it known to Hydra, in place of what its own plugin stored if that is installed as well."""
    ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayConf, provider="lossbench")


class RayLauncher(SweepLauncher):
    """Trains every run in a task of Ray."""

    def __init__(self, **settings: Any) -> None:
        """Take the settings."""
        self.settings = settings

    def check(self, runs: int, configs: "Sequence[Config]") -> None:
        """Connect to Ray, and refuse what it cannot give, before anything is written."""
        from lossbench.launchers.ray_cluster import Settings, connect, gpus_of

        settings = Settings(**self.settings)
        connect(settings)
        for config in configs:
            gpus_of(config, settings)

    def train(self, runs: "Sequence[tuple[Config, tuple[str, ...]]]", task: "Task") -> "list[Outcome]":
        """Train the runs."""
        from lossbench.launchers.ray import train_sweep
        from lossbench.launchers.ray_cluster import Settings

        return train_sweep(runs, task, Settings(**self.settings))
