"""What makes two configurations the same run: its identity, and the id that is made of it. Needs no Hydra."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

Config = dict[str, Any]

# Settings of a data set that name the user's own files: what they hold may change.
OWN_DATA = ("folder", "file", "path")
# Settings of a data set that say where copies of it lie and how it is held: no number depends on them.
HELD = ("root", "streaming")

# What a teacher has of its student's settings, beside the data.
SHARED = ("device", "results_dir", "checkpoint_seconds", "seed", "metrics", "tracker")


def teacher_config(config: Mapping[str, Any]) -> Config:
    """Return the configuration of a student's teacher: a run on the student's data, split and device.

    The teacher of a run that learns new classes has learned the old ones.
    """
    teacher = {key: value for key, value in config["teacher"].items() if key != "id"}
    shared = {key: config[key] for key in SHARED if key in config}
    dataset = {**config["dataset"], "learn": "old"} if learns_new_classes(config) else config["dataset"]
    return {"dataset": dataset, **shared, **teacher, "teacher": None}


def learns_new_classes(config: Mapping[str, Any]) -> bool:
    """Whether a run goes on from a teacher that knows the old classes alone."""
    return bool(config["dataset"].get("learn") == "new")


def stored(config: Mapping[str, Any]) -> Config:
    """Return what of a configuration is kept with a run: all but who is shown it."""
    return {key: value for key, value in config.items() if key != "tracker"}


def stored_overrides(overrides: Iterable[str]) -> list[str]:
    """Return what of the overrides is kept with a run: all but those of trackers, whose URI may have a password."""
    return [word for word in overrides if not re.match(r"[+~]*tracker\b", word)]


def identity(config: Mapping[str, Any]) -> Config:
    """Return the part of a resolved configuration that can change the numbers.

    Left out: where copies of the data lie and how they are held (HELD), where results go, how they are measured and
    tracked, and all of the device but its precision. A teacher counts by its run id.
    """
    aside = ("results_dir", "metrics", "checkpoint_seconds", "device", "teacher")
    kept = {key: value for key, value in stored(config).items() if key not in aside}
    kept["dataset"] = {key: value for key, value in config["dataset"].items() if key not in HELD}
    kept["precision"] = config["device"]["precision"]
    kept["teacher"] = (config["teacher"] or {}).get("id")
    return kept


def run_id(config: Mapping[str, Any]) -> str:
    """Name a run: `<dataset>-<model>-<loss>-s<seed>-<hash8>`, the hash over its identity."""
    canonical = json.dumps(_canonical(identity(config)), sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    names = [re.sub(r"[^\w.]+", "_", str(config[group]["name"])) for group in ("dataset", "model", "loss")]
    return "-".join([*names, f"s{config['seed']}", digest])


def _canonical(value: Any) -> Any:
    """2 and 2.0 are the same temperature: whole floats are written as integers."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
