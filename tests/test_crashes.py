"""After any crash the same command ends in the same bits, and nothing is trained twice."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import compose

from lossbench import checkpoints, record, request, run, store
from lossbench.store import Store

FORK = multiprocessing.get_context("fork")
QUICK = ("device=cpu", "device.threads=1", "model=mlp", "model.hidden=[8]", "dataset=wine")


def train(folder: Path, *overrides: str) -> list[Any]:
    return request.train([*QUICK, *overrides, f"results_dir={folder}"], config_dir=None, force=False, quiet=True)


def forked(function: Callable[[], Any]) -> multiprocessing.context.ForkProcess:
    """A process of its own that does not have to import torch again. Its exit code is 0 if nothing was raised."""
    process = FORK.Process(target=function)
    process.start()
    return process


def digests(folder: Path) -> dict[str, str]:
    """What must not depend on an interruption: everything but times and who did it."""
    kept = ("predictions.npz", "model.safetensors", "metrics.json", "config.yaml")
    return {
        f"{path.parent.name}/{path.name}": hashlib.sha256(_content(path)).hexdigest()
        for path in sorted((folder / "runs").rglob("*"))
        if path.name in kept
    }


def _content(path: Path) -> bytes:
    if path.name == "predictions.npz":  # a zip file holds the time
        arrays = record.read_npz(path)
        return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))
    content = path.read_bytes()
    return (
        b"\n".join(line for line in content.splitlines() if b"results_dir" not in line)
        if path.suffix == ".yaml"
        else content
    )


def assert_clean(folder: Path) -> None:
    assert not list((folder / "runs").glob("*.partial"))
    assert not list((folder / "runs").rglob("checkpoint*"))
    assert not list((folder / "claims").iterdir())


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every step."""
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", math.inf)


def die_at(step: int, count: Callable[[], None] = lambda: None) -> None:
    """Be killed at the step-th time that something goes to the disk: before it, or for every other one after it."""
    seen = iter(range(10**6))

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            number = next(seen)
            count()
            if number == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "rename"), (Path, "unlink"), (store.shutil, "rmtree")):
        setattr(owner, name, deadly(getattr(owner, name)))


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("force", [False, True], ids=["new", "forced"])
def test_killed_before_any_step_to_the_disk_a_run_ends_in_the_same_bits(tmp_path: Path, force: bool) -> None:
    config = compose(*QUICK, "epochs=2", "batch_size=100")  # two steps each

    def once(folder: Path, force: bool = False) -> str:
        return run.execute({**config, "results_dir": str(folder)}, force=force).status

    assert once(tmp_path / "calm") == "finished"
    expected, killed = digests(tmp_path / "calm"), 0
    for step in range(1000):
        folder = tmp_path / str(step)
        if force:
            shutil.copytree(tmp_path / "calm", folder)

        def doomed(folder: Path = folder, step: int = step) -> None:
            die_at(step)
            once(folder, force)

        process = forked(doomed)
        process.join()
        if process.exitcode == 0:  # it had fewer steps than that
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
        assert once(folder) in ("finished", "skipped")
        if force:  # what is finished is skipped, and what was to replace it left for the same command
            assert once(folder, force) == "finished"
        assert digests(folder) == expected
        assert_clean(folder)
    assert killed > 20  # two checkpoints of three steps each, and all that a finished run consists of


def sweep_under_fire(folder: Path, *, seeds: int, epochs: int, kills: int, longest: float) -> None:
    """Train a sweep that is killed again and again at random moments, and hold it against one that was left alone."""
    request = (f"epochs={epochs}", f"seed=range({seeds})")
    calm, stormy, log = folder / "calm", folder / "stormy", folder / "log"
    train(calm, *request)

    def logged() -> None:
        original = store.Store.commit

        def commit(self: Store, run_id: str, **content: Any) -> None:
            original(self, run_id, **content)
            with log.open("a") as file:
                file.write(f"{run_id}\n")

        store.Store.commit = commit  # type: ignore[method-assign]
        train(stormy, *request)

    moments = random.Random(0)
    died = 0
    for _ in range(kills):
        process = forked(logged)
        process.join(moments.uniform(0.0, longest))
        process.kill()  # which leaves one alone that is done already
        process.join()
        died += process.exitcode == -signal.SIGKILL
    process = forked(logged)
    process.join()
    assert process.exitcode == 0
    assert died > kills / 2
    assert digests(stormy) == digests(calm)
    assert_clean(stormy)
    finished = log.read_text().split()
    assert len(finished) == len(set(finished)) <= seeds  # one may die between its last rename and the log


@pytest.mark.usefixtures("often")
def test_killed_at_random_a_sweep_ends_in_the_same_bits(tmp_path: Path) -> None:
    sweep_under_fire(tmp_path, seeds=4, epochs=40, kills=6, longest=0.6)


@pytest.mark.slow
@pytest.mark.usefixtures("often")
def test_killed_30_times_a_sweep_of_20_runs_ends_in_the_same_bits(tmp_path: Path) -> None:
    sweep_under_fire(tmp_path, seeds=20, epochs=200, kills=30, longest=1.5)


def shared_sweep(folder: Path, monkeypatch: pytest.MonkeyPatch, *, processes: int, seeds: int) -> None:
    """Give one sweep of students and their teachers to several processes at once."""
    log, original = folder / "log", run._train
    request = ("loss=distillation", "loss.temperature=1,2", "epochs=3", f"seed=range({seeds})")

    def logged(name: str, *arguments: Any) -> Any:
        with log.open("a") as file:
            file.write(f"{name}\n")
        return original(name, *arguments)

    monkeypatch.setattr(run, "_train", logged)

    def work() -> None:
        outcomes = train(folder / "shared", *request)
        assert len(outcomes) == 2 * seeds
        assert {outcome.status for outcome in outcomes} <= {"finished", "skipped"}

    workers = [forked(work) for _ in range(processes)]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * processes
    trained = log.read_text().split()
    assert len(trained) == len(set(trained)) == 3 * seeds  # two students and the teacher they share, each once
    assert Store(folder / "shared").run_ids() == sorted(trained)
    assert_clean(folder / "shared")


def test_processes_given_one_sweep_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared_sweep(tmp_path, monkeypatch, processes=4, seeds=3)


@pytest.mark.slow
def test_eight_processes_share_a_sweep_of_24_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared_sweep(tmp_path, monkeypatch, processes=8, seeds=8)


def test_a_run_that_another_process_died_in_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    holder = forked(lambda: train(tmp_path, "epochs=100000"))
    folder = tmp_path / "runs"
    while not list(folder.glob("*/checkpoint.pt")):
        time.sleep(0.05)
        assert holder.is_alive()
    (partial,) = folder.glob("*.partial")
    assert Store(tmp_path).held(partial.name.removesuffix(".partial"))
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert not Store(tmp_path).held(partial.name.removesuffix(".partial"))
    state = Store(tmp_path).load_checkpoint(partial.name.removesuffix(".partial"))
    assert state is not None
    assert state.epoch > 0 or state.losses is not None  # between two steps of the first
