"""One run from its configuration to its folder: build, train, measure, store."""

from __future__ import annotations

import functools
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lossbench
from lossbench import metrics
from lossbench.build import Experiment, build
from lossbench.checking import sources
from lossbench.config import Config, learns_new_classes, run_id, teacher_config
from lossbench.errors import RunError
from lossbench.evaluation import measure
from lossbench.progress import Outcome, Silent
from lossbench.store import Store
from lossbench.teacher import go_on_from, load_teacher, with_teacher
from lossbench.training import State, Trained, step_flops, train

CHECKPOINT_EVERY = 10.0  # seconds


def execute(
    config: Config, *, force: bool = False, display: Silent | None = None, overrides: tuple[str, ...] = ()
) -> Outcome:
    """Train a run unless it is finished, its teacher before it.

    Args:
        config: as `lossbench.checking.check` returns it.
        force: train it again where it is finished.
        display: told how it goes.
        overrides: what the user typed for this run, for the record.

    Returns:
        What came of it. A run that fails is an outcome, recorded in its folder, and not an exception.
    """
    display = display or Silent()
    store = Store(config["results_dir"])
    name = "?"
    try:
        complete = with_teacher(config, store)
        name = run_id(complete)
        if store.finished(name) and not force:
            outcome = _outcome(name, "skipped", store.metrics(name), complete)
        else:
            train_teacher(config, complete, display)
            outcome = _train(name, complete, store, force, display, overrides)
    except Exception as error:
        if name != "?":
            store.fail(name, error)
        outcome = Outcome(name, "failed", str(error) or type(error).__name__)
    display.done(outcome)
    return outcome


def train_teacher(config: Config, complete: Config, display: Silent) -> None:
    """Train a student's teacher unless there is none, or it is finished.

    Args:
        config: the student's, as `lossbench.checking.check` returns it.
        complete: the same, as `lossbench.teacher.with_teacher` returns it.
        display: told how it goes.

    Raises:
        RunError: if the teacher fails.
    """
    store = Store(config["results_dir"])
    if complete["teacher"] is None or store.finished(complete["teacher"]["id"]):
        return
    name: str = complete["teacher"]["id"]
    try:
        _train(name, teacher_config(config), store, False, display, ())
    except Exception as error:
        store.fail(name, error)
        raise RunError(f"its teacher {name} failed: {error}") from error


def _train(
    name: str, config: Config, store: Store, force: bool, display: Silent, overrides: tuple[str, ...]
) -> Outcome:
    started = time.perf_counter()
    experiment = build(config)
    experiment.device.use(step_flops(experiment, config["batch_size"]))
    teacher = load_teacher(config, store, experiment)
    if learns_new_classes(config):
        go_on_from(store.weights(config["teacher"]["id"]), experiment.model)
    if force:
        store.discard(name)
    state = store.load_checkpoint(name) or State()
    earlier = state.seconds
    store.start(name, config)
    display.run(name, config["epochs"])
    saved = time.monotonic()

    def on_epoch(state: State) -> None:
        nonlocal saved
        display.epoch(state.history[-1], config["epochs"])
        if state.epoch < config["epochs"] and time.monotonic() - saved >= CHECKPOINT_EVERY:
            store.save_checkpoint(name, state)
            saved = time.monotonic()

    with store.training(name):
        trained = train(
            experiment,
            epochs=config["epochs"],
            batch_size=config["batch_size"],
            seed=config["seed"],
            keep=config["keep"],
            teacher=teacher,
            state=state,
            on_epoch=on_epoch,
        )
        predictions = {
            "val_logits": trained.val_logits.numpy(),
            "val_targets": trained.val_targets.numpy(),
            "test_logits": trained.test_logits.numpy(),
            "test_targets": trained.test_targets.numpy(),
        }
        beside = {**_of_the_teacher(config, store), **_old_and_new(predictions, experiment.dataset.old_classes)}
        measured = {**measure(predictions, experiment.loss.link, config["metrics"]), "beside": beside}
        store.commit(
            name,
            metrics=measured,
            predictions=predictions,
            history=trained.history,
            environment=_environment(config, experiment, trained, earlier + time.perf_counter() - started, overrides),
            weights=trained.weights,
        )
        return _outcome(name, "finished", measured, config)


def _of_the_teacher(config: Config, store: Store) -> dict[str, float]:
    """What a table of students says of their teacher, kept with the student: the teacher may be elsewhere by then."""
    if config["teacher"] is None:
        return {}
    test = store.metrics(config["teacher"]["id"])["test"]["raw"]
    return {f"teacher_{metric}": test[metric] for metric in ("accuracy", "ece")}


def _old_and_new(predictions: Mapping[str, Any], old_classes: int) -> dict[str, float]:
    """The accuracy on the test examples of the old classes and on those of the new ones, among all classes."""
    if not old_classes:
        return {}
    logits, targets = predictions["test_logits"], predictions["test_targets"]
    parts = {"old_accuracy": targets < old_classes, "new_accuracy": targets >= old_classes}
    # Every link keeps the order of the logits, so that accuracy needs none.
    return {name: metrics.accuracy(logits[part], targets[part]) for name, part in parts.items() if part.any()}


def _outcome(name: str, status: str, measured: Mapping[str, Any], config: Config) -> Outcome:
    test = measured["test"]["raw"]
    numbers = "  ".join(f"{metric} {test[metric]:.4f}" for metric in ("accuracy", "nll", "ece"))
    objective = float(measured["val"]["raw"]["nll"])
    return Outcome(name, status, objective=objective, summary=f"{name}  {numbers}", config=config)


def _environment(
    config: Config, experiment: Experiment, trained: Trained, wall_seconds: float, overrides: tuple[str, ...]
) -> dict[str, Any]:
    device = experiment.device
    return {
        "versions": {
            "lossbench": lossbench.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "platform": platform.platform(),
        "device": device.name,
        "device_description": device.description,
        "precision": device.precision,
        "threads": torch.get_num_threads(),
        "git_revision": _git_revision(),
        "sources": sources(config),
        "overrides": list(overrides),
        "fingerprints": trained.fingerprints,
        "class_names": list(experiment.dataset.class_names),
        **_sampled(experiment, trained),
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "wall_seconds": wall_seconds,
        "training_seconds": trained.seconds,
        "peak_memory_bytes": _peak_memory(device.name),
    }


def _sampled(experiment: Experiment, trained: Trained) -> dict[str, Any]:
    """Of images with masks, how many of the labelled pixels the stored predictions hold."""
    dataset = experiment.dataset
    if not dataset.train.masks:
        return {}
    return {
        "pixels": {
            "val": {"stored": len(trained.val_targets), "labelled": dataset.val.labelled},
            "test": {"stored": len(trained.test_targets), "labelled": dataset.test.labelled},
        }
    }


def _peak_memory(device: str) -> int:
    """Of the device where it keeps count, else of the process so far, which earlier runs in it may have set."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@functools.lru_cache(maxsize=1)
def _git_revision() -> str | None:
    """The revision of the checkout that lossbench runs from; None where it is installed."""
    root = Path(lossbench.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    answer = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() or None
