"""Work in copies of this process: what each gives, and what becomes of it where one is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch

from lossbench import device, stopping
from lossbench.launchers import copies

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied under Linux alone")


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    before = {process.pid for process in active_children()}  # of other tests
    yield
    end = time.monotonic() + 30  # one that was killed takes a moment
    while left := {process.pid for process in active_children()} - before:
        assert time.monotonic() < end, left
        time.sleep(0.01)


def killed() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def wrong() -> int:
    raise ValueError("of a copy")


def until_asked(ready: Event, saved: Event) -> Callable[[], int]:
    """Train without end, as a run does, and save when asked to stop."""

    def work() -> int:
        with stopping.remembered() as stop:
            ready.set()
            end = time.monotonic() + 30
            while stop.error is None and time.monotonic() < end:
                time.sleep(0.01)
            assert stop.error is not None
            saved.set()
            raise stop.error

    return work


class Event:
    """What all copies see."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name

    def set(self) -> None:
        self.path.touch()

    def wait(self) -> None:
        end = time.monotonic() + 30
        while not self.path.exists():
            assert time.monotonic() < end
            time.sleep(0.01)


def test_each_has_its_own_process_and_what_they_give_comes_in_order() -> None:
    given = copies.beside(lambda: (0, os.getpid()), [lambda: (1, os.getpid()), lambda: (2, os.getpid())])
    assert [number for number, _ in filter(None, given)] == [0, 1, 2]
    assert len({process for _, process in filter(None, given)}) == 3


def test_a_copy_has_one_thread_and_what_was_made_before() -> None:
    torch.set_num_threads(2)
    large = torch.ones(512, 512) @ torch.ones(512, 512)  # by both
    made = large[0, :3] / 512 * torch.arange(3)
    here, there = copies.beside(lambda: torch.get_num_threads(), [lambda: (torch.get_num_threads(), made.tolist())])
    assert (here, there) == (2, (1, [0.0, 1.0, 2.0]))


def test_more_than_a_pipe_holds_comes_while_this_one_is_at_work() -> None:
    (_, there) = copies.beside(lambda: b"", [lambda: b"x" * 10_000_000])
    assert there is not None
    assert len(there) == 10_000_000


def test_a_copy_that_is_killed_gives_none(capfd: pytest.CaptureFixture[str]) -> None:
    assert copies.beside(lambda: 0, [killed, lambda: 2]) == [0, None, 2]
    assert capfd.readouterr().err == ""


def test_what_goes_wrong_in_a_copy_is_printed_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert copies.beside(lambda: 0, [wrong]) == [0, None]
    assert "ValueError: of a copy" in capfd.readouterr().err


def test_where_no_copy_can_be_had_it_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", full)
    assert copies.beside(lambda: 0, [lambda: 1]) == [0, None]


def test_what_goes_wrong_here_ends_the_copies(tmp_path: Path) -> None:
    ready, saved = Event(tmp_path, "ready"), Event(tmp_path, "saved")

    def here() -> int:
        ready.wait()
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        copies.beside(here, [until_asked(ready, saved)])
    assert saved.path.exists()


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_the_copies_save_and_end_first(tmp_path: Path, number: int, busy: bool) -> None:
    ready, saved = Event(tmp_path, "ready"), Event(tmp_path, "saved")

    def ask() -> None:
        ready.wait()
        os.kill(os.getpid(), number)

    def here() -> int:
        if not busy:  # done already, it waits for the copy
            return 0
        return until_asked(ready, ready)()

    asking = threading.Thread(target=ask)
    asking.start()
    before = signal.getsignal(number)
    with stopping.raised(), pytest.raises(KeyboardInterrupt):
        copies.beside(here, [until_asked(ready, saved)])
    asking.join()
    assert saved.path.exists()
    assert signal.getsignal(number) == before


def test_a_copy_that_does_not_answer_is_not_waited_for_after_a_second_signal(tmp_path: Path) -> None:
    ready = Event(tmp_path, "ready")

    def stopped() -> int:
        ready.set()
        os.kill(os.getpid(), signal.SIGSTOP)
        return 0

    def ask() -> None:
        ready.wait()
        for _ in range(2):
            time.sleep(1.5 * stopping.SAME)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=ask).start()
    began = time.monotonic()
    with stopping.raised(), pytest.raises(KeyboardInterrupt):
        copies.beside(lambda: 0, [stopped])
    assert time.monotonic() - began < stopping.WORKERS_SAVE_WITHIN / 2


def test_a_copy_that_is_killed_while_it_tells_gives_none() -> None:
    others = set(active_children())

    def telling() -> bytes:
        threading.Timer(1, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return b"x" * 10_000_000  # of which the pipe holds the first 65,536 until this process reads

    def until_it_is_gone() -> None:
        for process in set(active_children()) - others:
            process.join(timeout=30)

    assert copies.beside(until_it_is_gone, [telling]) == [None, None]


def test_a_copy_made_after_the_signal_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Event(tmp_path, "saved")
    started = copies._started

    def asked_first(work: Callable[[], object]) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return started(work)

    monkeypatch.setattr(copies, "_started", asked_first)
    with pytest.raises(KeyboardInterrupt):
        copies.beside(lambda: 0, [until_asked(saved, saved)])


@pytest.mark.parametrize(
    ("platform", "devices", "expected"),
    [("linux", ["cpu"], True), ("linux", ["cpu", "cuda:0"], False), ("darwin", ["cpu"], False)],
)
def test_copies_are_for_linux_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, platform: str, devices: list[str], expected: bool
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(device, "available", lambda: devices)
    assert copies.possible() is expected
