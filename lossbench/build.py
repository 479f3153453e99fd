"""Turn a configuration that was checked into objects."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lossbench import links
from lossbench.checking import EXTRAS, split_dataset, target_of, values_of
from lossbench.config import Config
from lossbench.data.dataset import Dataset, Source
from lossbench.data.prepare import prepare
from lossbench.data.streaming import Streamed
from lossbench.device import Device
from lossbench.errors import ConfigError, LossbenchError
from lossbench.losses import weights
from lossbench.models.normalised import Normalised
from lossbench.randomness import stream
from lossbench.signature import parameters, takes_any
from lossbench.trackers import Tracker


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


def build(config: Config) -> Experiment:
    """Build what one training needs.

    Args:
        config: a configuration that `check` has passed.

    Raises:
        RequestError: if the parts do not fit together or the data are not there.
    """
    device = build_device(config)
    with _naming(config, "dataset"):
        dataset = build_dataset(config).to(device.name)
    with _naming(config, "loss"):
        loss = build_loss(config["loss"], dataset)
    with _naming(config, "model"):
        network = _build_network(config["model"], dataset, config["seed"])
    with _naming(config, "optimizer"):
        optimizer = _bind(config["optimizer"], "optimizer")(network)
    schedule = _bind(config["schedule"], "schedule")
    return Experiment(dataset, _normalised(network, dataset, device), network, loss, optimizer, schedule, device)


@contextlib.contextmanager
def _naming(config: Config, group: str) -> Iterator[None]:
    """What a function cannot do with the values it was given, the user's own function perhaps, is said of its group."""
    try:
        yield
    except (LossbenchError, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ConfigError(f"{group}={config[group]['name']} cannot be built: {said(error, config[group])}") from error


def said(error: Exception, *nodes: Config) -> str:
    """What an error says in a line, and where in the packages of the groups' functions it arose, unless ours."""
    packages = {str(node.get("_target_", "")).split(".")[0] for node in nodes} - {"lossbench"}
    places = [
        f" at {Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").split(".")[0] in packages
    ]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}{places[-1] if places else ''}{f': {lines[0]}' if lines else ''}"


def build_device(config: Config) -> Device:
    """Find the device of a configuration."""
    device: Device = _bind(config["device"], "device")()
    return device


def build_dataset(config: Config) -> Dataset:
    """Load a configuration's data and split them by its seed."""
    return _prepared(json.dumps(config["dataset"], sort_keys=True), config["seed"])


def why_streamed(config: Config) -> str:
    """Say why a configuration's images are read as they are needed; empty where its data are held in memory."""
    with _naming(config, "dataset"):
        inputs = _source_of(config["dataset"]).train.inputs
    return inputs.why if isinstance(inputs, Streamed) else ""


def forget_data() -> None:
    """Drop the data kept from earlier requests: files may have changed since."""
    _source.cache_clear()
    _splits.clear()


def keep_data_of(request: float) -> None:
    """Drop the data kept from earlier requests; what is kept for this one stays.

    Args:
        request: when it was made, seconds since the epoch. Processes that train for one outlive it.
    """
    global _request
    if request != _request:
        forget_data()
    _request = request


_request = 0.0


# A sweep trains on the same data again and again: what was read last is kept, and the last splits of it.
@functools.lru_cache(maxsize=1)
def _source(node: str) -> Source:
    function = target_of(json.loads(node), "dataset")
    source: Source = function(**json.loads(node)["own"])
    return source


SPLITS_KEPT, BYTES_KEPT = 4, 2**28  # as many splits in any case, and more where all together take no more than that
_splits: dict[tuple[str, int], Dataset] = {}  # what was used last is the last of them


def _prepared(node: str, seed: int) -> Dataset:
    dataset = _splits.pop((node, seed), None)
    if dataset is None:
        settings = json.loads(node)
        function = target_of(settings, "dataset")
        _, split = split_dataset(values_of(settings, function), function)
        dataset = prepare(_source_of(settings), seed=seed, **split)
    _splits[node, seed] = dataset
    while len(_splits) > SPLITS_KEPT and sum(map(_bytes, _splits.values())) > BYTES_KEPT:
        del _splits[next(iter(_splits))]
    return dataset


def _bytes(dataset: Dataset) -> int:
    """What a split takes beside the data that it was cut from, about: images that are read as needed take nothing."""
    inputs = dataset.train.inputs
    return inputs.nbytes if isinstance(inputs, Tensor) else 0


def _source_of(settings: Mapping[str, Any]) -> Source:
    """By what is the data set's own: how it is split makes no other."""
    function = target_of(settings, "dataset")
    own, _ = split_dataset(values_of(settings, function), function)
    return _source(json.dumps({"_target_": settings["_target_"], "own": own}, sort_keys=True))


def build_model(config: Config, dataset: Dataset, device: Device) -> nn.Module:
    """Build a configuration's model, to load a run's weights into."""
    node = config["model"]
    if isinstance(node.get("weights"), str):  # a file to start from: what is built here gets the weights of a run
        node = {**node, "weights": None}
    network = _build_network(node, dataset, config["seed"])
    return _normalised(network, dataset, device)


def _normalised(network: nn.Module, dataset: Dataset, device: Device) -> nn.Module:
    model = Normalised(network, dataset.mean, dataset.scale, channels_last=device.channels_last)
    return model.to(device.name)


def _build_network(node: Mapping[str, Any], dataset: Dataset, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        # As torch.manual_seed does, but for its import of torch's compiler, which takes longer than torch itself.
        torch.default_generator.manual_seed(stream(seed, "init"))
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
    function = target_of(node, "loss")
    values = values_of(node, function)
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
    elif isinstance(function, nn.Module):  # as a caller of `lossbench.compare` made it; each run has its own
        bound = copy.deepcopy(function).to(dataset.train.targets.device)
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
            f"{where}={node.get('name')} is trained through {_said(loss.link)}, but {where.rpartition('.')[0]} is "
            "evaluated through plain softmax"
        )


def _said(link: Config) -> str:
    """A link in words: softmax with temperature=2."""
    numbers = ", ".join(f"{key}={value:g}" for key, value in link.items() if key != "name")
    return f"{link['name']}{f' with {numbers}' if numbers else ''}"


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


def build_tracker(name: str, node: Mapping[str, Any]) -> Tracker:
    """Make one of a configuration's trackers."""
    tracker: Tracker = _bind(node, f"tracker.{name}")()
    return tracker


def _bind(node: Mapping[str, Any], where: str) -> Callable[..., Any]:
    function = target_of(node, where)
    return functools.partial(function, **values_of(node, function))
