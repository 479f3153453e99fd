from __future__ import annotations

import copy
import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import compose
from torch import Tensor, nn

from lossbench.build import Experiment, Loss, build, build_dataset, build_loss, forget_data
from lossbench.errors import ConfigError, DataError, DivergedError
from lossbench.rehearsal import rehearse
from lossbench.training import State, Trained, train

SMALL = ("dataset=wine", "model=mlp", "model.hidden=[8]", "batch_size=16", "epochs=3", "device=cpu")


def run(*overrides: str, **options: Any) -> Trained:
    config = compose(*SMALL, *overrides)
    return train(
        build(config),
        **{
            "epochs": config["epochs"],
            "batch_size": config["batch_size"],
            "seed": config["seed"],
            "keep": config["keep"],
            **options,
        },
    )


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_request_gives_the_same_bits() -> None:
    one, other = run(), run()
    assert same(one.weights, other.weights)
    assert torch.equal(one.test_logits, other.test_logits)
    assert [row["train_loss"] for row in one.history] == [row["train_loss"] for row in other.history]


def test_label_smoothing_of_zero_is_cross_entropy_bit_for_bit() -> None:
    assert same(run("loss=cross_entropy").weights, run("loss=label_smoothing", "loss.epsilon=0").weights)


LOSSES = ["loss=cross_entropy", "loss=label_smoothing", "loss=temperature", "loss=dice", "loss=binary_cross_entropy",
          "loss=class_weighted", "loss=dice_cross_entropy", "loss=prior_smoothing"]  # fmt: skip


def test_all_losses_see_the_same_data_split_weights_and_batches() -> None:
    prints = [run(loss, "model.dropout=0.5", "dataset.label_noise=0.1").fingerprints for loss in LOSSES]
    assert all(other == prints[0] for other in prints)
    assert set(prints[0]) == {"data", "split", "initial_weights", "batch_order"}


def test_another_seed_is_another_split_other_weights_and_other_batches() -> None:
    one, other = run("seed=0").fingerprints, run("seed=1").fingerprints
    assert all(one[name] != other[name] for name in one)
    networks = [build(compose(*SMALL, f"seed={seed}")).network for seed in (0, 1)]
    first, second = (next(network.parameters()) for network in networks)
    assert not torch.equal(first, second)


def test_the_fingerprint_of_the_batches_is_of_the_batches_that_the_loss_saw() -> None:
    seen: dict[str, list[list[int]]] = {}
    for loss in ("cross_entropy", "dice"):
        experiment = build(compose(*SMALL, f"loss={loss}"))
        seen[loss] = []

        def spy(
            logits: Tensor, targets: Tensor, loss: str = loss, experiment: Experiment = experiment, **extras: Tensor
        ) -> Tensor:
            seen[loss].append(targets.tolist())
            return experiment.loss.function(logits, targets, **extras)

        spied = dataclasses.replace(experiment, loss=dataclasses.replace(experiment.loss, function=spy))
        train(spied, epochs=2, batch_size=16, seed=0)
    assert seen["cross_entropy"] == seen["dice"]
    # 2 epochs of ceil(N / 16) batches and one look at validation each
    batches = math.ceil(len(experiment.dataset.train) / 16)
    assert len(seen["dice"]) == 2 * (batches + 1)
    assert sorted(label for batch in seen["dice"][:batches] for label in batch) == sorted(
        experiment.dataset.train.targets.tolist()
    )


@pytest.mark.parametrize("stop_after", [1, 2])
def test_going_on_from_a_state_gives_the_same_bits_as_never_stopping(stop_after: int) -> None:
    overrides = ("model.dropout=0.3", "optimizer=adamw", "keep=best")
    kept: list[State] = []

    def stop(state: State) -> None:
        if state.epoch == stop_after:
            kept.append(copy.deepcopy(state))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(*overrides, on_epoch=stop)
    resumed, whole = run(*overrides, state=kept[0]), run(*overrides)
    assert same(resumed.weights, whole.weights)
    assert torch.equal(resumed.test_logits, whole.test_logits)
    assert resumed.fingerprints == whole.fingerprints
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]


class StopAt:
    """Checkpoints that keep the state after so many steps, the last of an epoch included, and end there."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.kept: list[State] = []

    def due(self) -> bool:
        self.left -= 1
        return self.left == 0

    def save(self, state: State) -> None:
        self.kept.append(copy.deepcopy(state))
        raise KeyboardInterrupt


# wine has 127 training examples: 8 steps of 16 in an epoch, and the state is looked at after each of them
@pytest.mark.parametrize(("steps", "epoch", "within"), [(1, 0, 1), (7, 0, 7), (8, 1, None), (11, 1, 3), (24, 3, None)])
@pytest.mark.parametrize("loss", ["cross_entropy", "online_label_smoothing"])
def test_going_on_from_between_two_steps_gives_the_same_bits(
    loss: str, steps: int, epoch: int, within: int | None
) -> None:
    overrides = (f"loss={loss}", "model.dropout=0.3", "optimizer=adamw", "schedule=cosine", "dataset.mixup=0.2")
    overrides = overrides if loss == "cross_entropy" else overrides[:-1]  # it takes class indices alone
    stop = StopAt(steps)
    with pytest.raises(KeyboardInterrupt):
        run(*overrides, checkpoints=stop)
    (state,) = stop.kept
    assert state.epoch == epoch
    assert (None if state.losses is None else len(state.losses)) == within
    resumed, whole = run(*overrides, state=state), run(*overrides)
    assert same(resumed.weights, whole.weights)
    assert torch.equal(resumed.test_logits, whole.test_logits)
    assert resumed.fingerprints == whole.fingerprints
    columns = set(whole.history[0]) - {"seconds"}
    assert [[row[c] for c in columns] for row in resumed.history] == [
        [row[c] for c in columns] for row in whole.history
    ]


def test_augmentation_goes_on_from_between_two_steps() -> None:
    overrides = ("dataset=digits", "dataset.shift=1", "dataset.train_fraction=0.1", "epochs=2")
    stop = StopAt(12)  # 129 images are 9 steps of 16: in the middle of the second epoch
    with pytest.raises(KeyboardInterrupt):
        run(*overrides, checkpoints=stop)
    assert same(run(*overrides, state=stop.kept[0]).weights, run(*overrides).weights)


def test_the_best_epoch_is_the_last_of_those_with_the_highest_validation_accuracy() -> None:
    weights: dict[int, dict[str, Tensor]] = {}

    def remember(state: State) -> None:
        weights[state.epoch] = copy.deepcopy(state.model)

    trained = run("epochs=8", "optimizer.learning_rate=0.5", on_epoch=remember)
    accuracies = [row["val_accuracy"] for row in trained.history]
    best = max(epoch for epoch in weights if accuracies[epoch - 1] == max(accuracies))
    assert same(trained.weights, weights[best])
    last = run("epochs=8", "optimizer.learning_rate=0.5", "keep=last")
    assert same(last.weights, weights[8])


def test_history_has_a_row_per_epoch_with_the_learning_rate_of_its_last_step() -> None:
    trained = run("schedule=constant", "optimizer.learning_rate=0.125")
    assert [row["epoch"] for row in trained.history] == [1, 2, 3]
    assert {row["learning_rate"] for row in trained.history} == {0.125}
    assert all(row["gradient_norm"] > 0 and row["seconds"] > 0 for row in trained.history)


def test_a_training_that_diverges_says_when_and_at_which_learning_rate() -> None:
    with pytest.raises(DivergedError, match=r"the loss became (nan|inf) at step 2 of 8 in epoch 1, at learning rate"):
        run("loss=cross_entropy", "optimizer.learning_rate=1e30", "schedule=constant")


def test_a_trained_model_is_right_and_not_only_finished() -> None:
    # scikit-learn's logistic regression reaches 0.97 on its digits; a network must not do worse
    config = compose("epochs=10", "device=cpu")
    trained = train(build(config), epochs=10, batch_size=64, seed=0)
    targets = build_dataset(config).test.targets
    assert (trained.test_logits.argmax(1) == targets).float().mean() >= 0.95


@pytest.mark.parametrize("augmentation", ["dataset.shift=0", "dataset.shift=1", "dataset.mixup=1", "dataset.cutmix=1"])
def test_the_teacher_sees_what_the_student_sees_and_is_done_learning(augmentation: str) -> None:
    """A teacher whose logits are the image itself: what reaches the loss must be the student's batch."""
    experiment = build(compose("loss=distillation", "model=linear", "batch_size=500", augmentation, "device=cpu"))
    seen_by_student: list[Tensor] = []
    seen_by_loss: list[Tensor] = []

    class Mirror(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            assert not self.training
            return inputs.flatten(1)[:, 20:30].float()

    def watch(module: nn.Module, arguments: tuple[Tensor]) -> None:
        if module.training:
            seen_by_student.append(arguments[0])

    def spy(logits: Tensor, targets: Tensor, *, teacher_logits: Tensor) -> Tensor:
        if torch.is_grad_enabled() and logits.requires_grad:
            seen_by_loss.append(teacher_logits)
        return nn.functional.cross_entropy(logits, targets)

    experiment.model.register_forward_pre_hook(watch)
    spied = dataclasses.replace(experiment, loss=dataclasses.replace(experiment.loss, function=spy))
    train(spied, epochs=2, batch_size=500, seed=0, teacher=Mirror())
    assert len(seen_by_loss) == 2 * math.ceil(len(experiment.dataset.train) / 500)
    for inputs, logits in zip(seen_by_student, seen_by_loss, strict=True):
        assert torch.equal(logits, inputs.flatten(1)[:, 20:30].float())


def test_each_epoch_augments_anew_and_each_seed_in_its_own_way() -> None:
    def first_batches(seed: int) -> list[Tensor]:
        experiment = build(compose("model=linear", "dataset.shift=2", "device=cpu", f"seed={seed}"))
        seen: list[Tensor] = []

        def watch(module: nn.Module, arguments: tuple[Tensor]) -> None:
            if module.training:
                seen.append(arguments[0])

        experiment.model.register_forward_pre_hook(watch)
        train(experiment, epochs=2, batch_size=10_000, seed=seed)  # one batch an epoch: the whole split
        return seen

    first, second = first_batches(0)
    original = build_dataset(compose("seed=0")).train.inputs
    sums = [sorted(batch.sum((1, 2, 3)).tolist()) for batch in (first, second, original)]
    assert sums[0] != sums[2], "a shifted digit loses pixels over the edge"
    assert sums[0] != sums[1], "and not the same ones in the next epoch"
    assert torch.equal(first, first_batches(0)[0])


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_examples() -> None:
    # With no learning to speak of, the mean over batches of 100, 27 left over, is the loss of the whole split.
    experiment = build(
        compose(*SMALL, "optimizer.learning_rate=1e-12", "schedule=constant", "dataset.val_fraction=0.105")
    )
    train_split = experiment.dataset.train
    assert len(train_split) % 100 not in (0, 50)
    experiment.model.eval()
    with torch.no_grad():
        expected = nn.functional.cross_entropy(experiment.model(train_split.inputs), train_split.targets)
    history = train(experiment, epochs=1, batch_size=100, seed=0).history
    assert history[0]["train_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_the_schedule_sets_the_learning_rate_of_every_step() -> None:
    experiment = build(compose(*SMALL, "schedule=linear", "optimizer.learning_rate=0.5"))
    rates: list[float] = []
    step = experiment.optimizer.step

    def spy(*arguments: Any) -> Any:
        rates.append(experiment.optimizer.param_groups[0]["lr"])
        return step(*arguments)

    experiment.optimizer.step = spy  # type: ignore[method-assign]
    train(experiment, epochs=2, batch_size=16, seed=0)
    total = 2 * math.ceil(len(experiment.dataset.train) / 16)
    assert rates == pytest.approx([0.5 * experiment.schedule(step, total) for step in range(total)])
    assert rates[0] > 4 * rates[-1]


def test_a_steps_gradients_are_gone_before_the_next_one_takes_memory() -> None:
    experiment = build(compose(*SMALL))
    left: list[int] = []

    def count(network: nn.Module, inputs: Any) -> None:
        if network.training:
            left.append(sum(parameter.grad is not None for parameter in network.parameters()))

    experiment.network.register_forward_pre_hook(count)
    train(experiment, epochs=2, batch_size=16, seed=0)
    assert len(left) == 2 * math.ceil(len(experiment.dataset.train) / 16)
    assert not any(left)


def test_what_is_stored_is_what_the_kept_weights_say() -> None:
    restless = (*SMALL, "dataset.label_noise=0.4", "optimizer.learning_rate=0.5", "schedule=constant")
    experiment = build(compose(*restless))
    trained = train(experiment, epochs=7, batch_size=16, seed=0)
    accuracies = [row["val_accuracy"] for row in trained.history]
    assert accuracies[-1] < max(accuracies), "else this test would not tell the best epoch from the last"
    again = build(compose(*restless))
    again.model.load_state_dict(trained.weights)
    again.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(trained.test_logits, again.model(again.dataset.test.inputs))
        val = again.model(again.dataset.val.inputs).argmax(1) == again.dataset.val.targets
    assert val.double().mean().item() == pytest.approx(max(accuracies))


def test_a_loss_that_draws_random_numbers_shifts_no_stream() -> None:
    def weights(draws: int) -> dict[str, Tensor]:
        experiment = build(compose(*SMALL, "model.dropout=0.5"))

        def loss(logits: Tensor, targets: Tensor) -> Tensor:
            torch.rand(draws)
            return nn.functional.cross_entropy(logits, targets)

        return train(
            dataclasses.replace(experiment, loss=Loss(loss, (), {"name": "softmax"})), epochs=2, batch_size=16, seed=0
        ).weights

    assert same(weights(0), weights(3))


def test_the_fingerprint_of_the_batches_knows_their_size() -> None:
    one, other = (run(batch_size=size).fingerprints for size in (16, 64))
    assert one.pop("batch_order") != other.pop("batch_order")
    assert one == other


def test_a_perfect_student_of_alpha_one_learns_its_teacher_and_not_the_labels() -> None:
    experiment = build(compose(*SMALL, "loss=distillation", "loss.alpha=1", "epochs=30"))
    classes = experiment.dataset.num_classes

    class Contrarian(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return 20.0 * nn.functional.one_hot(torch.full((len(inputs),), 2), classes).float()

    trained = train(experiment, epochs=30, batch_size=16, seed=0, teacher=Contrarian())
    assert (trained.test_logits.argmax(1) == 2).all()


def test_sample_weights_reach_the_loss() -> None:
    experiment = build(compose(*SMALL))
    weights = (experiment.dataset.train.targets == 1).float()  # only class 1 counts
    weighted = dataclasses.replace(
        experiment,
        dataset=dataclasses.replace(
            experiment.dataset, train=dataclasses.replace(experiment.dataset.train, sample_weights=weights)
        ),
    )
    trained = train(weighted, epochs=20, batch_size=16, seed=0, keep="last")
    assert (trained.test_logits.argmax(1) == 1).all()


def test_bf16_trains_and_gives_float32_logits() -> None:
    trained = run("device.precision=bf16", "epochs=10")
    assert trained.test_logits.dtype == torch.float32
    assert not torch.equal(trained.test_logits, run("epochs=10").test_logits)
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]


@pytest.mark.cuda
def test_a_run_on_cuda_agrees_with_one_on_the_cpu() -> None:
    on_cpu, on_cuda = run(), run("device=cuda")
    assert on_cpu.fingerprints == on_cuda.fingerprints
    torch.testing.assert_close(on_cuda.test_logits, on_cpu.test_logits, rtol=1e-3, atol=1e-3)


def test_class_weights_by_name_are_resolved_from_the_training_split() -> None:
    config = compose(*SMALL, "loss=class_weighted")
    dataset = build_dataset(config)
    weights = build_loss(config["loss"], dataset).function.keywords["class_weights"]  # type: ignore[attr-defined]
    expected = dataset.class_counts.sum() / (3 * dataset.class_counts)
    torch.testing.assert_close(weights, expected.float())


def test_the_link_carries_the_temperature_that_the_loss_was_trained_with() -> None:
    dataset = build_dataset(compose(*SMALL))
    links = {
        name: build_loss(compose(*SMALL, f"loss={name}")["loss"], dataset).link
        for name in ("temperature", "cross_entropy", "binary_cross_entropy", "distillation", "dice", "ldam")
    }
    assert links["temperature"] == {"name": "softmax", "temperature": 2.0}
    assert links["ldam"] == {"name": "softmax", "scale": 30.0}
    assert links["cross_entropy"] == {"name": "softmax", "temperature": 1.0}
    assert links["binary_cross_entropy"] == {"name": "sigmoid"}
    assert links["distillation"] == links["dice"] == {"name": "softmax"}


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (("loss.class_weights=[1,2]",), ConfigError, r"class_weights must have one entry per class \(3\); got 2"),
        (("loss.class_weights=[1,-2,1]",), ConfigError, "class_weights must be finite and not negative"),
        (("loss=prior_smoothing", "loss.prior=[0.5,0.1,0.1]"), ConfigError, "prior must sum to 1"),
        (("model=cnn",), ConfigError, "needs images"),
        (("dataset=fashion_mnist", "dataset.root=/nowhere"), DataError, "/nowhere"),
        (("dataset=image_folder", "dataset.folder=/nowhere"), DataError, "/nowhere"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused_when_they_are_built(
    overrides: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(compose("dataset=wine", *overrides))


def test_sample_weights_that_a_loss_would_not_use_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "weights.npy", np.ones(178, np.float32))  # wine has 178 examples
    overrides = ("dataset=wine", "model=linear", f"dataset.sample_weights={tmp_path / 'weights.npy'}")
    rehearse(compose(*overrides, "loss=cross_entropy"))
    with pytest.raises(ConfigError, match="loss=dice takes no sample weights"):
        rehearse(compose(*overrides, "loss=dice"))


def test_a_loss_with_a_state_of_its_own_learns_from_epoch_to_epoch_and_goes_on_bit_for_bit() -> None:
    overrides = ("loss=online_label_smoothing",)
    kept: list[State] = []

    def stop(state: State) -> None:
        if state.epoch == 2:
            kept.append(copy.deepcopy(state))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(*overrides, on_epoch=stop)
    uniform = torch.full((3, 3), 1 / 3)
    assert not torch.allclose(kept[0].loss["soft_labels"], uniform)
    assert same(run(*overrides, state=kept[0]).weights, run(*overrides).weights)


@pytest.mark.parametrize(
    "overrides",
    [("loss=sum", "loss.first=online_label_smoothing"), ("loss=distillation", "loss.hard=online_label_smoothing")],
)
def test_a_loss_with_a_state_is_refused_inside_another(overrides: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="only as the whole loss"):
        build(compose(*SMALL, *overrides))


def test_a_partial_is_refused_where_its_values_would_be_lost() -> None:
    with pytest.raises(ConfigError, match="name the function it calls"):
        compose("loss._target_=test_training.PARTIAL")


PARTIAL = functools.partial(nn.functional.cross_entropy, label_smoothing=0.1)


def test_splits_of_small_data_are_made_once_in_a_sweep_and_of_large_ones_the_last_four_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget_data()
    configs = [compose(*SMALL, f"seed={seed}") for seed in range(6)]
    first = [build_dataset(config) for config in configs]
    assert all(build_dataset(config) is dataset for config, dataset in zip(configs, first, strict=True))
    monkeypatch.setattr("lossbench.build.BYTES_KEPT", 3 * first[0].train.resident.nbytes)
    again = [build_dataset(config) for config in configs]
    assert [one is other for one, other in zip(first, again, strict=True)] == [True, False, False, False, False, False]
    assert all(build_dataset(config) is dataset for config, dataset in zip(configs[2:], again[2:], strict=True))
    assert build_dataset(configs[1]) is not again[1]
