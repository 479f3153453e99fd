"""One run from its configuration to its folder: build, train, measure, store."""

from __future__ import annotations

import functools
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import lossbench
from lossbench import calibration, links, metrics
from lossbench.build import Experiment, build, build_dataset, build_model
from lossbench.config import Config, run_id, teacher_config
from lossbench.errors import ConfigError, RunError
from lossbench.progress import Outcome, Silent
from lossbench.store import Store
from lossbench.training import State, Trained, step_flops, train

CHECKPOINT_EVERY = 10.0  # seconds


def execute(
    config: Config, *, force: bool = False, display: Silent | None = None, overrides: tuple[str, ...] = ()
) -> Outcome:
    """Train a run unless it is finished, its teacher before it.

    Args:
        config: as `lossbench.build.check` returns it.
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
        config = with_teacher(config, store, lambda teacher: _teach(teacher, display))
        name = run_id(config)
        if store.finished(name) and not force:
            outcome = _outcome(name, "skipped", store.metrics(name))
        else:
            outcome = _train(name, config, store, force, display, overrides)
    except Exception as error:
        message = str(error) or type(error).__name__
        if name != "?":
            store.fail(name, error)
        outcome = Outcome(name, "failed", message)
    display.done(outcome)
    return outcome


def with_teacher(config: Config, store: Store, train_teacher: Callable[[Config], None] | None = None) -> Config:
    """Complete a student's config with its teacher's id and settings.

    Args:
        config: as `lossbench.build.check` returns it.
        store: where the teacher is, or will be.
        train_teacher: called for a teacher that does not exist yet.

    Returns:
        The config; what has no teacher comes back as it is.

    Raises:
        StoreError: for a teacher named by an id that is not there.
        ConfigError: for one that learned another data set.
    """
    if config["teacher"] is None:
        return config
    named = config["teacher"]["id"]
    if named is not None:
        found = store.find(named)
        settings = store.config(found)
        if settings["dataset"]["name"] != config["dataset"]["name"]:
            raise ConfigError(
                f"teacher.id={named} was trained on {settings['dataset']['name']}, not {config['dataset']['name']}"
            )
    else:
        settings = teacher_config(config)
        found = run_id(settings)
        if train_teacher is not None and not store.finished(found):
            train_teacher(settings)
    kept = ("model", "loss", "optimizer", "schedule", "seed", "epochs", "batch_size", "keep")
    return {**config, "teacher": {"id": found, **{key: settings[key] for key in kept}}}


def _teach(config: Config, display: Silent) -> None:
    name, store = run_id(config), Store(config["results_dir"])
    try:
        _train(name, config, store, False, display, ())
    except Exception as error:
        store.fail(name, error)
        raise RunError(f"its teacher {name} failed: {error}") from error


def _train(
    name: str, config: Config, store: Store, force: bool, display: Silent, overrides: tuple[str, ...]
) -> Outcome:
    started = time.perf_counter()
    experiment = build(config)
    experiment.device.use(step_flops(experiment, config["batch_size"]))
    teacher = _load_teacher(config, store, experiment)
    if force:
        store.discard(name)
    state = store.load_checkpoint(name) or State()
    store.start(name, config)
    display.run(name, config["epochs"])
    saved = time.monotonic()

    def on_epoch(state: State) -> None:
        nonlocal saved
        display.epoch(state.history[-1], config["epochs"])
        if state.epoch < config["epochs"] and time.monotonic() - saved >= CHECKPOINT_EVERY:
            store.save_checkpoint(name, state)
            saved = time.monotonic()

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
        "val_targets": experiment.dataset.val.targets.cpu().numpy(),
        "test_logits": trained.test_logits.numpy(),
        "test_targets": experiment.dataset.test.targets.cpu().numpy(),
    }
    measured = measure(predictions, experiment.loss.link)
    store.commit(
        name,
        metrics=measured,
        predictions=predictions,
        history=trained.history,
        environment=_environment(experiment, trained, time.perf_counter() - started, overrides),
        weights=trained.weights,
    )
    return _outcome(name, "finished", measured)


def _load_teacher(config: Config, store: Store, experiment: Experiment) -> nn.Module | None:
    if config["teacher"] is None:
        return None
    found = config["teacher"]["id"]
    settings = store.config(found)
    model = build_model(settings, build_dataset(settings), experiment.device)
    model.load_state_dict(store.weights(found))
    return model


def measure(predictions: Mapping[str, Any], link: Mapping[str, Any]) -> dict[str, Any]:
    """Compute every metric on both splits, raw and after a temperature fitted on validation.

    Args:
        predictions: `val_logits`, `val_targets`, `test_logits`, `test_targets`.
        link: the name of the function in `lossbench.links` that the loss was trained through, and its arguments.

    Returns:
        The content of metrics.json.
    """
    arguments = {key: float(value) for key, value in link.items() if key != "name"}
    through = getattr(links, link["name"])
    log_probs = {split: through(predictions[f"{split}_logits"], **arguments) for split in ("val", "test")}
    temperature = calibration.fit_temperature(log_probs["val"], predictions["val_targets"])
    measured: dict[str, Any] = {"temperature": temperature, "link": {"name": link["name"], **arguments}}
    for split in ("val", "test"):
        targets = predictions[f"{split}_targets"]
        measured[split] = {
            "raw": metrics.evaluate(log_probs[split], targets),
            "temperature_scaled": metrics.evaluate(log_probs[split] / temperature, targets),
        }
    return measured


def _outcome(name: str, status: str, measured: Mapping[str, Any]) -> Outcome:
    test = measured["test"]["raw"]
    numbers = "  ".join(f"{metric} {test[metric]:.4f}" for metric in ("accuracy", "nll", "ece"))
    return Outcome(name, status, objective=float(measured["val"]["raw"]["nll"]), summary=f"{name}  {numbers}")


def _environment(
    experiment: Experiment, trained: Trained, wall_seconds: float, overrides: tuple[str, ...]
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
        "overrides": list(overrides),
        "fingerprints": trained.fingerprints,
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "wall_seconds": wall_seconds,
        "training_seconds": trained.seconds,
        "peak_memory_bytes": _peak_memory(device.name),
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
