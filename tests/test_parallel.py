"""Sweeps whose runs train side by side in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch
from support import Lossbench, compose

from lossbench import run
from lossbench.launchers import side_by_side
from lossbench.store import Store

SMALL = ("dataset=wine", "model=linear", "device=cpu", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A sweep of three runs that never end, two at a time, and the processes in which those two train."""
    command = ["train", *SMALL, "epochs=100000000", "seed=range(3)", f"results_dir={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lossbench", *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    claims = tmp_path / "claims"
    while process.poll() is None and len(list((tmp_path / "runs").glob("*/config.yaml"))) < 2:
        time.sleep(0.05)
    yield process, [int(path.read_text().split()[1]) for path in claims.iterdir()]
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def alive(process: int) -> bool:
    """Whether a process runs; one that ended may still be listed, as a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def all_end(processes: list[int], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, processes))


def test_a_killed_worker_ends_the_sweep_with_what_to_do(endless: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, workers = endless
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    said = "lossbench: one of the processes that trained was killed, perhaps for lack of memory; finished runs are kept"
    assert stderr.startswith(f"3 runs\n{said}, the same command goes on:\n  lossbench train dataset=wine")
    assert all_end(workers)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_is_asked_to_stop_saves_the_run_of_each_worker_and_says_how_to_go_on(
    endless: tuple[subprocess.Popen[str], list[int]], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process, workers = endless
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)  # as a cluster does
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "interrupted; finished runs are kept, the same command goes on:\n  lossbench train" in stderr
    assert all_end(workers)
    store = Store(tmp_path)
    begun = sorted(path.name.removesuffix(".partial") for path in store.runs.iterdir())
    assert len(begun) == 2  # no worker began the third
    assert all(store.load_checkpoint(name) for name in begun)
    assert not list(store.runs.glob("*/*.tmp"))
    assert not list((tmp_path / "claims").iterdir())


def test_workers_end_with_the_process_that_started_them(endless: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, workers = endless
    process.kill()
    assert all_end(workers)


@pytest.mark.parametrize(("n_jobs", "runs"), [(1, 3), (2, 1)])
def test_where_one_process_is_enough_it_is_this_one_and_each_run_is_told_of_once(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_jobs: int, runs: int
) -> None:
    monkeypatch.delattr(side_by_side, "Parallel")
    own = f"hydra.launcher.n_jobs={n_jobs}"
    answer = lossbench("train", *SMALL[:-1], own, "epochs=1", f"seed=range({runs})", f"results_dir={tmp_path}")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count(": finished") == runs


def test_workers_are_kept_from_run_to_run(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("train", *SMALL, "epochs=1", "seed=range(6)", "-q", f"results_dir={tmp_path}")
    assert answer.returncode == 0, answer.stderr
    peaks = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/environment.json")]
    assert len(peaks) == 6
    assert {environment["threads"] for environment in peaks} == {1}  # a small model
    from joblib.externals.loky import get_reusable_executor

    before = set(get_reusable_executor(max_workers=2, reuse=True)._processes)
    assert lossbench("train", *SMALL, "epochs=2", "seed=range(6)", "-q", f"results_dir={tmp_path}").returncode == 0
    assert set(get_reusable_executor(max_workers=2, reuse=True)._processes) == before


class Growing:
    """A task that keeps 400 MB more each time, as a worker keeps data sets."""

    kept: ClassVar[list[Any]] = []

    def __call__(self, config: Any, overrides: tuple[str, ...], turn: int) -> Any:
        self.kept.append(torch.ones(100_000_000))
        time.sleep(1.1)  # loky looks no more often than once a second
        return os.getpid()


def test_a_worker_that_grows_is_kept() -> None:
    pytest.importorskip("psutil")  # without which loky does not look
    processes = side_by_side.train_sweep([({}, ())] * 6, cast(Any, Growing()), 2)
    assert len(set(processes)) == 2


def test_a_launcher_that_cannot_be_imported_is_told_in_one_line(
    lossbench: Lossbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hydra_plugins.nosuch", None)
    answer = lossbench("train", *SMALL, "hydra.launcher._target_=hydra_plugins.nosuch.Launcher")
    assert answer.returncode == 2
    assert answer.stderr.startswith("lossbench: the plugin of hydra/launcher=joblib cannot be imported (ModuleNotFound")
    assert answer.stderr.count("\n") == 1


def test_a_launcher_that_is_not_installed_names_what_to_install(lossbench: Lossbench) -> None:
    answer = lossbench("train", *SMALL[:3], "hydra/launcher=rq")
    assert answer.returncode == 2
    assert answer.stderr.endswith("is not installed: pip install hydra-rq-launcher\n")


def test_no_workers_is_a_wrong_request(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("train", *SMALL[:-1], "hydra.launcher.n_jobs=0")
    assert (answer.returncode, list(tmp_path.iterdir())) == (2, [])
    assert answer.stderr.startswith("lossbench: hydra.launcher.n_jobs must be a number of processes")


def test_a_run_that_does_not_fit_beside_others_comes_again_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(run, "_train", full)
    config = {**compose("dataset=wine", "model=linear"), "results_dir": str(tmp_path)}
    beside = run.execute(config, alone=False)
    assert beside.status == "claimed"
    assert Store(tmp_path).failure(beside.run_id) is None
    alone = run.execute(config)
    assert alone.status == "failed"
    assert alone.message.startswith("out of memory; a smaller batch_size than 64")
