"""Work that is done at the same time, in copies of this process: they have imported and built what it has by then."""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

from lossbench import device, stopping

Result = TypeVar("Result")


def possible() -> bool:
    """Whether a copy of this process can train: under Linux, and without a GPU.

    Apple's own libraries do not outlive being copied, nor do a GPU's driver and the threads that torch keeps for one.
    """
    return sys.platform == "linux" and device.available() == ["cpu"]


def beside(here: Callable[[], Result], there: Sequence[Callable[[], Result]]) -> list[Result | None]:
    """Do something here, and the like in copies of this process meanwhile.

    A copy may use one thread alone: GNU's OpenMP, with which torch comes, does not know that its other threads are
    not there.

    Args:
        here: what this process does.
        there: what the copies do, one each. What they return is pickled; what they raise they print.

    Returns:
        What each returned, this process first; None of a copy that was killed, or could not be had.

    Raises:
        KeyboardInterrupt: if this process was asked to stop, when the copies have stopped, too.
    """
    if not there:
        return [here()]
    with stopping.passed_on() as stop:
        copies: list[_Copy | None] = []
        try:
            for work in there:
                copies.append(_started(work))
            if stop.error is not None:  # asked before all were there to be told
                raise stop.error
            results = [here()]
        except BaseException:
            for copy in filter(None, copies):
                copy.process.terminate()
            for copy in filter(None, copies):
                copy.received()
            raise
        return [*results, *(None if copy is None else copy.received() for copy in copies)]


@dataclass(frozen=True)
class _Copy:
    process: Any
    connection: Connection

    def received(self) -> Any:
        """What it returned, as soon as it has."""
        with self.connection:
            try:
                result = self.connection.recv()
            except (EOFError, OSError):  # it is gone, perhaps in the midst of telling
                result = None
            self.process.join()  # not where a signal says to wait no longer
            return result


def _started(work: Callable[[], object]) -> _Copy | None:
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_work, args=(work, sending, os.getpid()))
    with stopping.later(), warnings.catch_warnings(), sending:
        # Python warns of threads that the copy will not have: numpy's and rich's, which it does without.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            process.start()
        except OSError:  # no memory, or too many processes
            receiving.close()
            return None
    return _Copy(process, receiving)


def _work(work: Callable[[], object], sending: Connection, parent: int) -> None:
    """In a copy."""
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # and not what draws bars there
    torch.set_num_threads(1)
    stopping.remembered_in_a_copy()
    stopping.end_with(parent)
    with suppress(KeyboardInterrupt):  # what was under way is saved by then
        sending.send(work())
