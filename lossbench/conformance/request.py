"""From what a user typed to the losses that are meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossbench import checking, config
from lossbench.conformance.subject import Subject


def subjects(loss: str, overrides: Sequence[str], config_dir: Path | None = None) -> list[tuple[str, Subject]]:
    """Find a loss by its name or its path.

    Args:
        loss: a name in conf/loss or in the user's own configs, or a dotted path such as `my_package.my_loss`.
        overrides: hyperparameters in Hydra's grammar, with or without `loss.` before them; several values make
            several losses.
        config_dir: a folder of the user's own configs.

    Returns:
        Each loss with a title: its name and its hyperparameters.

    Raises:
        ConfigError: if there is no such loss, or a hyperparameter is wrong.
    """
    has_config = "." not in loss
    chosen = [f"loss={loss}"] if has_config else ["~loss", f"+loss._target_={loss}", f"+loss.name={loss}"]
    settings = [_of_the_loss(override, "" if has_config else "+") for override in overrides]
    with config.session(config_dir) as hydra:
        runs = hydra.plan([*chosen, *settings]).runs or []
    nodes = [checking.check(run)["loss"] for run in runs]
    return [(_title(node), Subject.of_node(node)) for node in nodes]


def _of_the_loss(override: str, mark: str) -> str:
    """`epsilon=0.3` and `loss.epsilon=0.3` both mean `loss.epsilon=0.3`; a loss without a yaml has each key added."""
    return re.sub(r"^([+~]*)(?:loss\.)?", lambda match: f"{match[1] or mark}loss.", override)


def _title(node: config.Config) -> str:
    settings = {key: value for key, value in node.items() if key not in ("_target_", "name")}
    named = {key: value["name"] if _is_loss(value) else value for key, value in settings.items()}
    return " ".join([node["name"], *(f"{key}={value}" for key, value in named.items() if "_target_" not in str(value))])


def _is_loss(value: Any) -> bool:
    return isinstance(value, dict) and "name" in value
