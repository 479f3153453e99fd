"""A run's config key by key, and which of its settings tell it from other runs. Needs no pandas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lossbench.identity import HELD

GIVEN = ("dataset.name", "model.name", "loss.name")  # which the id of a run says
# Where things are and how they are held.
HOUSEKEEPING = {"results_dir", "checkpoint_seconds", *(f"dataset.{key}" for key in HELD)}
# What cannot change the numbers, and what the id or another key says already.
NEVER = {"seed", "teacher.id", *HOUSEKEEPING, *GIVEN}


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a config with dotted keys; lists as JSON."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value) if isinstance(value, list) else value


def nodes(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a config, and what is inside it, where it names a function: a loss, then the losses in it."""
    if "_target_" in config:
        yield config
    for value in config.values():
        if isinstance(value, Mapping):
            yield from nodes(value)


def counts(key: str) -> bool:
    """Whether a setting can change the numbers, apart from the seed."""
    aside = key.startswith("metrics.") or (key.startswith("device.") and key != "device.precision")
    return not aside and key not in NEVER


def told_apart(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each run the settings that tell it from those of the same data set, model and loss, beside the seed.

    Args:
        configs: as stored; empty for a run whose config cannot be read. A key that is missing, as in a run that is
            older than the setting, is not another value of it.

    Returns:
        The settings by the last word of their keys (`epsilon`), or by the whole key where two would be the same.
    """
    settings = [dict(flat(config)) for config in configs]
    groups: dict[tuple[Any, ...], dict[str, set[str]]] = {}
    for run in settings:
        values = groups.setdefault(tuple(map(run.get, GIVEN)), {})
        for key, value in run.items():
            if counts(key) and not key.endswith("_target_"):
                values.setdefault(key, set()).add(written(value))
    varying = [key for values in groups.values() for key, there in values.items() if len(there) > 1]
    names = short_names(varying)
    return [
        {names[key]: value for key, value in run.items() if len(groups[tuple(map(run.get, GIVEN))].get(key, ())) > 1}
        for run in settings
    ]


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return for each key the last word that says something, or the key itself where another has the same word.

    What is of a teacher says so.
    """
    whole = {key: key.removesuffix(".name") for key in keys}
    short = {key: name if name.startswith("teacher.") else name.rpartition(".")[2] for key, name in whole.items()}
    words = list(short.values())
    return {key: word if words.count(word) == 1 else whole[key] for key, word in short.items()}


def sentence(settings: Mapping[str, Any]) -> str:
    """Return `epsilon=0.1 learning_rate=0.05`."""
    return " ".join(f"{key}={written(value)}" for key, value in settings.items())


def written(value: Any) -> str:
    """Return a value as the command line writes it: 2.0 as 2."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)
