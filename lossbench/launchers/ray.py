"""A sweep whose runs are tasks of Ray: on this machine, or on a cluster whose nodes share the results folder.

Ray chooses where a run is trained, and tries again elsewhere when a process or a node is lost. The claims of the store
see to it that nothing is trained twice meanwhile, its checkpoints that a run goes on where it was.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeAlias, cast

from lossbench import checking, stopping
from lossbench.config import Config, teacher_config
from lossbench.errors import LossbenchError, counted
from lossbench.launchers import worker
from lossbench.launchers.ray_cluster import Settings, check_nodes, fits, gpus_of, nodes, there, why
from lossbench.launchers.stacked import Task
from lossbench.progress import Outcome, Silent
from lossbench.run import Policy
from lossbench.store import Store
from lossbench.teacher import identified

LOOK_EVERY = 0.5  # seconds between two looks for outcomes
FIT_EVERY = 20  # looks between two at whether any node can take a run

Runs: TypeAlias = Mapping[int, tuple[Config, tuple[str, ...]]]  # by their place in the sweep, with their overrides


def train_sweep(runs: Sequence[tuple[Config, tuple[str, ...]]], task: Task, settings: Settings) -> list[Outcome]:
    """Train the runs of a sweep, each in a task: teachers first, and last what others were training.

    Args:
        runs: resolved configurations, each with the overrides that made it.
        task: trains one, and says what to do with runs that are there already.
        settings: of `hydra.launcher`.

    Returns:
        What came of each run, in order.

    Raises:
        ConfigError: if a node of the cluster could not train them; nothing is trained then.
        KeyboardInterrupt: if this process is asked to stop, when what is under way has written its checkpoints.
    """
    checked = {place: (checking.check(config), overrides) for place, (config, overrides) in enumerate(runs)}
    gpus = {place: gpus_of(config, settings) for place, (config, _) in checked.items()}
    if len(nodes()) > 1:
        for folder in sorted({config["results_dir"] for config, _ in checked.values()}):
            check_nodes(Store(folder))
    policy = replace(task.policy, alone=all(share in (0, 1) for share in gpus.values()))
    here = replace(cast(Any, task), display=Silent())  # folders are watched: each run is told of once it has its own
    outcomes = {place: here(*checked[place], place) for place in checked if _is_kept(checked[place][0], policy)}
    new = {place: checked[place] for place in checked if place not in outcomes}
    of_teachers = replace(policy, force=False, wait=True, retry_failed=policy.force or policy.retry_failed)
    _Round(task, of_teachers, settings).train(_teachers(new), gpus)
    outcomes |= _Round(task, policy, settings).train(new, gpus)
    # What another process was training, or what did not fit beside others: now it waits, and has a GPU for itself.
    left = {place: checked[place] for place, outcome in outcomes.items() if outcome.status == "claimed"}
    whole = {place: math.ceil(share) for place, share in gpus.items()}
    outcomes |= _Round(task, replace(policy, wait=True, alone=True), settings).train(left, whole)
    return [outcomes[place] for place in range(len(runs))]


def _is_kept(config: Config, policy: Policy) -> bool:
    try:
        name, _, store = identified(config)
        return policy.keeps(name, store)
    except LossbenchError:  # of its teacher; the run itself says what is wrong
        return False


def _teachers(runs: Runs) -> Runs:
    """The teachers that are not there yet, each at the place of its first student.

    Their students, side by side, would wait for one of them to train it.
    """
    teachers: dict[tuple[str, str], tuple[int, Config]] = {}
    for place, (config, _) in runs.items():
        with suppress(LossbenchError):  # the student says what is wrong
            _, complete, store = identified(config)
            teacher = complete["teacher"]
            if teacher is not None and not store.finished(teacher["id"]):
                teachers.setdefault((config["results_dir"], teacher["id"]), (place, teacher_config(config)))
    return {place: (teacher, ()) for place, teacher in teachers.values()}


def _train(task: Task, config: Config, overrides: tuple[str, ...], place: int, folder: str) -> Outcome:
    """In a worker: answer what Ray stops it by, and train a run."""
    stopping.answer_again()
    return worker.train(task, config, overrides, place, folder)


class _Round:
    """Runs that are tasks at the same time."""

    def __init__(self, task: Task, policy: Policy, settings: Settings) -> None:
        self.task, self.settings = replace(cast(Any, task), policy=policy), settings
        self.pending: dict[Any, tuple[int, float]] = {}  # by Ray's reference: the place in the sweep, and GPUs
        self.outcomes: dict[int, Outcome] = {}

    def train(self, runs: Runs, gpus: Mapping[int, float]) -> dict[int, Outcome]:
        import ray

        remote = ray.remote(_train)
        with stopping.remembered() as stop:
            for place, (config, overrides) in runs.items():
                options = remote.options(
                    num_cpus=self.settings.num_cpus, num_gpus=gpus[place], max_retries=self.settings.max_retries
                )
                reference = options.remote(self.task, config, overrides, place, os.getcwd())
                self.pending[reference] = place, gpus[place]
            looks = 0
            while self.pending and stop.error is None:
                self._look(runs)
                looks += 1
                if looks % FIT_EVERY == 0:
                    self._check_fits()
            if stop.error is not None:
                self._stop(stop.error)
                raise stop.error
        return self.outcomes

    def _look(self, runs: Runs) -> None:
        """Take the outcomes that are there, or come soon."""
        import ray

        done, _ = ray.wait(list(self.pending), num_returns=len(self.pending), timeout=LOOK_EVERY)
        for reference in done:
            place, _ = self.pending.pop(reference)
            try:
                outcome: Outcome = ray.get(reference)
            except ray.exceptions.RayError as error:
                outcome = Outcome(_name(runs[place][0]), "failed", why(error), config=runs[place][0])
            self.outcomes[place] = outcome

    def _check_fits(self) -> None:
        """Say so where runs wait for a node that is lost, and may come back."""
        needed = max(gpus for _, gpus in self.pending.values())
        if not fits(self.settings.num_cpus, needed):
            self.task.display.note_once(
                "ray", f"waiting for a node with {self.settings.num_cpus:g} CPUs and {needed:g} GPUs; {there()}"
            )

    def _stop(self, error: BaseException) -> None:
        """Have what is under way write its checkpoints, and begin no more."""
        import ray

        for reference in self.pending:
            ray.cancel(reference)  # as Ctrl-C does where it is trained
        waiting = list(self.pending)
        _, left = ray.wait(waiting, num_returns=len(waiting), timeout=stopping.WORKERS_SAVE_WITHIN)
        if left:
            error.add_note(f"not stopped in time: {counted(len(left), 'run')}, to go on from an earlier checkpoint")


def _name(config: Config) -> str:
    try:
        return identified(config)[0]
    except LossbenchError:
        return "?"
