"""Runs that a process trains as one model, stored one by one: a stack, or the part of one that is this process's."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType

from torch import nn

from lossbench import run
from lossbench.build import Experiment
from lossbench.checkpoints import Checkpoints
from lossbench.config import Config
from lossbench.data.dataset import Dataset
from lossbench.device import ONE_THREAD_STACKED_FLOPS
from lossbench.errors import RunError
from lossbench.launchers import copies
from lossbench.progress import Outcome, Silent
from lossbench.stacked.training import NotStackedError, Run, said, train_stacked
from lossbench.store import Store
from lossbench.tracking import Tracking
from lossbench.training import State, step_flops


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    place: int  # in the sweep
    config: Config  # checked
    complete: Config  # with its teacher, which is trained
    name: str
    overrides: tuple[str, ...]
    store: Store


@dataclass(frozen=True)
class Size:
    """Of a stack."""

    runs: int
    processes: int
    one_thread: bool  # for each process, also where one goes on that had others beside it


@dataclass
class Done:
    """What came of a part."""

    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by place in the sweep
    left: dict[str, list[int]] = field(default_factory=dict)  # why → those that are to be trained one by one

    def leave(self, jobs: Sequence[Job], why: str = "") -> None:
        """Leave runs to the ordinary path."""
        self.left.setdefault(why, []).extend(job.place for job in jobs)


@dataclass(frozen=True)
class _Member:
    """A run that is ours to train, and built."""

    job: Job
    experiment: Experiment
    teacher: nn.Module | None
    state: State


@dataclass(frozen=True)
class Part:
    """Some runs of a stack."""

    jobs: Sequence[Job]  # those of a seed one after another
    policy: run.Policy  # what to do about a run that is there already
    display: Silent  # told how it goes
    size: Size  # of the whole stack

    def train(self) -> Done:
        """Train them."""
        done = Done()
        with contextlib.ExitStack() as held:
            members = self._members(held, done)
            by_step: dict[tuple[int, int], list[_Member]] = {}  # one, unless somebody has trained some since
            for member in members:
                by_step.setdefault(member.state.step, []).append(member)
            for stack in by_step.values():
                try:
                    self._train_members(stack, done)
                except Exception as error:
                    jobs = [member.job for member in stack if member.job.place not in done.outcomes]
                    done.leave(jobs, str(error) if isinstance(error, NotStackedError) else said(error))
        return done

    def _members(self, held: contextlib.ExitStack, done: Done) -> list[_Member]:
        """Claim runs and build them. What another process trains, or what fails, is left to the ordinary path."""
        datasets: dict[int, Dataset] = {}
        teachers: dict[int, nn.Module | None] = {}
        members = []
        for job in self.jobs:
            seed = job.config["seed"]
            try:
                ours = held.enter_context(job.store.claim(job.name, wait=False))
                if not ours or run.settle(job.name, job.complete, job.store, self.policy) is not None:
                    done.leave([job])
                    continue
                experiment, teacher = run.prepare(job.complete, job.store)
                experiment = replace(experiment, dataset=datasets.setdefault(seed, experiment.dataset))
                state = run.begin(job.name, job.complete, job.store, self.policy.force, experiment, teacher)
            except Exception:  # which the ordinary path records, in words
                done.leave([job])
                continue
            members.append(_Member(job, experiment, teachers.setdefault(seed, teacher), state))
        return members

    def _train_members(self, members: Sequence[_Member], done: Done) -> None:
        """Train runs as one model, and store them.

        Raises:
            NotStackedError: if that cannot be. Nothing is stored then, but for checkpoints.
        """
        started, count = time.perf_counter(), len(members)
        first, config = members[0].experiment, members[0].job.config
        for member in members:
            member.state.together = [each.job.name for each in members]
        if not self.size.one_thread:
            first.device.use(count * step_flops(first, config["batch_size"]), ONE_THREAD_STACKED_FLOPS)
            if not copies.possible():
                _helpers().begin(count)
        else:
            replace(first.device, threads=1).use(0)  # one thread, and memory that is kept
        earlier = [member.state.seconds for member in members]
        jobs = {id(member.state): member.job for member in members}

        def write(states: Sequence[State]) -> None:
            for state in states:
                jobs[id(state)].store.save_checkpoint(jobs[id(state)].name, state)

        processes = self.size.processes
        runs, among = (count, "") if processes == 1 else (self.size.runs, f" in {processes} processes")
        together = f"{members[0].job.name.rsplit('-s', 1)[0]}: {runs} runs stacked{among}"
        self.display.run(together, config["epochs"], runs)
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
            # Copies measure what they train, and leave no core to do it for another.
            measured = itertools.repeat(None) if copies.possible() else _helpers().side_by_side(to_measure)
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
                done.outcomes[job.place] = outcome
                self.display.done(outcome)
                left = [
                    later.state
                    for later, result in zip(members[i + 1 :], results[i + 1 :], strict=True)
                    if not isinstance(result, RunError)
                ]
                if left and checkpoints.due():
                    checkpoints.save(left)


def _helpers() -> ModuleType:
    """What measures runs in other processes; what starts these takes a while to import."""
    from lossbench.launchers import measuring

    return measuring
