"""Trainings on mixed batches: the same for every loss, resumed bit for bit, refused where targets must be indices."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support import Lossbench, compose, files_below
from torch import Tensor, nn

from lossbench import conformance
from lossbench.build import build
from lossbench.conformance.batch import value_and_gradient
from lossbench.errors import ConfigError, ShapeError
from lossbench.rehearsal import rehearse
from lossbench.training import State, Trained, train

SMALL = ("dataset=digits", "dataset.train_fraction=0.2", "model=linear", "epochs=3", "device=cpu")
BOTH = ("dataset.mixup=0.4", "dataset.cutmix=1")
LOSSES = sorted(path.stem for path in (Path(__file__).parents[1] / "conf/loss").glob("*.yaml"))


def run(*overrides: str, **options: Any) -> Trained:
    config = compose(*SMALL, *overrides)
    return train(build(config), epochs=config["epochs"], batch_size=50, seed=config["seed"], **options)


def seen_by(*overrides: str, learning_rate: float = 0.1) -> tuple[list[tuple[Tensor, Tensor]], Trained]:
    """What model and loss were given: inputs and targets of each training batch."""
    experiment = build(compose(*SMALL, *overrides, f"optimizer.learning_rate={learning_rate}", "schedule=constant"))
    inputs: list[Tensor] = []
    seen: list[tuple[Tensor, Tensor]] = []

    def watch(module: nn.Module, arguments: tuple[Tensor]) -> None:
        if module.training:
            inputs.append(arguments[0])

    def spy(logits: Tensor, targets: Tensor, **extras: Tensor) -> Tensor:
        if logits.requires_grad:
            seen.append((inputs[-1], targets))
        else:
            assert targets.dtype == torch.int64, "validation is never mixed"
        return experiment.loss.function(logits, targets, **extras)

    experiment.model.register_forward_pre_hook(watch)
    spied = dataclasses.replace(experiment, loss=dataclasses.replace(experiment.loss, function=spy))
    return seen, train(spied, epochs=2, batch_size=50, seed=0)


def test_all_losses_see_the_same_mixed_batches() -> None:
    first, trained = seen_by(*BOTH)
    # The pixels of digits are sixteenths: those of a blend are not, those in a pasted box are.
    assert {bool((16 * inputs).frac().any()) for inputs, _ in first} == {True, False}
    for loss in ("dice", "label_smoothing", "binary_cross_entropy"):
        other, also = seen_by(*BOTH, f"loss={loss}")
        assert also.fingerprints == trained.fingerprints
        for (inputs, targets), (same_inputs, same_targets) in zip(first, other, strict=True):
            assert torch.equal(inputs, same_inputs)
            assert torch.equal(targets, same_targets)


def larger_share(targets: Tensor) -> float:
    """λ or 1 - λ, from an example whose two labels differ."""
    return targets[targets.count_nonzero(1) == 2].max().item()


def test_each_step_mixes_anew() -> None:
    batches, _ = seen_by("dataset.mixup=1")
    assert len({larger_share(targets) for _, targets in batches}) == len(batches)


def test_mixing_shifts_neither_the_order_nor_the_augmentation_of_the_batches() -> None:
    plain = [inputs.float() for inputs, _ in seen_by("dataset.shift=1")[0]]
    mixed = seen_by("dataset.shift=1", "dataset.mixup=1")[0]
    for inputs, (blended, targets) in zip(plain, mixed, strict=True):
        larger = larger_share(targets)  # the batch is the plain one blended with itself rolled by one
        candidates = [share * inputs + (1 - share) * inputs.roll(1, 0) for share in (larger, 1 - larger)]
        assert any(torch.allclose(blended, candidate, atol=1e-3) for candidate in candidates)


def test_the_training_loss_is_the_mean_over_the_mixed_examples() -> None:
    batches, trained = seen_by("dataset.mixup=1", learning_rate=1e-12)
    model = build(compose(*SMALL)).model
    with torch.no_grad():
        losses = [nn.functional.cross_entropy(model(inputs), targets, reduction="none") for inputs, targets in batches]
    first_epoch = torch.cat(losses[: len(losses) // 2])
    assert trained.history[0]["train_loss"] == pytest.approx(first_epoch.mean().item(), rel=1e-5)


def test_the_same_request_mixes_and_trains_to_the_same_bits() -> None:
    one, other, plain = run(*BOTH), run(*BOTH), run()
    assert torch.equal(one.test_logits, other.test_logits)
    assert not torch.equal(one.test_logits, plain.test_logits)
    assert torch.equal(one.test_targets, plain.test_targets)


@pytest.mark.parametrize("stop_after", [1, 2])
def test_going_on_from_a_state_mixes_as_if_it_had_never_stopped(stop_after: int) -> None:
    kept: list[State] = []

    def stop(state: State) -> None:
        if state.epoch == stop_after:
            kept.append(copy.deepcopy(state))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(*BOTH, on_epoch=stop)
    resumed, whole = run(*BOTH, state=kept[0]), run(*BOTH)
    assert torch.equal(resumed.test_logits, whole.test_logits)
    assert [row["train_loss"] for row in resumed.history] == [row["train_loss"] for row in whole.history]


def test_a_student_may_learn_mixed_images_from_a_teacher_of_whole_ones(lossbench: Lossbench) -> None:
    fast = ("model=linear", "dataset.train_fraction=0.1", "epochs=1", "device=cpu", "-q")
    teacher = lossbench("train", *fast).stdout.split()[0]
    student = lossbench("train", *fast, "loss=distillation", f"teacher.id={teacher}", "dataset.mixup=0.2")
    assert student.returncode == 0, student.stderr


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_takes_mixed_targets_if_it_claims_to(name: str) -> None:
    ((_, subject),) = conformance.subjects(name, [])
    batch = subject.batch(pixels=())
    one_hot = torch.eye(subject.num_classes, dtype=torch.float64)[batch.targets]
    mixed = dataclasses.replace(batch, targets=0.7 * one_hot + 0.3 * one_hot.roll(1, 0))
    if subject.claims.soft_targets:
        loss, gradient = value_and_gradient(subject.loss(), mixed)
        assert loss.isfinite()
        assert gradient.isfinite().all()
        assert gradient.any()
    else:
        with pytest.raises(ShapeError, match="defined for class indices alone"):
            value_and_gradient(subject.loss(), mixed)


# Its teacher must know fewer classes than the student: it is among the refusals below, with a teacher of old classes.
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "incremental_distillation"])
def test_every_loss_trains_on_mixed_batches_or_is_refused_by_name_before_anything_is_written(
    name: str, lossbench: Lossbench, tmp_path: Path
) -> None:
    small = ("dataset=wine", "model=linear", "epochs=1", "device=cpu", "dataset.mixup=0.4", f"loss={name}")
    ((_, subject),) = conformance.subjects(name, [])
    if subject.claims.soft_targets:
        config = compose(*small)
        rehearse(config)
        trained = train(build(config), epochs=1, batch_size=16, seed=0, teacher=build(config).model)
        assert math.isfinite(trained.history[0]["train_loss"])
    else:
        answer = lossbench("train", *small)
        assert answer.returncode == 2
        assert f"loss={name} takes class indices only, and dataset.mixup=0.4 gives probabilities" in answer.stderr
        assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("loss=sum", "loss.second=lovasz_softmax"), r"^loss\.second=lovasz_softmax takes class indices only"),
        (("loss=distillation", "loss.hard=mmce"), r"^loss\.hard=mmce takes class indices only"),
        (("loss=incremental_distillation", "dataset.old_classes=5", "dataset.learn=new"), r"^loss=incremental_dist"),
        (("loss=mmce", *BOTH), r"dataset\.mixup=0\.4 dataset\.cutmix=1 gives probabilities.*set that to 0"),
    ],
)
def test_what_takes_class_indices_only_is_found_inside_other_losses(overrides: tuple[str, ...], message: str) -> None:
    rehearse(compose(*SMALL, *(override for override in overrides if override not in BOTH)))
    with pytest.raises(ConfigError, match=message):
        rehearse(compose(*SMALL, "dataset.mixup=0.4", *overrides))


def test_a_loss_of_ones_own_that_takes_class_indices_only_is_refused(lossbench: Lossbench, tmp_path: Path) -> None:
    (tmp_path / "their_losses.py").write_text(
        "def picking(logits, targets):\n    return -logits.log_softmax(1)[range(len(targets)), targets].mean()\n"
    )
    (tmp_path / "conf/loss").mkdir(parents=True)
    (tmp_path / "conf/loss/picking.yaml").write_text("_target_: their_losses.picking\n")
    arguments = (
        "train",
        "--config-dir",
        "conf",
        "dataset=wine",
        "model=linear",
        "epochs=1",
        "device=cpu",
        "loss=picking",
    )
    answer = lossbench(*arguments, "dataset.mixup=0.4")
    assert answer.returncode == 2
    assert "loss=picking fails on probabilities as targets" in answer.stderr
    assert not (tmp_path / "results").exists()
    assert lossbench(*arguments).returncode == 0
