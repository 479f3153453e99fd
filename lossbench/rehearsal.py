"""A run before it is one: build it, pass two examples through it, and find out now what would fail later."""

from __future__ import annotations

import torch
from torch import Tensor

from lossbench.build import Experiment, build
from lossbench.config import Config
from lossbench.errors import ConfigError, RequestError


def rehearse(config: Config) -> None:
    """Build a run and try each of its parts once. Nothing of it is kept.

    Raises:
        RequestError: if the parts do not fit together or the data are not there.
    """
    experiment = build(config)
    examples = experiment.dataset.train
    if examples.sample_weights is not None and "sample_weights" not in experiment.loss.extras:
        raise ConfigError(f"loss={config['loss']['name']} takes no sample weights; dataset.sample_weights gives some")
    try:
        logits = _try_model(experiment, config["batch_size"])
    except RequestError:
        raise
    except Exception as error:
        raise ConfigError(f"model={config['model']['name']} fails on this data set: {_said(error)}") from error
    targets = examples.targets[:2]
    expected = (len(targets), experiment.dataset.num_classes, *targets.shape[1:])
    if logits.shape != expected:
        raise ConfigError(
            f"model={config['model']['name']} must give logits {list(expected)} for {len(targets)} examples; "
            f"got {list(logits.shape)}{_hint(logits, targets)}"
        )
    try:
        loss = _try_loss(experiment, logits, targets)
    except RequestError:
        raise
    except Exception as error:
        raise ConfigError(f"loss={config['loss']['name']} fails on two examples: {_said(error)}") from error
    if not isinstance(loss, Tensor) or loss.shape != ():
        kind = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ConfigError(f"loss={config['loss']['name']} must return a scalar tensor; got {kind}")
    if not loss.requires_grad:
        raise ConfigError(f"loss={config['loss']['name']} has no gradient in the logits: nothing would be learned")


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


def _try_loss(experiment: Experiment, logits: Tensor, targets: Tensor) -> object:
    offered = {"teacher_logits": logits.clone(), "epoch": 1}
    extras = {name: value for name, value in offered.items() if name in experiment.loss.extras}
    experiment.loss.end_epoch()  # a loss with a state must not note what is only tried
    return experiment.loss.function(logits.requires_grad_(), targets, **extras)


def _hint(logits: Tensor, targets: Tensor) -> str:
    if logits.ndim == targets.ndim + 1:
        return ""
    if targets.ndim == 3:
        return ": this data set has masks and wants a model that gives a class for each pixel (model=unet)"
    return ": this data set has one label per example, and the model gives one per pixel"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
