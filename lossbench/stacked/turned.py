"""What torch computes slowly of R runs at once, with the examples of each in the place of its classes or features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

FEWEST_EXAMPLES = 16  # as many as a processor computes at a time


class Turned(TorchFunctionMode):
    """Within it, dense layers and softmaxes under `torch.func.vmap` are computed the other way round, on a CPU.

    A dense layer is (W xᵀ)ᵀ + b and not x Wᵀ + b. On the way back, its weights' gradient is gᵀ x, which lies as W does;
    that of the other is (xᵀ g)ᵀ, which for the last layer's few outputs takes four times as long, and has to be turned.

    Its outputs then lie as Wᵀ x, and a softmax over them goes through all examples class by class; example by example
    ten classes, which fill no vector of the processor, take fifteen times as long. All is the same but for rounding.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch."""
        if function is F.linear:
            return _linear(*args, **(kwargs or {}))
        if function in (F.log_softmax, F.softmax):
            return _over_classes(function, *args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if input.ndim != 2 or input.device.type != "cpu":
        return F.linear(input, weight, bias)
    product = weight @ input.t()
    return (product if bias is None else product.add_(bias.unsqueeze(1))).t()


def _over_classes(function: Callable[..., Tensor], input: Tensor, dim: int | None = None, **others: Any) -> Tensor:
    few = input.ndim != 2 or len(input) < FEWEST_EXAMPLES
    if few or dim not in (1, -1) or input.device.type != "cpu" or not input.t().is_contiguous():
        return function(input, dim, **others)
    return function(input.t(), 0, **others).t()
