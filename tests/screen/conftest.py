"""A store of runs written by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs_by_hand import CONFIG, environment, history, metrics

from lossbench.store import Store

Write = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def write(store: Store) -> Write:
    def call(run_id: str, *, partial: bool = False, **parts: Any) -> str:
        folder = store.partial(run_id) if partial else store.path(run_id)
        folder.mkdir(parents=True)
        groups = parts.get("config", {})
        config = {key: {**value, **groups.get(key, {})} if isinstance(value, dict) else groups.get(key, value)
                  for key, value in CONFIG.items()}  # fmt: skip
        (folder / "config.yaml").write_text(yaml.safe_dump({**config, **parts.get("more", {})}))
        if partial:
            return run_id
        (folder / "metrics.json").write_text(json.dumps(parts.get("metrics", metrics())))
        (folder / "environment.json").write_text(json.dumps({**environment(), **parts.get("environment", {})}))
        rows = parts.get("history", history())
        with (folder / "history.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return run_id

    return call
