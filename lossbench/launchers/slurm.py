"""What is asked of Slurm, by its own programs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from lossbench.errors import ConfigError, one_line

ANSWERED_WITHIN = 60.0  # seconds that Slurm has for a question
TRIES = 5  # of a question that a job asks
LOOK_EVERY = 0.5  # seconds between them
OVER = {  # a job in one of Slurm's other states runs, or will
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
}
GONE = "no longer known to Slurm"
DEFAULT_ARRAY_SIZE = 1001  # Slurm's own, where it does not say


def most_of_an_array() -> int:
    """Return how many jobs an array may have.

    Raises:
        ConfigError: if Slurm does not answer.
    """
    answer = ask(["scontrol", "show", "config"])
    if answer.returncode:
        raise ConfigError(f"Slurm does not answer: {said(answer)}")
    told = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer.stdout, re.MULTILINE)
    return max(1, int(told[1]) if told else DEFAULT_ARRAY_SIZE)  # 0 forbids arrays, and one job is none


def ask(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of Slurm; one that hangs is one that fails."""
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=ANSWERED_WITHIN)
    except subprocess.TimeoutExpired:
        why = f"{command[0]} gave no answer within {ANSWERED_WITHIN:g} s"
        return subprocess.CompletedProcess(command, 1, "", why)


def said(answer: subprocess.CompletedProcess[str]) -> str:
    """Return Slurm's first line, which is the one that names what is wrong."""
    lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
    return one_line(re.sub(r"^\w+: (error: |fatal: )?", "", lines[0]))


def states(jobs: Iterable[Any]) -> dict[str, str]:
    """Return in which state the jobs are that have ended, as far as Slurm says so.

    Args:
        jobs: submitit's.
    """
    known = {job.job_id for job in jobs}
    arrays = ",".join({name.partition("_")[0] for name in known})
    answer = ask(["squeue", "--noheader", "--array", "--states=all", "--jobs", arrays, "--format=%i|%T"])
    if answer.returncode and "Invalid job id" not in answer.stderr:
        return {}  # it does not answer: that says nothing of the jobs
    told = dict(line.split("|") for line in answer.stdout.splitlines() if "|" in line)
    return {name: told.get(name, GONE) for name in known if told.get(name, GONE) in {*OVER, GONE}}


def in_its_grace_time() -> bool:
    """Return whether Slurm has asked this process's job to end, but not ended it: it was preempted, and not cancelled.

    It then counts as failed if it ends by itself, and is not queued again.
    """
    import submitit

    job = submitit.JobEnvironment()  # of the last job of an array, SLURM_JOB_ID is the id of the whole array
    if job.cluster != "slurm":
        return False
    for _ in range(TRIES):  # a Slurm that preempts many jobs at once is busy
        answer = ask(["squeue", "--noheader", "--states=all", "--jobs", job.job_id, "--format=%T"])
        told = answer.stdout.split()
        print(f"asked to end, {job.job_id} is {told or said(answer)}", file=sys.stderr)  # in the job's log
        if told:
            return told == ["RUNNING"]
        time.sleep(LOOK_EVERY)
    return False
