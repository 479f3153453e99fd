"""Dense layers of R runs at once, in an order of their products that is fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Dense(TorchFunctionMode):
    """Within it, a dense layer under `torch.func.vmap` is (W xᵀ)ᵀ + b and not x Wᵀ + b.

    That is the same but for rounding. On the way back, its weights' gradient is gᵀ x, which lies as W does; that of the
    other is (xᵀ g)ᵀ, which for the last layer's few outputs takes a CPU four times as long, and has to be turned.
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
        return function(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if input.ndim != 2 or input.device.type != "cpu":
        return F.linear(input, weight, bias)
    product = weight @ input.t()
    return (product if bias is None else product + bias.unsqueeze(1)).t()
