"""Sweeps whose runs are jobs: processes of this machine here, and what is asked of Slurm by programs that play it.

A real Slurm is in test_slurm.py.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import Lossbench, compose

from lossbench import device, run, stopping, sweep
from lossbench.errors import DivergedError
from lossbench.launchers import jobs
from lossbench.launchers import slurm as queue
from lossbench.progress import Outcome, Silent
from lossbench.store import Store

SMALL = ("dataset=wine", "model=linear", "device=cpu", "device.threads=1", "epochs=2")
SLURM = (*SMALL, "hydra/launcher=submitit_slurm")
REFUSES = "sbatch: error: invalid partition specified: nope\nallocation failure: Invalid partition name specified"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says what Slurm's programs are to print, and whether to stderr and with which exit code."""
    folder = tmp_path.parent / f"{tmp_path.name}-slurm"
    folder.mkdir()

    def answers(program: str, text: str, code: int = 0) -> None:
        path = folder / program
        path.write_text(f"#!/bin/sh\ncat >&{2 if code else 1} <<'END'\n{text}\nEND\nexit {code}\n")
        path.chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    answers("srun", "")
    answers("squeue", "")
    answers("sbatch", "")
    answers("scontrol", "MaxArraySize            = 1001")
    return answers


@pytest.fixture
def signals() -> Iterator[None]:
    """Leaves the answers to signals as they were."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_runs_as_jobs_give_the_bits_of_runs_one_after_another(lossbench: Lossbench, tmp_path: Path) -> None:
    asked = ("train", *SMALL, "seed=0,1", "-q")
    answer = lossbench(*asked, "hydra/launcher=submitit_local", "results_dir=jobs")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("accuracy") == 2
    assert lossbench(*asked, "results_dir=here").returncode == 0
    weights = {path.relative_to(tmp_path / "jobs"): path for path in (tmp_path / "jobs").glob("runs/*/*.safetensors")}
    assert len(weights) == 2
    assert all(path.read_bytes() == (tmp_path / "here" / name).read_bytes() for name, path in weights.items())
    assert len(list((tmp_path / "jobs/.hydra/local").glob("*.out"))) == 2  # no surprise in this folder
    assert sorted(os.listdir(tmp_path)) == ["here", "jobs"]
    again = lossbench(*asked[:-1], "hydra/launcher=submitit_local", "results_dir=jobs")  # takes no job
    assert again.stderr.count("skipped") == 2
    assert len(list((tmp_path / "jobs/.hydra/local").glob("*.out"))) == 2


def test_runs_may_share_a_job(lossbench: Lossbench, tmp_path: Path) -> None:
    asked = ("train", *SMALL, "seed=range(5)", "-q", "hydra/launcher=submitit_local", "hydra.launcher.runs_per_job=3")
    answer = lossbench(*asked, "results_dir=jobs")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("accuracy") == 5
    assert len(list((tmp_path / "jobs/.hydra/local").glob("*.out"))) == 2
    assert len(list((tmp_path / "jobs/runs").glob("*/metrics.json"))) == 5


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("timeout_min=0", "hydra.launcher.timeout_min must be a whole number in [1, ∞); got 0"),
        ("runs_per_job=0", "hydra.launcher.runs_per_job must be a whole number in [1, ∞); got 0"),
        ("timeout_min=soon", "hydra.launcher.timeout_min must be a whole number; got 'soon'"),
        ("timeout_min=2", "hydra.launcher.signal_delay_s must be less than timeout_min, 120 s"),
        ("gpus_per_node=-1", "hydra.launcher.gpus_per_node must be a whole number in [0, ∞); got -1"),
        ("partitoin=gpu", "no key 'hydra.launcher.partitoin'; did you mean hydra.launcher.partition?"),
    ],
)
def test_a_wrong_setting_of_a_job_is_refused_before_anything_is_written(
    lossbench: Lossbench, tmp_path: Path, slurm: Any, setting: str, said: str
) -> None:
    answer = lossbench("train", *SLURM, f"hydra.launcher.{setting}")
    assert (answer.returncode, list(tmp_path.iterdir())) == (2, [])
    assert answer.stderr.startswith(f"lossbench: {said}")
    assert answer.stderr.count("\n") == 1


def test_what_slurm_would_refuse_is_refused_in_its_words(lossbench: Lossbench, tmp_path: Path, slurm: Any) -> None:
    slurm("sbatch", REFUSES, 1)
    answer = lossbench("train", *SLURM, "hydra.launcher.partition=nope")
    assert (answer.returncode, list(tmp_path.iterdir())) == (2, [])
    assert answer.stderr.startswith("lossbench: Slurm would not take these jobs: invalid partition specified: nope (")
    slurm("scontrol", "slurm_load_ctl_conf error: Unable to contact slurm controller", 1)
    answer = lossbench("train", *SLURM)
    assert answer.stderr.startswith("lossbench: Slurm does not answer: ")
    assert answer.returncode == 2


def test_slurm_is_asked_with_the_script_that_would_be_submitted(slurm: Any, tmp_path: Path) -> None:
    """The program that plays sbatch shows its input as an error."""
    (tmp_path.parent / f"{tmp_path.name}-slurm/sbatch").write_text("#!/bin/sh\ntr '\\n' ';' >&2\nexit 1\n")
    settings = {
        "folder": str(tmp_path / "%A"), "timeout_min": 30, "max_num_timeout": 1, "signal_delay_s": 60,
        "array_parallelism": 8, "runs_per_job": 1,
        "cpus_per_task": 3, "setup": ["module load cuda"], "gpus_per_node": 1, "mem_gb": None,
        "partition": "gpu", "additional_parameters": {"requeue": True},
    }  # fmt: skip
    with pytest.raises(jobs.ConfigError) as caught:
        jobs.check("slurm", settings, 2000)
    script = str(caught.value)
    # At most MaxArraySize, 1001, in one array, which are numbered from 0; 60 seconds before its end a job is warned.
    for line in (
        "--array=0-1000%8", "--partition=gpu", "--gpus-per-node=1", "--cpus-per-task=3", "--time=30", "--requeue;",
        "--signal=USR2@60", "export SRUN_CPUS_PER_TASK=3 OMP_NUM_THREADS=3;module load cuda;",
    ):  # fmt: skip
        assert line in script
    assert "--mem" not in script


def test_without_slurms_programs_or_submitit_a_line_says_what_is_missing(
    lossbench: Lossbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = lossbench("train", *SLURM)
    assert answer.returncode == 2
    assert "needs Slurm's sbatch and srun and squeue and scontrol, which the PATH does not have" in answer.stderr
    monkeypatch.setitem(sys.modules, "submitit", None)
    answer = lossbench("train", *SLURM)
    assert answer.returncode == 2
    assert answer.stderr.endswith("is not installed: pip install 'lossbench[slurm]'\n")


def test_which_jobs_have_ended_is_told_by_slurms_queue(slurm: Any) -> None:
    """Jobs that it no longer knows have ended; where it does not answer, none has."""
    asked = [SimpleNamespace(job_id=name) for name in ("7_0", "7_1", "7_2", "8")]
    slurm("squeue", "7_0|RUNNING\n7_1|OUT_OF_MEMORY\n7_2|REQUEUE_HOLD\n9|FAILED")
    assert queue.states(asked) == {"7_1": "OUT_OF_MEMORY", "8": queue.GONE}
    slurm("squeue", "slurm_load_jobs error: Invalid job id specified", 1)
    assert queue.states(asked) == {job.job_id: queue.GONE for job in asked}
    slurm("squeue", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)", 1)
    assert queue.states(asked) == {}


def job_that_gets(number: signal.Signals) -> jobs._Job:
    """A job whose run is asked to stop, saves itself and says so."""

    def task(config: Any, overrides: tuple[str, ...], turn: int) -> Outcome:
        os.kill(os.getpid(), number)
        assert stopping._in_effect().error is not None  # type: ignore[union-attr]
        return Outcome("?", "stopped")

    return jobs._Job(task, {0: ({}, ())})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "state", "again"),
    [
        (signal.SIGUSR2, "RUNNING", True),  # its time is up
        (signal.SIGTERM, "RUNNING", True),  # preempted, with time to save
        (signal.SIGTERM, "COMPLETING", False),  # cancelled, or Slurm itself has queued it again
    ],
)
def test_a_job_that_is_saved_is_queued_again_unless_slurm_is_ending_it(
    slurm: Any, signals: None, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, state: str, again: bool
) -> None:
    queued: list[int] = []

    def queue_again(number: int, frame: object) -> None:
        queued.append(number)
        sys.exit(99)

    signal.signal(signal.SIGUSR2, queue_again)  # as submitit does
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # as submitit does
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    slurm("squeue", state)
    with pytest.raises(SystemExit) as caught:
        job_that_gets(number)()
    assert queued == ([signal.SIGUSR2] if again else [])
    assert caught.value.code == (99 if again else 143)  # 128 + SIGTERM


def test_a_job_of_several_runs_that_is_queued_again_goes_on_with_the_one_that_was_saved(
    signals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []

    def task(config: Any, overrides: tuple[str, ...], turn: int) -> Outcome:
        trained.append(turn)
        if trained == [3, 5]:
            os.kill(os.getpid(), signal.SIGUSR2)
            return Outcome("?", "stopped")
        return Outcome(f"run {turn}", "finished")

    def queue_again(number: int, frame: object) -> None:
        sys.exit(99)

    signal.signal(signal.SIGUSR2, queue_again)  # as submitit does
    first = jobs._Job(task, {place: ({}, ()) for place in (3, 5, 8)})  # type: ignore[arg-type]
    with pytest.raises(SystemExit) as caught:
        first()
    assert caught.value.code == 99
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):  # the next job is another process
        signal.signal(number, signal.SIG_DFL)
    outcomes = first()
    assert trained == [3, 5, 5, 8]
    assert {place: outcome.run_id for place, outcome in outcomes.items()} == {3: "run 3", 5: "run 5", 8: "run 8"}


def test_a_job_that_was_asked_to_end_between_two_runs_begins_no_other(
    signals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []

    def task(config: Any, overrides: tuple[str, ...], turn: int) -> Outcome:
        trained.append(turn)
        os.kill(os.getpid(), signal.SIGUSR2)
        return Outcome(f"run {turn}", "finished")

    signal.signal(signal.SIGUSR2, lambda number, frame: sys.exit(99))  # as submitit does
    job = jobs._Job(task, {place: ({}, ()) for place in (0, 1)})  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        job()
    assert (trained, [*job.outcomes]) == ([0], [0])


@pytest.mark.parametrize(
    ("state", "failed"),
    [("OUT_OF_MEMORY", [2]), ("NODE_FAIL", []), ("CANCELLED", [2, 3])],  # the user ended it: all of it
)
def test_of_a_job_that_is_killed_the_run_in_training_failed_and_those_after_it_are_submitted_again(
    slurm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, failed: list[int]
) -> None:
    monkeypatch.setattr(jobs, "LOST_AFTER", 0.0)
    mine = sweep_of(tmp_path, "slurm", runs=4)
    assert mine.task(*mine.left[0], 0).status == "finished"
    name, _, store = mine._named(1)
    store.fail(name, DivergedError("the loss became nan"), "the loss became nan")
    job = SimpleNamespace(job_id="7", paths=SimpleNamespace(stderr="7_log.err"))
    mine.jobs = dict.fromkeys(range(4), job)
    slurm("squeue", f"7|{state}")
    mine._notice(1.0)
    ended = {place: outcome.message for place, outcome in mine.outcomes.items() if outcome.status == "failed"}
    without = f"its job 7 ended without a result ({state}); its log is 7_log.err"
    assert ended == {1: "the loss became nan", **dict.fromkeys(failed, without)}
    assert sorted([0, *ended, *mine.left]) == [0, 1, 2, 3]
    assert mine.jobs == {}


def test_a_job_that_ends_without_a_result_is_a_failed_run_and_its_machines_failure_is_not(
    slurm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LOST_AFTER", 0.0)
    task = sweep._Task(run.Policy(), device.Share(), Silent())
    config = {**compose(*SMALL), "results_dir": str(tmp_path)}
    mine = jobs._Sweep([(config, ())], task, "slurm", {"array_parallelism": 1, "runs_per_job": 1})
    paths = SimpleNamespace(stderr="7_log.err")
    for state, outcomes in (("NODE_FAIL", 0), ("OUT_OF_MEMORY", 1)):
        mine.jobs = {0: SimpleNamespace(job_id="7", paths=paths)}
        slurm("squeue", f"7|{state}")
        mine._notice(1.0)
        assert (len(mine.jobs), len(mine.outcomes)) == (0, outcomes)  # the former is left, to be submitted again
    assert mine.outcomes[0].status == "failed"
    assert mine.outcomes[0].message == "its job 7 ended without a result (OUT_OF_MEMORY); its log is 7_log.err"


def test_a_run_whose_machine_fails_each_time_is_submitted_again_so_often_and_no_more(
    slurm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "LOST_AFTER", 0.0)
    mine = sweep_of(tmp_path, "slurm")
    slurm("squeue", "7|PREEMPTED")
    for _ in range(jobs.AGAIN_AT_MOST):
        mine.jobs = {0: SimpleNamespace(job_id="7", paths=SimpleNamespace(stderr="7_log.err"))}
        mine._notice(1.0)
    assert (mine.jobs, mine.outcomes) == ({}, {})
    mine.jobs = {0: SimpleNamespace(job_id="7", paths=SimpleNamespace(stderr="7_log.err"))}
    mine._notice(1.0)
    assert mine.outcomes[0].message == "its job 7 ended without a result (PREEMPTED); its log is 7_log.err"


@pytest.mark.parametrize(
    ("told", "most"), [("MaxArraySize            = 200", 200), ("MaxArraySize = 0", 1), ("MaxJobCount = 10000", 1001)]
)
def test_a_slurm_that_forbids_arrays_or_says_nothing_of_them_is_taken_as_it_is(
    slurm: Any, told: str, most: int
) -> None:
    slurm("scontrol", f"AccountingStorageType = none\n{told}\nMaxDBDMsgs = 20004")
    assert queue.most_of_an_array() == most


def test_a_slurm_that_hangs_is_one_that_does_not_answer(
    slurm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "ANSWERED_WITHIN", 0.1)
    for program in ("scontrol", "squeue"):
        (tmp_path.parent / f"{tmp_path.name}-slurm/{program}").write_text("#!/bin/sh\nexec sleep 5\n")
    with pytest.raises(jobs.ConfigError, match=r"Slurm does not answer: scontrol gave no answer within 0\.1 s"):
        queue.most_of_an_array()
    assert queue.states([SimpleNamespace(job_id="7")]) == {}


def sweep_of(tmp_path: Path, cluster: str, runs: int = 1) -> jobs._Sweep:
    """A sweep whose runs share a job."""
    configs = [{**compose(*SMALL, f"seed={seed}"), "results_dir": str(tmp_path)} for seed in range(runs)]
    task = sweep._Task(run.Policy(), device.Share(), Silent())
    return jobs._Sweep([(config, ()) for config in configs], task, cluster, {"array_parallelism": 1, "runs_per_job": 9})


def test_a_run_that_waits_is_named_once_however_often_it_is_looked_at(
    slurm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = sweep_of(tmp_path, "slurm")
    mine.claimed = {0}
    asked: list[Any] = []
    monkeypatch.setattr(
        jobs, "identified", lambda config: asked.append(config) or ("a-run", {"teacher": None}, Store(tmp_path))
    )
    with Store(tmp_path).claim("a-run", wait=True):
        for _ in range(3):
            mine._submit()
    assert len(asked) == 1


# What submitit starts, in short: it passes SIGTERM on to what trains, which takes half a second to save its run.
CONTROLLER = """
import signal, subprocess, sys
trains = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
signal.signal(signal.SIGTERM, lambda *_: trains.terminate())
trains.wait()
"""
TRAINER = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.5)
    pathlib.Path(sys.argv[1]).write_text("saved")
    sys.exit()
signal.signal(signal.SIGTERM, save)
pathlib.Path(sys.argv[1]).touch()
for _ in range(400):
    time.sleep(0.05)
"""


class Started:
    """A job as submitit has those of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        command = [sys.executable, "-c", CONTROLLER, TRAINER, str(path)]
        self.process = subprocess.Popen(command, start_new_session=True)
        self.job_id = str(self.process.pid)

    def done(self) -> bool:
        return self.process.poll() is not None


def test_a_terminals_ctrl_c_is_for_who_waits_and_jobs_of_this_machine_end_when_they_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "trained"
    with stopping.unheard():
        job = Started(path)
    while not path.exists():
        time.sleep(0.01)
    os.killpg(job.process.pid, signal.SIGINT)  # as a terminal does
    gone = subprocess.Popen(["true"])
    gone.wait()
    looks = iter([False])  # it ends between a look at it and the signal
    mine = sweep_of(tmp_path, "local")
    mine.jobs = {0: SimpleNamespace(job_id=str(gone.pid), done=lambda: next(looks, True)), 1: job}
    mine.leave(KeyboardInterrupt())
    assert job.done()
    assert path.read_text() == "saved"


@pytest.mark.slow
def test_jobs_of_this_machine_are_saved_when_a_terminal_asks_the_sweep_to_stop(tmp_path: Path) -> None:
    command = ["train", *SMALL[:-1], "epochs=100000000", "seed=range(3)", "checkpoint_seconds=1000"]
    command += ["hydra/launcher=submitit_local", f"results_dir={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lossbench", *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    store = Store(tmp_path)
    while process.poll() is None and len(list(store.runs.glob("*.partial/config.yaml"))) < 2:
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; finished runs are kept, the same command goes on:\n  lossbench train" in stderr
    assert "Traceback" not in stderr
    partial = list(store.runs.glob("*.partial"))
    assert len(partial) == 2
    assert all((folder / "checkpoint.pt").exists() for folder in partial)
    assert list(store.claims.iterdir()) == []  # nobody trains any more


def test_ctrl_c_while_jobs_are_submitted_is_answered_when_they_are_known() -> None:
    done: list[str] = []

    def submit() -> None:
        with stopping.unheard():
            signal.raise_signal(signal.SIGINT)
            done.append("submitted")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            submit()
    finally:
        signal.signal(signal.SIGINT, before)
    assert done
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_task_knows_that_it_was_sent_to_another_process() -> None:
    task = sweep._Task(run.Policy(force=True), device.Share(2), Silent())
    sent = pickle.loads(pickle.dumps(task))
    assert (task.here, sent.here) == (True, False)
    assert (sent.policy, sent.share) == (task.policy, task.share)
