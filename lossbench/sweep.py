"""From what a user typed to trained runs: compose, check everything, then train."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lossbench import build, config, progress, run
from lossbench.config import Config
from lossbench.errors import ConfigError
from lossbench.progress import Outcome, Silent
from lossbench.store import Store

WATCH_EVERY = 0.5  # seconds between two looks at the results folder while other processes train


@dataclass(frozen=True)
class _Task:
    """One run of a sweep, in whichever process the launcher calls it."""

    force: bool
    display: Silent

    def __call__(self, config: Config, overrides: tuple[str, ...]) -> Outcome:
        _import_from_here()
        return run.execute(build.check(config), force=self.force, display=self.display, overrides=overrides)


def train(overrides: Sequence[str], *, config_dir: Path | None, force: bool, quiet: bool) -> list[Outcome]:
    """Train every run that the overrides ask for, and print what came of each.

    Args:
        overrides: in Hydra's grammar; whatever sweeps makes several runs.
        config_dir: a folder of the user's own configs.
        force: train finished runs again.
        quiet: print results only.

    Returns:
        An outcome per run.

    Raises:
        RequestError: if anything asked for is wrong, before anything is written.
    """
    _import_from_here()
    build.forget_data()
    with config.session(config_dir) as hydra, progress.display(quiet=quiet) as display:
        translated = config.translate(overrides)
        plan = hydra.plan(translated)
        planned = [] if plan.runs is None else _checked(plan.runs, overrides, force)
        display.begin(len(planned) or None)
        with _watching([] if plan.in_process else planned, force, display):
            returned = hydra.multirun(translated, _Task(force, display))
    return list(dict.fromkeys(returned or display.outcomes))


def _checked(runs: Sequence[Config], overrides: Sequence[str], force: bool) -> list[Config]:
    """Build every run once without training it, so that a mistake in the last one is found before the first.

    Returns:
        The configurations with their teachers, each run once.
    """
    checked = [build.check(settings) for settings in runs]
    if any(key.lstrip("+~").startswith("teacher.") for key in overrides) and not any(c["teacher"] for c in checked):
        raise ConfigError("teacher is set, but no loss of this request learns from one (loss=distillation does)")
    planned: dict[str, Config] = {}
    for settings in checked:
        store = Store(settings["results_dir"])
        complete = run.with_teacher(settings, store)
        name = config.run_id(complete)
        if name in planned:
            continue
        planned[name] = complete
        if force or not store.finished(name):
            build.rehearse(settings)
            if settings["teacher"] and settings["teacher"]["id"] is None:
                build.rehearse(config.teacher_config(settings))
    return list(planned.values())


@contextmanager
def _watching(planned: Sequence[Config], force: bool, display: Silent) -> Iterator[None]:
    """Where other processes train, tell the display of runs as their folders appear."""
    stop, started = threading.Event(), time.time()
    waiting = {config.run_id(settings): Store(settings["results_dir"]) for settings in planned}

    def look() -> None:
        for name, store in list(waiting.items()):
            if not store.finished(name):
                continue
            old = store.path(name).stat().st_mtime < started
            if not (old and force):
                del waiting[name]
                display.done(Outcome(name, "skipped" if old else "finished"))

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


def _import_from_here() -> None:
    """A loss in the user's folder is importable, as it would be under `python -m`."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
