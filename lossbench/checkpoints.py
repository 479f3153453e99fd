"""When a run is saved while it trains: every so often, and when it is asked to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Generic, TypeVar

from lossbench import processes
from lossbench.errors import Terminated, WorkersError, one_line
from lossbench.stopping import Stop, remembered

EVERY = 10.0  # seconds
SHARE = 0.02  # of the time at most
LONGEST = 600.0  # seconds: a disk that stalled once may not cost hours

Saved = TypeVar("Saved")  # the state of a run, or those of runs that are trained as one


class Checkpoints(Generic[Saved]):
    """Saves a run between two of its steps, and ends it there when it is asked to stop.

    What fails while a stop is asked for is recorded, and then it stops all the same. A second signal ends it at once,
    wherever it is, and so does the first where another library handles signals: the checkpoint before is what is left
    then.
    """

    def __init__(
        self,
        write: Callable[[Saved], None],
        failed: Callable[[Exception], object] = lambda error: None,
        *,
        every: float | None = None,
    ) -> None:
        """Start the clock.

        Args:
            write: saves a state.
            failed: records what went wrong, where that is not raised because the run was asked to stop.
            every: seconds between two, whatever they cost; None for EVERY, or longer by SHARE.
        """
        self.write, self.failed = write, failed
        self.every = every
        self.saved, self.pause = time.monotonic(), EVERY if every is None else every
        self.asked = Stop()
        self.signals = ExitStack()

    @property
    def stop(self) -> BaseException | None:
        """What to raise once the state is saved."""
        return self.asked.error

    def __enter__(self) -> Checkpoints[Saved]:
        """Take the signals that nobody else has taken."""
        self.asked = self.signals.enter_context(remembered())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back, and stop if that was asked for since the last look at it."""
        self.signals.close()
        if self.stop is None or not (error is None or isinstance(error, Exception)):
            return
        if isinstance(error, WorkersError):  # why the others were asked to stop, too
            return
        if error is not None:
            self.failed(error)
        raise self.stop from error

    def due(self) -> bool:
        """Whether it is time to save, or any process that trains with this one was asked to stop."""
        return _agreed(self.asked, time.monotonic() - self.saved >= self.pause) > 0

    def save(self, state: Saved) -> None:
        """Save a state.

        Raises:
            KeyboardInterrupt: if the run was asked to stop, once it is saved.
        """
        begun = time.monotonic()
        try:
            self.write(state)
        except Exception as error:
            if self.stop is None:
                raise
            # Not a failure of the run, which would have gone on.
            self.stop.add_note(f"its checkpoint cannot be written ({one_line(str(error))}): the one before counts")
            raise self.stop from error
        self.saved = time.monotonic()
        if self.every is None:
            self.pause = min(max(EVERY, (self.saved - begun) / SHARE), LONGEST)
        if self.stop is not None:
            self.stop.add_note("what it was training is saved")
            raise self.stop


class Following:
    """In a process that trains with others and is not the first: stops where the first one saves the run and stops."""

    def __init__(self, asked: Stop) -> None:
        """Keep what remembers whether this process was asked to stop."""
        self.asked = asked
        self.stops = False

    def due(self) -> bool:
        """Whether the first process saves the run now."""
        wanted = _agreed(self.asked, False)
        self.stops = wanted > SAVE
        return wanted > 0

    def save(self, state: object) -> None:
        """Leave that to the first process.

        Raises:
            KeyboardInterrupt: if all stop here.
        """
        if self.stops:
            assert self.asked.error is not None
            raise self.asked.error


SAVE, INTERRUPT, TERMINATE = 1, 2, 3


def _agreed(asked: Stop, save: bool) -> int:
    """What is to be done now: nothing, SAVE, or stop, which all do if any process was asked to."""
    own = SAVE if save else 0
    if asked.error is not None:
        own = TERMINATE if isinstance(asked.error, Terminated) else INTERRUPT
    wanted = processes.most(own)
    if wanted > SAVE and asked.error is None:
        asked.error = Terminated() if wanted == TERMINATE else KeyboardInterrupt()
    return wanted
