"""What is turned round for many models: the numbers of each alone, and gradients that lie as the weights do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.func import vmap

from lossbench.stacked.turned import FEWEST_EXAMPLES, Turned


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

    with Turned():
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
    with Turned():
        outputs = vmap(F.linear)(inputs, weights)
    (gradient,) = torch.autograd.grad(outputs.sum(), [weights])
    assert gradient.stride() == weights.stride()


@pytest.mark.parametrize("function", [F.log_softmax, F.softmax])
@pytest.mark.parametrize("examples", [FEWEST_EXAMPLES - 1, FEWEST_EXAMPLES])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_a_softmax_of_many_models_is_that_of_each(function: Any, examples: int, dim: int) -> None:
    lying = torch.randn(3, 5, examples, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for logits in (lying.mT, lying.mT.contiguous()):
        leaf = logits.detach().requires_grad_()
        with Turned():
            stacked = vmap(lambda of_one: function(of_one, dim=dim))(leaf)
        alone = torch.stack([function(of_one, dim=dim) for of_one in leaf])
        torch.testing.assert_close(stacked, alone)
        slopes = torch.randn(alone.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        one, other = (torch.autograd.grad(values, leaf, slopes)[0] for values in (stacked, alone))
        torch.testing.assert_close(one, other)


def test_a_softmax_over_the_outputs_of_a_dense_layer_is_taken_class_by_class() -> None:
    inputs, weights = torch.randn(3, FEWEST_EXAMPLES, 4), torch.randn(3, 7, 4)
    with Turned():
        outputs = vmap(lambda x, w: F.log_softmax(F.linear(x, w), dim=1))(inputs, weights)
    assert outputs.stride() == (7 * FEWEST_EXAMPLES, 1, FEWEST_EXAMPLES)
