"""Dense networks and cross-entropy of R runs at once, without `torch.func.vmap`.

Under it each small operation takes two to four times as long, and most runs that are stacked are made of these two.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lossbench.losses.cross_entropy import cross_entropy, mean_of_indices, softened

Network = Callable[[Mapping[str, Tensor], Tensor], Tensor]  # parameters [R, …], inputs [R, N, …] → logits [R, N, K]
Loss = Callable[[Tensor, Tensor], Tensor]  # logits [R, N, K], class indices [R, N] → losses [R]

LAYERS = (nn.Sequential, nn.Flatten, nn.Linear, nn.ReLU, nn.Identity, nn.Dropout)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
WEIGHS = ("prior", "class_weights")  # settings of cross-entropy with which it is more than `mean_of_indices`


def dense(network: nn.Module) -> Network | None:
    """Return what computes the logits of R networks that differ in their parameters.

    The examples of each are where a matrix has its columns: W x + b, and not x Wᵀ + b. So the gradient of the weights
    lies as they do, and a softmax over the outputs goes through all examples class by class (`Turned`).

    Args:
        network: one of them.

    Returns:
        None where it is more than dense layers and ReLU, one after another.
    """
    if not all(_is_plain(module) for module in network.modules()):
        return None
    modules = network.named_modules()
    layers = [(f"{name}." if name else "", module) for name, module in modules if type(module) is not nn.Sequential]
    flattens = isinstance(layers[0][1], nn.Flatten)  # later ones find nothing to do

    def logits_of(parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        values = (inputs.flatten(2) if flattens else inputs).mT  # [R, features, N]
        for prefix, layer in layers:
            if isinstance(layer, nn.ReLU):
                values = torch.relu(values)
            elif isinstance(layer, nn.Linear):
                weight, bias = parameters[f"{prefix}weight"], parameters.get(f"{prefix}bias")
                values = weight @ values if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, values)
        return values.mT

    return logits_of


def _is_plain(module: nn.Module) -> bool:
    """Whether it computes what `dense` does of its kind: no subclass, nothing of its own, nobody who looks on."""
    if type(module) not in LAYERS or "forward" in vars(module) or any(getattr(module, hooks) for hooks in HOOKS):
        return False
    if isinstance(module, nn.Flatten):
        return (module.start_dim, module.end_dim) == (1, -1)
    return not (isinstance(module, nn.Dropout) and module.p > 0)


def unweighed(function: Callable[..., Tensor], hyperparameters: Mapping[str, Tensor]) -> Loss | None:
    """Return what computes the cross-entropy of R runs.

    Args:
        function: the loss of one of them, as `lossbench.build` binds it.
        hyperparameters: those in which they differ, [R] each.

    Returns:
        None where the loss is another, or weighs classes.
    """
    if not isinstance(function, functools.partial) or function.func is not cross_entropy:
        return None
    settings: dict[str, Any] = {**function.keywords, **hyperparameters}
    if any(settings.get(name) is not None for name in WEIGHS):
        return None
    epsilon, temperature, ignore_index = (settings[name] for name in ("epsilon", "temperature", "ignore_index"))
    if isinstance(epsilon, Tensor):
        epsilon = epsilon.unsqueeze(1)
    if isinstance(temperature, Tensor):
        temperature = temperature.reshape(-1, 1, 1)

    def losses_of(logits: Tensor, targets: Tensor) -> Tensor:
        return mean_of_indices(softened(logits.mT, temperature), targets, epsilon, ignore_index)

    return losses_of
