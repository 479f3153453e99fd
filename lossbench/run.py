"""One run from its configuration to its folder: build, train, measure, store."""

from __future__ import annotations

import contextlib
import errno
import functools
import math
import platform
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import lossbench
from lossbench import beside, checksums, processes
from lossbench.build import Experiment, build, said
from lossbench.checking import sources
from lossbench.checkpoints import Checkpoints
from lossbench.config import Config, learns_new_classes, run_id, teacher_config
from lossbench.data.dataset import Dataset
from lossbench.errors import (
    CheckpointError,
    DivergedError,
    LossbenchError,
    RunError,
    StoreError,
    TeacherError,
    WorkersError,
    one_line,
)
from lossbench.evaluation import measure
from lossbench.identity import stored, stored_overrides
from lossbench.progress import Outcome, Silent
from lossbench.store import Store
from lossbench.teacher import go_on_from, load_teacher, with_teacher
from lossbench.trackers import PLACES
from lossbench.tracking import Tracking
from lossbench.training import State, Trained, fingerprint, step_flops, train


@dataclass(frozen=True)
class Policy:
    """What to do about a run that is there already."""

    force: bool = False  # train a finished one again
    since: float = math.inf  # but not one that was finished after this, by another process given the same request
    retry_failed: bool = False
    wait: bool = True  # for another process that is training it
    alone: bool = True  # whether no other process of the sweep trains beside it

    def keeps(self, name: str, store: Store) -> bool:
        """Whether a run is finished and stays as it is."""
        return store.finished(name) and (not self.force or store.finished_at(name) >= self.since)


def execute(
    config: Config,
    *,
    force: bool = False,
    since: float = math.inf,
    retry_failed: bool = False,
    wait: bool = True,
    alone: bool = True,
    display: Silent | None = None,
    overrides: tuple[str, ...] = (),
) -> Outcome:
    """Train a run unless it is finished, its teacher before it.

    Args:
        config: as `lossbench.checking.check` returns it.
        force: train it again where it is finished or has failed.
        since: do not where it was finished after this time, seconds since the epoch: another process of the same
            request has.
        retry_failed: train it again where it has failed.
        wait: for another process that is training it; else such a run comes back as `claimed`.
        alone: whether no other process of the sweep trains beside it; else a run that does not fit into memory beside
            them comes back as `claimed`, too.
        display: told how it goes.
        overrides: what the user typed for this run, for the record.

    Returns:
        What came of it. A run that fails is an outcome, recorded in its folder, and not an exception.

    Raises:
        WorkersError: if a process that it was trained in with others is gone.
    """
    display = display or Silent()
    policy = Policy(force, since, retry_failed, wait, alone)
    store = Store(config["results_dir"])
    name = "?"
    try:
        complete = with_teacher(config, store)
        name = run_id(complete)
        if policy.keeps(name, store) and not store.untidy(name):
            outcome = _skipped(name, store, complete)
        else:
            outcome = _claimed(name, config, complete, store, policy, display, overrides)
    except WorkersError:
        raise
    except Exception as error:
        outcome = Outcome(name, "failed", _in_words(error, config, store), config=config)
    if outcome.status != "claimed":
        display.done(outcome)
        for about, text in outcome.untracked.items():
            display.note_once(about, text)
    return outcome


def _claimed(
    name: str,
    config: Config,
    complete: Config,
    store: Store,
    policy: Policy,
    display: Silent,
    overrides: tuple[str, ...],
) -> Outcome:
    """Train a run that no other process is training."""
    if policy.wait and store.held(name):
        display.waiting(name, store.holder(name))
    with store.claim(name, wait=policy.wait) as ours:
        if not ours:
            return Outcome(name, "claimed", config=config, overrides=overrides)
        settled = settle(name, complete, store, policy)
        if settled is not None:
            return settled
        retry_failed = policy.force or policy.retry_failed
        try:
            train_teacher(config, complete, display, retry_failed=retry_failed)
            return _train(name, complete, store, policy.force, display, overrides)
        except WorkersError:  # not of the run
            raise
        except Exception as error:
            if _is_memory(error) and not policy.alone:
                return Outcome(name, "claimed", config=config, overrides=overrides)
            raise recorded(name, config, store, error) from error
        finally:
            if not policy.alone and torch.cuda.is_available():
                torch.cuda.empty_cache()  # what torch keeps for later is what another process lacks


def settle(name: str, complete: Config, store: Store, policy: Policy) -> Outcome | None:
    """Return what came of a run that is not to be trained, once it is claimed; None where it is.

    Raises:
        RunError: if it failed before.
    """
    if policy.keeps(name, store):  # by whoever held it
        store.tidy(name)
        return _skipped(name, store, complete)
    check_not_failed(name, store, policy.force or policy.retry_failed)
    return None


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _skipped(name: str, store: Store, config: Config) -> Outcome:
    try:
        store.record(name)
        environment = store.environment(name)
        if lacks := {"fingerprints", "wall_seconds"} - {*environment}:
            raise StoreError(f"environment.json lacks {' and '.join(sorted(lacks))}")
        without = [tracker for tracker in config.get("tracker") or {} if tracker not in environment.get("trackers", ())]
        untracked = {f"{tracker} of finished runs": _untracked(tracker, config) for tracker in without}
        return replace(_outcome(name, "skipped", store.metrics(name), config), untracked=untracked)
    except (StoreError, KeyError, TypeError) as error:
        made_again = f"{checksums.remedy('metrics.json')}, or " if "metrics.json" in str(error) else ""
        raise RunError(f"it is finished but damaged ({error}); {made_again}--force trains it again") from error


def _untracked(tracker: str, config: Config) -> str:
    results = "" if config["results_dir"] == "results" else f" --results-dir {shlex.quote(config['results_dir'])}"
    how = f"lossbench export --to {tracker}{results} adds them" if tracker in PLACES else "--force trains them again"
    return f"tracker {tracker} is not told of runs that were finished without it; {how}"


def check_not_failed(name: str, store: Store, retry: bool) -> None:
    """Refuse what failed once, and would mostly fail again, after as long a time.

    Not what failed for a teacher or a checkpoint, which may be mended since.

    Raises:
        RunError: if it failed before.
    """
    failure = None if retry else store.failure(name)
    if failure is not None and failure.error not in (TeacherError.__name__, CheckpointError.__name__):
        raise RunError(f"{failure.message} (it failed before; --retry-failed trains it again)")


def _in_words(error: Exception, config: Config, store: Store) -> str:
    text = one_line(str(error)) or type(error).__name__
    if isinstance(error, RunError):  # which has them
        return text
    if _is_memory(error):
        return f"out of memory; a smaller batch_size than {config['batch_size']} or a smaller model needs less ({text})"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"no space left where {store.runs} is; what was complete is kept"
    if isinstance(error, LossbenchError | OSError):
        return text
    return one_line(said(error, config["loss"], config["model"], config["dataset"]))


def recorded(name: str, config: Config, store: Store, error: Exception) -> RunError:
    """Record a failure with its run, in words that say what to do about it where that is known."""
    text = _in_words(error, config, store)
    with contextlib.suppress(OSError):  # the disk may be full
        if isinstance(error, DivergedError):
            store.discard_checkpoint(name)  # which leads to the same nan
        store.fail(name, error, text)
    return RunError(text)


def train_teacher(config: Config, complete: Config, display: Silent, *, retry_failed: bool = False) -> None:
    """Train a student's teacher unless there is none, or it is finished.

    Args:
        config: the student's, as `lossbench.checking.check` returns it.
        complete: the same, as `lossbench.teacher.with_teacher` returns it.
        display: told how it goes.
        retry_failed: train it again where it has failed.

    Raises:
        TeacherError: if the teacher fails, or has.
    """
    store = Store(config["results_dir"])
    if complete["teacher"] is None or store.finished(complete["teacher"]["id"]):
        return
    name: str = complete["teacher"]["id"]
    # Whoever trains a teacher waits for nobody, so that students who wait for theirs cannot wait for each other.
    with store.claim(name, wait=True):
        if store.finished(name):
            return
        settings = teacher_config(config)
        try:
            check_not_failed(name, store, retry_failed)
        except RunError as error:
            raise TeacherError(f"its teacher {name} failed: {error}") from error
        try:
            _train(name, settings, store, False, display, ())
        except WorkersError:
            raise
        except Exception as error:
            raise TeacherError(f"its teacher {name} failed: {recorded(name, settings, store, error)}") from error


def _train(
    name: str, config: Config, store: Store, force: bool, display: Silent, overrides: tuple[str, ...]
) -> Outcome:
    started = time.perf_counter()
    display.run(name, config["epochs"])
    experiment, teacher = prepare(config, store)
    flops = step_flops(experiment, config["batch_size"])
    experiment.device.use(flops)
    state = begin(name, config, store, force, experiment, teacher)
    state.together = []
    earlier = state.seconds
    if state.resumed:
        display.goes_on(name, state.epoch, config["epochs"])

    def failed(error: Exception) -> None:
        if not _is_memory(error):  # which it may not be when it goes on
            recorded(name, config, store, error)

    def on_epoch(state: State) -> None:
        display.epoch(state.history[-1], config["epochs"])
        tracking.epoch(state.history[-1])

    saving = Checkpoints(functools.partial(store.save_checkpoint, name), failed, every=config.get("checkpoint_seconds"))
    with Tracking(name, config, store, display, overrides) as tracking, saving as checkpoints:
        tracking.begin(state.history)
        with processes.joined(config):
            processes.told((state, flops))
            trained = train(
                experiment,
                **training_values(config),
                teacher=teacher,
                state=state,
                on_epoch=on_epoch,
                checkpoints=checkpoints,
            )
        # Within the block: what is trained is stored before it stops.
        wall_seconds = earlier + time.perf_counter() - started
        told = [*tracking.trackers]
        return tracking.finish(keep(name, config, store, experiment, trained, wall_seconds, overrides, told))


def training_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of how `lossbench.training.train` goes about it."""
    return {key: config[key] for key in ("epochs", "batch_size", "seed", "keep")}


def prepare(config: Config, store: Store) -> tuple[Experiment, nn.Module | None]:
    """Build a run, with the weights that it goes on from and the teacher that it learns from, if any."""
    experiment = build(config)
    teacher = load_teacher(config, store, experiment)
    if learns_new_classes(config):
        go_on_from(store.weights(config["teacher"]["id"]), experiment.model)
    return experiment, teacher


def left(name: str, store: Store, force: bool) -> State | None:
    """Return where a run was left that is gone on with; None where it begins anew.

    Raises:
        CheckpointError: if its checkpoint cannot be read.
    """
    going_on = not force or (store.finished(name) and store.failure(name) is None)
    return store.load_checkpoint(name) if going_on else None


def begin(
    name: str, config: Config, store: Store, force: bool, experiment: Experiment, teacher: nn.Module | None
) -> State:
    """Begin a run's folder, or go on with it.

    With `force` it goes on where a finished run was being trained again, and that was interrupted: the checkpoint
    cannot be of the finished one.

    Args:
        name: its id.
        config: as `lossbench.teacher.with_teacher` returns it.
        store: where it is.
        force: what is not so begins anew, and so does what cannot be gone on with.
        experiment: as `prepare` returns it.
        teacher: as `prepare` returns it.

    Returns:
        Where its training goes on from.

    Raises:
        CheckpointError: if its checkpoint cannot be read, or is of other data, weights or code.
    """
    made_of = _made_of(config, experiment, teacher)
    try:
        state = left(name, store, force)
        if state is not None:
            _check_made_of(state.made_of, made_of)
    except CheckpointError:
        if not force:
            raise
        state = None
    if state is None:
        if force:
            store.discard(name)
        state = State(made_of=made_of)
    store.start(name, stored(config))
    return state


def _made_of(config: Config, experiment: Experiment, teacher: nn.Module | None) -> dict[str, str]:
    """What a training begins with that its id does not tell, in the words of a message."""
    return {
        "lossbench": lossbench.__version__,
        **sources(config),
        **{f"its {name}": value for name, value in experiment.dataset.fingerprints.items()},
        "its initial weights": fingerprint(dict(experiment.network.named_parameters())),
        **({} if teacher is None else {"its teacher": fingerprint(teacher.state_dict())}),
    }


def _check_made_of(then: Mapping[str, str], now: Mapping[str, str]) -> None:
    changed = [key for key in {**now, **then} if now.get(key) != then.get(key)]
    if changed:
        raise CheckpointError(f"{' and '.join(changed)} changed since it was interrupted; --force trains it anew")


def keep(
    name: str,
    config: Config,
    store: Store,
    experiment: Experiment,
    trained: Trained,
    wall_seconds: float,
    overrides: tuple[str, ...],
    trackers: Sequence[str] = (),
    stacked: int = 1,
    measured: Callable[[], dict[str, Any]] | None = None,
) -> Outcome:
    """Measure a run that is trained, and store it.

    Args:
        name: its id.
        config: as `lossbench.teacher.with_teacher` returns it.
        store: where it goes.
        experiment: what was trained.
        trained: what that gave.
        wall_seconds: that it took.
        overrides: what the user typed for this run.
        trackers: that were told of it, by name.
        stacked: how many runs were trained as one model, this one among them.
        measured: gives what measuring it gives, where others are measured beside it; none to measure it here.
    """
    asked = to_measure(config, experiment, trained)
    predictions, _, _ = asked
    numbers = {
        **(measured() if measured is not None else measure(*asked)),
        "beside": {**_of_the_teacher(config, store), **_of_classes(config, experiment.dataset, predictions)},
    }
    store.commit(
        name,
        metrics=numbers,
        predictions=predictions,
        history=trained.history,
        environment={
            **_environment(config, experiment, trained, wall_seconds, overrides),
            "link": numbers["link"],  # as metrics.json has it, which can be made again
            **({"stacked": stacked} if stacked > 1 else {}),
            **({"trackers": [*trackers]} if trackers else {}),
        },
        weights=trained.weights,
    )
    return _outcome(name, "finished", numbers, config)


def to_measure(
    config: Config, experiment: Experiment, trained: Trained
) -> tuple[dict[str, NDArray[Any]], Mapping[str, Any], Mapping[str, float]]:
    """What `lossbench.evaluation.measure` is given of a run that is trained: predictions, link and options."""
    predictions = {
        "val_logits": trained.val_logits.numpy(),
        "val_targets": trained.val_targets.numpy(),
        "test_logits": trained.test_logits.numpy(),
        "test_targets": trained.test_targets.numpy(),
    }
    return predictions, experiment.loss.link, config["metrics"]


def _of_the_teacher(config: Config, store: Store) -> dict[str, float]:
    """What a table of students says of their teacher, kept with the student: the teacher may be elsewhere by then."""
    if config["teacher"] is None:
        return {}
    test = store.metrics(config["teacher"]["id"])["test"]["raw"]
    return {f"teacher_{metric}": test[metric] for metric in ("accuracy", "ece")}


def _of_classes(config: Config, dataset: Dataset, predictions: Mapping[str, Any]) -> dict[str, float]:
    """What a table says of groups of classes, which the predictions do not know."""
    test = predictions["test_logits"], predictions["test_targets"]
    shots = beside.by_shots(*test, dataset.class_counts.cpu()) if beside.is_long_tailed(config["dataset"]) else {}
    return {**beside.old_and_new(*test, dataset.old_classes), **shots}


def _outcome(name: str, status: str, measured: Mapping[str, Any], config: Config) -> Outcome:
    test = measured["test"]["raw"]
    numbers = "  ".join(f"{metric} {test[metric]:.4f}" for metric in ("accuracy", "nll", "ece"))
    validation = {metric: value for metric, value in measured["val"]["raw"].items() if isinstance(value, float)}
    return Outcome(name, status, validation=validation, summary=f"{name}  {numbers}", config=config)


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
        "overrides": stored_overrides(overrides),
        "fingerprints": trained.fingerprints,
        "class_names": list(experiment.dataset.class_names),
        **_sampled(experiment, trained),
        **({"streamed": True} if experiment.dataset.streams else {}),
        **({"processes": processes.count()} if processes.count() > 1 else {}),
        # To the millisecond: the newest of two quick runs is the one that was finished last.
        "finished_at": datetime.now().astimezone().isoformat(timespec="milliseconds"),
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
