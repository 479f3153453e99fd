"""The command that makes a run again, from its stored config: what differs from the configs that ship with lossbench.

The yaml files are read, never composed or instantiated: a results folder may be a stranger's.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lossbench.catalogue import conf_dir
from lossbench.errors import StoreError
from lossbench.identity import HELD, run_id, teacher_config
from lossbench.settings import nodes

GROUPS = ("dataset", "model", "loss", "optimizer", "schedule", "device")
VALUES = ("seed", "epochs", "batch_size", "keep", "results_dir")
TEACHER = ("model", "loss", "optimizer", "schedule", "epochs", "batch_size", "keep")
# Losses inside a loss that `loss.first=focal` chooses; deeper ones take Hydra's own `loss@loss.first.first=focal`.
NESTED = {f"{loss}.{part}" for loss in ("loss", "teacher.loss") for part in ("hard", "first", "second")}
OWN_MODEL = ("lossbench.losses.self_distillation",)  # its teacher is of the run's own model, which is not said twice
PLAIN = re.compile(r"[A-Za-z_][\w/.:+-]*")  # a word that Hydra reads as that word
MISSING: Any = object()


def command_of(config: Mapping[str, Any], seeds: Sequence[int] = ()) -> str:
    """Return what trains a run again, as a shell takes it: `lossbench train loss=focal loss.gamma=3 seed=1`.

    Args:
        config: a run's, as stored.
        seeds: of several runs that differ in the seed alone; none for the run's own.

    Raises:
        StoreError: if a student's says too little of its teacher.
    """
    words = overrides_of(config)
    if seeds:
        words = [word for word in words if not word.startswith("seed=")]
        words.append(f"seed={','.join(map(str, sorted(seeds)))}")
    return shlex.join(["lossbench", "train", *(["--config-dir", "FOLDER"] if own_configs(config) else []), *words])


def own_configs(config: Mapping[str, Any]) -> list[str]:
    """Return the choices of a run that no config of lossbench makes: `loss=squared`, which wants its `--config-dir`."""
    nodes = [(group, config[group], group) for group in GROUPS if isinstance(config.get(group), Mapping)]
    teacher = config["teacher"] if isinstance(config.get("teacher"), Mapping) else {}
    nodes += [
        (group, teacher[group], f"teacher.{group}") for group in TEACHER if isinstance(teacher.get(group), Mapping)
    ]
    found = [word for group, node, where in nodes for word in _own(group, node, where)]
    return list(dict.fromkeys(found))


def overrides_of(config: Mapping[str, Any]) -> list[str]:
    """Return the Hydra overrides that make a run, without what is as lossbench ships it.

    Args:
        config: a run's, as stored. What it lacks, being older than a setting, is left to the default.

    Raises:
        StoreError: if a student's says too little of its teacher.
    """
    defaults, choices = _read("config.yaml")
    words: list[str] = []
    for group in GROUPS:
        if isinstance(config.get(group), Mapping):
            words += _node(group, config[group], group, choices[group])
    if isinstance(config.get("teacher"), Mapping):
        words += _teacher(config)
    options = config["metrics"] if isinstance(config.get("metrics"), Mapping) else {}
    words += [
        f"metrics.{key}={in_hydras_grammar(v)}" for key, v in options.items() if v != defaults["metrics"].get(key)
    ]
    return words + [
        f"{key}={in_hydras_grammar(config[key])}"
        for key in VALUES
        if key in config and not _same(config[key], defaults[key])
    ]


def is_older(config: Mapping[str, Any]) -> bool:
    """Whether a run lacks settings that its command makes a run with today, which then has another id.

    Args:
        config: a run's, as stored.

    Raises:
        StoreError: if too much of it is missing to tell.
    """
    nodes = [(group, config[group]) for group in GROUPS if isinstance(config.get(group), Mapping)]
    lacking = len(nodes) < len(GROUPS) or any(key not in config for key in VALUES[:4])
    teacher = config.get("teacher")
    if isinstance(teacher, Mapping) and not _teacher_is_named(config):
        nodes += [(group, teacher[group]) for group in TEACHER[:4]]
        lacking = lacking or any(key not in teacher for key in TEACHER)
    return lacking or any(_lacks(group, node) for group, node in nodes)


def _lacks(group: str, node: Mapping[str, Any]) -> bool:
    """Whether a node of the config, or one inside it, lacks a setting that its yaml has and that makes an id."""
    choice = _choice(group, node)
    values, choices = _read(f"{group}/{choice}.yaml") if choice else ({}, {})
    of_the_id = {"precision"} if group == "device" else {*values} - {*HELD}
    inside = {key.removeprefix(f"/{group}@") for key in choices}
    return any(name not in node for name in of_the_id | inside) or any(
        _lacks(group, value) for value in node.values() if isinstance(value, Mapping) and "_target_" in value
    )


def _teacher(config: Mapping[str, Any]) -> list[str]:
    """By its settings where those make it; by its id where the run named one that they do not make."""
    if _teacher_is_named(config):
        return [f"teacher.id={in_hydras_grammar(config['teacher']['id'])}"]
    teacher = config["teacher"]
    own = config["dataset"].get("learn") == "new" or any(
        node["_target_"] in OWN_MODEL for node in nodes(config["loss"])
    )
    words = []
    for group, default in (("model", None), ("loss", "cross_entropy"), ("optimizer", None), ("schedule", None)):
        if group == "model" and own:
            continue
        name = config[group]["name"] if group in config else ""
        words += _node(group, teacher[group], f"teacher.{group}", default or _choice(group, config[group]) or name)
    return words + [
        f"teacher.{key}={in_hydras_grammar(teacher[key])}" for key in TEACHER[4:] if teacher[key] != config[key]
    ]


def _teacher_is_named(config: Mapping[str, Any]) -> bool:
    """Whether a student's teacher is another run than the settings stored of it make.

    Raises:
        StoreError: if the config has too little of it to tell.
    """
    nodes = [config.get(group) for group in GROUPS] + [config["teacher"].get(group) for group in TEACHER[:4]]
    whole = all(key in config["teacher"] for key in TEACHER)
    named = config["teacher"].get("id")
    if named is not None and not whole:
        return True
    whole = whole and all(key in config for key in VALUES[:4])
    if not (whole and all(isinstance(node, Mapping) and "name" in node for node in nodes)):
        raise StoreError("the config of a student lacks settings of its own or of its teacher")
    if named is None:
        return False
    teacher = {key: config["teacher"][key] for key in TEACHER}
    shared = {"metrics": None, "results_dir": None, **config, "teacher": teacher}
    shared["device"] = {"precision": None, **config["device"]}
    return bool(run_id(teacher_config(shared)) != named)


def _node(group: str, node: Mapping[str, Any], where: str, default: str) -> list[str]:
    """What chooses a node of the config and sets it."""
    choice = _choice(group, node)
    chosen = choice or str(node.get("name"))
    key = (
        where
        if "." not in where or where in NESTED or (where.count(".") == 1 and where.startswith("teacher."))
        else f"{group}@{where}"
    )
    words = [] if chosen == default else [f"{key}={in_hydras_grammar(chosen)}"]
    # Of a config that is not ours the defaults are not known: everything is said.
    values, choices = _read(f"{group}/{choice}.yaml") if choice else ({}, {})
    for name, value in node.items():
        place = f"{where}.{name}"
        if isinstance(value, Mapping) and "_target_" in value:
            words += _node(group, value, place, choices.get(f"/{group}@{name}", ""))
        elif choice is None:
            words += [] if name in ("_target_", "name") else [f"{place}={in_hydras_grammar(value)}"]
        elif name not in values:
            words += [] if name == "name" else [f"+{place}={in_hydras_grammar(value)}"]
        elif not _same(value, values[name]):
            words.append(f"{place}={in_hydras_grammar(value)}")
    return words


def _choice(group: str, node: Mapping[str, Any]) -> str | None:
    """The config of ours that makes a node, or None.

    By its name, mostly. Where the yaml itself has a `name` (model=torchvision, device=cuda), a run's may be another.
    """
    name, target = str(node.get("name")), node.get("_target_")
    ours = _ours(group)
    if name in ours and ours[name].get("_target_") == target:
        return name
    renamed = [stem for stem, values in ours.items() if "name" in values and values.get("_target_") == target]
    renamed.sort(key=lambda stem: stem != name.partition(":")[0])  # cuda:1 is of device=cuda
    return renamed[0] if renamed else name if name in ours else None


def _own(group: str, node: Mapping[str, Any], where: str) -> list[str]:
    own = [] if _choice(group, node) else [f"{where}={node.get('name')}"]
    inner = [
        (f"{where}.{name}", value) for name, value in node.items() if isinstance(value, Mapping) and "_target_" in value
    ]
    return own + [word for place, value in inner for word in _own(group, value, place)]


@functools.cache
def _ours(group: str) -> dict[str, dict[str, Any]]:
    stems = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml") if not path.name.startswith("_"))
    return {stem: _read(f"{group}/{stem}.yaml")[0] for stem in stems}


@functools.cache
def _read(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a config that ships with lossbench, those it builds on included, and the groups it chooses."""
    content = yaml.safe_load((conf_dir() / path).read_text(encoding="utf-8"))
    values: dict[str, Any] = {}
    choices: dict[str, str] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, Mapping):
            choices |= entry
        elif entry.startswith("_") and entry != "_self_":
            values |= _read(str(Path(path).with_name(f"{entry}.yaml")))[0]
    return {**values, **content}, choices


def _same(one: Any, other: Any) -> bool:
    """Python takes true for 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def in_hydras_grammar(value: Any) -> str:
    """A value in Hydra's override grammar."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{','.join(map(in_hydras_grammar, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{in_hydras_grammar(key)}:{in_hydras_grammar(item)}' for key, item in value.items())}}}"
    text = str(value)
    if not isinstance(value, str) or (
        PLAIN.fullmatch(text) and text.lower() not in ("true", "false", "null", "nan", "inf")
    ):
        return text
    # A quote within quotes takes a backslash, and so does a backslash before one; ${ would be looked up.
    quoted = re.sub(r"(\\*)(')", r"\1\1\\\2", text)
    quoted = re.sub(r"(\\+)$", r"\1\1", quoted).replace("${", "\\${")
    return f"'{quoted}'"
