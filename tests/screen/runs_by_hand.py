"""The parts of a run, written by hand, so that what is shown of it can be derived."""

from __future__ import annotations

from typing import Any

CONFIG = {
    "dataset": {"_target_": "lossbench.data.wine", "name": "wine"},
    "model": {"_target_": "lossbench.models.linear", "name": "linear"},
    "loss": {"_target_": "lossbench.losses.cross_entropy", "name": "label_smoothing", "epsilon": 0.1},
    "optimizer": {"_target_": "lossbench.optimization.sgd", "name": "sgd", "learning_rate": 0.1},
    "schedule": {"_target_": "lossbench.optimization.cosine", "name": "cosine"},
    "device": {"_target_": "lossbench.device.device", "name": "cpu", "precision": "fp32", "threads": 1},
    "teacher": None,
    "seed": 0,
    "epochs": 2,
    "batch_size": 64,
    "keep": "best",
    "results_dir": "results",
}
# Two bins: of 4 examples half are right at a confidence of 0.75, of 6 all are at 0.9.
CURVE = {"lo": [0.5, 0.75], "hi": [0.75, 1.0], "n": [4, 6], "confidence": [0.75, 0.9], "accuracy": [0.5, 1.0]}


def metrics(nll: float = 0.5, accuracy: float = 0.8) -> dict[str, Any]:
    values = {"accuracy": accuracy, "nll": nll, "ece": 0.16, "confidence_of_errors": None}
    return {
        "schema": 1,
        "temperature": 1.25,
        "link": {"name": "softmax"},
        "options": {"n_bins": 4, "threshold": 0.9},
        "reliability": {"test": {"raw": CURVE}},
        **{split: {"raw": values, "temperature_scaled": {**values, "nll": nll / 2}} for split in ("val", "test")},
    }


def environment() -> dict[str, Any]:
    return {
        "versions": {"lossbench": "0.1.0", "torch": "2.15.0"},
        "platform": "Linux",
        "device": "cpu",
        "device_description": "cpu",
        "precision": "fp32",
        "threads": 1,
        "git_revision": "abcdef",
        "overrides": ["loss.epsilon=0.1"],
        "fingerprints": {name: name[0] * 64 for name in ("data", "split", "initial_weights", "batch_order")},
        "finished_at": "2026-01-02T03:04:05+0000",
        "wall_seconds": 61.0,
        "training_seconds": 60.0,
    }


def history() -> list[dict[str, float]]:
    return [
        {"epoch": 1, "train_loss": 2.0, "val_loss": 1.5, "val_accuracy": 0.75},
        {"epoch": 2, "train_loss": 1.0, "val_loss": 1.75, "val_accuracy": 0.5},
    ]
