"""Which link a loss is trained through, so that it can be evaluated through the same one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

Loss = TypeVar("Loss", bound=Callable[..., Tensor])


def link(name: str) -> Callable[[Loss], Loss]:
    """Name the function of `lossbench.links` that turns this loss's logits into log-probabilities.

    The name is kept on the loss as its attribute `link`. Hyperparameters of the loss that the link function
    takes too, such as `temperature`, are handed to it with the values the loss was trained with. A loss
    without the attribute is evaluated through plain softmax.

    Args:
        name: a function in `lossbench.links`, e.g. `softmax` or `sigmoid`.

    Returns:
        A decorator that marks the loss and returns it unchanged.
    """

    def mark(loss: Loss) -> Loss:
        loss.link = name  # type: ignore[attr-defined]
        return loss

    return mark
