"""What a process does when it is asked to stop: by Ctrl-C, or by SIGTERM, as clusters do before they kill it.

The only file that knows the signals. Those that another library handles are left to it, and so are those of a process
whose main thread is not the one that asks here.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, cast

from lossbench.errors import Terminated

SAME = 0.5  # seconds within which a second signal is the first again: `timeout` sends it to the process and its group
WORKERS_SAVE_WITHIN = 30.0  # seconds
WATCH_EVERY = 0.5  # seconds between two looks whether the process that started this one is there
SAVED_WITHIN = 10.0  # seconds that a process has to save its run when it must end

# With what Python does then if nobody asked for more.
STOPS: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@dataclass
class Stop:
    """Remembers that the process was asked to stop, for whoever can stop at a better moment."""

    error: KeyboardInterrupt | None = None  # what to raise at that moment
    number: int = 0  # the signal that asked
    asked: float = 0.0
    at_once: bool = True  # whether a second signal ends what is under way
    then: Callable[[int], None] | None = None  # what else to do at the first

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Answer a signal."""
        if self.error is None:
            self.error, self.number, self.asked = _error(number), number, time.monotonic()
            if self.then is not None:
                self.then(number)
        elif self.at_once and time.monotonic() - self.asked >= SAME:
            raise self.error


def _error(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


def _raise(number: int, frame: FrameType | None) -> None:
    raise _error(number)


def _take(answer: Callable[[int, FrameType | None], None] | signal.Handlers) -> dict[signal.Signals, Any]:
    """Take the signals that nobody but this file has taken; return who had them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in STOPS}
    ours = {
        number: handler
        for number, handler in before.items()
        if handler in (STOPS[number], _raise) or isinstance(handler, Stop)
    }
    for number in ours:
        signal.signal(number, answer)
    return ours


@contextmanager
def raised() -> Iterator[None]:
    """Raise what the process is asked, wherever it is: SIGTERM as well as Ctrl-C."""
    before = _take(_raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) != signal.SIG_IGN:  # as it has been since the end, see `ending`
                signal.signal(number, handler)


def ending(stopped: BaseException) -> int:
    """Answer no more signals, for the process is about to end: nobody's impatience becomes a traceback.

    Args:
        stopped: why it ends.

    Returns:
        The exit code.
    """
    done()
    return 128 + (signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT)


def done() -> None:
    """Answer no more signals, for all that was asked is done, and what is left is Python's own end."""
    _take(signal.SIG_IGN)


def told(stopped: KeyboardInterrupt) -> int:
    """Say that the process was asked to stop, where there is no more to say; return the exit code."""
    code = ending(stopped)
    print("\ninterrupted", file=sys.stderr)
    return code


@contextmanager
def kept() -> Iterator[None]:
    """Answer signals after the block as before it, whatever a library that is set up in it does with them."""
    before = {number: signal.getsignal(number) for number in STOPS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def answer_again() -> None:
    """Answer Ctrl-C even if a shell had it ignored, as in the background: Ray asks its workers by it to stop."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _in_effect() -> Stop | None:
    return next((stop for number in STOPS if isinstance(stop := signal.getsignal(number), Stop)), None)


@contextmanager
def remembered(then: Callable[[int], None] | None = None) -> Iterator[Stop]:
    """Remember a signal instead, until the end of the block at the latest, and raise at a second one.

    Within another such block, or where the process remembers for good, that is the one which counts.

    Args:
        then: called with the first signal.

    Returns:
        What remembers. It is for the caller to raise its error.
    """
    stop = _in_effect()
    if stop is not None:
        yield stop
        return
    stop = Stop(then=then)
    before = _take(stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def unheard() -> Iterator[None]:
    """Have the processes that are started in the block never hear Ctrl-C; this one answers it at the end of the block.

    Raises:
        KeyboardInterrupt: if this process was asked to stop meanwhile.
    """
    with remembered() as stop, _blocked([signal.SIGINT]):  # which they inherit
        yield
    if stop.error is not None:
        raise stop.error


def remembered_for_good() -> Stop:
    """Remember a signal for as long as the process lives, however often it comes: for a sweep's workers."""
    stop = _in_effect()
    if stop is None:
        stop = Stop(at_once=False)
        _take(stop)
    return stop


def later() -> AbstractContextManager[None]:
    """Answer signals at the end of the block: what is copied in it answers none before `remembered_in_a_copy`."""
    return _blocked(STOPS)


@contextmanager
def _blocked(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def remembered_in_a_copy() -> Stop:
    """Remember a signal for good, in a copy of the process that was made within `later`."""
    _take(_raise)  # from what answered them there
    stop = remembered_for_good()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    return stop


def end_with(parent: int) -> None:
    """Stop training once the process that started this one is gone, however it went: nobody waits for it any more.

    Args:
        parent: its id.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_EVERY)
        os.kill(os.getpid(), signal.SIGTERM)  # a run in training is saved first, unless it takes too long
        time.sleep(SAVED_WITHIN)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def remembered_in_a_job(warning: signal.Signals) -> tuple[Stop, Any]:
    """Remember SIGTERM, and a cluster's warning of it, for as long as the process lives.

    Another library's answers give way: one that ignores SIGTERM, one that ends the process before its run is saved.

    Args:
        warning: what the cluster sends ahead of a time limit.

    Returns:
        What remembers, and the answer to the warning that gave way.
    """
    theirs = signal.getsignal(warning)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stop = remembered_for_good()
    signal.signal(warning, stop)
    return stop, theirs


@contextmanager
def passed_on() -> Iterator[Stop]:
    """Have the processes that this one starts stop, each when it has saved its run, before this one does.

    A second signal ends them all, and so do those that take longer than WORKERS_SAVE_WITHIN.

    Raises:
        KeyboardInterrupt: at the end of the block, if the process was asked to stop.
    """

    def pass_on(number: int) -> None:
        for worker in multiprocessing.active_children():
            worker.terminate()
        last.args = (os.getpid(), number)
        last.start()
        with suppress(OSError):  # nobody may be reading; not by print, which may be what the signal interrupted
            os.write(2, b"\nstopping when each process has saved its run; Ctrl-C again does not wait\n")

    last = threading.Timer(WORKERS_SAVE_WITHIN, os.kill)
    last.daemon = True
    try:
        with remembered(pass_on) as stop:
            yield stop
    except Exception as error:
        if stop.error is not None:  # it may have broken what was under way
            raise stop.error from error
        raise
    finally:
        last.cancel()
        if stop.error is not None:
            for worker in multiprocessing.active_children():
                with suppress(ProcessLookupError):
                    os.kill(cast(int, worker.pid), signal.SIGKILL)  # joblib's have no kill()
    if stop.error is not None:
        raise stop.error
