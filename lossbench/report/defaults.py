"""What a run's settings are where nobody says otherwise, read from the configs that ship with lossbench."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lossbench.catalogue import conf_dir
from lossbench.report.selection import Value

GROUPS = ("dataset", "model", "optimizer", "schedule")
VALUES = ("epochs", "batch_size", "keep")


def other_than_default(config: Mapping[str, Value]) -> dict[str, Value]:
    """Return the settings of data set, model, optimizer, schedule and training that somebody chose.

    Args:
        config: a row's, with dotted keys. A choice that no yaml of ours names has no defaults to compare with.
    """
    defaults = {key: value for key, value in _flat(_read(conf_dir() / "config.yaml")) if key in VALUES}
    for group in GROUPS:
        path = conf_dir() / group / f"{config.get(f'{group}.name')}.yaml"
        shared = _flat(_read(path.with_name("_split.yaml")), f"{group}.") if group == "dataset" else ()
        defaults.update({**dict(shared), **dict(_flat(_read(path), f"{group}."))} if path.is_file() else {})
    return {
        key: value
        for key, value in config.items()
        if key in defaults and value is not None and value != defaults[key] and not key.endswith("_target_")
    }


@functools.cache
def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif not (isinstance(value, str) and "${" in value):  # said by another setting
            yield prefix + key, json.dumps(value) if isinstance(value, list) else value
