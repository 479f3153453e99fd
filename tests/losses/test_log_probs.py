from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap

from lossbench.losses.log_probs import LogProbs, log_probs

SHAPES = ((5, 7), (2, 4, 3, 2))  # examples, and pixels


def logits_of(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


def targets_of(shape: tuple[int, ...], kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if kind == "indices":
        return torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    return torch.rand(shape, dtype=torch.float64, generator=generator)  # weights: they need not sum to 1


def written_out(logits: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """The same sums by autograd, from log p written out."""
    log_p = F.log_softmax(logits, dim=1)
    if targets.is_floating_point():
        target = (log_p * targets).sum(1)
    else:
        target = log_p.gather(1, targets.unsqueeze(1)).squeeze(1)
    return target, log_p.sum(1), log_p.exp()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["indices", "weights"])
def test_each_sum_is_that_of_log_p_written_out(shape: tuple[int, ...], kind: str) -> None:
    logits, targets = logits_of(shape), targets_of(shape, kind)
    for scale in (1.0, 0.5, torch.tensor(0.3, dtype=torch.float64)):
        torch.testing.assert_close(tuple(log_probs(logits, targets, scale=scale)), written_out(logits * scale, targets))


def test_a_coin_has_sums_that_can_be_counted() -> None:
    # p = (1/4, 3/4): log p = (-log 4, log 3 - log 4)
    log_3, log_4 = torch.tensor([3.0, 4.0], dtype=torch.float64).log()
    logits = torch.stack([torch.zeros_like(log_3), log_3]).unsqueeze(0)
    found = log_probs(logits, torch.tensor([0]))
    expected = LogProbs(-log_4, log_3 - 2 * log_4, torch.tensor([0.25, 0.75]))
    for name in LogProbs._fields:
        torch.testing.assert_close(getattr(found, name)[0], getattr(expected, name), check_dtype=False, msg=name)


def test_an_ignored_position_is_given_some_class_and_no_error() -> None:
    logits = logits_of((2, 3))
    assert log_probs(logits, torch.tensor([7, 1]), 7).target.isfinite().all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["indices", "weights"])
def test_it_can_be_differentiated_twice(shape: tuple[int, ...], kind: str) -> None:
    logits, targets = logits_of(shape), targets_of(shape, kind)
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def sums(logits: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        return tuple(log_probs(logits, targets, scale=scale))

    assert gradcheck(sums, (logits, scale))
    assert gradgradcheck(sums, (logits, scale))


MIXTURES: dict[str, Callable[[LogProbs, Tensor], Tensor]] = {
    "all": lambda sums, weight: sum(((weight * part).sin().sum() for part in sums), torch.zeros(())),
    "one weighed": lambda sums, weight: weight * sums.target.sum() + sums.probs[0, 0],
    "another weighed": lambda sums, weight: weight * sums.total.sum() - sums.target.sum(),
}


@pytest.mark.parametrize("kind", ["indices", "weights"])
@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("stacked", [(0, 0), (0, None), (None, 0)])
def test_stacked_models_and_hyperparameters_give_what_a_loop_gives(
    kind: str, mixture: str, stacked: tuple[int | None, int | None]
) -> None:
    shape = (5, 7)
    targets = targets_of(shape, kind)
    logits = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)

    def loss(logits: Tensor, weight: Tensor) -> Tensor:
        return MIXTURES[mixture](log_probs(logits, targets, scale=weight), weight)

    some = [values if axis == 0 else values[0] for values, axis in zip((logits, weights), stacked, strict=True)]
    loop = [
        grad(loss)(logits[i if stacked[0] == 0 else 0], weights[i if stacked[1] == 0 else 0])
        for i in range(len(weights))
    ]
    torch.testing.assert_close(vmap(grad(loss), in_dims=stacked)(*some), torch.stack(loop))
