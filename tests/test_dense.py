"""Dense layers of many models: the numbers of each alone, and gradients that lie as the weights do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.func import vmap

from lossbench.stacked.dense import Dense


@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4)], ids=["examples", "words of examples"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_stack_gives_what_each_gives_alone(shape: tuple[int, ...], bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, *shape, dtype=torch.float64, generator=generator, requires_grad=True)
    weights = torch.randn(3, 7, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    biases = torch.randn(3, 7, dtype=torch.float64, generator=generator, requires_grad=True) if bias else None
    leaves = [inputs, weights, *([] if biases is None else [biases])]

    def layer(*of_one: Any) -> Any:
        return F.linear(of_one[0], of_one[1], bias=of_one[2] if bias else None)

    with Dense():
        stacked = vmap(layer)(*leaves)
    alone = torch.stack([layer(*of_one) for of_one in zip(*leaves, strict=True)])
    torch.testing.assert_close(stacked, alone)
    slopes = torch.randn(alone.shape, dtype=torch.float64, generator=generator)
    for one, other in zip(
        torch.autograd.grad(stacked, leaves, slopes), torch.autograd.grad(alone, leaves, slopes), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_the_gradient_of_the_weights_lies_as_they_do() -> None:
    inputs, weights = torch.randn(3, 5, 4), torch.randn(3, 7, 4, requires_grad=True)
    with Dense():
        outputs = vmap(F.linear)(inputs, weights)
    (gradient,) = torch.autograd.grad(outputs.sum(), [weights])
    assert gradient.stride() == weights.stride()
