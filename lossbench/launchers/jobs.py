"""A sweep in jobs: of Slurm, in arrays, or processes of this machine that are treated as if they were.

submitit writes the scripts and carries runs and outcomes; what has become of a job is asked of Slurm's own queue, as
accounting, which submitit asks, is not there on every cluster: a job that is killed would be waited for without end.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from lossbench import checking, run, stopping
from lossbench.config import Config
from lossbench.domains import AT_LEAST_ONE, NON_NEGATIVE
from lossbench.errors import ConfigError, LossbenchError, WorkersError, counted, one_line
from lossbench.launchers import slurm
from lossbench.launchers.stacked import Task
from lossbench.progress import Outcome, Silent
from lossbench.store import Store
from lossbench.teacher import identified

LOOK_EVERY = 0.5  # seconds between two looks for results, and more where there are many
LOOKS_AT = 200  # results a second
ASK_EVERY = 10.0  # seconds between two questions to Slurm
ASK_AGAIN = 1.0  # seconds after which a job of this machine is asked once more to end
LOST_AFTER = 20.0  # seconds that a network's file system may take to show what a job wrote last
PROGRAMS = ("sbatch", "srun", "squeue", "scontrol")
OURS = ("folder", "max_num_timeout", "runs_per_job")  # and not for sbatch
SBATCH = {"name": "job_name", "timeout_min": "time", "mem_gb": "mem"}  # where its names are others
AGAIN = ("NODE_FAIL", "PREEMPTED")  # what is no fault of the run's, where Slurm does not queue it again
MEANT = ("CANCELLED", slurm.GONE)  # or may be: then none of the job's runs is submitted again
AGAIN_AT_MOST = 20  # times, of one run: a node that fails each time would be tried without end


def check(cluster: str, settings: Mapping[str, Any], runs: int) -> None:
    """Refuse what a cluster would, before anything is written.

    Args:
        cluster: `slurm` or `local`.
        settings: of `hydra.launcher`.
        runs: how many there are.

    Raises:
        ConfigError: with what is wrong, in Slurm's own words where it is Slurm that says so.
    """
    if importlib.util.find_spec("submitit") is None:
        raise ConfigError(
            f"hydra/launcher=submitit_{cluster} needs submitit, which is not installed: pip install 'lossbench[slurm]'"
        )
    at_least_one = ("timeout_min", "array_parallelism", "runs_per_job", "cpus_per_task", "mem_gb")
    for key, least in (
        *((key, AT_LEAST_ONE) for key in at_least_one),
        *((key, NON_NEGATIVE) for key in ("gpus_per_node", "max_num_timeout", "signal_delay_s")),
    ):
        value = settings.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value not in least):
            raise ConfigError(f"hydra.launcher.{key} must be a whole number in {least}; got {value!r}")
    limit = settings["timeout_min"] * 60
    if settings["signal_delay_s"] >= limit:
        raise ConfigError(
            f"hydra.launcher.signal_delay_s must be less than timeout_min, {limit} s, or no run would ever get on; "
            f"got {settings['signal_delay_s']}"
        )
    if cluster == "slurm":
        _check_slurm(settings, math.ceil(runs / settings["runs_per_job"]))


def _check_slurm(settings: Mapping[str, Any], jobs: int) -> None:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise ConfigError(
            f"hydra/launcher=submitit_slurm needs Slurm's {' and '.join(missing)}, which the PATH does not have: "
            "submit from a machine that is part of the cluster, or try hydra/launcher=joblib here"
        )
    most = slurm.most_of_an_array()
    try:
        executor = _executor("slurm", settings)
        if jobs > 1:
            executor.parameters["map_count"] = min(jobs, most)
        script = executor._make_submission_file_text("true", "")
    except (AssertionError, NameError, TypeError, ValueError) as error:  # how submitit refuses
        raise ConfigError(f"hydra.launcher: {one_line(str(error))}") from error
    answer = slurm.ask(["sbatch", "--test-only"], script)
    if answer.returncode:
        raise ConfigError(
            f"Slurm would not take these jobs: {slurm.said(answer)} (hydra.launcher.…; `sinfo` shows what there is)"
        )


def _executor(cluster: str, settings: Mapping[str, Any]) -> Any:
    """What submits, as submitit has it. Of the cluster `local`, this makes the folder."""
    import submitit

    given = {key: value for key, value in settings.items() if value is not None and key not in OURS}
    if cluster == "slurm":
        given = {SBATCH.get(key, key): value for key, value in given.items()}
        if "mem" in given:
            given["mem"] = f"{given['mem']}GB"
        # srun takes the job's own number from here alone since Slurm 22.05, and torch would take all that a node has.
        cores = settings["cpus_per_task"]
        given["setup"] = [f"export SRUN_CPUS_PER_TASK={cores} OMP_NUM_THREADS={cores}", *settings["setup"]]
    kind = submitit.SlurmExecutor if cluster == "slurm" else submitit.LocalExecutor
    executor = kind(settings["folder"], max_num_timeout=settings["max_num_timeout"])
    executor.update_parameters(**given)
    return executor


@dataclass(frozen=True)
class _Job:
    """What a job does: train some runs, by their places in the sweep, one after another."""

    task: Task
    runs: Mapping[int, tuple[Config, tuple[str, ...]]]
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # so far

    def __call__(self) -> dict[int, Outcome]:
        """Train them. Where the job is to end before, the run is saved, and the job queued again unless cancelled."""
        warning = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
        stop, queue_again = stopping.remembered_in_a_job(warning)
        for place in [place for place in self.runs if place not in self.outcomes]:
            if stop.error is None:
                self.outcomes[place] = self.task(*self.runs[place], place)
            if place not in self.outcomes or self.outcomes[place].status == "stopped":
                self.outcomes.pop(place, None)
                if stop.number == warning or slurm.in_its_grace_time():
                    queue_again(warning, None)  # submitit's, which leaves the process
                sys.exit(128 + stop.number)  # without outcomes: those are for the next job of these runs to give
        return self.outcomes

    def checkpoint(self) -> Any:
        """What submitit puts into the queue again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def train_sweep(
    runs: Sequence[tuple[Config, tuple[str, ...]]], task: Task, cluster: str, settings: Mapping[str, Any]
) -> list[Outcome]:
    """Train the runs of a sweep, each in a job or so many together.

    Args:
        runs: resolved configurations, each with the overrides that made it.
        task: trains one, and says what to do with runs that are there already.
        cluster: `slurm` or `local`.
        settings: of `hydra.launcher`.

    Returns:
        What came of each run, in order.

    Raises:
        WorkersError: if a job cannot be submitted.
        KeyboardInterrupt: if this process is asked to stop. Jobs of Slurm go on, and a note says so; local ones stop.
    """
    sweep = _Sweep(runs, task, cluster, settings)
    try:
        return sweep.train()
    except KeyboardInterrupt as error:
        sweep.leave(error)
        raise


class _Sweep:
    def __init__(
        self,
        runs: Sequence[tuple[Config, tuple[str, ...]]],
        task: Task,
        cluster: str,
        settings: Mapping[str, Any],
    ) -> None:
        self.task, self.cluster, self.settings = task, cluster, settings
        self.left = {place: (checking.check(settings), typed) for place, (settings, typed) in enumerate(runs)}
        self.per_job = settings["runs_per_job"]
        self.at_once = settings["array_parallelism"] if cluster == "local" else len(runs)  # jobs
        self.named: dict[int, tuple[str, str | None, Store]] = {}  # see `_named`
        self.jobs: dict[int, Any] = {}  # submitit's, by the place of each of its runs
        self.over: dict[str, float] = {}  # jobs without a result, by id, and since when
        self.asked = time.monotonic()
        self.claimed: set[int] = set()
        self.again: Counter[int] = Counter()  # how often a run's job was lost for no fault of its own
        self.outcomes: dict[int, Outcome] = {}

    def train(self) -> list[Outcome]:
        runs = len(self.left)
        while self.left:
            self._submit()
            if self.left:
                time.sleep(max(LOOK_EVERY, len(self.jobs) / LOOKS_AT))
            self._collect()
        return [self.outcomes[place] for place in range(runs)]

    def leave(self, error: BaseException) -> None:
        """Say what becomes of the jobs when nobody waits for them any more."""
        if self.cluster == "local":
            self._end_here()
        elif self.jobs:
            jobs = [job for job, _ in self._together()]
            ids = " ".join(dict.fromkeys(job.job_id.partition("_")[0] for job in jobs))
            go, them = ("goes", "it") if len(jobs) == 1 else ("go", "them")
            error.add_note(f"{counted(len(jobs), 'job')} {go} on in Slurm, and `scancel {ids}` ends {them}")

    def _end_here(self) -> None:
        """Have the jobs of this machine save their runs and end; kill them at a second signal, or if they take long."""
        begun = asked = time.monotonic()
        with stopping.remembered() as second:
            self._pass_on(signal.SIGTERM)
            while self._alive() and time.monotonic() - begun < stopping.WORKERS_SAVE_WITHIN:
                time.sleep(0.05)
                if second.asked - begun >= stopping.SAME:
                    break
                if time.monotonic() - asked >= ASK_AGAIN:  # submitit answers it, without effect, while a job begins
                    asked = time.monotonic()
                    self._pass_on(signal.SIGTERM)
            self._pass_on(signal.SIGKILL)  # what trains ends with it

    def _alive(self) -> list[int]:
        """Submitit's own processes, each of which waits for the one that trains."""
        return [int(job.job_id) for job, _ in self._together() if not job.done()]

    def _pass_on(self, number: signal.Signals) -> None:
        for process in self._alive():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _submit(self) -> None:
        """Submit what is neither submitted nor waiting for something."""
        ready = []
        teachers = {self._teacher(place) for place in self.jobs}
        for place in [place for place in self.left if place not in self.jobs]:
            try:
                name, _, store = self._named(place)
            except LossbenchError:  # of its teacher; the run by itself says what is wrong
                self._here(place)
                continue
            if self.task.policy.keeps(name, store):
                self._here(place)
            elif place not in self.claimed or not store.held(name):
                # One student trains the teacher that it shares with others; they come when it is there.
                teacher = self._teacher(place)
                if teacher is None or teacher not in teachers:
                    teachers.add(teacher)
                    ready.append(place)
        ready = ready[: (self.at_once - len(self._together())) * self.per_job]
        if ready:
            self._submit_all(ready)

    def _submit_all(self, places: Sequence[int]) -> None:
        import submitit

        executor = _executor(self.cluster, self.settings)
        size = slurm.most_of_an_array() if self.cluster == "slurm" else 1
        for shares in _in_groups_of(size, _in_groups_of(self.per_job, places)):
            asked = [_Job(self.task, {place: self.left[place] for place in share}) for share in shares]
            try:
                with stopping.unheard():  # a terminal sends Ctrl-C to all that it started
                    jobs = executor.submit_array(asked)
                    self.jobs |= {place: job for job, share in zip(jobs, shares, strict=True) for place in share}
            except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
                raise WorkersError(f"Slurm did not take the jobs: {_last_line(error)}") from error
            if self.cluster == "slurm":
                first = jobs[0]
                several = f" with {sum(map(len, shares))} runs" if self.per_job > 1 else ""
                self.task.display.note(
                    f"{counted(len(jobs), 'job')} of Slurm{several}: {first.job_id.partition('_')[0]}, "
                    f"logs in {first.paths.folder}"
                )

    def _together(self) -> list[tuple[Any, list[int]]]:
        """Each job with the places of those of its runs that have no outcome yet, in order."""
        found: dict[str, tuple[Any, list[int]]] = {}
        for place, job in self.jobs.items():
            found.setdefault(job.job_id, (job, []))[1].append(place)
        return list(found.values())

    def _named(self, place: int) -> tuple[str, str | None, Store]:
        """The run's id, its teacher's and where they are: found once, as whatever waits is looked at often."""
        if place not in self.named:
            name, complete, store = identified(self.left[place][0])
            teacher = complete["teacher"]
            self.named[place] = name, teacher and str(teacher["id"]), store
        return self.named[place]

    def _teacher(self, place: int) -> str | None:
        """The teacher that a run would have to train first."""
        _, teacher, store = self._named(place)
        if teacher is None or store.finished(teacher) or store.failure(teacher) is not None:
            return None
        return teacher

    def _here(self, place: int) -> None:
        """Take a run that is finished, or says what is wrong with it, without a job."""
        settings, typed = self.left.pop(place)
        self.outcomes[place] = run.execute(
            settings, **vars(replace(self.task.policy, wait=False)), display=Silent(), overrides=typed
        )

    def _collect(self) -> None:
        """Take the outcomes that are there, and notice jobs that have ended without one."""
        folders = {job.paths.folder for job in self.jobs.values()}
        there = {name for folder in folders if folder.is_dir() for name in os.listdir(folder)}
        for job, places in self._together():
            if job.paths.result_pickle.name in there:
                self._take(job, self._outcomes(job, places))
        now = time.monotonic()
        if self.jobs and (self.cluster == "local" or now - self.asked >= ASK_EVERY):
            self.asked = now
            self._notice(now)

    def _outcomes(self, job: Any, places: Sequence[int]) -> dict[int, Outcome]:
        """What a job gave back."""
        from submitit.core.utils import UncompletedJobError

        try:
            outcomes: dict[int, Outcome] = job.result()
        except UncompletedJobError as error:
            why = f"{_last_line(error)} (its job {job.job_id}, log {job.paths.stderr})"
            return {place: self._failed(place, why) for place in places}
        return outcomes

    def _failed(self, place: int, why: str) -> Outcome:
        return Outcome(self._named(place)[0], "failed", why, config=self.left[place][0])

    def _take(self, job: Any, outcomes: Mapping[int, Outcome]) -> None:
        self.over.pop(job.job_id, None)
        for place, outcome in outcomes.items():
            del self.jobs[place]
            if outcome.status == "claimed":
                self.claimed.add(place)  # submitted again when whoever trains it has let go
            else:
                self._end(place, outcome)

    def _end(self, place: int, outcome: Outcome) -> None:
        del self.left[place]
        self.outcomes[place] = outcome

    def _notice(self, now: float) -> None:
        jobs = self._together()
        ended = slurm.states if self.cluster == "slurm" else _processes
        states = ended([job for job, _ in jobs])
        for job, places in jobs:
            state = states.get(job.job_id)
            if state is None:
                self.over.pop(job.job_id, None)
            elif now - self.over.setdefault(job.job_id, now) >= (LOST_AFTER if self.cluster == "slurm" else 1.0):
                del self.over[job.job_id]
                self._bury(job, places, state)

    def _bury(self, job: Any, places: Sequence[int], state: str) -> None:
        """Take the runs that a job finished; the one that it ended in failed, those after it are for another job."""
        for place in places:
            del self.jobs[place]
        unfinished = []
        for place in places:
            name, _, store = self._named(place)
            failure = None if self.task.policy.retry_failed else store.failure(name)
            if self.task.policy.keeps(name, store):
                self._here(place)
            elif failure is not None:
                self._end(place, self._failed(place, failure.message))
            else:
                unfinished.append(place)
        if unfinished and state in AGAIN and self.again[unfinished[0]] < AGAIN_AT_MOST:
            self.again[unfinished[0]] += 1
            return
        why = f"its job {job.job_id} ended without a result ({state}); its log is {job.paths.stderr}"
        for place in unfinished if state in MEANT else unfinished[:1]:
            self._end(place, self._failed(place, why))


def _in_groups_of(size: int, items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _last_line(error: Exception) -> str:
    return one_line(str(error).strip("\n -").splitlines()[-1])


def _processes(jobs: Iterable[Any]) -> dict[str, str]:
    return {job.job_id: "its process is gone" for job in jobs if job.done()}
