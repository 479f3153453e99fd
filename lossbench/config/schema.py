"""What a configuration must hold, and what Hydra composed as plain values."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf, flag_override

from lossbench.catalogue import RECIPE
from lossbench.domains import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE
from lossbench.errors import ConfigError, check_names
from lossbench.explain import explained
from lossbench.identity import Config
from lossbench.record import check_plain

GROUPS = ("dataset", "model", "loss", "optimizer", "schedule", "device")
VALUES = ("seed", "epochs", "batch_size", "keep", "results_dir", "checkpoint_seconds")


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
    checkpoint_seconds: float | None = None
    metrics: dict[str, Any] = MISSING
    tracker: dict[str, Any] = field(default_factory=dict)
    recipe: Any = None  # of an experiment: what is claimed of it, which is no part of any run


ConfigStore.instance().store(name="schema", node=Schema)


def of_run(config: DictConfig) -> DictConfig:
    """Copy a composed configuration without what is no part of the run: Hydra's own settings and a recipe."""
    run = copy.deepcopy(config)  # which keeps the kind of each value, as `masked_copy` does not
    with flag_override(run, ["struct", "readonly"], False):
        for key in {"hydra", RECIPE}.intersection(run):
            del run[key]
    return run


def resolve(config: DictConfig, choices: Mapping[str, Any] | None = None, overrides: Sequence[str] = ()) -> Config:
    """Turn the configuration of a run into plain values, each group with the name it was chosen by.

    Args:
        config: what `of_run` returns.
        choices: the choice of each group; within a job Hydra's own record of them.
        overrides: as the user typed them, for messages.

    Raises:
        ConfigError: for an unknown key or a value of the wrong kind.
    """
    if choices is None:
        choices = HydraConfig.get().runtime.choices
    known = [field.name for field in fields(Schema) if field.name != RECIPE]
    for key in known:
        if key not in list(config.keys()) or OmegaConf.is_missing(config, key):
            raise ConfigError(f"{key} must be given")
    with explained(overrides):
        resolved = cast(Config, OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    try:
        check_plain(resolved)  # what is trained must be possible to read again
    except ValueError as error:
        raise ConfigError(f"the configuration holds {error}") from error
    check_names("no key", resolved, known)
    for group, choice in choices.items():
        node: Any = resolved
        for part in str(group).split("@")[-1].split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict) and "_target_" in node:
            node.setdefault("name", str(choice))
            if str(choice).endswith(".yaml"):  # Hydra takes it for the same choice: one run would have two names
                raise ConfigError(f"{group}={choice} must be named without its ending: {str(choice)[:-5]}")
    for group in GROUPS:
        if not isinstance(resolved[group], dict) or not {"_target_", "name"} <= set(resolved[group]):
            raise ConfigError(f"{group} must be one of its choices, by name; got {choices.get(group)}")
        name = resolved[group]["name"]
        if group != "device" and not (isinstance(name, str) and re.fullmatch(r"\w[\w./-]{0,99}", name)):
            raise ConfigError(f"{group}.name must be a word of letters, digits and . _ - /; got {name!r}")
    if not resolved["results_dir"].strip():
        raise ConfigError("results_dir must name a folder; it is empty")
    if (every := resolved["checkpoint_seconds"]) is not None and every not in POSITIVE:
        raise ConfigError(f"checkpoint_seconds must lie in {POSITIVE}, or be null; got {every}")
    for where, values in (("", resolved), ("teacher.", resolved["teacher"] or {})):
        _check_values(values, where)
    return resolved


def _check_values(values: Mapping[str, Any], where: str) -> None:
    for key, domain in (("seed", NON_NEGATIVE), ("epochs", AT_LEAST_ONE), ("batch_size", AT_LEAST_ONE)):
        if key in values and values[key] not in domain:
            raise ConfigError(f"{where}{key} must lie in {domain}; got {values[key]}")
    if values.get("keep", "best") not in ("best", "last"):
        raise ConfigError(f"{where}keep must be best or last; got {values['keep']!r}")
