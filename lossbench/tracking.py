"""What trackers are told of a run: by the run while it trains, and by `lossbench export` when it is finished."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any

import yaml

from lossbench.build import build_tracker
from lossbench.errors import StoreError, one_line
from lossbench.evaluation import reliability_of
from lossbench.identity import stored, stored_overrides
from lossbench.progress import Outcome, Silent
from lossbench.record import SPLITS, Record
from lossbench.store import Store
from lossbench.trackers import Result, Run, Tracker, without_login

CALIBRATIONS = ("raw", "temperature_scaled")
FACTS = ("device", "device_description", "precision", "threads", "git_revision", "platform", "stacked")
LONGEST = 1e9  # seconds that an epoch takes
PLOT, PPI = 260, 144  # width in points, dots per inch


class Tracking:
    """The trackers of one run in training.

    One that fails is left out of the rest of the run, which goes on. That is said once, and recorded in
    `<results>/trackers.log`.
    """

    def __init__(
        self, run_id: str, config: Mapping[str, Any], store: Store, display: Silent, overrides: Sequence[str] = ()
    ) -> None:
        """Make the trackers that a configuration names."""
        self.run = Run(run_id, stored(config), stored_overrides(overrides), results=store.id)
        self.store, self.display = store, display
        self.trackers: dict[str, Tracker] = {}
        self.failures: dict[str, str] = {}
        for name, node in (config.get("tracker") or {}).items():
            self._try(name, functools.partial(self._make, name, node))

    def __enter__(self) -> Tracking:
        """Begin nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave a run that failed or was interrupted."""
        self.stop(failed=isinstance(error, Exception))

    def begin(self, history: Sequence[Mapping[str, float]]) -> None:
        """Show a run that begins, or goes on after these epochs."""
        self._each(lambda tracker: tracker.begin(self.run, history, time.time()))

    def epoch(self, row: Mapping[str, float]) -> None:
        """Show an epoch."""
        self._each(lambda tracker: tracker.epoch(row))

    def finish(self, outcome: Outcome) -> Outcome:
        """Show what a stored run gave.

        Returns:
            The outcome, with the trackers that failed.
        """
        if self.trackers:
            result = functools.cache(lambda: told(self.store, self.run.run_id)[1])  # which may fail as trackers may
            self._each(lambda tracker: tracker.finish(result()))
        self.trackers = {}
        return replace(outcome, untracked=self.failures)

    def stop(self, *, failed: bool) -> None:
        """Leave a run that failed, or was interrupted and may go on."""
        leaving, self.trackers = self.trackers, {}  # one that fails here is not asked to stop again
        for name, tracker in leaving.items():
            self._try(name, functools.partial(tracker.stop, failed=failed))

    def _make(self, name: str, node: Mapping[str, Any]) -> None:
        self.trackers[name] = build_tracker(name, node)

    def _each(self, action: Callable[[Tracker], object]) -> None:
        for name, tracker in list(self.trackers.items()):
            self._try(name, functools.partial(action, tracker))

    def _try(self, name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # of a package that is not ours: whatever it is, the run is worth more
            tracker = self.trackers.pop(name, None)
            said = without_login(one_line(f"{type(error).__name__}: {error}"))
            self.failures[name] = f"tracker {name} failed, training goes on without it ({self.store.log}): {said}"
            self.store.log_failure(f"{self.run.run_id} {name}: {said}")
            self.display.note_once(name, self.failures[name])
            if tracker is not None:
                with suppress(Exception):  # what it could not show stays so, but what it has shown ends
                    tracker.stop(failed=False)


def told(store: Store, run_id: str) -> tuple[Run, Result]:
    """Return what trackers are told of a finished run.

    Raises:
        StoreError: if it is damaged.
    """
    record, config, environment = store.record(run_id), store.config(run_id), store.environment(run_id)
    finished_at = datetime.fromtimestamp(store.finished_at(run_id)).astimezone().isoformat(timespec="milliseconds")
    versions, overrides = environment.get("versions") or {}, environment.get("overrides") or ()
    if not isinstance(versions, Mapping):
        raise StoreError("environment.json: versions must be a mapping")
    if isinstance(overrides, str) or not all(isinstance(override, str) for override in overrides):
        raise StoreError("environment.json: overrides must be a list of texts")
    versions = {f"version.{name}": version for name, version in versions.items()}
    facts = {**versions, **{name: environment[name] for name in FACTS if environment.get(name) is not None}}
    result = Result(
        metrics=_metrics(record),
        facts={name: str(value) for name, value in facts.items()},
        config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        reliability=reliability_figure(store, run_id),
        finished_at=finished_at,
    )
    return Run(run_id, config, stored_overrides(overrides), finished_at, store.id), result


def told_epochs(store: Store, run_id: str) -> list[dict[str, float]]:
    """Return the epochs that trackers are told of a finished run.

    Raises:
        StoreError: if they are damaged: not numbered from 1 on, or without the seconds that they took.
    """
    history = store.history(run_id)
    numbered = [row["epoch"] for row in history] == list(range(1, len(history) + 1))
    if not numbered or not all(0 <= row.get("seconds", math.nan) < LONGEST for row in history):
        raise StoreError("history.csv must number its epochs from 1 on and say the seconds that each took")
    return history


def _metrics(record: Record) -> dict[str, float]:
    found = {"temperature": record.temperature, **{f"test/{name}": value for name, value in record.beside.items()}}
    for split in SPLITS:
        for calibration in CALIBRATIONS:
            values = zip(record.metrics, record.values[split].get(calibration, ()), strict=False)
            found |= {f"{split}/{calibration}/{name}": value for name, value in values}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def reliability_figure(store: Store, run_id: str) -> bytes:
    """Draw accuracy against confidence on the test split, before and after temperature scaling, as a PNG."""
    import vl_convert

    from lossbench.report.series import pooled

    bins = reliability_of(store, run_id, "test", CALIBRATIONS)
    rows = [{"series": name.replace("_", " "), **row} for name, curve in bins.items() for row in pooled([curve])]
    blank = _reliability_specification()
    specification = {**blank, "datasets": {**blank["datasets"], "bins": rows}}
    return vl_convert.vegalite_to_png(specification, ppi=PPI, allowed_base_urls=[])


@functools.cache
def _reliability_specification() -> dict[str, Any]:
    """The figure without its bins: to lay it out takes longer than to draw it, and is the same for all runs."""
    from lossbench.report.charts import reliability
    from lossbench.report.drawing import shared_data
    from lossbench.report.theme import theme

    row = {"series": "", "lo": 0.0, "hi": 1.0, "n": 1, "confidence": 0.5, "accuracy": 0.5, "ece": 0.0}
    return {**shared_data(reliability([row], width=PLOT, swapped=True).to_dict()), "config": theme()}
