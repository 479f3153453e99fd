"""Turn a configuration into objects. The only caller of `hydra.utils.instantiate`."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor, nn

from lossbench import links
from lossbench.config import Config, learns_new_classes
from lossbench.data.dataset import Dataset, Source
from lossbench.data.prepare import prepare
from lossbench.device import Device
from lossbench.errors import ConfigError
from lossbench.losses import weights
from lossbench.models.normalised import Normalised
from lossbench.randomness import stream
from lossbench.signature import check as check_signature
from lossbench.signature import parameters, takes_any

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
}
_RESERVED = ("_target_", "name")


@dataclass(frozen=True)
class Loss:
    """A loss with its hyperparameters bound, what it wants beside logits and targets, and its link."""

    function: Callable[..., Tensor]  # or a module, where the loss learns something as it goes
    extras: tuple[str, ...]
    link: Config  # {"name": "softmax", "temperature": 2.0}: a function of lossbench.links and its arguments

    def begin_epoch(self) -> None:
        """Let a loss with a state note what it sees."""
        if isinstance(self.function, nn.Module):
            self.function.train()

    def end_epoch(self) -> None:
        """Let a loss with a state take in what it noted."""
        if isinstance(self.function, nn.Module):
            if hasattr(self.function, "end_epoch"):
                self.function.end_epoch()  # type: ignore[operator]
            self.function.eval()

    @property
    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must keep of it."""
        return self.function.state_dict() if isinstance(self.function, nn.Module) else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        if isinstance(self.function, nn.Module):
            self.function.load_state_dict(state)


@dataclass(frozen=True)
class Experiment:
    """All that one training needs."""

    dataset: Dataset
    model: nn.Module  # inputs as the data set holds them → logits
    network: nn.Module  # the same without the normalisation of the inputs
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int, int], float]
    device: Device


def check(config: Config) -> Config:
    """Hold a configuration against the functions it names.

    Args:
        config: as `lossbench.config.resolve` returns it.

    Returns:
        The same; its teacher is None unless the loss wants one or the run goes on from one.

    Raises:
        ConfigError: for an unknown key, a wrong type, a value outside its domain or a function that is not there.
    """
    for group in _GIVEN:
        _check_node(config[group], group, group)
    if not (wants_teacher(config["loss"]) or learns_new_classes(config)):
        return {**config, "teacher": None}
    teacher = config["teacher"]
    why = own_model_because(config)
    if why:
        if teacher["model"]["name"] != config["model"]["name"]:
            raise ConfigError(
                f"{why} has a teacher of its own model, {config['model']['name']}; "
                f"got teacher.model={teacher['model']['name']}"
            )
        teacher = {**teacher, "model": config["model"]}
    if teacher["id"] is None:
        for group in ("model", "loss", "optimizer", "schedule"):
            _check_node(teacher[group], group, f"teacher.{group}")
        if wants_teacher(teacher["loss"]):
            raise ConfigError(
                f"teacher.loss={teacher['loss']['name']} wants a teacher of its own; "
                "train that run first and name it by teacher.id"
            )
        link = getattr(_target(teacher["loss"], "teacher.loss"), "link", "softmax")
        if link != "softmax":
            raise ConfigError(
                f"teacher.loss={teacher['loss']['name']} is trained through {link}: "
                "its outputs are not logits of a softmax for a student to learn"
            )
    return {**config, "teacher": teacher}


def _check_node(node: Any, group: str, where: str) -> None:
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(f"{where} must name a function by _target_; got {node!r}")
    function = _target(node, where)
    values = _values(node, function)
    if group == "dataset":
        own, split = _split_dataset(values, function)
        unknown = [key for key in values if key not in own and key not in split]
        check_signature(function, {**own, **{key: values[key] for key in unknown}}, where)
        check_signature(prepare, split, where, given=("source", "seed"))
    else:
        check_signature(function, values, where, given=_GIVEN[group])
    for key, value in values.items():
        if isinstance(value, Mapping) and "_target_" in value:
            _check_node(value, group, f"{where}.{key}")


def _target(node: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """The function that a node names, by way of Hydra and its list of what may not be called."""
    try:
        partial: functools.partial[Any] = instantiate({"_target_": node["_target_"], "_partial_": True})
    except InstantiationException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigError(f"{where}._target_={node['_target_']} cannot be used: {reason}") from error
    if partial.keywords or partial.args:
        raise ConfigError(f"{where}._target_={node['_target_']} is a functools.partial: name the function it calls")
    return partial.func


def sources(config: Config) -> dict[str, str]:
    """Return a hash of each file outside the libraries that a configuration's functions are written in.

    A function of the user's own is named by its path, not by what it does: what it was when a run was trained is on
    the run's record.
    """
    found: dict[str, str] = {}
    for node in _nodes({group: config[group] for group in _GIVEN}):
        function = _target(node, "config")
        written = function if inspect.isroutine(function) or isinstance(function, type) else type(function)
        library = written.__module__.partition(".")[0] in ("lossbench", "torch", "torchvision")
        path = None if library else inspect.getsourcefile(written)
        if path is not None:
            found[str(node["_target_"])] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return found


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "_target_" in node:
        yield node
    for value in node.values():
        if isinstance(value, Mapping):
            yield from _nodes(value)


def _values(node: Mapping[str, Any], function: Callable[..., Any]) -> Config:
    """A node's hyperparameters. `name` is the choice that was made, unless the function has such a parameter."""
    named = "name" in parameters(function)
    return {key: value for key, value in node.items() if key not in _RESERVED or (key == "name" and named)}


def _split_dataset(values: Config, function: Callable[..., Any]) -> tuple[Config, Config]:
    """What goes to the data set's own function, and what to `prepare`, which all data sets share."""
    own = {key: value for key, value in values.items() if key in parameters(function)}
    split = {key: value for key, value in values.items() if key in parameters(prepare) and key not in own}
    return own, split


def wants_teacher(node: Mapping[str, Any]) -> bool:
    """Whether a loss, or a loss inside it, declares `teacher_logits`."""
    inner = [value for value in node.values() if isinstance(value, Mapping) and "_target_" in value]
    return "teacher_logits" in parameters(_target(node, "loss")) or any(wants_teacher(value) for value in inner)


def own_model_because(config: Config) -> str:
    """Say which setting makes a run's teacher one of the run's own model, or nothing where it may be any.

    A run that learns new classes goes on from its teacher's weights; a loss may ask for it by its attribute
    `teacher_model = "own"`.
    """
    if learns_new_classes(config):
        return "dataset.learn=new"
    of_the_loss = (getattr(_target(node, "loss"), "teacher_model", "any") for node in _nodes(config["loss"]))
    return f"loss={config['loss']['name']}" if "own" in of_the_loss else ""


def build(config: Config) -> Experiment:
    """Build what one training needs.

    Args:
        config: a configuration that `check` has passed.

    Raises:
        RequestError: if the parts do not fit together or the data are not there.
    """
    device = build_device(config)
    dataset = build_dataset(config).to(device.name)
    loss = build_loss(config["loss"], dataset)
    network = _build_network(config["model"], dataset, config["seed"])
    optimizer = _bind(config["optimizer"], "optimizer")(network)
    schedule = _bind(config["schedule"], "schedule")
    return Experiment(dataset, _normalised(network, dataset, device), network, loss, optimizer, schedule, device)


def build_device(config: Config) -> Device:
    """Find the device of a configuration."""
    device: Device = _bind(config["device"], "device")()
    return device


def build_dataset(config: Config) -> Dataset:
    """Load a configuration's data and split them by its seed."""
    return _prepared(json.dumps(config["dataset"], sort_keys=True), config["seed"])


def forget_data() -> None:
    """Drop the data kept from earlier requests: files may have changed since."""
    _source.cache_clear()
    _prepared.cache_clear()


# A sweep trains on the same data again and again: what was read last is kept, and the last few splits of it.
@functools.lru_cache(maxsize=1)
def _source(node: str) -> Source:
    function = _target(json.loads(node), "dataset")
    source: Source = function(**json.loads(node)["own"])
    return source


@functools.lru_cache(maxsize=4)
def _prepared(node: str, seed: int) -> Dataset:
    settings = json.loads(node)
    function = _target(settings, "dataset")
    own, split = _split_dataset(_values(settings, function), function)
    source = _source(json.dumps({"_target_": settings["_target_"], "own": own}, sort_keys=True))
    return prepare(source, seed=seed, **split)


def build_model(config: Config, dataset: Dataset, device: Device) -> nn.Module:
    """Build a configuration's model with the initial weights of its seed."""
    network = _build_network(config["model"], dataset, config["seed"])
    return _normalised(network, dataset, device)


def _normalised(network: nn.Module, dataset: Dataset, device: Device) -> nn.Module:
    model = Normalised(network, dataset.mean, dataset.scale, channels_last=device.channels_last)
    return model.to(device.name)


def _build_network(node: Mapping[str, Any], dataset: Dataset, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "init"))
        network: nn.Module = _bind(node, "model")(dataset.input_shape, dataset.num_classes)
    return network


def build_loss(node: Mapping[str, Any], dataset: Dataset) -> Loss:
    """Bind a loss's hyperparameters, with what its names mean on this training split.

    Args:
        node: the config of the loss.
        dataset: its class counts are what `class_weights=inverse` and `prior=train` are resolved from.

    Raises:
        ConfigError: if a list has the wrong length.
        DataError: if a class that must have examples has none.
    """
    function = _target(node, "loss")
    values = _values(node, function)
    inner: list[Loss] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and "_target_" in value:
            inner.append(build_loss(value, dataset))
            values[key] = inner[-1].function
            _check_inner(inner[-1], value, f"{node.get('name')}.{key}")
            if set(inner[-1].extras) & {"teacher_logits"} and not takes_any(function):
                raise ConfigError(
                    f"loss.{key}={value.get('name')} wants a teacher, which {node.get('name')} keeps to itself"
                )
    if "class_weights" in values:
        values["class_weights"] = _class_weights(values["class_weights"], dataset)
    if "prior" in values:
        values["prior"] = _prior(values["prior"], dataset)
    known = parameters(function)
    if "class_counts" in known:
        values["class_counts"] = dataset.class_counts
    if "num_classes" in known:
        values["num_classes"] = dataset.num_classes
    link = getattr(function, "link", None)
    arguments = parameters(getattr(links, link)) if link else {}
    if isinstance(function, type):
        if not issubclass(function, nn.Module):
            raise ConfigError(
                f"loss={node.get('name')} must be a function or a torch.nn.Module; got {function.__name__}"
            )
        bound: Callable[..., Tensor] = function(**values).to(dataset.train.targets.device)
        known = parameters(function.forward)
    else:
        bound = functools.partial(function, **values)
    declared = {*known, *_handed_on(inner)} if takes_any(function) else known
    return Loss(
        bound,
        tuple(name for name in EXTRAS if name in declared),
        {"name": link or "softmax", **{key: values[key] for key in arguments if key in values}},
    )


def _handed_on(inner: Sequence[Loss]) -> set[str]:
    """What a loss that takes anything wants for the losses inside it: weights only if all of them weigh."""
    wanted = {name for loss in inner for name in loss.extras}
    return wanted - {name for name in ("sample_weights",) if not all(name in loss.extras for loss in inner)}


def _check_inner(loss: Loss, node: Mapping[str, Any], where: str) -> None:
    """A loss inside another is evaluated through the outer one's link, so it must be at home there."""
    if isinstance(loss.function, nn.Module):
        raise ConfigError(f"{where}={node.get('name')} learns from epoch to epoch, which it can only as the whole loss")
    if loss.link["name"] != "softmax" or any(float(value) != 1 for key, value in loss.link.items() if key != "name"):
        raise ConfigError(
            f"{where}={node.get('name')} is trained through {loss.link}, but {where.rpartition('.')[0]} is evaluated "
            "through plain softmax"
        )


def _class_weights(value: Any, dataset: Dataset) -> Tensor | None:
    if isinstance(value, str):
        return weights.class_weights(value, dataset.class_counts, dataset.class_names)  # type: ignore[arg-type]
    if value is None:
        return None
    weights.check_class_weights(value, dataset.num_classes)
    return torch.tensor(value, dtype=torch.float32)


def _prior(value: Any, dataset: Dataset) -> Tensor | None:
    if isinstance(value, str):
        return weights.class_frequencies(dataset.class_counts)
    if value is None:
        return None
    weights.check_prior(value, dataset.num_classes)
    return torch.tensor(value, dtype=torch.float32)


def _bind(node: Mapping[str, Any], where: str) -> Callable[..., Any]:
    function = _target(node, where)
    return functools.partial(function, **_values(node, function))
