"""From planned runs to trained ones: check everything, then train."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lossbench import build, checking, config, device, processes, progress, run, stopping
from lossbench.config import Config
from lossbench.errors import ConfigError, RunError, StoreError, WorkersError
from lossbench.evaluation import recorded_options
from lossbench.folders import obstacle
from lossbench.identity import OWN_DATA
from lossbench.progress import STOPPED, Outcome, Silent
from lossbench.rehearsal import rehearse
from lossbench.store import Store
from lossbench.teacher import identified, with_teacher

WATCH_EVERY = 0.5  # seconds between two looks at the results folder while other processes train
MOST_NAMES = 5  # of runs that cannot be skipped


@dataclass(frozen=True)
class _Task:
    """One run of a sweep, in whichever process the launcher calls it."""

    policy: run.Policy  # what to do about a run that is there already
    share: device.Share  # of the machine
    display: Silent
    here: bool = True  # in the process where the sweep was asked for

    def __reduce__(self) -> tuple[type[_Task], tuple[run.Policy, device.Share, Silent, bool]]:
        """What is sent is elsewhere; process ids would not tell, for another machine has the same."""
        return _Task, (self.policy, self.share, self.display, False)

    def __call__(self, config: Config, overrides: tuple[str, ...], turn: int) -> Outcome:
        if self.here:
            return self._train(config, overrides, turn)
        _end_with_parent()
        stop = stopping.remembered_for_good()
        try:
            if stop.error is None:
                return self._train(config, overrides, turn)
        except KeyboardInterrupt:
            if stop.error is None:
                raise
        # Returned, not raised: joblib kills all workers at the first error, while others still save their runs.
        return Outcome("?", "stopped", STOPPED)

    def _train(self, config: Config, overrides: tuple[str, ...], turn: int) -> Outcome:
        # Alone on a machine a run has all of it, and how much that is, is known there.
        device.take(replace(self.share if self.share.workers > 1 else device.Share(), turn=turn))
        build.keep_data_of(self.policy.since)
        return run.execute(checking.check(config), **vars(self.policy), display=self.display, overrides=overrides)


@functools.cache
def _end_with_parent() -> None:
    stopping.end_with(os.getppid())


def train(
    hydra: config.Session,
    plan: config.Plan,
    overrides: Sequence[str],
    display: Silent,
    *,
    since: float,
    force: bool,
    retry_failed: bool,
) -> list[Outcome]:
    """Check every run of a plan, train them all, and show what comes of each; see `lossbench.request.train`.

    Args:
        hydra: what made the plan.
        plan: the runs.
        overrides: as the user typed them.
        display: what shows them.
        since: when they were asked for.
        force: train finished runs again.
        retry_failed: train again what has failed before.
    """
    _begin(since)
    _check_launcher(plan)
    runs = plan.samples if plan.runs is None else plan.runs
    planned = _ready(list(map(_without_gpu, runs) if plan.in_jobs else runs), overrides, force, display)
    for doubt in config.given_twice(overrides):
        display.note(doubt)
    count = len(plan.runs or ()) if plan.in_process else len(planned)
    display.begin((count if plan.search is None else plan.search.runs) or None)
    if not (plan.in_process or plan.in_jobs):
        _train_teachers(plan.runs or (), force or retry_failed, display)
    with _watching([] if plan.in_process or plan.runs is None else planned, force, display):
        # A sweeper that decides as it goes needs the value of each run before the next. Else a run that another
        # process is training is come to again at the end.
        alone = plan.workers == 1 or plan.runs is None
        policy = run.Policy(force, since, retry_failed, wait=plan.runs is None, alone=alone)
        task = _Task(policy, device.Share.among(plan.workers), display)
        returned = hydra.multirun(plan, overrides, task, display)
        if any(outcome.status == "stopped" for outcome in returned):
            raise WorkersError(STOPPED)
    at_the_end = replace(policy, wait=True, alone=True)
    returned = [_come_again(outcome, at_the_end, display) for outcome in returned]
    for outcome in returned:  # of other processes, too
        for tracker, text in outcome.untracked.items():
            display.note_once(tracker, text)
    outcomes = {(*_place(outcome), outcome.message): outcome for outcome in reversed(returned or display.outcomes)}
    return list(reversed(outcomes.values()))


def train_composed(runs: Sequence[Config], *, force: bool, quiet: bool) -> list[Outcome]:
    """Train runs that are composed already, here and one after another.

    Args:
        runs: as `lossbench.config.Session.plan` returns them.
        force: train finished and failed runs again.
        quiet: show nothing.

    Returns:
        An outcome per run.

    Raises:
        RequestError: if anything about one of them is wrong, before anything is written.
    """
    since = time.time()
    _begin(since)
    with progress.display(quiet=quiet) as display:
        _ready(runs, (), force, display)
        display.begin(len(runs))
        task = _Task(run.Policy(force, since), device.Share(), display)
        return [task(settings, (), 0) for settings in runs]


def _begin(since: float) -> None:
    """Forget what an earlier request left in this process."""
    build.keep_data_of(since)
    device.take(device.Share())


def _ready(runs: Sequence[Config], overrides: Sequence[str], force: bool, display: Silent) -> list[Config]:
    """Check runs as `_checked` does, and then make the folders where they go."""
    planned = _checked(runs, overrides, force, display)
    for folder in {Store(settings["results_dir"]).runs for settings in planned}:
        folder.mkdir(parents=True, exist_ok=True)  # what no look at its permissions tells is found out now
    return planned


def _place(outcome: Outcome) -> tuple[Path, str]:
    """Tell a run from one of the same id in another folder of results."""
    return Path(outcome.config.get("results_dir", "")), outcome.run_id


def _come_again(outcome: Outcome, policy: run.Policy, display: Silent) -> Outcome:
    """Train a run that did not fit beside others, or wait for the process that was training it when its turn came.

    Where that one has died, it is trained, too.
    """
    if outcome.status != "claimed":
        return outcome
    told = _place(outcome) in map(_place, display.outcomes)  # seen in its folder, beside a launcher
    return run.execute(
        dict(outcome.config),
        **vars(policy),
        display=Silent() if told else display,
        overrides=outcome.overrides,
    )


def _checked(runs: Sequence[Config], overrides: Sequence[str], force: bool, display: Silent) -> list[Config]:
    """Build every run once without training it, so that a mistake in the last one is found before the first.

    Returns:
        The configurations with their teachers, each run once.
    """
    checked = [checking.check(settings) for settings in runs]
    if any(key.lstrip("+~").startswith("teacher.") for key in overrides) and not any(c["teacher"] for c in checked):
        raise ConfigError("teacher is set, but no loss of this request learns from one (loss=distillation does)")
    _check_own_model(checked, overrides)
    planned: dict[Path, Config] = {}
    stale: dict[str, ConfigError] = {}
    noted = {""}
    for settings in checked:
        name, complete, store = identified(settings)
        if store.path(name) in planned:
            continue
        planned[store.path(name)] = complete
        build.build_device(settings)
        if force or not store.finished(name):
            _check_writable(store.runs)
            if (why := build.why_streamed(settings)) not in noted:
                display.note(why)  # before all images are looked at, which takes a while
                noted.add(why)
            rehearse(settings)
            _check_teacher(settings, complete, store)
        else:
            with contextlib.suppress(StoreError):  # damaged: it fails by itself, and stops no other
                try:
                    _check_unchanged(name, store, settings)
                    _check_options(name, store, settings)
                except ConfigError as error:
                    stale[name] = error
    if stale:
        first, *more = stale
        names = f"{', '.join(more[:MOST_NAMES])}{', …' if len(more) > MOST_NAMES else ''}"
        raise ConfigError(f"{stale[first]}{f' (nor can {len(more):,} more be skipped: {names})' if more else ''}")
    return list(planned.values())


def _check_launcher(plan: config.Plan) -> None:
    """Refuse a launcher where all processes train each run together: there is nobody to train another beside it."""
    launcher = plan.master.hydra.runtime.choices["hydra/launcher"]
    if processes.count() > 1 and launcher != "basic":
        raise ConfigError(
            f"hydra/launcher={launcher} trains several runs at a time, torchrun one run in {processes.count()} "
            "processes: leave out one of the two"
        )


def _without_gpu(settings: Config) -> Config:
    """What is tried here of a run that is trained on a machine with GPUs, which this one may not have."""
    if not str(settings["device"]["name"]).startswith("cuda"):
        return settings
    return {**settings, "device": {**settings["device"], "name": "cpu"}}


def _check_own_model(checked: Sequence[Config], overrides: Sequence[str]) -> None:
    """Refuse a setting of the teacher's model where the teacher has the run's own model, settings and all."""
    set_here = [key for key in overrides if key.lstrip("+~").startswith("teacher.model.")]
    why = next(filter(None, map(checking.own_model_because, checked)), None)
    if set_here and why:
        raise ConfigError(f"{why} has a teacher of its own model, settings and all: leave out {set_here[0]}")


def _check_teacher(settings: Config, complete: Config, store: Store) -> None:
    if complete["teacher"] is None:
        return
    name = complete["teacher"]["id"]
    if store.finished(name):
        with contextlib.suppress(StoreError):  # its students fail by themselves
            _check_unchanged(name, store, store.config(name))
    else:
        rehearse(config.teacher_config(settings))


def _check_unchanged(name: str, store: Store, settings: Config) -> None:
    """Refuse to skip a finished run whose files are others by now: those named by a path, not by what they hold."""
    known = store.record(name).settings
    recorded = json.loads(str(known["sources"])) or {}
    changed = [target for target, digest in checking.sources(settings).items() if recorded.get(target) != digest]
    if set(OWN_DATA) & set(settings["dataset"]) or settings["dataset"].get("sample_weights"):
        data = build.build_dataset(settings).fingerprints["data"]
        if "fingerprint.data" not in known:
            raise StoreError(f"{store.path(name) / 'environment.json'} does not say what its data were")
        changed += ["its data"] if data != known["fingerprint.data"] else []
    if changed:
        raise ConfigError(f"{name} is finished, but {' and '.join(changed)} changed since: --force trains it again")


def _check_options(name: str, store: Store, settings: Config) -> None:
    """Refuse to skip a finished run that was measured in another way: its numbers would stand beside others."""
    measured = recorded_options(store.metrics(name))
    other = {key: value for key, value in settings["metrics"].items() if measured.get(key) != value}
    if other:
        here = " ".join(f"metrics.{key}={measured.get(key)}" for key in other)
        options = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in other.items())
        raise ConfigError(
            f"{name} is finished and was measured with {here}: ask for that, or `lossbench evaluate {options}` first"
        )


def _check_writable(folder: Path) -> None:
    if there := obstacle(folder):
        raise ConfigError(f"results_dir must be a folder to write to; {there} is not one")


def _train_teachers(runs: Sequence[Config], retry_failed: bool, display: Silent) -> None:
    """Before other processes train students side by side, who would all train the same teacher at once.

    One that fails is left to its students to report.
    """
    seen: set[Path] = set()
    for settings in map(checking.check, runs):
        store = Store(settings["results_dir"])
        complete = with_teacher(settings, store)
        if complete["teacher"] is None or store.finished(config.run_id(complete)):
            continue
        teacher = store.path(complete["teacher"]["id"])
        if teacher in seen:
            continue
        seen.add(teacher)
        with contextlib.suppress(RunError):
            run.train_teacher(settings, complete, display, retry_failed=retry_failed)


@contextlib.contextmanager
def _watching(planned: Sequence[Config], force: bool, display: Silent) -> Iterator[None]:
    """Where other processes train, tell the display of runs as their folders appear."""
    stop, started = threading.Event(), time.time()
    waiting = {(settings["results_dir"], config.run_id(settings)) for settings in planned}

    def look() -> None:
        for results_dir, name in sorted(waiting):
            store = Store(results_dir)
            failure = store.partial(name) / "failure.json"
            if store.finished(name):
                old = store.path(name).stat().st_mtime < started
                if not (old and force):
                    waiting.remove((results_dir, name))
                    display.done(Outcome(name, "skipped" if old else "finished", config={"results_dir": results_dir}))
            elif failure.is_file() and failure.stat().st_mtime >= started:
                waiting.remove((results_dir, name))
                display.done(Outcome(name, "failed", config={"results_dir": results_dir}))

    def watch() -> None:
        look()
        while waiting and not stop.wait(WATCH_EVERY):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        look()  # what was finished since it looked last
