"""Cross-entropy of many runs at once is that of each, and nothing else is taken for it."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from lossbench import losses
from lossbench.stacked.direct import directly

IGNORED = -100
SETTINGS: dict[str, Any] = {
    "epsilon": 0.0,
    "prior": None,
    "temperature": 1.0,
    "class_weights": None,
    "ignore_index": IGNORED,
}


def bound(**settings: Any) -> functools.partial[Tensor]:
    return functools.partial(losses.cross_entropy, **{**SETTINGS, **settings})


@pytest.mark.parametrize("turned", [True, False], ids=["class by class", "example by example"])
@pytest.mark.parametrize(
    ("common", "differing"),
    [
        ({}, {}),
        ({"epsilon": 0.2, "temperature": 2.5}, {}),
        ({"temperature": 0.5}, {"epsilon": [0.0, 0.1, 0.9]}),
        ({}, {"epsilon": [0.0, 0.1, 0.9], "temperature": [0.5, 1.0, 4.0]}),
    ],
)
def test_the_losses_and_gradients_are_those_of_each_run(
    common: dict[str, float], differing: dict[str, list[float]], turned: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (3, 4, 20) if turned else (3, 20, 4)
    lying = torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True)
    logits = lying.mT if turned else lying
    targets = torch.randint(0, 4, (3, 20), generator=generator)
    targets[0, :5] = IGNORED
    targets[1] = IGNORED
    tensors = {name: torch.tensor(values, dtype=torch.float64) for name, values in differing.items()}
    direct = directly(bound(**common), tensors)
    assert direct is not None
    found = direct(logits, targets)
    alone = torch.stack(
        [
            bound(**common, **{name: values[r] for name, values in differing.items()})(logits[r], targets[r])
            for r in range(3)
        ]
    )
    torch.testing.assert_close(found, alone)
    assert found[1] == 0
    of_all, of_each = (torch.autograd.grad(values.sum(), lying)[0] for values in (found, alone))
    torch.testing.assert_close(of_all, of_each)


@pytest.mark.parametrize(
    "function",
    [
        bound(prior=[0.1, 0.2, 0.3, 0.4]),
        bound(class_weights=torch.tensor([1.0, 2.0, 3.0, 4.0])),
        functools.partial(losses.focal, gamma=0.0),
        losses.cross_entropy,
    ],
    ids=["a prior", "class weights", "focal", "of nobody's settings"],
)
def test_another_loss_is_not_cross_entropy(function: Any) -> None:
    assert directly(function, {}) is None
