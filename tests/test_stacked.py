"""Runs trained as one model end where each would have ended alone."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from support import compose, compose_all
from torch import Tensor, nn

from lossbench.build import build, build_loss
from lossbench.errors import DivergedError
from lossbench.metrics import evaluate
from lossbench.stacked.grouping import alike, why_alone
from lossbench.stacked.hyperparameters import bind, differing
from lossbench.stacked.memory import of_a_run
from lossbench.stacked.optimizers import Optimizer
from lossbench.stacked.training import NotStackedError, Run, train_stacked
from lossbench.training import State, Trained, step_flops, train

WINE = ("dataset=wine", "model=mlp", "model.hidden=[8]", "batch_size=16", "epochs=1", "device=cpu")
DIGITS = ("dataset=digits", "dataset.train_fraction=0.1", "batch_size=16", "epochs=1", "device=cpu")

Configs = Sequence[dict[str, Any]]


def stackable(configs: Configs, states: Sequence[State] | None = None, teacher: nn.Module | None = None) -> list[Run]:
    """The runs, with one data set for each seed."""
    datasets: dict[int, Any] = {}
    runs = []
    for i, config in enumerate(configs):
        experiment = build(config)
        experiment = dataclasses.replace(experiment, dataset=datasets.setdefault(config["seed"], experiment.dataset))
        runs.append(Run(experiment, config["seed"], teacher, states[i] if states else State()))
    return runs


def settings(config: dict[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("epochs", "batch_size", "keep")}


def stacked(configs: Configs, *arguments: Any, **options: Any) -> list[Trained | DivergedError]:
    return train_stacked(stackable(configs, *arguments), **settings(configs[0]), **options)


def alone(config: dict[str, Any], **options: Any) -> Trained:
    return train(build(config), seed=config["seed"], **settings(config), **options)


def assert_same(one: Trained | DivergedError, other: Trained, within: float = 1e-5) -> None:
    """Weights, logits, losses, metrics and fingerprints; all but the seconds."""
    assert isinstance(one, Trained)
    assert one.fingerprints == other.fingerprints
    for name, weights in other.weights.items():
        torch.testing.assert_close(one.weights[name], weights, rtol=within, atol=within)
    torch.testing.assert_close(one.test_logits, other.test_logits, rtol=within, atol=10 * within)
    assert len(one.history) == len(other.history)
    for row, expected in zip(one.history, other.history, strict=True):
        assert row.keys() == expected.keys()
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(expected[name], rel=within, abs=within), name
    names = ["nll", "brier_score", "accuracy"]
    numbers, expected = (evaluate(run.test_logits, run.test_targets, metrics=names) for run in (one, other))
    assert numbers == pytest.approx(expected, rel=within, abs=within)


CASES = {
    "learning rates and weight decay": (
        *WINE, "optimizer.learning_rate=0.01,0.1", "optimizer.weight_decay=0,0.01"),
    "epsilon": (*WINE, "loss=label_smoothing", "loss.epsilon=0,0.1,0.3", "seed=0,1"),
    "gamma": (*WINE, "loss=focal", "loss.gamma=0,0.5,2"),
    "a link with a temperature": (*WINE, "loss=temperature", "loss.temperature=0.5,1,4", "seed=0,1"),
    "a loss inside another": (
        *WINE, "loss=sum", "loss.first=focal", "loss.second=dice", "loss.first.gamma=1,2", "loss.second_weight=0.5,1"),
    "class weights of each split": (
        *WINE, "loss=class_weighted", "loss.class_weights=inverse", "dataset.label_noise=0.3", "seed=range(3)"),
    "plain sgd": (*WINE, "optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.learning_rate=0.1,0.2"),
    "heavy ball": (*WINE, "optimizer.nesterov=false", "optimizer.dampening=0.5", "optimizer.learning_rate=0.1,0.2"),
    "adamw": (*WINE, "optimizer=adamw", "optimizer.learning_rate=0.001,0.01", "optimizer.weight_decay=0,0.1"),
    "schedule and three epochs": (*WINE, "schedule=linear", "schedule.warmup=0.2", "epochs=3", "seed=0,1"),
    "keep=last": (*WINE, "keep=last", "epochs=3", "optimizer.learning_rate=0.3,0.01"),
    "augmentation": (*DIGITS, "dataset.shift=1", "loss=label_smoothing", "loss.epsilon=0,0.2", "seed=0,1"),
    "mixing": (*DIGITS, "dataset.mixup=0.3", "dataset.cutmix=1", "loss=label_smoothing", "loss.epsilon=0,0.2"),
    "batch norm": (*DIGITS, "model=cnn", "device.channels_last=false", "dataset.train_fraction=0.3", "seed=1,4"),
}  # fmt: skip


@pytest.mark.parametrize("overrides", CASES.values(), ids=CASES.keys())
def test_stacked_is_sequential_after_training(overrides: tuple[str, ...]) -> None:
    configs = compose_all(*overrides)
    results = stacked(configs)
    assert len(results) == len(configs) >= 2
    for config, result in zip(configs, results, strict=True):
        assert_same(result, alone(config))


@pytest.mark.parametrize("shift", [0, 1], ids=["looked up", "asked for each batch"])
def test_students_learn_from_their_teacher_as_alone(shift: int) -> None:
    overrides = (*DIGITS, f"dataset.shift={shift}", "loss=distillation", "loss.temperature=1,4", "loss.alpha=0.5,0.9")
    configs = compose_all(*overrides)
    teacher = build(configs[0]).model
    results = train_stacked(stackable(configs, None, teacher), **settings(configs[0]))
    for config, result in zip(configs, results, strict=True):
        assert_same(result, alone(config, teacher=teacher))


def test_sample_weights_are_those_of_the_examples(tmp_path: Any) -> None:
    np.save(tmp_path / "weights.npy", np.linspace(0, 2, 178))
    configs = compose_all(*WINE, f"dataset.sample_weights={tmp_path / 'weights.npy'}", "seed=0,1")
    for config, result in zip(configs, stacked(configs), strict=True):
        assert_same(result, alone(config))


def test_a_loss_that_asks_for_the_epoch_is_told_it() -> None:
    told = []

    def spy(logits: Tensor, targets: Tensor, *, epoch: int) -> Tensor:
        told.append(epoch)
        return nn.functional.cross_entropy(logits, targets)

    runs = []
    for run in stackable(compose_all(*WINE, "seed=0,1", "epochs=2")):
        loss = dataclasses.replace(run.experiment.loss, function=spy, extras=("epoch",))
        runs.append(dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, loss=loss)))
    train_stacked(runs, epochs=2, batch_size=1000)
    # To try it, alone and stacked; then in each epoch one step and a look at validation for each of the two runs.
    assert told == [1, 1, *[1, 1, 1], *[2, 2, 2]]


def test_one_that_diverges_fails_alone_and_in_the_same_words() -> None:
    configs = compose_all(*WINE, "optimizer.learning_rate=0.1,1e20", "epochs=2")
    fine, failed = stacked(configs)
    assert_same(fine, alone(configs[0]))
    assert isinstance(failed, DivergedError)
    with pytest.raises(DivergedError) as expected:
        alone(configs[1])
    assert str(failed) == str(expected.value)


def test_one_whose_last_step_leaves_no_finite_outputs_fails_alone_and_in_the_same_words() -> None:
    configs = compose_all("dataset=wine", "device=cpu", "optimizer.learning_rate=0.1,5e5", "epochs=2")
    fine, failed = stacked(configs)
    assert isinstance(fine, Trained)
    assert isinstance(failed, DivergedError)
    with pytest.raises(
        DivergedError, match=r"after epoch 2, at learning rate .*, the model's outputs are not finite; a lo"
    ):
        alone(configs[1])
    assert str(failed).startswith("after epoch 2")


def test_one_that_diverges_is_not_saved_and_holds_up_nobody() -> None:
    configs = compose_all(*WINE, "optimizer.learning_rate=1e20,0.1", "epochs=2")
    saved = []

    class Always:
        def due(self) -> bool:
            return True

        def save(self, states: Any) -> None:
            saved.append(len(states))
            assert all(state.losses is None or state.losses.isfinite().all() for state in states)

    failed, fine = stacked(configs, checkpoints=Always())
    assert isinstance(failed, DivergedError)
    assert_same(fine, alone(configs[1]))
    assert saved[-1] == 1


def test_where_all_diverge_training_ends() -> None:
    epochs = []
    configs = compose_all(*WINE, "optimizer.learning_rate=1e20,1e21", "epochs=9")
    results = stacked(configs, on_epoch=epochs.append)
    assert all(isinstance(result, DivergedError) for result in results)
    assert epochs == []


class Stop:
    """Checkpoints that are due after so many looks, and stop there."""

    def __init__(self, looks: int) -> None:
        self.left, self.saved = looks, []

    def due(self) -> bool:
        self.left -= 1
        return self.left == 0

    def save(self, states: Any) -> None:
        self.saved = copy.deepcopy(states if isinstance(states, list) else [states])
        raise KeyboardInterrupt


# 127 training examples are 8 batches of 16: 4 looks are within the first epoch, 8 at its end, 12 in the second.
@pytest.mark.parametrize("looks", [4, 8, 12])
@pytest.mark.parametrize("swept", ["loss.epsilon=0,0.2", "optimizer.learning_rate=0.01,0.02"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_interrupted_between_any_two_steps_they_go_on_stacked_or_alone(looks: int, optimizer: str, swept: str) -> None:
    configs = compose_all(*WINE, "epochs=3", f"optimizer={optimizer}", "loss=label_smoothing", swept)
    whole = stacked(configs)
    stop = Stop(looks)
    with pytest.raises(KeyboardInterrupt):
        stacked(configs, checkpoints=stop)
    assert [state.epoch for state in stop.saved] == [looks // 8] * 2
    alone_states = copy.deepcopy(stop.saved)
    for result, undisturbed in zip(stacked(configs, stop.saved), whole, strict=True):
        assert isinstance(undisturbed, Trained)
        assert_same(result, undisturbed, within=0.0)
    for config, state in zip(configs, alone_states, strict=True):
        assert_same(alone(config, state=state), alone(config))


@pytest.mark.parametrize("looks", [4, 8])
def test_interrupted_alone_they_go_on_stacked(looks: int) -> None:
    configs = compose_all(*WINE, "epochs=3", "optimizer=sgd,adamw")
    for optimizer in configs:
        pair = [optimizer, {**optimizer, "seed": 1}]
        states = []
        for config in pair:
            stop = Stop(looks)
            with pytest.raises(KeyboardInterrupt):
                alone(config, checkpoints=stop)
            states += stop.saved
        for config, result in zip(pair, stacked(pair, states), strict=True):
            assert_same(result, alone(config))


def test_a_checkpoint_keeps_the_best_epoch_of_each_run() -> None:
    configs = compose_all(*WINE, "epochs=4", "optimizer.learning_rate=0.001,0.5")
    stop = Stop(24)  # the end of the third epoch
    with pytest.raises(KeyboardInterrupt):
        stacked(configs, checkpoints=stop)
    for state in stop.saved:
        assert state.best_accuracy == max(row["val_accuracy"] for row in state.history)


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "dampening": 0.3},
        {},
        {"betas": (0.8, 0.99), "eps": 1e-3},
        {"betas": (0.8, 0.99), "amsgrad": True, "fused": True},
    ],
    ids=["nesterov", "dampening", "plain", "adamw", "fused"],
)
@pytest.mark.parametrize("rates", [(0.1, 0.3), (0.1, 0.1)])
def test_a_step_is_that_of_torch_optim_with_each_runs_rate_and_decay(
    options: dict[str, Any], rates: tuple[float, float]
) -> None:
    kind: Any = torch.optim.AdamW if "betas" in options else torch.optim.SGD
    weights = torch.linspace(-1, 1, 10).reshape(2, 5)
    parameters = [nn.Parameter(row.clone()) for row in weights]
    optimizers = [
        kind([parameter], lr=rate, weight_decay=decay, **options)
        for parameter, rate, decay in zip(parameters, rates, (0.0, rates[1] - 0.1), strict=True)
    ]
    gradients = torch.empty_like(weights)
    ours = Optimizer(optimizers, weights, gradients)
    for step in range(4):
        gradients.copy_(torch.sin(torch.arange(10.0).reshape(2, 5) + step))
        ours.step(factor=1.0)
        for optimizer, parameter, gradient in zip(optimizers, parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(weights, torch.stack([parameter.detach() for parameter in parameters]))


def test_what_differs_between_losses_is_found_by_its_dotted_name_and_put_in_its_place() -> None:
    configs = compose_all(*WINE, "loss=sum", "loss.first=focal", "loss.second=dice", "loss.first.gamma=1,2")
    dataset = build(configs[0]).dataset
    functions = [build_loss(config["loss"], dataset).function for config in configs]
    found = differing(functions, "cpu")
    assert found.keys() == {"first.gamma"}
    assert found["first.gamma"].tolist() == [1, 2]
    logits, targets = torch.eye(3), torch.tensor([0, 1, 1])
    bound = bind(functions[0], {"first.gamma": torch.tensor(2.0)})
    assert bound(logits, targets) == functions[1](logits, targets) != functions[0](logits, targets)


ALIKE = [
    ("seed=0", "seed=1"),
    ("optimizer.learning_rate=0.1", "optimizer.learning_rate=1"),
    ("optimizer.weight_decay=0", "optimizer.weight_decay=0.5"),
    ("loss.epsilon=0", "loss.epsilon=0.5"),
    ("loss.temperature=1", "loss.temperature=2.5"),
]
OTHERS = [
    ("loss.ignore_index=-100", "loss.ignore_index=255"),
    ("loss.class_weights=null", "loss.class_weights=inverse"),
    ("optimizer.momentum=0.9", "optimizer.momentum=0.5"),
    ("batch_size=8", "batch_size=16"),
    ("epochs=2", "epochs=3"),
    ("model.hidden=[8]", "model.hidden=[9]"),
    ("dataset.label_noise=0", "dataset.label_noise=0.1"),
    ("metrics.n_bins=10", "metrics.n_bins=15"),
]


@pytest.mark.parametrize(("one", "other"), [*ALIKE, *OTHERS])
def test_runs_that_differ_in_numbers_alone_are_alike(one: str, other: str) -> None:
    first, second = compose_all(*WINE, f"{one},{other.partition('=')[2]}")
    assert (alike(first) == alike(second)) == ((one, other) in ALIKE)


def test_the_numbers_of_a_loss_inside_another_may_differ_and_which_it_is_may_not() -> None:
    hard = (("loss.hard=focal",), ("loss.hard=focal", "loss.hard.gamma=1"), ("loss.hard=dice",))
    one, number, other = (alike(compose(*WINE, "loss=distillation", *overrides)) for overrides in hard)
    assert one == number != other


REASONS = {
    "dropout": (*WINE, "model.dropout=0.1"),
    "bf16": (*WINE, "device.precision=bf16"),
    "masks": ("dataset=shapes", "model=unet", "model.width=4", "device=cpu"),
    "a loss with a state": (*WINE, "loss=online_label_smoothing"),
    "one learning rate": (*WINE, "+optimizer.layer_learning_rates={head: 0.1}"),
    "layers of this size": (*DIGITS, "model=mlp", "model.hidden=[1024,1024]", "batch_size=64"),
    "convolutions of this size": (*DIGITS, "model=cnn", "batch_size=64", "device.channels_last=false"),
    "device.channels_last=false": (*DIGITS, "model=cnn", "model.width=4"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_is_not_stacked_says_why(reason: str) -> None:
    config = compose(*REASONS[reason])
    experiment = build(config)
    assert reason in why_alone(experiment, step_flops(experiment, config["batch_size"]))


def test_frozen_weights_are_not_stacked() -> None:
    experiment = build(compose(*WINE))
    assert why_alone(experiment, 0) == ""
    next(experiment.network.parameters()).requires_grad_(False)
    assert "frozen" in why_alone(experiment, 0)


@pytest.mark.parametrize("what", ["rand", "branch"])
def test_a_loss_that_vmap_cannot_take_is_refused_before_anything_is_learned(what: str) -> None:
    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        value = nn.functional.cross_entropy(logits, targets)
        if what == "branch":
            return value if value.item() > 0 else value * 2
        return value * torch.rand(())

    runs = [with_loss(run, loss) for run in stackable(compose_all(*WINE, "seed=0,1"))]
    with pytest.raises(NotStackedError, match="stacked, RuntimeError: vmap"):
        train_stacked(runs, epochs=1, batch_size=16)
    assert all(run.state == State() for run in runs)


def with_loss(run: Run, loss: Any) -> Run:
    bound = dataclasses.replace(run.experiment.loss, function=loss)
    return dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, loss=bound))


@pytest.mark.parametrize("flat", [Tensor.view, Tensor.reshape])
def test_a_loss_that_writes_through_a_view_gives_what_it_gives_alone(flat: Any) -> None:
    """The outputs of a stack's dense layer lie turned, so that what is flat is no view of them, but a copy."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        flat(logits, -1).mul_(2)
        return nn.functional.cross_entropy(logits, targets)

    configs = compose_all(*WINE, "seed=0,1")
    results = train_stacked([with_loss(run, loss) for run in stackable(configs)], **settings(configs[0]))
    for config, result in zip(configs, results, strict=True):
        one = with_loss(stackable([config])[0], loss)
        assert_same(result, train(one.experiment, seed=config["seed"], **settings(config)))


def test_a_loss_that_is_another_in_a_stack_is_refused_with_both_numbers() -> None:
    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        stacked = torch._C._functorch.is_batchedtensor(logits)
        return nn.functional.cross_entropy(logits, targets) * (2 if stacked else 1)

    runs = [with_loss(run, loss) for run in stackable(compose_all(*WINE, "seed=0,1"))]
    with pytest.raises(NotStackedError, match=r"a step has a loss of 2\.\d+ and a gradient of .*, alone 1\.\d+ and"):
        train_stacked(runs, epochs=1, batch_size=16)


def test_memory_of_a_linear_model_is_that_of_its_weights_and_batches() -> None:
    """3 classes of 13 features: 42 weights, nine times, of 4 bytes; for each example its 13 features, as they are given
    and as the layer keeps them for the gradient, both twice."""
    experiment = build(compose("dataset=wine", "model=linear", "device=cpu"))
    assert of_a_run(experiment, batch_size=16) == 9 * 42 * 4 + 2 * 16 * (13 + 13) * 4


def test_the_mean_row_is_told_after_each_epoch() -> None:
    rows: list[Any] = []
    configs = compose_all(*WINE, "epochs=2", "seed=0,1")
    results = stacked(configs, on_epoch=rows.append)
    expected = [
        sum(result.history[i]["train_loss"] for result in results if isinstance(result, Trained)) / 2 for i in range(2)
    ]
    assert [row["train_loss"] for row in rows] == expected
    assert all(math.isfinite(row["gradient_norm"]) for row in rows)
