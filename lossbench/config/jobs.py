"""What a sweep's runs are to Hydra's launchers, which may call them in other processes and on other machines."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from lossbench.config.schema import of_run, resolve
from lossbench.errors import ConfigError
from lossbench.explain import explained
from lossbench.identity import Config
from lossbench.search import Search

NAMES_A_SETTING = re.compile(r"\$\{(?!hydra\.)[^{}:]+\}")


@dataclass(frozen=True)
class Plan:
    """The runs that a request asks for."""

    runs: list[Config] | None  # None: a search, or a sweeper that is not ours, decides as it goes
    master: DictConfig  # what they have in common, with Hydra's own node
    in_process: bool  # whether they are trained in this process, one after another
    in_jobs: bool  # or in jobs of a cluster, teachers too
    jobs: Sequence[Sequence[str]] = ()  # the overrides of each run, as launchers take them
    typed: Sequence[tuple[str, ...]] = ()  # the same without Hydra's own
    workers: int = 1  # processes of this machine that train side by side
    samples: Sequence[Config] = ()  # of a search: points of it, to be checked before it begins
    search: Search | None = None


class Task(Protocol):
    """What is done for each run."""

    def __call__(self, config: Config, overrides: tuple[str, ...], turn: int) -> Any:
        """Train one run, given its resolved configuration, the overrides that made it and its place in the sweep."""


@dataclass(frozen=True)
class Job:
    """A task as Hydra calls it. A class, not a closure, so that launchers can send it to another process."""

    task: Task
    planned: Mapping[tuple[str, ...], tuple[Config, tuple[str, ...]]] = field(default_factory=dict)  # by overrides

    def __call__(self, config: DictConfig) -> Any:
        """Do it for one job, in the process that the launcher calls it in."""
        import_from_here()
        job = HydraConfig.get()
        return self.task(resolve(of_run(config)), tuple(unresolved(job.overrides.task)), job.job.num)

    def compose(
        self, overrides: Sequence[str], context: HydraContext, master: DictConfig
    ) -> tuple[Config, tuple[str, ...]]:
        """Return the configuration of one job of a launcher of our own, unless it was planned composing it now."""
        if tuple(overrides) in self.planned:
            return self.planned[tuple(overrides)]
        with explained():
            composed = context.config_loader.load_sweep_config(master, list(overrides))
        typed = tuple(unresolved(composed.hydra.overrides.task))
        return resolve(of_run(composed), composed.hydra.runtime.choices), typed


def unresolved(node: Any) -> Any:
    """Return a list or mapping of Hydra's own node, of words that a sweep or a run was asked for with.

    What names a setting, such as `${loss.epsilon}`, stays, since each run has its own. What does not, such as
    `${now:%H%M}` or `${hydra.runtime.cwd}`, is one and the same for all runs.
    """
    raw: Any = OmegaConf.to_container(node, resolve=False)

    def word(key: Any) -> Any:
        return raw[key] if NAMES_A_SETTING.search(str(raw[key])) else node[key]

    return {key: word(key) for key in raw} if isinstance(raw, dict) else [word(i) for i in range(len(raw))]


def returned(overrides: Sequence[str], value: Any) -> JobReturn:
    """Pack what came of one job for Hydra."""
    packed = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    packed.return_value = value
    return packed


def workers(asked: int, runs: int) -> int:
    """How many processes train side by side.

    Args:
        asked: `hydra.launcher.n_jobs`; -1 is one per core.
        runs: that there are; each needs one process at most.

    Raises:
        ConfigError: if none is asked for.
    """
    if asked == 1:
        return 1
    if asked < 1 and asked != -1:
        raise ConfigError(f"hydra.launcher.n_jobs must be a number of processes, or -1 for one per core; got {asked}")
    from joblib import effective_n_jobs

    return min(int(effective_n_jobs(asked)), runs)


def import_from_here() -> None:
    """A function in the user's folder is importable, as it would be under `python -m`."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
