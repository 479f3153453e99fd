"""Optimizers, and schedules that scale their learning rates step by step.

A schedule is a pure function `schedule(step, total_steps, *, …) -> factor`, with steps counted from 0. Each learning
rate of the optimizer is multiplied by the same factor, so that rates set by layer keep their proportions.
"""

from __future__ import annotations

import inspect
import math
import weakref
from typing import Annotated, Any, TypeVar

import torch
from torch import nn

from lossbench.domains import BELOW_ONE, NON_NEGATIVE, POSITIVE, UNIT
from lossbench.errors import ConfigError, did_you_mean

# torch keeps its compiler away from these methods, and imports it for that as the first is called: as long again as
# torch itself, before anything has been said. Marked as kept away already; no effect where torch does otherwise.
for _name in ("add_param_group", "state_dict", "load_state_dict", "zero_grad"):
    _method = getattr(getattr(torch.optim.Optimizer, _name), "__wrapped__", None)
    if _method is not None:
        _method.__dynamo_disable = _method

Optimizer = TypeVar("Optimizer", bound=torch.optim.Optimizer)


def sgd(
    model: nn.Module,
    *,
    learning_rate: Annotated[float, POSITIVE] = 0.1,
    momentum: Annotated[float, BELOW_ONE] = 0.9,
    dampening: Annotated[float, UNIT] = 0.0,
    nesterov: bool = True,
    weight_decay: Annotated[float, NON_NEGATIVE] = 5e-4,
    layer_learning_rates: dict[str, float] | None = None,
) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum.

        v ← momentum · v + (1 − dampening) · g,  g = gradient + weight_decay · w
        w ← w − learning_rate · v

    Args:
        model: what to train.
        learning_rate: before the schedule's factor.
        momentum: of the running gradient.
        dampening: the share of each new gradient that is left out of it.
        nesterov: step along g + momentum · v instead of v.
        weight_decay: L2 penalty on all parameters, biases and norms included, as the papers of the baselines have it.
        layer_learning_rates: module or parameter name -> learning rate of all that it holds; the longest name wins.

    Returns:
        The optimizer.

    Raises:
        ConfigError: if Nesterov momentum is asked for without momentum or with dampening, or if a layer does not exist.

    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".
    """
    if nesterov and (momentum == 0 or dampening != 0):
        raise ConfigError(
            "optimizer.nesterov=true needs optimizer.momentum above 0 and optimizer.dampening=0; "
            f"got momentum={momentum:g}, dampening={dampening:g}"
        )
    optimizer = torch.optim.SGD(
        _parameter_groups(model, learning_rate, layer_learning_rates),
        momentum=momentum,
        dampening=dampening,
        nesterov=nesterov,
        weight_decay=weight_decay,
        fused=True,  # one pass over memory for each parameter
    )
    return stepping_alone(optimizer)


def adamw(
    model: nn.Module,
    *,
    learning_rate: Annotated[float, POSITIVE] = 1e-3,
    beta1: Annotated[float, BELOW_ONE] = 0.9,
    beta2: Annotated[float, BELOW_ONE] = 0.999,
    eps: Annotated[float, POSITIVE] = 1e-8,
    weight_decay: Annotated[float, NON_NEGATIVE] = 0.01,
    layer_learning_rates: dict[str, float] | None = None,
) -> torch.optim.AdamW:
    """Adam with weight decay apart from the gradient.

    Args:
        model: what to train.
        learning_rate: before the schedule's factor.
        beta1: decay of the mean of the gradients.
        beta2: decay of the mean of their squares.
        eps: added to the root of the latter.
        weight_decay: on all parameters, multiplied by the learning rate.
        layer_learning_rates: module or parameter name -> learning rate of all that it holds; the longest name wins.

    Returns:
        The optimizer.

    Raises:
        ConfigError: if a layer does not exist.

    Source: Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization".
    """
    optimizer = torch.optim.AdamW(
        _parameter_groups(model, learning_rate, layer_learning_rates),
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        fused=True,
    )
    return stepping_alone(optimizer)


def stepping_alone(optimizer: Optimizer) -> Optimizer:
    """Let it step by its arithmetic alone, without what torch puts around that.

    That is a break for torch's compiler, which the first step would import, as long again as torch itself; and hooks
    and a label for the profiler, a third and more of the time of a small model's step. Nobody here wants these.
    """
    step, own = torch.no_grad()(inspect.unwrap(type(optimizer).step)), weakref.ref(optimizer)
    # By a weak reference: bound to it, the step would keep it and all weights until Python looks for garbage.
    optimizer.step = lambda closure=None: step(own(), closure)  # type: ignore[method-assign]
    return optimizer


def _parameter_groups(
    model: nn.Module, learning_rate: float, layer_learning_rates: dict[str, float] | None
) -> list[dict[str, Any]]:
    """Split the parameters by learning rate: one group for the rest of the model, one for each name."""
    rates = layer_learning_rates or {}
    names = [name for name, _ in model.named_parameters()]
    for layer, rate in rates.items():
        if rate not in NON_NEGATIVE:
            raise ConfigError(f"optimizer.layer_learning_rates.{layer} must lie in {NON_NEGATIVE}; got {rate:g}")
        if not any(_holds(layer, name) for name in names):
            layers = list(dict.fromkeys(name.split(".")[0] for name in names))
            raise ConfigError(
                f"optimizer.layer_learning_rates: no layer named '{layer}'{did_you_mean(layer, layers)} "
                f"(layers: {', '.join(layers)})"
            )
    groups: dict[str, dict[str, Any]] = {"": {"params": [], "lr": learning_rate}}
    groups |= {layer: {"params": [], "lr": rate} for layer, rate in rates.items()}
    for name, parameter in model.named_parameters():
        layer = max((layer for layer in rates if _holds(layer, name)), key=len, default="")
        groups[layer]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _holds(layer: str, parameter: str) -> bool:
    # Whole components only: stage1 is not stage10.
    return parameter == layer or parameter.startswith(f"{layer}.")


def constant(step: int, total_steps: int, *, warmup: Annotated[float, BELOW_ONE] = 0.0) -> float:
    """Stay at 1 after the warm-up.

    Args:
        step: 0 .. total_steps − 1.
        total_steps: optimizer steps in the whole training.
        warmup: the share of the steps in which the factor rises linearly, from 1/n in the first of n to 1 in the last.

    Returns:
        The factor on the learning rate at this step.
    """
    warmup_steps = round(warmup * total_steps)
    return (step + 1) / warmup_steps if step < warmup_steps else 1.0


def linear(
    step: int,
    total_steps: int,
    *,
    final: Annotated[float, UNIT] = 0.0,
    warmup: Annotated[float, BELOW_ONE] = 0.0,
) -> float:
    """Fall along a line from 1 at the end of the warm-up to `final` at the end of training.

    Args:
        step: 0 .. total_steps − 1.
        total_steps: optimizer steps in the whole training.
        final: the factor just after the last step; the last step still moves the weights where this is 0.
        warmup: the share of the steps in which the factor rises linearly, from 1/n in the first of n to 1 in the last.

    Returns:
        The factor on the learning rate at this step.
    """
    warmup_steps = round(warmup * total_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return final + (1 - final) * (1 - progress)


def cosine(
    step: int,
    total_steps: int,
    *,
    final: Annotated[float, UNIT] = 0.0,
    warmup: Annotated[float, BELOW_ONE] = 0.0,
) -> float:
    """Fall along half a cosine from 1 at the end of the warm-up to `final` at the end of training.

    Args:
        step: 0 .. total_steps − 1.
        total_steps: optimizer steps in the whole training.
        final: the factor just after the last step; the last step still moves the weights where this is 0.
        warmup: the share of the steps in which the factor rises linearly, from 1/n in the first of n to 1 in the last.

    Returns:
        The factor on the learning rate at this step.

    Source: Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", eq. 5, without restarts.
    """
    warmup_steps = round(warmup * total_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def step_decay(
    step: int,
    total_steps: int,
    *,
    milestones: list[Annotated[float, UNIT]] = [0.5, 0.75],  # noqa: B006 - read, never written
    decay: Annotated[float, UNIT] = 0.1,
    warmup: Annotated[float, BELOW_ONE] = 0.0,
) -> float:
    """Multiply by `decay` at each milestone.

    Args:
        step: 0 .. total_steps − 1.
        total_steps: optimizer steps in the whole training.
        milestones: shares of the whole training, warm-up included.
        decay: the factor that each milestone brings.
        warmup: the share of the steps in which the factor rises linearly, from 1/n in the first of n to 1 in the last.

    Returns:
        The factor on the learning rate at this step.
    """
    warmup_steps = round(warmup * total_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    # Rounded, because 0.07 · 100 is 7.000000000000001, which would come one step late.
    passed = sum(step >= round(milestone * total_steps) for milestone in milestones)
    return decay**passed
