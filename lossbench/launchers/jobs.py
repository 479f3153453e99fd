"""A sweep whose runs are jobs: of Slurm, in arrays, or processes of this machine that are treated as if they were.

submitit writes the scripts and carries runs and outcomes; what has become of a job is asked of Slurm's own queue, as
accounting, which submitit asks, is not there on every cluster: a job that is killed would be waited for without end.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from lossbench import checking, run, stopping
from lossbench.config import Config
from lossbench.domains import AT_LEAST_ONE, NON_NEGATIVE
from lossbench.errors import ConfigError, LossbenchError, WorkersError, one_line
from lossbench.launchers.stacked import Task
from lossbench.progress import Outcome, Silent
from lossbench.store import Store
from lossbench.teacher import identified

LOOK_EVERY = 0.5  # seconds between two looks for results, and more where there are many
LOOKS_AT = 200  # results a second
ASK_EVERY = 10.0  # seconds between two questions to Slurm
ASK_AGAIN = 1.0  # seconds after which a job of this machine is asked once more to end
ANSWERED_WITHIN = 60.0  # seconds that Slurm has for a question
TRIES = 5  # of a question that a job asks
LOST_AFTER = 20.0  # seconds that a network's file system may take to show what a job wrote last
PROGRAMS = ("sbatch", "srun", "squeue", "scontrol")
OURS = ("folder", "max_num_timeout")  # and not for sbatch
SBATCH = {"name": "job_name", "timeout_min": "time", "mem_gb": "mem"}  # where its names are others
OVER = {  # a job in one of Slurm's other states runs, or will
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
}
AGAIN = ("NODE_FAIL", "PREEMPTED")  # of those, what is no fault of the run's, where Slurm does not queue it again
AGAIN_AT_MOST = 20  # times, of one run: a node that fails each time would be tried without end
GONE = "no longer known to Slurm"
DEFAULT_ARRAY_SIZE = 1001  # Slurm's own, where it does not say


def check(cluster: str, settings: Mapping[str, Any], runs: int) -> None:
    """Refuse what a cluster would, before anything is written.

    Args:
        cluster: `slurm` or `local`.
        settings: of `hydra.launcher`.
        runs: how many jobs there will be.

    Raises:
        ConfigError: with what is wrong, in Slurm's own words where it is Slurm that says so.
    """
    if importlib.util.find_spec("submitit") is None:
        raise ConfigError(
            f"hydra/launcher=submitit_{cluster} needs submitit, which is not installed: pip install 'lossbench[slurm]'"
        )
    for key, least in (
        *((key, AT_LEAST_ONE) for key in ("timeout_min", "array_parallelism", "cpus_per_task", "mem_gb")),
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
        _check_slurm(settings, runs)


def _check_slurm(settings: Mapping[str, Any], runs: int) -> None:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise ConfigError(
            f"hydra/launcher=submitit_slurm needs Slurm's {' and '.join(missing)}, which the PATH does not have: "
            "submit from a machine that is part of the cluster, or try hydra/launcher=joblib here"
        )
    most = _most_of_an_array()
    try:
        executor = _executor("slurm", settings)
        if runs > 1:
            executor.parameters["map_count"] = min(runs, most)
        script = executor._make_submission_file_text("true", "")
    except (AssertionError, NameError, TypeError, ValueError) as error:  # how submitit refuses
        raise ConfigError(f"hydra.launcher: {one_line(str(error))}") from error
    answer = _ask(["sbatch", "--test-only"], script)
    if answer.returncode:
        raise ConfigError(
            f"Slurm would not take these jobs: {_said(answer)} (hydra.launcher.…; `sinfo` shows what there is)"
        )


def _most_of_an_array() -> int:
    answer = _ask(["scontrol", "show", "config"])
    if answer.returncode:
        raise ConfigError(f"Slurm does not answer: {_said(answer)}")
    told = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer.stdout, re.MULTILINE)
    return max(1, int(told[1]) if told else DEFAULT_ARRAY_SIZE)  # 0 forbids arrays, and one job is none


def _ask(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=ANSWERED_WITHIN)
    except subprocess.TimeoutExpired:
        said = f"{command[0]} gave no answer within {ANSWERED_WITHIN:g} s"
        return subprocess.CompletedProcess(command, 1, "", said)


def _said(answer: subprocess.CompletedProcess[str]) -> str:
    """Slurm's first line, which is the one that names what is wrong."""
    lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
    return one_line(re.sub(r"^\w+: (error: |fatal: )?", "", lines[0]))


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
class _Alone:
    """One run, as the whole of a job."""

    task: Task
    config: Config
    overrides: tuple[str, ...]
    place: int

    def __call__(self) -> Outcome:
        """Train it. Where its job is to end before, it is saved, and the job queued again unless it was cancelled."""
        warning = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
        stop, queue_again = stopping.remembered_in_a_job(warning)
        outcome = self.task(self.config, self.overrides, self.place)
        if outcome.status != "stopped":
            return outcome
        if stop.number == warning or _in_its_grace_time():
            queue_again(warning, None)  # submitit's, which leaves the process
        sys.exit(128 + stop.number)  # without an outcome: that is for the next job of this run to give

    def checkpoint(self) -> Any:
        """What submitit puts into the queue again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _in_its_grace_time() -> bool:
    """Whether Slurm has asked the job of this process to end, but not ended it: it was preempted, and not cancelled.

    It then counts as failed if it ends by itself, and is not queued again.
    """
    import submitit

    job = submitit.JobEnvironment()  # of the last job of an array, SLURM_JOB_ID is the id of the whole array
    if job.cluster != "slurm":
        return False
    for _ in range(TRIES):  # a Slurm that preempts many jobs at once is busy
        answer = _ask(["squeue", "--noheader", "--states=all", "--jobs", job.job_id, "--format=%T"])
        states = answer.stdout.split()
        print(f"asked to end, {job.job_id} is {states or _said(answer)}", file=sys.stderr)  # in the job's log
        if states:
            return states == ["RUNNING"]
        time.sleep(LOOK_EVERY)
    return False


def train_sweep(
    runs: Sequence[tuple[Config, tuple[str, ...]]], task: Task, cluster: str, settings: Mapping[str, Any]
) -> list[Outcome]:
    """Train the runs of a sweep, each in a job.

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
        self.at_once = settings["array_parallelism"] if cluster == "local" else len(runs)
        self.named: dict[int, tuple[str, str | None, Store]] = {}  # see `_named`
        self.jobs: dict[int, Any] = {}  # submitit's, by place
        self.over: dict[int, float] = {}  # jobs without a result, and since when
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
            ids = " ".join(dict.fromkeys(str(job.job_id).partition("_")[0] for job in self.jobs.values()))
            error.add_note(f"{len(self.jobs)} jobs go on in Slurm, and `scancel {ids}` ends them")

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
        return [int(job.job_id) for job in self.jobs.values() if not job.done()]

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
        ready = ready[: self.at_once - len(self.jobs)]
        if ready:
            self._submit_all(ready)

    def _submit_all(self, places: Sequence[int]) -> None:
        import submitit

        executor = _executor(self.cluster, self.settings)
        size = _most_of_an_array() if self.cluster == "slurm" else 1
        for start in range(0, len(places), size):
            some = places[start : start + size]
            try:
                with stopping.unheard():  # a terminal sends Ctrl-C to all that it started
                    jobs = executor.submit_array([_Alone(self.task, *self.left[place], place) for place in some])
                    self.jobs.update(zip(some, jobs, strict=True))
            except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
                raise WorkersError(f"Slurm did not take the jobs: {_last_line(error)}") from error
            if self.cluster == "slurm":
                first = jobs[0]
                self.task.display.note(
                    f"{len(some)} jobs of Slurm: {str(first.job_id).partition('_')[0]}, logs in {first.paths.folder}"
                )

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
        for place, job in list(self.jobs.items()):
            if job.paths.result_pickle.name in there:
                self._take(place, _outcome(self._named(place)[0], job, self.left[place][0]))
        now = time.monotonic()
        if self.jobs and (self.cluster == "local" or now - self.asked >= ASK_EVERY):
            self.asked = now
            self._notice(now)

    def _take(self, place: int, outcome: Outcome) -> None:
        del self.jobs[place]
        self.over.pop(place, None)
        if outcome.status == "claimed":
            self.claimed.add(place)  # submitted again when whoever trains it has let go
        else:
            del self.left[place]
            self.outcomes[place] = outcome

    def _notice(self, now: float) -> None:
        states = _states(self.jobs.values()) if self.cluster == "slurm" else _processes(self.jobs.values())
        for place, job in list(self.jobs.items()):
            state = states.get(job.job_id)
            if state is None:
                self.over.pop(place, None)
            elif now - self.over.setdefault(place, now) >= (LOST_AFTER if self.cluster == "slurm" else 1.0):
                name, _, store = self._named(place)
                if self.task.policy.keeps(name, store):  # it ended after the run did
                    del self.jobs[place]
                    self._here(place)
                elif state in AGAIN and self.again[place] < AGAIN_AT_MOST:
                    self.again[place] += 1
                    del self.jobs[place]
                    self.over.pop(place)
                else:
                    why = f"its job {job.job_id} ended without a result ({state}); its log is {job.paths.stderr}"
                    self._take(place, Outcome(name, "failed", why, config=self.left[place][0]))


def _outcome(name: str, job: Any, settings: Config) -> Outcome:
    """What a job gave back."""
    from submitit.core.utils import UncompletedJobError

    try:
        outcome: Outcome = job.result()
    except UncompletedJobError as error:
        why = f"{_last_line(error)} (its job {job.job_id}, log {job.paths.stderr})"
        return Outcome(name, "failed", why, config=settings)
    return outcome


def _last_line(error: Exception) -> str:
    return one_line(str(error).strip("\n -").splitlines()[-1])


def _states(jobs: Iterable[Any]) -> dict[str, str]:
    """In which state the jobs are that have ended, as far as Slurm says so."""
    known = {job.job_id for job in jobs}
    arrays = ",".join({name.partition("_")[0] for name in known})
    answer = _ask(["squeue", "--noheader", "--array", "--states=all", "--jobs", arrays, "--format=%i|%T"])
    if answer.returncode and "Invalid job id" not in answer.stderr:
        return {}  # it does not answer: that says nothing of the jobs
    told = dict(line.split("|") for line in answer.stdout.splitlines() if "|" in line)
    return {name: told.get(name, GONE) for name in known if told.get(name, GONE) in {*OVER, GONE}}


def _processes(jobs: Iterable[Any]) -> dict[str, str]:
    return {job.job_id: "its process is gone" for job in jobs if job.done()}
