"""Dense networks and cross-entropy of many runs at once are those of each, and nothing else is taken for them."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossbench import losses
from lossbench.models import linear, mlp
from lossbench.stacked.direct import dense, unweighed
from lossbench.stacked.weights import Weights

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
    direct = unweighed(bound(**common), tensors)
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
    assert unweighed(function, {}) is None


def nested() -> nn.Module:
    inner = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Flatten(), nn.ReLU(), nn.Identity())
    return nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(6, 4), nn.ReLU()), inner, nn.Linear(5, 3))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: linear((1, 2, 3), 3), (1, 2, 3)),
        (lambda: mlp((1, 2, 3), 3, hidden=[4, 5]), (1, 2, 3)),
        (lambda: nn.Linear(6, 3), (6,)),
        (lambda: nn.Sequential(nn.Linear(6, 3), nn.ReLU()), (6,)),
        (nested, (2, 3)),
    ],
    ids=["linear", "mlp", "a layer", "no flattening", "one inside another"],
)
def test_the_logits_and_gradients_are_those_of_each_network(make: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    networks = [make().double() for _ in range(3)]
    inputs = torch.randn(3, 7, *shape, dtype=torch.float64)
    weights, of_all = Weights(networks), dense(networks[0])
    assert of_all is not None
    found = of_all(weights.parameters, inputs)
    alone = torch.stack([network(of_run) for network, of_run in zip(networks, inputs, strict=True)])
    torch.testing.assert_close(found, alone)
    assert found.mT.is_contiguous()
    slopes = torch.randn_like(alone)
    gradients = torch.autograd.grad(found, list(weights.parameters.values()), slopes)
    alone.backward(slopes)
    for r, network in enumerate(networks):
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            torch.testing.assert_close(gradient[r], parameter.grad)
    assert all(gradient.is_contiguous() for gradient in gradients)


class Twice(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs)


def hooked() -> nn.Module:
    network = nn.Sequential(nn.Linear(2, 2))
    network[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return network


def replaced() -> nn.Module:
    network = nn.Linear(2, 2)
    network.forward = lambda inputs: inputs  # type: ignore[method-assign, assignment]
    return network


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)),
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)),
        nn.Sequential(nn.Linear(2, 2), nn.Tanh()),
        nn.Sequential(Twice(2, 2)),
        nn.ModuleList([nn.Linear(2, 2)]),
        nn.Sequential(nn.Flatten(2), nn.Linear(2, 2)),
        hooked(),
        replaced(),
        nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
    ],
    ids=[
        "dropout",
        "batch norm",
        "another activation",
        "a layer of one's own",
        "a list",
        "what flattens less",
        "a hook",
        "a forward of its own",
        "made of others",
    ],
)
def test_another_network_is_not_taken_for_a_dense_one(network: nn.Module) -> None:
    assert dense(network) is None
