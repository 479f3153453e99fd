"""A run before it is one: build it, pass two examples through it, and find out now what would fail later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lossbench.build import Experiment, Loss, build, build_loss, said
from lossbench.config import Config, learns_new_classes, teacher_config
from lossbench.data.dataset import Dataset
from lossbench.data.mixing import mix, mixing_keys
from lossbench.errors import ConfigError, RequestError, ShapeError
from lossbench.teacher import build_teacher, go_on_from


def rehearse(config: Config) -> None:
    """Build a run and try each of its parts once. Nothing of it is kept.

    Raises:
        RequestError: if the parts do not fit together or the data are not there.
    """
    try:
        experiment = build(config)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ConfigError(f"this run does not fit into memory: {_said(error)}") from error
    examples = experiment.dataset.train
    if examples.sample_weights is not None and "sample_weights" not in experiment.loss.extras:
        raise ConfigError(f"loss={config['loss']['name']} takes no sample weights; dataset.sample_weights gives some")
    try:
        logits = _try_model(experiment, config["batch_size"])
    except RequestError:
        raise
    except Exception as error:
        raise ConfigError(
            f"model={config['model']['name']} fails on this data set: {said(error, config['model'])}"
        ) from error
    targets = examples.targets[:2]
    expected = (len(targets), experiment.dataset.num_classes, *targets.shape[1:])
    if logits.shape != expected:
        raise ConfigError(
            f"model={config['model']['name']} must give logits {list(expected)} for {len(targets)} examples; "
            f"got {list(logits.shape)}{_hint(logits, targets)}"
        )
    if learns_new_classes(config):
        go_on_from(build_teacher(teacher_config(config), experiment).state_dict(), experiment.model)
    try:
        loss = _try_loss(experiment.loss, logits, targets, experiment.dataset.teacher_classes)
    except ShapeError as error:
        if not str(error).startswith("teacher_logits"):
            raise
        raise ConfigError(f"loss={config['loss']['name']}: {error}; {_of_the_teacher(experiment.dataset)}") from error
    except RequestError:
        raise
    except Exception as error:
        raise ConfigError(
            f"loss={config['loss']['name']} fails on two examples: {said(error, config['loss'])}"
        ) from error
    if not isinstance(loss, Tensor) or loss.shape != ():
        kind = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ConfigError(f"loss={config['loss']['name']} must return a scalar tensor; got {kind}")
    if not loss.requires_grad:
        raise ConfigError(f"loss={config['loss']['name']} has no gradient in the logits: nothing would be learned")
    if experiment.dataset.mixes:
        _check_takes_mixed(config["loss"], "loss", experiment.dataset, logits)


@torch.no_grad()
def _try_model(experiment: Experiment, batch_size: int) -> Tensor:
    model, examples = experiment.model, experiment.dataset.train
    if len(examples) % batch_size == 1 or batch_size == 1:
        model.train()
        try:
            model(examples.inputs[:1])
        except ValueError as error:  # batch normalisation has no variance to estimate
            raise ConfigError(
                f"the last batch of {len(examples)} examples has one, which this model cannot learn from; "
                f"choose another batch_size than {batch_size}"
            ) from error
    model.eval()
    with experiment.device.autocast():
        logits: Tensor = model(examples.inputs[:2]).float()
    return logits


def _try_loss(loss: Loss, logits: Tensor, targets: Tensor, teacher_classes: int) -> object:
    offered = {"teacher_logits": logits[:, :teacher_classes].clone(), "epoch": 1}
    extras = {name: value for name, value in offered.items() if name in loss.extras}
    loss.end_epoch()  # a loss with a state must not note what is only tried
    return loss.function(logits.requires_grad_(), targets, **extras)


def _check_takes_mixed(node: Mapping[str, Any], where: str, dataset: Dataset, logits: Tensor) -> None:
    """Refuse a loss of class indices where mixing gives probabilities, and one within another by its own key."""
    for key, value in node.items():
        if isinstance(value, Mapping) and "_target_" in value:
            _check_takes_mixed(value, f"{where}.{key}", dataset, logits)
    _, targets = mix(dataset, dataset.train.inputs[:2], dataset.train.targets[:2], seed=0)
    try:
        _try_loss(build_loss(node, dataset), logits, targets, dataset.teacher_classes)
    except Exception as error:
        keys = mixing_keys(dataset.mixup, dataset.cutmix)
        why = "takes class indices only" if isinstance(error, ShapeError) else "fails on probabilities as targets"
        raise ConfigError(
            f"{where}={node.get('name', node['_target_'])} {why}, and {keys} gives probabilities: "
            f"choose another loss or set that to 0 ({_said(error)})"
        ) from error


def _of_the_teacher(dataset: Dataset) -> str:
    if dataset.learn == "new":
        return f"with dataset.learn=new the teacher knows the {dataset.old_classes} old classes alone"
    return "the teacher knows all classes, unless some are old: dataset.old_classes=5 dataset.learn=new"


def _hint(logits: Tensor, targets: Tensor) -> str:
    if logits.ndim == targets.ndim + 1:
        return ""
    if targets.ndim == 3:
        return ": this data set has masks and wants a model that gives a class for each pixel (model=unet)"
    return ": this data set has one label per example, and the model gives one per pixel"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
