"""A sweep whose runs are trained many at a time, as one model, where that is faster; the others one after another."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import nn

from lossbench import checking, run
from lossbench.build import Experiment, build
from lossbench.checkpoints import Checkpoints
from lossbench.config import Config
from lossbench.data.dataset import Dataset
from lossbench.device import ONE_THREAD_STACKED_FLOPS
from lossbench.errors import RunError, counted
from lossbench.launchers.measuring import side_by_side
from lossbench.progress import Outcome, Silent
from lossbench.run import Policy
from lossbench.stacked.grouping import alike, fewest, why_alone
from lossbench.stacked.memory import most_runs
from lossbench.stacked.training import NotStackedError, Run, train_stacked
from lossbench.store import Store
from lossbench.teacher import identified
from lossbench.tracking import Tracking
from lossbench.training import State, step_flops


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


@dataclass(frozen=True)
class _Job:
    """One run of the sweep."""

    place: int  # in the sweep
    config: Config  # checked
    complete: Config  # with its teacher
    name: str
    overrides: tuple[str, ...]
    store: Store


@dataclass(frozen=True)
class _Member:
    """A run that is ours to train, and built."""

    job: _Job
    experiment: Experiment
    teacher: nn.Module | None
    state: State


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
        self.outcomes: dict[int, Outcome] = {}

    def train(self, runs: Sequence[tuple[Config, tuple[str, ...]]]) -> list[Outcome]:
        groups: dict[str, list[int]] = {}
        checked = [checking.check(settings) for settings, _ in runs]
        for place, settings in enumerate(checked):
            groups.setdefault(alike(settings), []).append(place)
        alone: dict[str, list[int]] = {}  # why → those that are trained one by one
        for places in groups.values():
            jobs, rest = self._to_train([(place, checked[place], runs[place][1]) for place in places])
            alone.setdefault("", []).extend(rest)
            for stack in self._stacks(jobs, alone):
                self._train_stack(stack, alone)
        for why, places in alone.items():
            if why:
                self.display.note(f"one after another, {counted(len(places), 'run')}: {why}")
            for place in sorted(places):
                self.outcomes[place] = self.task(*runs[place], place)
        return [self.outcomes[place] for place in range(len(runs))]

    def _to_train(self, group: Sequence[tuple[int, Config, tuple[str, ...]]]) -> tuple[list[_Job], list[int]]:
        """Name the runs of a group that are still to be trained; the others take no time one by one."""
        jobs: list[_Job] = []
        rest: list[int] = []
        for place, settings, overrides in group:
            try:
                name, complete, store = identified(settings)
                if self.task.policy.keeps(name, store) or store.path(name) in {
                    job.store.path(job.name) for job in jobs
                }:
                    rest.append(place)
                else:
                    jobs.append(_Job(place, settings, complete, name, overrides, store))
            except Exception:  # of its teacher; the run by itself says what is wrong
                rest.append(place)
        return jobs, rest

    def _stacks(self, jobs: list[_Job], alone: dict[str, list[int]]) -> list[list[_Job]]:
        """Divide the runs of a group into stacks of about the same size that fit into memory."""
        if not jobs:
            return []
        try:
            experiment = build(jobs[0].config)
        except Exception:
            return self._leave(jobs, alone)
        batch_size, least = jobs[0].config["batch_size"], fewest(experiment.device.name)
        why = why_alone(experiment, step_flops(experiment, batch_size))
        if not why and len(jobs) < least:
            why = f"fewer than {least} runs that differ in numbers alone are no faster stacked"
        if why:
            return self._leave(jobs, alone, why)
        seeds = len({job.config["seed"] for job in jobs})
        most = self.max_runs or most_runs(experiment, batch_size, seeds)
        if most < least:
            return self._leave(jobs, alone, f"a stack may have {most}, and pays from {least} on")
        count = math.ceil(len(jobs) / most)
        return [jobs[len(jobs) * i // count : len(jobs) * (i + 1) // count] for i in range(count)]

    def _leave(self, jobs: Sequence[_Job], alone: dict[str, list[int]], why: str = "") -> list[list[_Job]]:
        alone.setdefault(why, []).extend(job.place for job in jobs)
        return []

    def _train_stack(self, jobs: Sequence[_Job], alone: dict[str, list[int]]) -> None:
        with contextlib.ExitStack() as held:
            members = self._members(jobs, held, alone)
            by_step: dict[tuple[int, int], list[_Member]] = {}
            for member in members:
                losses = member.state.losses
                by_step.setdefault((member.state.epoch, 0 if losses is None else len(losses)), []).append(member)
            for stack in by_step.values():
                if len(stack) < fewest(stack[0].experiment.device.name):
                    why = "no others are left that stopped at the same step"
                    self._leave([member.job for member in stack], alone, why)
                    continue
                try:
                    self._train_members(stack)
                except NotStackedError as error:
                    self._leave([member.job for member in stack], alone, str(error))

    def _members(self, jobs: Sequence[_Job], held: contextlib.ExitStack, alone: dict[str, list[int]]) -> list[_Member]:
        """Claim runs and build them. What another process trains, or what fails, is left to the ordinary path."""
        datasets: dict[int, Dataset] = {}
        teachers: dict[int, nn.Module | None] = {}
        members = []
        policy = self.task.policy
        for job in sorted(jobs, key=lambda job: int(job.config["seed"])):  # so that data are split once for each seed
            seed = job.config["seed"]
            try:
                ours = held.enter_context(job.store.claim(job.name, wait=False))
                if not ours or run.settle(job.name, job.complete, job.store, policy) is not None:
                    self._leave([job], alone)
                    continue
                retry_failed = policy.force or policy.retry_failed
                run.train_teacher(job.config, job.complete, self.display, retry_failed=retry_failed)
                experiment, teacher = run.prepare(job.complete, job.store)
                experiment = replace(experiment, dataset=datasets.setdefault(seed, experiment.dataset))
                state = run.begin(job.name, job.complete, job.store, policy.force, experiment, teacher)
            except Exception:  # which the ordinary path records, in words
                self._leave([job], alone)
                continue
            members.append(_Member(job, experiment, teachers.setdefault(seed, teacher), state))
        return members

    def _train_members(self, members: Sequence[_Member]) -> None:
        """Train runs as one model, and store them.

        Raises:
            NotStackedError: if that cannot be. Nothing is stored then, but for checkpoints.
        """
        started, count = time.perf_counter(), len(members)
        first, config = members[0].experiment, members[0].job.config
        first.device.use(count * step_flops(first, config["batch_size"]), ONE_THREAD_STACKED_FLOPS)
        earlier = [member.state.seconds for member in members]
        jobs = {id(member.state): member.job for member in members}

        def write(states: Sequence[State]) -> None:
            for state in states:
                jobs[id(state)].store.save_checkpoint(jobs[id(state)].name, state)

        together = f"{members[0].job.name.rsplit('-s', 1)[0]}: {count} runs stacked"
        self.display.run(together, config["epochs"], count)
        if members[0].state.resumed:  # as all are that stopped at the same step
            self.display.goes_on(together, members[0].state.epoch, config["epochs"])
        saving = Checkpoints(write, every=config.get("checkpoint_seconds"))
        with contextlib.ExitStack() as tracked, saving as checkpoints:
            trackings = [
                tracked.enter_context(Tracking(job.name, job.complete, job.store, self.display, job.overrides))
                for job in jobs.values()
            ]
            for member, tracking in zip(members, trackings, strict=True):
                tracking.begin(member.state.history)

            def on_epoch(mean: Mapping[str, float]) -> None:
                self.display.epoch(mean, config["epochs"])
                for member, tracking in zip(members, trackings, strict=True):
                    if member.state.epoch == mean["epoch"]:  # else it has diverged
                        tracking.epoch(member.state.history[-1])

            results = train_stacked(
                [Run(member.experiment, member.job.config["seed"], member.teacher, member.state) for member in members],
                epochs=config["epochs"],
                batch_size=config["batch_size"],
                keep=config["keep"],
                on_epoch=on_epoch,
                checkpoints=checkpoints,
            )
            seconds = (time.perf_counter() - started) / count
            to_measure = [
                run.to_measure(member.job.complete, member.experiment, trained)
                for member, trained in zip(members, results, strict=True)
                if not isinstance(trained, RunError)
            ]
            measured = side_by_side(to_measure)
            for i, (member, trained, tracking) in enumerate(zip(members, results, trackings, strict=True)):
                job = member.job
                try:
                    if isinstance(trained, RunError):
                        raise trained
                    outcome = tracking.finish(
                        run.keep(
                            job.name,
                            job.complete,
                            job.store,
                            member.experiment,
                            trained,
                            earlier[i] + seconds,
                            job.overrides,
                            [*tracking.trackers],
                            stacked=count,
                            measured=next(measured),
                        )
                    )
                except Exception as error:
                    tracking.stop(failed=True)
                    failure = run.recorded(job.name, job.config, job.store, error)
                    outcome = Outcome(job.name, "failed", str(failure), config=job.config)
                self.outcomes[job.place] = outcome
                self.display.done(outcome)
                left = [
                    later.state
                    for later, result in zip(members[i + 1 :], results[i + 1 :], strict=True)
                    if not isinstance(result, RunError)
                ]
                if left and checkpoints.due():
                    checkpoints.save(left)
