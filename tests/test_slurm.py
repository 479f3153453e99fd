"""Sweeps on a real Slurm of one node, which scripts/slurm starts: jobs that are preempted, cancelled and left alone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SMALL = ("dataset=wine", "model=linear", "device=cpu", "device.threads=1")
SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1")
LONG = "epochs=10000"  # some ten seconds


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("there is no Slurm: apt-get install slurmctld slurmd slurm-client munge")
    before = dict(os.environ)
    os.environ["LOSSBENCH_SLURM"] = tempfile.mkdtemp(prefix="slurm")  # a short path, for munge's socket
    os.environ["LOSSBENCH_SLURM_PORT"] = "17817"
    subprocess.run([ROOT / "scripts/slurm", "start"], check=True)
    os.environ["SLURM_CONF"] = f"{os.environ['LOSSBENCH_SLURM']}/slurm.conf"
    yield
    subprocess.run([ROOT / "scripts/slurm", "stop"], check=True)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def begin(slurm: None, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    def train(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "lossbench", "train", *SMALL, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return train


def ask(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def until(happened: Callable[[], bool], seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.2)


def begun(results: Path, count: int) -> Callable[[], bool]:
    """Whether so many runs have begun to train."""
    return lambda: len(list(results.glob("runs/*.partial/config.yaml"))) >= count


def array(results: Path) -> str:
    (folder,) = (path for path in (results / ".hydra/slurm").iterdir() if path.is_dir())
    return folder.name


def weights(results: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in results.glob("runs/*/model.safetensors")}


def logs(results: Path) -> str:
    return "".join(path.read_text() for path in results.glob(".hydra/slurm/*/*.out"))


def test_runs_that_are_preempted_go_on_from_their_checkpoints_and_give_the_bits_of_a_sequential_sweep(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """One is queued again by Slurm, one is warned of its time limit, two are preempted by another's job."""
    results = tmp_path / "jobs"
    sweep = ("seed=range(4)", LONG, "-q")
    process = begin(*sweep, *SLURM, "results_dir=jobs")
    until(begun(results, 4))
    job = array(results)
    ask("scontrol", "requeue", f"{job}_0")
    ask("scancel", "--signal=USR2", f"{job}_1")
    until(lambda: len(ask("squeue", "-h", "-r", "-j", job, "-t", "RUNNING").splitlines()) == 2)
    ask("scontrol", "update", "partition=low", "GraceTime=60")  # for which a preempted job is asked, and not yet killed
    ask("sbatch", "--partition=high", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 1")
    stdout, stderr = process.communicate(timeout=600)
    ask("scontrol", "update", "partition=low", "GraceTime=0")
    assert process.returncode == 0, stderr
    assert stdout.count("accuracy") == 4
    said = logs(results)
    assert said.count("Job completed successfully") == 4  # each once
    assert said.count("Starting with JobEnvironment") == 8  # each in two jobs
    here = begin(*sweep, "results_dir=here")
    assert here.communicate(timeout=600)[1] == ""
    assert weights(results) == weights(tmp_path / "here")
    history = [path.read_text().splitlines() for path in results.glob("runs/*/history.csv")]
    assert [len(lines) for lines in history] == [10_001] * 4  # no epoch twice, none lost; and a heading


def test_a_cancelled_job_is_named_with_its_log_and_the_same_command_goes_on(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    results = tmp_path / "jobs"
    request = ("seed=0,1", LONG, *SLURM, "results_dir=jobs")
    process = begin(*request)
    until(begun(results, 2))
    job = array(results)
    ask("scancel", f"{job}_0")
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 1, stderr
    assert stdout.count("accuracy") == 1
    message = re.search(rf"its job {job}_0 ended without a result \(CANCELLED\); its log is (\S+)", stderr)
    assert message is not None, stderr
    assert "CANCELLED" in Path(message[1]).read_text()
    assert len(list(results.glob("runs/*.partial/checkpoint.pt"))) == 1  # it was saved
    again = begin(*request)
    stdout, stderr = again.communicate(timeout=600)
    assert again.returncode == 0, stderr
    assert stdout.count("accuracy") == 2
    assert "1 job of Slurm" in stderr


def test_jobs_outlive_who_submitted_them_and_the_same_command_joins_them(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    results = tmp_path / "jobs"
    request = ("seed=0,1", LONG, *SLURM, "results_dir=jobs")
    process = begin(*request)
    until(begun(results, 2))
    job = array(results)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"2 jobs go on in Slurm, and `scancel {job}` ends them" in stderr
    again = begin(*request)
    stdout, stderr = again.communicate(timeout=600)
    assert again.returncode == 0, stderr
    assert stdout.count("accuracy") == 2


def test_students_of_one_teacher_wait_for_the_one_that_trains_it(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    results = tmp_path / "jobs"
    process = begin("loss=distillation", "loss.temperature=1,2,4", "epochs=5", *SLURM, "results_dir=jobs")
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    assert stdout.count("accuracy") == 3
    assert len(weights(results)) == 4  # and the teacher
    assert re.findall(r"(\d) jobs? of Slurm", stderr) == ["1", "2"]
    assert not list(results.glob("runs/*.partial"))


def test_runs_that_share_jobs_go_on_when_those_are_queued_again(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    results = tmp_path / "jobs"
    process = begin("seed=range(5)", LONG, *SLURM, "hydra.launcher.runs_per_job=3", "results_dir=jobs")
    until(lambda: len(weights(results)) == 1)
    ask("scontrol", "requeue", f"{array(results)}_0")
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    assert stdout.count("accuracy") == 5
    assert "2 jobs of Slurm with 5 runs" in stderr
    assert logs(results).count("Job completed successfully") == 2
    history = [path.read_text().splitlines() for path in results.glob("runs/*/history.csv")]
    assert [len(lines) for lines in history] == [10_001] * 5


def test_what_slurm_refuses_is_one_line_and_nothing_is_written(
    begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = begin(*SLURM, "hydra.launcher.partition=nope", "results_dir=jobs")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert stderr.startswith("lossbench: Slurm would not take these jobs: invalid partition specified: nope")
    assert list(tmp_path.iterdir()) == []
