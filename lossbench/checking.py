"""Hold a configuration against the functions it names: a signature is the schema of its part.

The only caller of `hydra.utils.instantiate`, which finds functions and refuses those on its blocklist.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from lossbench import given, metrics
from lossbench.catalogue import conf_dir, conf_dirs, targets
from lossbench.checksums import digest
from lossbench.config import GROUPS, Config, learns_new_classes
from lossbench.data.prepare import prepare
from lossbench.errors import ConfigError, did_you_mean
from lossbench.settings import nodes
from lossbench.signature import check as check_signature
from lossbench.signature import parameters
from lossbench.trackers import check_installed

# What a loss may ask the trainer for, beside logits and targets.
EXTRAS = ("teacher_logits", "sample_weights", "epoch")

# What the program passes itself, so that no config may.
_GIVEN = {
    "dataset": (),
    "model": ("input_shape", "num_classes"),
    "loss": ("logits", "targets", "num_classes", "class_counts", *EXTRAS),
    "optimizer": ("model",),
    "schedule": ("step", "total_steps"),
    "device": (),
    "tracker": (),
}
_RESERVED = ("_target_", "name")


def check(config: Config) -> Config:
    """Hold a configuration against the functions it names.

    Args:
        config: as `lossbench.config.resolve` returns it.

    Returns:
        The same; its teacher is None unless the loss wants one or the run goes on from one.

    Raises:
        ConfigError: for an unknown key, a wrong type, a value outside its domain or a function that is not there.
    """
    for group in GROUPS:
        _check_node(config[group], group, group)
    metrics.check_options(config["metrics"])
    for name, node in (config.get("tracker") or {}).items():
        _check_node(node, "tracker", f"tracker.{name}")
        make = target_of(node, f"tracker.{name}")
        check_installed(f"tracker={name}", name, getattr(make, "package", None))
        if refuse := getattr(make, "check", None):
            refuse(**values_of(node, make))
    if not (wants_teacher(config["loss"]) or learns_new_classes(config)):
        return {**config, "teacher": None}
    teacher = config["teacher"]
    if teacher is None:
        raise ConfigError(f"loss={config['loss']['name']} or dataset.learn wants a teacher; teacher is null")
    why = own_model_because(config)
    if why:
        if teacher["model"]["name"] != config["model"]["name"]:
            raise ConfigError(
                f"{why} has a teacher of its own model, {config['model']['name']}; "
                f"got teacher.model={teacher['model']['name']}"
            )
        _check_own_model(teacher["model"], config["model"], why)
        teacher = {**teacher, "model": config["model"]}
    if teacher["id"] is None:
        for group in ("model", "loss", "optimizer", "schedule"):
            _check_node(teacher[group], group, f"teacher.{group}")
        if wants_teacher(teacher["loss"]):
            raise ConfigError(
                f"teacher.loss={teacher['loss']['name']} wants a teacher of its own; "
                "train that run first and name it by teacher.id"
            )
        link = getattr(target_of(teacher["loss"], "teacher.loss"), "link", "softmax")
        if link != "softmax":
            raise ConfigError(
                f"teacher.loss={teacher['loss']['name']} is trained through {link}: "
                "its outputs are not logits of a softmax for a student to learn"
            )
    return {**config, "teacher": teacher}


def _check_own_model(teachers: Mapping[str, Any], own: Mapping[str, Any], why: str) -> None:
    """Refuse a setting of the teacher's model that would be dropped for the run's own.

    What nobody set has the value of the model's yaml. Of one that is not ours that value is not known here.
    """
    path = conf_dir() / "model" / f"{own['name']}.yaml"
    defaults = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else teachers
    for key, value in teachers.items():
        if key not in _RESERVED and value != own.get(key) and value != defaults.get(key):
            raise ConfigError(
                f"{why} has a teacher of its own model, settings and all: leave out teacher.model.{key}={value}"
            )


def check_stored(config: Mapping[str, Any], config_dir: Path | None) -> None:
    """Hold what a stored run's data, model and device are built by against the functions that its config names.

    A results folder may be a stranger's: what is called is what a yaml of ours names, or one of the user's own.

    Args:
        config: as it was stored.
        config_dir: a folder of the user's own configs.

    Raises:
        ConfigError: for a function that is none of them, and as `check` does.
    """
    folders = conf_dirs(config_dir)
    for group in ("dataset", "model", "device"):
        node = config.get(group)
        known = targets(group, folders)
        for inner in nodes(node) if isinstance(node, Mapping) else ():
            if str(inner["_target_"]) not in known:
                raise ConfigError(
                    f"its config names {group}._target_={inner['_target_']}, which no config of lossbench does; if it "
                    "is yours, --config-dir must name the folder whose yaml has it"
                )
        _check_node(node, group, group)


def _check_node(node: Any, group: str, where: str) -> None:
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(f"{where} must name a function by _target_; got {node!r}")
    function = target_of(node, where)
    values = values_of(node, function)
    if group == "dataset":
        own, split = split_dataset(values, function)
        unknown = [key for key in values if key not in own and key not in split]
        check_signature(function, {**own, **{key: values[key] for key in unknown}}, where)
        check_signature(prepare, split, where, given=("source", "seed"))
    else:
        check_signature(function, values, where, given=(*_GIVEN[group], *_positional(function, group)))
    for key, value in values.items():
        if isinstance(value, Mapping) and "_target_" in value:
            _check_node(value, group, f"{where}.{key}")


def _positional(function: Callable[..., Any], group: str) -> tuple[str, ...]:
    """A loss is called with logits and targets by position, whatever it calls them; a class is made first."""
    if group != "loss" or isinstance(function, type):
        return ()
    first = list(parameters(function).values())[:2]
    return tuple(parameter.name for parameter in first if parameter.kind is not parameter.KEYWORD_ONLY)


def target_of(node: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """The function that a node names, by way of Hydra and its list of what may not be called."""
    try:
        if not isinstance(node["_target_"], str):
            raise ConfigError("must be text: the path of a function, with dots")
        return _located(node["_target_"], _module(node["_target_"]))
    except InstantiationException as error:
        reason = f"cannot be used: {' '.join(_why(node['_target_'], error.__cause__ or error).split())}"
    except ConfigError as error:
        reason = str(error)
    raise ConfigError(f"{where}._target_={node['_target_']} {reason}")


def _why(target: str, error: BaseException) -> str:
    """Why a path leads to no function: where it ends, or what its module raised as it was imported."""
    raised = error.__cause__ if isinstance(error, ImportError) else None
    if raised is None:
        return "it is a module: name a function in it" if target in sys.modules else str(error)
    if not isinstance(raised, ModuleNotFoundError) or not f"{target}.".startswith(f"{raised.name}."):
        return f"importing it raises {type(raised).__name__}: {raised}"
    module, _, name = str(raised.name).rpartition(".")
    if not module:
        return f"no module '{name}' is installed, or in this folder"
    functions = [key for key, value in vars(sys.modules[module]).items() if callable(value) and key[0] != "_"]
    return f"{module} has no '{name}'{did_you_mean(name, functions)}"


def _module(target: str) -> object:
    """The module as it is loaded now: after it is loaded anew, its functions are others."""
    return sys.modules.get(target.rpartition(".")[0]) or object()


def forget_functions() -> None:
    """Look at every path anew: a module may have been loaded again, as notebooks do."""
    _located.cache_clear()


@functools.lru_cache(maxsize=1024)  # Hydra takes milliseconds, and every run of a sweep names the same few
def _located(target: str, module: object) -> Callable[..., Any]:
    with warnings.catch_warnings():
        # Hydra 1.4 asks for a list of what may be called, and has the same list of what may not be without one.
        warnings.filterwarnings("ignore", r"hydra\.utils\.instantiate\(\) resolved")
        partial: functools.partial[Any] = instantiate({"_target_": target, "_partial_": True})
    if partial.keywords or partial.args:
        raise ConfigError("is a functools.partial: name the function it calls")
    try:
        parameters(partial.func)
    except (TypeError, ValueError) as error:  # of some that are written in C
        raise ConfigError("says nothing of its parameters: wrap it in a function of your own") from error
    return partial.func


def sources(config: Config) -> dict[str, str]:
    """Return a hash of each file outside the libraries that a configuration's functions are written in.

    A function of the user's own is named by its path, not by what it does: what it was when a run was trained is on
    the run's record. So are the files that `model.weights` and `dataset.file` name, where they do and are there.
    """
    found: dict[str, str] = {}
    for node in nodes({group: config[group] for group in GROUPS}):
        function = target_of(node, "config")
        written = function if inspect.isroutine(function) or isinstance(function, type) else type(function)
        library = written.__module__.partition(".")[0] in ("lossbench", "torch", "torchvision")
        library = library or str(node["_target_"]).startswith(given.PREFIX)  # whose record goes with the comparison
        path = None if library else inspect.getsourcefile(written)
        if path is not None:
            found[str(node["_target_"])] = digest(Path(path))
    for group, key in (("model", "weights"), ("dataset", "file")):
        named = config[group].get(key)
        if isinstance(named, str) and Path(named).expanduser().is_file():
            found[f"{group}.{key}"] = digest(Path(named).expanduser())
    return found


def values_of(node: Mapping[str, Any], function: Callable[..., Any]) -> Config:
    """A node's hyperparameters. `name` is the choice that was made, unless the function has such a parameter."""
    named = "name" in parameters(function)
    return {key: value for key, value in node.items() if key not in _RESERVED or (key == "name" and named)}


def split_dataset(values: Config, function: Callable[..., Any]) -> tuple[Config, Config]:
    """What goes to the data set's own function, and what to `prepare`, which all data sets share."""
    own = {key: value for key, value in values.items() if key in parameters(function)}
    split = {key: value for key, value in values.items() if key in parameters(prepare) and key not in own}
    return own, split


def wants_teacher(node: Mapping[str, Any]) -> bool:
    """Whether a loss, or a loss inside it, declares `teacher_logits`."""
    inner = [value for value in node.values() if isinstance(value, Mapping) and "_target_" in value]
    return "teacher_logits" in parameters(target_of(node, "loss")) or any(wants_teacher(value) for value in inner)


def own_model_because(config: Config) -> str:
    """Say which setting makes a run's teacher one of the run's own model, or nothing where it may be any.

    A run that learns new classes goes on from its teacher's weights; a loss may ask for it by its attribute
    `teacher_model = "own"`.
    """
    if learns_new_classes(config):
        return "dataset.learn=new"
    of_the_loss = (getattr(target_of(node, "loss"), "teacher_model", "any") for node in nodes(config["loss"]))
    return f"loss={config['loss']['name']}" if "own" in of_the_loss else ""
