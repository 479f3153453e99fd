"""Segmentation end to end: masks through training, evaluation, store and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import Lossbench, compose, compose_all, read_json
from torch import Tensor, nn

from lossbench import metrics, pixels
from lossbench.build import build, build_dataset
from lossbench.errors import ConfigError
from lossbench.rehearsal import rehearse
from lossbench.training import Trained, train

SMALL = (
    "dataset=shapes", "dataset.size=16", "dataset.n_train=40", "dataset.n_test=10", "model=unet", "model.width=2",
    "model.depth=2", "epochs=2", "batch_size=8", "device=cpu", "device.threads=1",
)  # fmt: skip


def run(*overrides: str, **options: Any) -> Trained:
    config = compose(*SMALL, *overrides)
    settings: dict[str, Any] = {"epochs": config["epochs"], "batch_size": 8, "seed": config["seed"], **options}
    return train(build(config), **settings)


def test_the_command_line_trains_and_reports_segmentation(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("train", *SMALL, "loss=dice,cross_entropy", "--quiet")
    assert answer.returncode == 0, answer.stderr
    for folder in (tmp_path / "results/runs").iterdir():
        predictions = np.load(folder / "predictions.npz", allow_pickle=False)
        counted = read_json(folder / "environment.json")["pixels"]
        for split in ("val", "test"):
            logits, targets = predictions[f"{split}_logits"], predictions[f"{split}_targets"]
            assert logits.shape == (len(targets), 3)
            assert counted[split] == {"stored": len(targets), "labelled": len(targets)}
            stored = read_json(folder / "metrics.json")[split]["raw"]
            assert stored["mean_iou"] == pytest.approx(metrics.mean_iou(logits, targets))
            assert stored["pixel_accuracy"] == stored["accuracy"]
        measured = read_json(folder / "metrics.json")
        assert measured["temperature"] > 0
        assert measured["val"]["temperature_scaled"]["nll"] <= measured["val"]["raw"]["nll"]
        assert measured["test"]["temperature_scaled"]["mean_iou"] == measured["test"]["raw"]["mean_iou"]
    report = lossbench("report", "--metrics", "mean_iou,dice_score", "--format", "csv")
    assert report.returncode == 0, report.stderr
    # one temperature never changes which class comes first: no second column of the same values
    header, *rows = report.stdout.splitlines()
    assert "mean_iou" in header
    assert "dice_score" in header
    assert "temperature_scaled" not in header
    assert len(rows) == 2


def test_a_unet_learns_to_tell_the_shapes_apart() -> None:
    # All background has a mean IoU of 0.86/3 = 0.29; brightness alone, thresholded in the noise, is not enough for 0.6.
    config = compose(
        "dataset=shapes", "dataset.n_train=120", "dataset.n_test=20", "model=unet", "model.width=8", "model.depth=2",
        "loss=dice_cross_entropy", "optimizer=adamw", "optimizer.learning_rate=0.01", "device=cpu",
    )  # fmt: skip
    trained = train(build(config), epochs=8, batch_size=8, seed=0, keep="last")
    assert metrics.mean_iou(trained.test_logits, trained.test_targets) > 0.6


def test_the_history_has_the_validation_loss_and_accuracy_of_the_pixels() -> None:
    trained = run(keep="last")
    last = trained.history[-1]
    labelled = nn.functional.cross_entropy(trained.val_logits, trained.val_targets)
    assert last["val_loss"] == pytest.approx(labelled.item(), rel=1e-5)
    assert last["val_accuracy"] == pytest.approx(metrics.pixel_accuracy(trained.val_logits, trained.val_targets))


def test_a_sample_of_the_pixels_is_kept_the_same_for_every_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MAX_PIXELS", 100)
    pixels.sample_pixels.cache_clear()
    one, other, seed = run("loss=dice"), run("loss=cross_entropy"), run("seed=1")
    pixels.sample_pixels.cache_clear()
    assert one.test_logits.shape == (100, 3)
    assert torch.equal(one.test_targets, other.test_targets)
    assert one.fingerprints == other.fingerprints
    assert not torch.equal(one.test_targets, seed.test_targets)


def test_unlabelled_pixels_are_neither_learned_from_nor_measured() -> None:
    dataset = build_dataset(compose(*SMALL))
    assert (dataset.train.targets == -100).any()
    trained = run()
    assert len(trained.test_targets) == dataset.test.labelled
    assert trained.test_targets.min() == 0


def test_shifted_images_are_trained_with_shifted_masks() -> None:
    trained = run("dataset.shift=2", "dataset.flip=true", "loss=dice", "epochs=4")
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]


def test_class_weights_come_from_the_labelled_pixels() -> None:
    config = compose(*SMALL, "loss=class_weighted")
    counts = build_dataset(config).class_counts
    assert counts.sum() == build_dataset(config).train.labelled
    weights: Tensor = build(config).loss.function.keywords["class_weights"]  # type: ignore[attr-defined]
    torch.testing.assert_close(weights, (counts.sum() / (3 * counts)).float())


def test_a_teacher_is_asked_for_the_chunk_that_the_student_sees() -> None:
    experiment = build(compose(*SMALL, "loss=distillation"))
    asked: list[int] = []

    class Teacher(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            asked.append(len(inputs))
            return torch.zeros(len(inputs), 3, 16, 16)

    train(experiment, epochs=1, batch_size=8, seed=0, teacher=Teacher())
    # 36 images in batches of 8 and the 4 of the validation split in one chunk: no logits of a whole split are kept.
    assert asked == [8, 8, 8, 8, 4, 4]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("dataset=shapes", "model=cnn"), r"model=cnn must give logits \[2, 3, 32, 32\].*got \[2, 3\].*model=unet"),
        (("dataset=digits", "model=unet", "model.depth=2"), r"got \[2, 10, 8, 8\].*one label per example"),
        (("dataset=wine", "model=unet"), "unet needs images"),
        (("dataset=shapes", "model=unet", "dataset.label_noise=0.1"), r"dataset\.label_noise=0\.1 needs one label"),
    ],
)  # fmt: skip
def test_models_and_data_that_do_not_fit_are_refused_before_training(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rehearse(compose(*overrides, "device=cpu"))


def test_the_land_cover_experiment_composes_with_every_loss_and_five_seeds() -> None:
    runs = compose_all("+experiment=land_cover_losses")
    assert len(runs) == 30
    assert {config["keep"] for config in runs} == {"last"}
    assert {config["loss"]["name"] for config in runs} == {
        "cross_entropy", "class_weighted", "dice", "dice_cross_entropy", "tversky", "lovasz_softmax",
    }  # fmt: skip
