"""A claim belongs to one process, and ends with it."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lossbench.claims import claim, held, holder

FORK = multiprocessing.get_context("fork")


def holding(path: Path, then: Callable[[], None] = lambda: time.sleep(60)) -> multiprocessing.context.ForkProcess:
    """A process that holds a claim, and does something else while it does."""

    def hold() -> None:
        with claim(path, wait=False):
            then()

    process = FORK.Process(target=hold)
    process.start()
    until(lambda: held(path) and holder(path) != "")
    return process


def until(met: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_one_process_holds_another_does_not_get(tmp_path: Path) -> None:
    path = tmp_path / "claims/run"
    process = holding(path)
    with claim(path, wait=False) as ours:
        assert not ours
    assert holder(path).startswith(f"process {process.pid} on ")
    process.terminate()
    process.join()


def test_a_claim_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = holding(path)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert path.exists()  # it could not tidy up
    assert not held(path)
    with claim(path, wait=False) as ours:
        assert ours
        assert holder(path).startswith(f"process {os.getpid()} on ")
    assert not path.exists()


def test_whoever_waits_gets_it_when_it_is_free(tmp_path: Path) -> None:
    path, order = tmp_path / "run", tmp_path / "order"

    def work(name: str) -> None:
        with claim(path, wait=True) as ours:
            assert ours
            with order.open("a") as file:
                file.write(f"{name} begins\n")
            time.sleep(0.05)
            with order.open("a") as file:
                file.write(f"{name} ends\n")

    processes = [FORK.Process(target=work, args=(str(n),)) for n in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    lines = [line.split() for line in order.read_text().splitlines()]
    assert len(lines) == 12
    for begin, end in zip(lines[::2], lines[1::2], strict=True):  # nobody begins before the last one has ended
        assert (begin[0], begin[1], end[1]) == (end[0], "begins", "ends")


def test_a_file_removed_while_someone_waits_on_it_is_not_the_claim_any_more(tmp_path: Path) -> None:
    path = tmp_path / "run"
    process = holding(path)
    got: list[bool] = []

    def wait() -> None:
        with claim(path, wait=True) as ours:
            got.append(ours and held(path))

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.1)
    path.unlink()  # as the holder does just before it lets go
    process.terminate()
    process.join()
    waiting.join(20)
    assert got == [True]


def test_nobody_holds_what_is_not_there(tmp_path: Path) -> None:
    assert not held(tmp_path / "run")
    assert holder(tmp_path / "run") == ""


def test_where_there_are_no_locks_it_goes_on_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    path = tmp_path / "another"
    path.touch()
    assert not held(path)
    with pytest.warns(UserWarning, match="a file system without locks"), claim(tmp_path / "run", wait=False) as ours:
        assert ours


def test_whoever_only_looks_takes_no_claim_from_anyone(tmp_path: Path) -> None:
    path, looking = tmp_path / "run", threading.Event()

    def look() -> None:
        while not looking.is_set():
            held(path)
            time.sleep(0.0005)

    looks = [FORK.Process(target=look) for _ in range(2)]
    for process in looks:
        process.start()
    got = []
    for _ in range(300):
        with claim(path, wait=False) as ours:
            got.append(ours)
    for process in looks:
        process.terminate()
        process.join()
    assert all(got)
