"""The files of a finished run that the screen shows, held against what a run's files have."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossbench.errors import StoreError
from lossbench.record import record
from lossbench.store import Store


@dataclass(frozen=True)
class Files:
    """What a run's files hold."""

    config: dict[str, Any]
    metrics: dict[str, Any]
    environment: dict[str, Any]
    history: Sequence[Mapping[str, float]]


def read(store: Store, run_id: str) -> Files:
    """Read a finished run.

    Args:
        store: where it is.
        run_id: its id.

    Raises:
        StoreError: if one of its files is damaged, or lacks what every run has.
    """
    config, metrics, environment = store.config(run_id), store.metrics(run_id), store.environment(run_id)
    try:
        record(config, metrics, environment)
        history = store.history(run_id)
        if not history:
            raise ValueError("history.csv has no epoch")
        metrics["test"]["raw"]
        parts = {"versions": environment, "fingerprints": environment, "link": metrics}
        for name, content in parts.items():
            if not isinstance(content.get(name, {}), dict):
                raise TypeError(f"{name} must be a mapping")
        numbers = [environment["wall_seconds"], *(line.get("epoch", 0) for line in history)]
        numbers += [environment.get(name) or 0 for name in ("training_seconds", "peak_memory_bytes")]
        numbers += [value for name, value in metrics.get("link", {"name": ""}).items() if name != "name"]
        if "name" not in metrics.get("link", {"name": ""}) or not all(math.isfinite(number) for number in numbers):
            raise ValueError("a link without a name, or a number that is not finite")
    except (KeyError, OSError, OverflowError, TypeError, ValueError, StoreError, csv.Error) as error:
        kind = "" if isinstance(error, StoreError) else f"{type(error).__name__} "
        raise StoreError(f"{store.path(run_id)} is damaged: {kind}{error}") from error
    return Files(config, metrics, environment, history)
