"""A network computes with the weights that it is given, and has its own again afterwards."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from support import compose
from torch import Tensor, nn
from torch.func import functional_call

from lossbench.build import build
from lossbench.stacked.training import NotStackedError, Run, train_stacked
from lossbench.stacked.weights import Weights


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Linear(5, 2, bias=False), nn.BatchNorm1d(2, affine=False)
    return nn.Sequential(*layers).double()


def test_it_gives_what_torch_s_functional_call_gives() -> None:
    networks = [network(seed) for seed in range(3)]
    weights = Weights(networks)
    inputs = torch.randn(7, 5, dtype=torch.float64)
    for r, one in enumerate(networks):
        parameters = {name: values[r] for name, values in weights.parameters.items()}
        buffers = {name: values[r] for name, values in weights.buffers.items()}
        others = {name: values.clone() for name, values in buffers.items()}
        expected = functional_call(copy.deepcopy(networks[0]), ({**parameters}, others), (inputs,))
        found = weights.call(parameters, buffers, inputs)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        torch.testing.assert_close(one(inputs), expected)  # which takes note of what its batch norms see
        for name, values in one.named_buffers():
            torch.testing.assert_close(buffers[name], values)
    gradient = torch.autograd.grad(found.square().sum(), list(weights.parameters.values()))
    assert [bool(part[2].any()) for part in gradient] == [bool(part.any()) for part in gradient]


class Fails(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        raise ValueError(f"not with {len(self.inner.weight)} rows")


def test_a_network_has_its_own_weights_again_also_where_it_fails() -> None:
    one = Fails()
    own = dict(one.named_parameters())
    weights = Weights([one, Fails()])
    with pytest.raises(ValueError, match="not with 2 rows"):
        weights.call({name: values[1] for name, values in weights.parameters.items()}, {}, torch.zeros(1))
    assert all(parameter is own[name] for name, parameter in one.named_parameters())


class Replaces(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(13, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen = self.seen + 1
        outputs: Tensor = self.inner(inputs)
        return outputs


def test_a_network_that_replaces_a_buffer_is_not_stacked_since_the_new_one_would_be_lost() -> None:
    weights = Weights([Replaces(), Replaces()])
    buffers = {"seen": torch.zeros(())}
    with pytest.raises(ValueError, match="replaces its seen"):
        weights.call({name: values[0] for name, values in weights.parameters.items()}, buffers, torch.zeros(2, 13))
    experiment = dataclasses.replace(build(compose("dataset=wine", "model=linear", "device=cpu")), network=Replaces())
    with pytest.raises(NotStackedError, match="the network replaces its seen"):
        train_stacked([Run(experiment, 0), Run(experiment, 0)], epochs=1, batch_size=16)


def test_a_step_of_the_optimizer_is_seen_by_the_parameters() -> None:
    weights = Weights([network(0), network(1)])
    with torch.no_grad():
        weights.flat[1].zero_()
    assert all(not values[1].any() and values[0].any() for name, values in weights.parameters.items() if "0." in name)


def test_gradients_are_laid_out_as_the_weights_are() -> None:
    weights = Weights([network(0), network(1)])
    parts = [torch.full_like(values, i) for i, values in enumerate(weights.parameters.values())]
    laid_out = weights.laid_out(parts)
    sizes = [values[0].numel() for values in weights.parameters.values()]
    expected = torch.cat([torch.full((size,), float(i)) for i, size in enumerate(sizes)]).double()
    assert laid_out.equal(expected.expand(2, -1))
