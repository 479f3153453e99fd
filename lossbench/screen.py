"""What `list`, `runs` and `show` print."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from lossbench.errors import StoreError
from lossbench.progress import duration
from lossbench.store import RunInfo, Store


def _console() -> Console:
    """A terminal's own width; as much as it takes where stdout is piped, so that nothing is cut."""
    return Console(width=None if sys.stdout.isatty() else 500, highlight=False)


def _grid(headings: Sequence[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def print_list(rows: Iterable[tuple[str, str]]) -> None:
    """Print names, each with what it is."""
    table = _grid(("name", ""))
    for name, description in rows:
        table.add_row(name, description)
    _console().print(table)


def print_runs(infos: Iterable[RunInfo]) -> None:
    """Print a line per run: status, age, duration, and why it failed."""
    table = _grid(("run", "status", "age", "took", ""))
    for info in infos:
        took = "" if info.seconds is None else duration(info.seconds)
        table.add_row(info.run_id, info.status, duration(time.time() - info.changed), took, info.message)
    _console().print(table if table.row_count else "no runs yet: lossbench train loss=label_smoothing")


def print_run(store: Store, run_id: str) -> None:
    """Print one run: where it is, its metrics, how its training ended, its config and environment."""
    try:
        _print_run(store, run_id)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise StoreError(f"{store.path(run_id)} is damaged: {type(error).__name__} {error}") from error


def _print_run(store: Store, run_id: str) -> None:
    metrics, environment = store.metrics(run_id), store.environment(run_id)
    console = _console()
    console.print(run_id, style="bold")
    console.print(f"{store.path(run_id)}\n")
    names = [(split, calibration) for split in ("val", "test") for calibration in ("raw", "temperature_scaled")]
    table = _grid(
        (
            "metric",
            *(f"{split} {calibration.replace('temperature_scaled', 'T-scaled')}" for split, calibration in names),
        )
    )
    for metric in metrics["test"]["raw"]:
        table.add_row(metric, *(_number(metrics[split][calibration].get(metric)) for split, calibration in names))
    console.print(table)
    last = store.history(run_id)[-1]
    console.print(f"\ntemperature fitted on validation: {metrics['temperature']:.4g}")
    if metrics.get("beside"):
        console.print("on test: " + ", ".join(f"{key} {value:.4f}" for key, value in metrics["beside"].items()))
    console.print("last epoch: " + ", ".join(f"{key} {value:.4g}" for key, value in last.items()))
    for title, content in (("config", store.config(run_id)), ("environment", environment)):
        console.print(f"\n[bold]{title}[/bold]")
        console.print(_yaml(content), markup=False)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _yaml(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True).rstrip()
