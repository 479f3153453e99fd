"""Frames as the store makes them, small enough to do the sums in one's head."""

from typing import Any

import pandas as pd

# Metrics of a run unless a test says otherwise.
PLAIN = {"accuracy": 0.9, "nll": 0.3, "ece": 0.1, "confidence_gap": 0.05}


def run(loss: str = "cross_entropy", seed: int = 0, /, **values: Any) -> dict[str, Any]:
    """One run; `loss__epsilon=0.1` is the config key loss.epsilon, `scaled` its metrics after temperature.

    Runs of one seed are paired, unless a fingerprint says otherwise. `val` holds its metrics on validation.
    """
    prints = {f"fingerprint.{of}": f"{of} {seed}" for of in ("data", "split", "initial_weights", "batch_order")}
    keys = {"dataset.name": "digits", "model.name": "mlp", "loss.name": loss, "seed": seed, "epochs": 20} | prints
    metrics = dict(PLAIN)
    scaled, val = values.pop("scaled", {}), values.pop("val", {})
    for name, value in values.items():
        (metrics if "__" not in name and name not in ("epochs", "split") else keys)[name.replace("__", ".")] = value
    return {"config": keys, "raw": metrics, "temperature_scaled": {**metrics, **scaled}, "val": val}


def frame(*runs: dict[str, Any]) -> pd.DataFrame:
    """A row per run × split × calibration; validation is told apart by an accuracy of 0."""
    return pd.DataFrame(
        [
            {
                "run": f"run-{number}",
                "split": split,
                "calibration": calibration,
                **one["config"],
                **one[calibration],
                **({"accuracy": 0.0, **one["val"]} if split == "val" else {}),
                "temperature": 1.5,
            }
            for number, one in enumerate(runs)
            for split in ("val", "test")
            for calibration in ("raw", "temperature_scaled")
        ]
    )
