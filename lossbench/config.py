"""Compose a configuration and expand a sweep.

The only file that touches Hydra's internals: its config loader, its override parser, its basic sweeper and
`multirun`, which Hydra keeps for `@hydra.main` and which work as well under a Typer command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, cast

from hydra import version as hydra_version
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf

from lossbench.catalogue import conf_dir
from lossbench.domains import AT_LEAST_ONE, NON_NEGATIVE
from lossbench.errors import ConfigError, did_you_mean
from lossbench.explain import explained
from lossbench.identity import Config as Config
from lossbench.identity import identity as identity
from lossbench.identity import learns_new_classes as learns_new_classes
from lossbench.identity import run_id as run_id
from lossbench.identity import teacher_config as teacher_config

GROUPS = ("dataset", "model", "loss", "optimizer", "schedule", "device")

# Group choices that live inside another node. Users write the key on the left, Hydra wants `group@key`.
_NESTED_GROUPS = {
    "teacher.model": "model",
    "teacher.loss": "loss",
    "teacher.optimizer": "optimizer",
    "teacher.schedule": "schedule",
    **{f"{loss}.{part}": "loss" for loss in ("loss", "teacher.loss") for part in ("hard", "first", "second")},
}


@dataclass
class TeacherSchema:
    """The run that a distilled student learns from."""

    model: Any = MISSING
    loss: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    id: str | None = None
    epochs: int = MISSING
    batch_size: int = MISSING
    keep: str = MISSING


@dataclass
class Schema:
    """The top of every configuration. What is inside a group is checked against the function it names."""

    dataset: Any = MISSING
    model: Any = MISSING
    loss: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    device: Any = MISSING
    teacher: TeacherSchema | None = MISSING
    seed: int = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    keep: str = MISSING
    results_dir: str = MISSING
    metrics: dict[str, Any] = MISSING


ConfigStore.instance().store(name="schema", node=Schema)


@dataclass(frozen=True)
class Session:
    """Hydra, set up with our configs and the user's own."""

    hydra: Hydra
    prefix: tuple[str, ...]  # overrides that every composition starts with

    def plan(self, overrides: Sequence[str]) -> Plan:
        """Compose every run of a sweep.

        Args:
            overrides: as the user typed them.

        Raises:
            ConfigError: if one cannot be read, a run does not compose, or there is none.
        """
        with explained():
            master = self.hydra.compose_config(
                config_name="config",
                overrides=self._translate(overrides),
                run_mode=RunMode.MULTIRUN,
                with_log_configuration=False,
            )
        in_process = str(master.hydra.launcher._target_).endswith(".BasicLauncher")
        if not master.hydra.sweeper._target_.endswith(".BasicSweeper"):
            return Plan(None, in_process)
        with explained():
            params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
            parsed = self._parse([*params, *master.hydra.overrides.task])
            (jobs,) = BasicSweeper.split_arguments(parsed, None)
            composed = [self.hydra.config_loader.load_sweep_config(master, list(job)) for job in jobs]
        if not composed:
            raise ConfigError("the sweep is empty: one of its overrides has no values")
        return Plan([resolve(config, config.hydra.runtime.choices) for config in composed], in_process)

    def multirun(self, overrides: Sequence[str], task: Task) -> list[Any]:
        """Hand every run to Hydra's sweeper and launcher, which call `task`, perhaps in another process.

        Returns:
            What the task returned for each run; empty where a sweeper keeps that to itself.
        """
        with explained():
            batches = self.hydra.multirun(
                "config", _Job(task), self._translate(overrides), with_log_configuration=False
            )
        return [job.return_value for batch in batches or [] for job in batch]

    def _translate(self, overrides: Sequence[str]) -> list[str]:
        """Put what a user types into Hydra's grammar.

        `teacher.loss=focal` becomes `loss@teacher.loss=focal`. Where a group is swept, `loss.gamma=3` beside
        `loss=focal,flsd` becomes a sweep of one value, so that it is applied to each loss of the sweep and not to
        the default one, which may have no such key.
        """
        with explained():
            parsed = self._parse(overrides)
        swept = {override.key_or_group for override in parsed if override.is_sweep_override()}
        return [*self.prefix, *(_translate(override, swept) for override in parsed)]

    def _parse(self, overrides: Sequence[str]) -> list[Override]:
        """The loader lets Hydra look up what `glob(*)` stands for."""
        return OverridesParser.create(config_loader=self.hydra.config_loader).parse_overrides(list(overrides))


@dataclass(frozen=True)
class Plan:
    """The runs that a request asks for."""

    runs: list[Config] | None  # None: a sweeper other than Hydra's basic one decides as it goes
    in_process: bool  # whether they are trained in this process, one after another


class Task(Protocol):
    """What is done for each run."""

    def __call__(self, config: Config, overrides: tuple[str, ...]) -> Any:
        """Train one run, given its resolved configuration and the overrides that made it."""


@dataclass(frozen=True)
class _Job:
    """A task as Hydra calls it. A class, not a closure, so that launchers can send it to another process."""

    task: Task

    def __call__(self, config: DictConfig) -> Any:
        _import_from_here()
        return self.task(resolve(config), tuple(HydraConfig.get().overrides.task))


@contextmanager
def session(config_dir: Path | None = None) -> Iterator[Session]:
    """Set Hydra up for one request.

    Args:
        config_dir: a folder of the user's own configs, searched after ours.

    Raises:
        ConfigError: if it is not there.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"--config-dir must name a folder; {config_dir} is not one")
    prefix = () if config_dir is None else (f"hydra.searchpath=['file://{config_dir.resolve()}']",)
    _import_from_here()
    hydra_version.setbase("1.3")
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("lossbench", create_config_search_path(str(conf_dir())))
    try:
        yield Session(hydra, prefix)
    finally:
        GlobalHydra.instance().clear()


def _import_from_here() -> None:
    """A function in the user's folder is importable, as it would be under `python -m`."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def _translate(override: Override, swept: set[str]) -> str:
    line, key = str(override.input_line), override.key_or_group
    if override.package is None and key in _NESTED_GROUPS:
        return line.replace(key, f"{_NESTED_GROUPS[key]}@{key}", 1)
    plain = not (override.is_sweep_override() or override.is_add() or override.is_force_add() or override.is_delete())
    if plain and any(key.startswith(f"{group}.") for group in swept):
        return f"{key}=choice({override.get_value_element_as_str()})"
    return line


def resolve(config: DictConfig, choices: Mapping[str, Any] | None = None) -> Config:
    """Turn a composed configuration into plain values, each group with the name it was chosen by.

    Args:
        config: what Hydra composed.
        choices: the choice of each group; within a job Hydra's own record of them.

    Raises:
        ConfigError: for an unknown key or a value of the wrong kind.
    """
    if choices is None:
        choices = HydraConfig.get().runtime.choices
    with explained():
        wanted = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        resolved = cast(Config, OmegaConf.to_container(wanted, resolve=True, throw_on_missing=True))
    known = [field.name for field in fields(Schema)]
    for key in resolved:
        if key not in known:
            raise ConfigError(f"no key '{key}'{did_you_mean(key, known)}")
    for group, choice in choices.items():
        node: Any = resolved
        for part in str(group).split("@")[-1].split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict) and "_target_" in node:
            node.setdefault("name", str(choice))
    for group in GROUPS:
        if not isinstance(resolved[group], dict) or not {"_target_", "name"} <= set(resolved[group]):
            raise ConfigError(f"{group} must be one of its choices, by name; got {choices.get(group)}")
    if not resolved["results_dir"]:
        raise ConfigError("results_dir must name a folder; it is empty")
    for where, values in (("", resolved), ("teacher.", resolved["teacher"] or {})):
        _check_values(values, where)
    return resolved


def _check_values(values: Mapping[str, Any], where: str) -> None:
    for key, domain in (("seed", NON_NEGATIVE), ("epochs", AT_LEAST_ONE), ("batch_size", AT_LEAST_ONE)):
        if key in values and values[key] not in domain:
            raise ConfigError(f"{where}{key} must lie in {domain}; got {values[key]}")
    if values.get("keep", "best") not in ("best", "last"):
        raise ConfigError(f"{where}keep must be best or last; got {values['keep']!r}")
