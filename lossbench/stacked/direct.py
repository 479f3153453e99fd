"""Cross-entropy of R runs at once. Under `torch.func.vmap` each of its small operations takes four times as long."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from lossbench.losses.cross_entropy import cross_entropy, mean_of_indices, softened

Direct = Callable[[Tensor, Tensor], Tensor]  # logits [R, N, K] and class indices [R, N] → losses [R]
WEIGHS = ("prior", "class_weights")  # settings of cross-entropy with which it is more than `mean_of_indices`


def directly(function: Callable[..., Tensor], hyperparameters: Mapping[str, Tensor]) -> Direct | None:
    """Return what computes the losses of R runs.

    Args:
        function: the loss of one of them, as `lossbench.build` binds it.
        hyperparameters: those in which they differ, [R] each.

    Returns:
        None where the loss is another than cross-entropy, or weighs classes.
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
