"""Optimizers and schedules. Configurations are found by globbing conf/optimizer and conf/schedule."""

import copy
import gc
import inspect
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_method, instantiate
from omegaconf import OmegaConf
from support import compose
from torch import nn

from lossbench import optimization
from lossbench.build import build
from lossbench.config import run_id
from lossbench.errors import ConfigError
from lossbench.optimization import adamw, constant, cosine, linear, sgd, step_decay

CONF = Path(__file__).parents[1] / "conf"
OPTIMIZERS = sorted((CONF / "optimizer").glob("*.yaml"))
SCHEDULES = sorted((CONF / "schedule").glob("*.yaml"))

Schedule = Callable[..., float]


def one_weight(value: float = 1.0) -> nn.Module:
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, value)
    return model


def weights_under_gradient(
    model: nn.Module, optimizer: torch.optim.Optimizer, gradient: float, steps: int
) -> list[float]:
    """Take steps under a constant gradient, and list the one weight after each."""
    (weight,) = model.parameters()
    values = []
    for _ in range(steps):
        weight.grad = torch.full_like(weight, gradient)  # each time, because an optimizer may write into it
        optimizer.step()
        values.append(weight.item())
    return values


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (sgd, partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)),
        (adamw, partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01, fused=True)),
    ],
    ids=["sgd", "adamw"],
)
def test_steps_are_those_of_torch_optim_bit_by_bit_and_no_graph_is_recorded(
    ours: Callable[..., torch.optim.Optimizer], theirs: Callable[..., torch.optim.Optimizer]
) -> None:
    torch.manual_seed(0)
    model = two_layers()
    other = copy.deepcopy(model)
    pair = ((model, ours(model)), (other, theirs(other.parameters())))
    for _ in range(3):
        inputs = torch.randn(8, 2)
        for network, optimizer in pair:
            optimizer.zero_grad()
            network(inputs).square().sum().backward()
            optimizer.step()
    for mine, reference in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, reference)
        assert mine.is_leaf


@pytest.mark.parametrize("make", [sgd, adamw])
def test_weights_go_with_their_optimizer_and_wait_for_no_garbage_collection(
    make: Callable[..., torch.optim.Optimizer],
) -> None:
    model = two_layers()
    optimizer = make(model)
    model(torch.randn(8, 2)).sum().backward()
    optimizer.step()
    held = [weakref.ref(model), weakref.ref(optimizer), *(weakref.ref(weight) for weight in model.parameters())]
    gc.disable()
    try:
        del model, optimizer
        assert [reference() for reference in held] == [None] * len(held)
    finally:
        gc.enable()


def two_layers() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            stage1=nn.Sequential(OrderedDict(conv=nn.Linear(2, 2))), stage10=nn.Linear(2, 2), head=nn.Linear(2, 1)
        )
    )


def learning_rates(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rate_of) == sum(len(group["params"]) for group in optimizer.param_groups)
    return {name: rate_of[id(parameter)] for name, parameter in model.named_parameters()}


# Configurations


def test_there_is_a_configuration_for_each_choice() -> None:
    assert {path.stem for path in OPTIMIZERS} >= {"sgd", "adamw"}
    assert {path.stem for path in SCHEDULES} >= {"constant", "linear", "cosine", "step"}


@pytest.mark.parametrize("config", OPTIMIZERS + SCHEDULES, ids=lambda path: path.stem)
def test_yaml_holds_exactly_the_options_of_the_function_and_their_defaults(config: Path) -> None:
    values: Any = OmegaConf.to_container(OmegaConf.load(config))
    signature = inspect.signature(get_method(values.pop("_target_")))
    assert values == {p.name: p.default for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}


@pytest.mark.parametrize("config", OPTIMIZERS, ids=lambda path: path.stem)
def test_optimizers_instantiate_from_yaml_and_go_downhill(config: Path) -> None:
    model = one_weight()
    optimizer = instantiate(OmegaConf.load(config), model, _convert_="all")
    assert weights_under_gradient(model, optimizer, gradient=1.0, steps=1)[0] < 1.0


@pytest.mark.parametrize("config", SCHEDULES, ids=lambda path: path.stem)
def test_schedules_instantiate_from_yaml_and_start_at_one(config: Path) -> None:
    schedule = instantiate(OmegaConf.load(config), _partial_=True, _convert_="all")
    assert schedule(0, 100) == 1.0


# SGD


def test_sgd_without_momentum_subtracts_the_rate_times_the_gradient() -> None:
    model = one_weight()
    optimizer = sgd(model, learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)
    # 1 − 0.1·2 = 0.8, 0.8 − 0.2 = 0.6
    assert weights_under_gradient(model, optimizer, 2.0, 2) == pytest.approx([0.8, 0.6])


def test_sgd_momentum_accumulates_the_gradient() -> None:
    model = one_weight()
    optimizer = sgd(model, learning_rate=0.1, momentum=0.5, nesterov=False, weight_decay=0.0)
    # v = 2, then 0.5·2 + 2 = 3: 1 − 0.2 = 0.8, 0.8 − 0.3 = 0.5
    assert weights_under_gradient(model, optimizer, 2.0, 2) == pytest.approx([0.8, 0.5])


def test_sgd_dampening_holds_back_later_gradients() -> None:
    model = one_weight()
    optimizer = sgd(model, learning_rate=0.1, momentum=0.5, dampening=0.5, nesterov=False, weight_decay=0.0)
    # PyTorch starts with v = g = 2, undamped; then v = 0.5·2 + 0.5·2 = 2: 0.8, 0.6
    assert weights_under_gradient(model, optimizer, 2.0, 2) == pytest.approx([0.8, 0.6])


def test_sgd_nesterov_looks_one_step_ahead() -> None:
    model = one_weight()
    optimizer = sgd(model, learning_rate=0.1, momentum=0.5, nesterov=True, weight_decay=0.0)
    # v = 2, then 3; steps of g + 0.5·v = 3, then 3.5: 1 − 0.3 = 0.7, 0.7 − 0.35 = 0.35
    assert weights_under_gradient(model, optimizer, 2.0, 2) == pytest.approx([0.7, 0.35])


def test_sgd_weight_decay_pulls_towards_zero_without_a_gradient() -> None:
    model = one_weight(2.0)
    optimizer = sgd(model, learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.5)
    # 2 − 0.1·0.5·2 = 1.9
    assert weights_under_gradient(model, optimizer, 0.0, 1) == pytest.approx([1.9])


def test_weight_decay_reaches_biases() -> None:
    model = nn.Linear(1, 1)
    nn.init.ones_(model.bias)
    optimizer = sgd(model, learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.5)
    model.weight.grad, model.bias.grad = torch.zeros_like(model.weight), torch.zeros_like(model.bias)
    optimizer.step()
    assert model.bias.item() == pytest.approx(0.95)  # 1 − 0.1·0.5·1


@pytest.mark.parametrize(("momentum", "dampening"), [(0.0, 0.0), (0.9, 0.1)])
def test_nesterov_without_plain_momentum_is_refused(momentum: float, dampening: float) -> None:
    with pytest.raises(
        ConfigError, match=f"needs optimizer.momentum above 0 .* got momentum={momentum:g}, dampening={dampening:g}"
    ):
        sgd(one_weight(), momentum=momentum, dampening=dampening, nesterov=True)


# AdamW


def test_adamw_first_step_is_the_learning_rate_whatever_the_gradient() -> None:
    model = one_weight()
    optimizer = adamw(model, learning_rate=0.01, weight_decay=0.0)
    # Both running means are bias-corrected: g/√g² = 1, and 1 − 0.01·1 = 0.99
    assert weights_under_gradient(model, optimizer, 123.0, 1) == pytest.approx([0.99])


def test_adamw_weight_decay_is_apart_from_the_gradient() -> None:
    model = one_weight(2.0)
    optimizer = adamw(model, learning_rate=0.01, weight_decay=0.5)
    # 2·(1 − 0.01·0.5) = 1.99: with L2 in the gradient it would be 2 − 0.01 whatever the decay
    assert weights_under_gradient(model, optimizer, 0.0, 1) == pytest.approx([1.99])


def test_adamw_betas_and_eps_arrive_where_they_belong() -> None:
    # Without memory (β = 0) and with eps as large as the gradient, a step is 0.1·3/(3 + 3) = 0.05.
    model = one_weight()
    optimizer = adamw(model, learning_rate=0.1, beta1=0.0, beta2=0.0, eps=3.0, weight_decay=0.0)
    assert weights_under_gradient(model, optimizer, 3.0, 2) == pytest.approx([0.95, 0.9])
    assert adamw(model, beta1=0.8, beta2=0.95).defaults["betas"] == (0.8, 0.95)


# Learning rates by layer


@pytest.mark.parametrize("optimizer", [sgd, adamw])
def test_the_longest_name_sets_the_learning_rate(optimizer: Callable[..., torch.optim.Optimizer]) -> None:
    model = two_layers()
    rates = {"stage1": 0.2, "stage1.conv.bias": 0.3, "head": 0.0}
    assert learning_rates(model, optimizer(model, learning_rate=0.1, layer_learning_rates=rates)) == {
        "stage1.conv.weight": 0.2,
        "stage1.conv.bias": 0.3,
        "stage10.weight": 0.1,  # stage1 is no layer of stage10
        "stage10.bias": 0.1,
        "head.weight": 0.0,
        "head.bias": 0.0,
    }


def test_a_name_that_longer_ones_use_up_leaves_no_empty_group() -> None:
    model = two_layers()
    rates = {"head": 0.2, "head.weight": 0.3, "head.bias": 0.4, "stage1": 0.5, "stage10": 0.6}
    assert all(group["params"] for group in sgd(model, layer_learning_rates=rates).param_groups)


def test_a_request_sets_rates_by_layer_and_dampened_momentum_and_the_run_id_tells() -> None:
    # The MLP of Müller et al. 2019 as a replication has it: 1, 1, 0.1 by layer, momentum and dampening 0.9.
    plain = ("model=mlp", "model.hidden=[8,8]", "optimizer.momentum=0.9", "optimizer.dampening=0.9",
             "optimizer.nesterov=false", "optimizer.learning_rate=1")  # fmt: skip
    config = compose(*plain, "optimizer.layer_learning_rates={head: 0.1}")
    experiment = build(config)
    assert {name.partition(".")[0]: rate for name, rate in learning_rates(
        experiment.network, experiment.optimizer).items()} == {"hidden1": 1, "hidden2": 1, "head": 0.1}  # fmt: skip
    assert {(group["momentum"], group["dampening"]) for group in experiment.optimizer.param_groups} == {(0.9, 0.9)}
    assert run_id(config) != run_id(compose(*plain))


def test_an_unknown_layer_is_refused_with_the_nearest_and_all() -> None:
    expected = r"no layer named 'haed'; did you mean head\? \(layers: stage1, stage10, head\)"
    with pytest.raises(ConfigError, match=expected):
        sgd(two_layers(), layer_learning_rates={"haed": 0.1})


@pytest.mark.parametrize("rate", [-0.1, math.nan, math.inf])
def test_a_learning_rate_of_a_layer_outside_its_interval_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match=rf"layer_learning_rates.head must lie in \[0, ∞\); got {rate:g}"):
        adamw(two_layers(), layer_learning_rates={"head": rate})


# Schedules


def factors(schedule: Schedule, total_steps: int, **options: Any) -> list[float]:
    return [schedule(step, total_steps, **options) for step in range(total_steps)]


def test_constant_stays_at_one() -> None:
    assert factors(constant, 3) == [1, 1, 1]


def test_linear_falls_by_equal_parts_towards_zero() -> None:
    assert factors(linear, 4) == pytest.approx([1, 0.75, 0.5, 0.25])


def test_linear_falls_towards_its_final_factor() -> None:
    # 0.2 + 0.8·(1 − 0, ¼, ½, ¾)
    assert factors(linear, 4, final=0.2) == pytest.approx([1, 0.8, 0.6, 0.4])


def test_cosine_falls_slowly_then_fast_then_slowly() -> None:
    # (1 + cos(0, 60°, 120°))/2
    assert factors(cosine, 3) == pytest.approx([1, 0.75, 0.25])


def test_cosine_falls_towards_its_final_factor() -> None:
    # 0.2 + 0.8·(1, 0.75, 0.25)
    assert factors(cosine, 3, final=0.2) == pytest.approx([1, 0.8, 0.4])


def test_step_decay_multiplies_at_each_milestone() -> None:
    assert factors(step_decay, 8) == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert factors(step_decay, 4, milestones=[0.25], decay=0.5) == [1, 0.5, 0.5, 0.5]
    assert factors(step_decay, 4, milestones=[]) == [1, 1, 1, 1]


def test_step_decay_comes_at_the_exact_step_where_floats_are_a_hair_above() -> None:
    # 0.07·100 = 7.000000000000001 in floats
    assert [step_decay(step, 100, milestones=[0.07]) for step in (6, 7)] == [1, 0.1]


@pytest.mark.parametrize("schedule", [constant, linear, cosine, step_decay])
def test_warmup_rises_by_equal_parts_to_one_and_the_schedule_follows(schedule: Schedule) -> None:
    warmed_up = factors(schedule, 12, warmup=1 / 3)
    assert warmed_up[:4] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert warmed_up[4] == 1  # every schedule starts at 1
    assert max(warmed_up) == 1


def test_after_the_warmup_the_rest_of_the_training_is_a_whole_schedule() -> None:
    assert factors(cosine, 4, warmup=0.25)[1:] == pytest.approx([1, 0.75, 0.25])
    assert factors(linear, 6, warmup=1 / 3)[2:] == pytest.approx([1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("schedule", [constant, linear, cosine, step_decay])
def test_a_warmup_of_less_than_half_a_step_is_none(schedule: Schedule) -> None:
    assert factors(schedule, 10, warmup=0.04) == factors(schedule, 10)


@pytest.mark.parametrize("schedule", [constant, linear, cosine, step_decay])
def test_a_warmup_that_rounds_to_the_whole_training_only_rises(schedule: Schedule) -> None:
    assert factors(schedule, 2, warmup=0.99) == [0.5, 1]


def test_every_schedule_has_a_configuration() -> None:
    # Found by their first two arguments, so that a schedule without a yaml is noticed.
    found = {
        name
        for name, function in inspect.getmembers(optimization, inspect.isfunction)
        if list(inspect.signature(function).parameters)[:2] == ["step", "total_steps"]
    }
    assert found == {OmegaConf.load(path)["_target_"].rpartition(".")[2] for path in SCHEDULES}
