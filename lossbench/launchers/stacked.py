"""A sweep whose runs are trained many at a time, as one model, where that is faster; the others one after another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from lossbench import checking, run
from lossbench.build import build
from lossbench.config import Config
from lossbench.errors import CheckpointError, WorkersError, counted
from lossbench.evaluation import get_ready
from lossbench.launchers import copies
from lossbench.launchers.part import Job, Part, Size
from lossbench.progress import Outcome, Silent
from lossbench.run import Policy
from lossbench.stacked.grouping import alike, fewest, why_alone
from lossbench.stacked.memory import most_runs
from lossbench.teacher import identified
from lossbench.training import State, step_flops

FEWEST_EACH = 2  # runs of a stack that a process trains: one is better off by itself
GONE = "the process that was to train them was killed, or could not be had, perhaps for lack of memory"
FEW = (
    "fewer than {least} runs are no faster stacked; those of a stack differ in seed, learning rate, weight decay and "
    "those numbers of the loss that may be tensors (float | Tensor) alone"
)
APART = "too few stopped at the same step"


class Task(Protocol):
    """What a sweep does for each run."""

    @property
    def policy(self) -> Policy:
        """What to do about a run that is there already."""

    @property
    def display(self) -> Silent:
        """Told how it goes."""

    def __call__(self, config: Config, overrides: tuple[str, ...], turn: int) -> Outcome:
        """Train one by itself."""


def train_sweep(runs: Sequence[tuple[Config, tuple[str, ...]]], task: Task, max_runs: int | None) -> list[Outcome]:
    """Train the runs of a sweep, those that can be as one model.

    Args:
        runs: resolved configurations, each with the overrides that made it.
        task: trains one by itself, and says what to do with runs that are there already.
        max_runs: trained as one model at most; None for as many as fit into memory.

    Returns:
        What came of each run, in order. One that another process is training is `claimed`.
    """
    return _Sweep(task, max_runs).train(runs)


class _Sweep:
    def __init__(self, task: Task, max_runs: int | None) -> None:
        self.task, self.max_runs = task, max_runs
        self.display = task.display
        self.retry_failed = task.policy.force or task.policy.retry_failed
        self.outcomes: dict[int, Outcome] = {}
        self.alone: dict[str, list[int]] = {}  # why → those that are trained one by one

    def train(self, runs: Sequence[tuple[Config, tuple[str, ...]]]) -> list[Outcome]:
        groups: dict[str, list[int]] = {}
        checked = [checking.check(settings) for settings, _ in runs]
        for place, settings in enumerate(checked):
            groups.setdefault(alike(settings), []).append(place)
        for places in groups.values():
            jobs = self._to_train([(place, checked[place], runs[place][1]) for place in places])
            for parts in self._stacks(jobs):
                self._train_stack(parts)
        for why, places in self.alone.items():
            if why:
                self.display.note(f"one after another, {counted(len(places), 'run')}: {why}")
            for place in sorted(places):
                self.outcomes[place] = self.task(*runs[place], place)
        return [self.outcomes[place] for place in range(len(runs))]

    def _leave(self, places: Iterable[int], why: str = "") -> None:
        self.alone.setdefault(why, []).extend(places)

    def _to_train(self, group: Sequence[tuple[int, Config, tuple[str, ...]]]) -> list[Job]:
        """Name the runs of a group that are still to be trained; the others take no time one by one."""
        jobs: list[Job] = []
        paths = set()
        for place, settings, overrides in group:
            try:
                name, complete, store = identified(settings)
                run.check_not_failed(name, store, self.retry_failed)
                if store.path(name) in paths or self.task.policy.keeps(name, store) or store.held(name):
                    self._leave([place])
                else:
                    jobs.append(Job(place, settings, complete, name, overrides, store))
                    paths.add(store.path(name))
            except Exception:  # of its teacher, or it failed before; the run by itself says what is wrong
                self._leave([place])
        return jobs

    def _stacks(self, jobs: Sequence[Job]) -> Iterator[list[Sequence[Job]]]:
        """Divide the runs of a group into stacks of about the same size that fit into memory.

        Returns:
            Each as the parts of it that processes train, the first of them this one.
        """
        if not jobs:
            return
        places = [job.place for job in jobs]
        try:
            experiment = build(jobs[0].config)
        except Exception:
            self._leave(places)
            return
        batch_size, least = jobs[0].config["batch_size"], fewest(experiment.device.name)
        if why := why_alone(experiment, step_flops(experiment, batch_size)):
            self._leave(places, why)
            return
        seeds = len({job.config["seed"] for job in jobs})
        most = self.max_runs or most_runs(experiment, batch_size, seeds)
        if most < least:
            self._leave(places, f"a stack may have {most}, and pays from {least} on")
            return
        processes = experiment.device.most_threads if _has_copies(jobs[0]) else 1
        few = FEWEST_EACH if processes > 1 else least
        parts, others = self._left(self._with_teachers(jobs), most)
        if not parts and len(jobs) < least:
            self._leave([job.place for group in others for job in group], FEW.format(least=least))
            return
        for at_a_step in others:
            if len(at_a_step) < few:
                self._leave([job.place for job in at_a_step], APART)
                continue
            # Those of a seed together: their data are split once, and each process draws the batches of few.
            at_a_step = sorted(at_a_step, key=lambda job: int(job.config["seed"]))
            for stack in _divided(at_a_step, math.ceil(len(at_a_step) / most)):
                parts += _divided(stack, max(1, min(processes, len(stack) // FEWEST_EACH)))
        while parts:
            # As many at a time as there are processes, and as fit into memory.
            sizes = itertools.accumulate(map(len, parts[:processes]))
            count = sum(size <= most for size in sizes)
            yield parts[:count]
            parts = parts[count:]

    def _left(self, jobs: Sequence[Job], most: int) -> tuple[list[Sequence[Job]], list[list[Job]]]:
        """Group runs by where they go on from.

        Returns:
            Those that were trained as one model before, and are all there: they go on together, since how many there
            are decides how they round. And the others, by step.
        """
        found: dict[tuple[tuple[int, int], tuple[str, ...]], list[Job]] = {}
        for job in jobs:
            try:
                state = run.left(job.name, job.store, self.task.policy.force) or State()
            except CheckpointError:  # the run by itself says what is wrong
                self._leave([job.place])
                continue
            found.setdefault((state.step, tuple(state.together)), []).append(job)
        parts: list[Sequence[Job]] = []
        others: dict[tuple[int, int], list[Job]] = {}
        for (step, together), group in found.items():
            if {job.name for job in group} == set(together) and len(group) <= most:
                parts.append(sorted(group, key=lambda job: together.index(job.name)))
            else:
                others.setdefault(step, []).extend(group)
        return parts, list(others.values())

    def _with_teachers(self, jobs: Sequence[Job]) -> list[Job]:
        """Train the teachers of runs; a run whose teacher fails is left to say so by itself."""
        found = []
        for job in jobs:
            try:
                run.train_teacher(job.config, job.complete, self.display, retry_failed=self.retry_failed)
            except WorkersError:
                raise
            except Exception:
                self._leave([job.place])
            else:
                found.append(job)
        return found

    def _train_stack(self, parts: Sequence[Sequence[Job]]) -> None:
        """Train the first part of a stack here, and each of the others in a copy of this process meanwhile."""
        if len(parts) > 1:
            get_ready()  # which the copies have then, too
        size = Size(sum(map(len, parts)), len(parts), one_thread=_has_copies(parts[0][0]))
        here, *elsewhere = [
            Part(jobs, self.task.policy, Silent() if number else self.display, size)
            for number, jobs in enumerate(parts)
        ]
        done = copies.beside(here.train, [part.train for part in elsewhere])
        for part, result in zip([here, *elsewhere], done, strict=True):
            if result is None:
                self._leave([job.place for job in part.jobs], GONE)
                continue
            self.outcomes |= result.outcomes
            for why, places in result.left.items():
                self._leave(places, why)
            if part is not here:
                for outcome in result.outcomes.values():
                    self.display.done(outcome)


def _has_copies(job: Job) -> bool:
    """Whether copies of this process may train some of a stack's runs, with a thread each, as this one does then."""
    # What tells trackers may have threads of its own, which a copy would wait for without end.
    return copies.possible() and not job.config.get("tracker")


def _divided(jobs: Sequence[Job], count: int) -> list[Sequence[Job]]:
    """So many parts, of about the same size."""
    return [jobs[len(jobs) * i // count : len(jobs) * (i + 1) // count] for i in range(count)]
