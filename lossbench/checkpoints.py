"""When a run is saved while it trains: every so often, and when it is asked to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Generic, TypeVar

from lossbench.errors import Terminated

EVERY = 10.0  # seconds
SHARE = 0.02  # of the time at most

# What a user, a shell or a cluster sends to end a process, with what Python does then if nobody asked for more.
STOPS: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


Saved = TypeVar("Saved")  # the state of a run, or those of runs that are trained as one


class Checkpoints(Generic[Saved]):
    """Saves a run between two of its steps, and ends it there when it is asked to stop.

    A second signal ends it at once, wherever it is, and so does the first where another library handles signals or
    another thread than the main one trains: the checkpoint before is what is left then.
    """

    def __init__(self, write: Callable[[Saved], None]) -> None:
        """Start the clock.

        Args:
            write: saves a state.
        """
        self.write = write
        self.saved, self.pause = time.monotonic(), EVERY
        self.stop: BaseException | None = None  # what to raise once the state is saved
        self.handled: list[signal.Signals] = []

    def __enter__(self) -> Checkpoints[Saved]:
        """Take the signals that nobody else has taken."""
        if threading.current_thread() is threading.main_thread():
            self.handled = [name for name, default in STOPS.items() if signal.getsignal(name) == default]
            for name in self.handled:
                signal.signal(name, self._asked_to_stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for name in self.handled:
            signal.signal(name, STOPS[name])
        if self.stop is not None and error is None:  # it came after the last look at it
            raise self.stop

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> Any:
        error = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        if self.stop is not None:
            raise error
        self.stop = error

    def due(self) -> bool:
        """Whether it is time to save."""
        return self.stop is not None or time.monotonic() - self.saved >= self.pause

    def save(self, state: Saved) -> None:
        """Save a state.

        Raises:
            KeyboardInterrupt: if the run was asked to stop, once it is saved.
        """
        begun = time.monotonic()
        self.write(state)
        self.saved = time.monotonic()
        self.pause = max(EVERY, (self.saved - begun) / SHARE)
        if self.stop is not None:
            raise self.stop
