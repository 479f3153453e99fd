"""What a user sees while runs train: bars on a terminal, lines when piped, nothing when quiet.

All of it goes to stderr; stdout is for results.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from lossbench.errors import WorkersError, counted

STOPPED = "one of the processes that trained was asked to stop"
LINE_EVERY = 5.0  # seconds between two lines about epochs
NOTEBOOK_EVERY = 0.3  # seconds between two changes of a notebook's line


@dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    run_id: str
    # finished, skipped, failed, or claimed: to come to again, for another process trains it; or stopped, of a worker
    status: str
    message: str = ""
    validation: Mapping[str, float] = field(default_factory=dict, compare=False, repr=False)  # raw metrics, by name
    summary: str = ""  # the line to print for it
    config: Mapping[str, Any] = field(
        default_factory=dict, compare=False, repr=False
    )  # of the run; empty where another process trained it
    overrides: tuple[str, ...] = ()  # what made a claimed one, for when it comes to it again
    untracked: Mapping[str, str] = field(default_factory=dict)  # what is to say of trackers that were not told of it

    def __float__(self) -> float:
        """The number that Hydra's optimising sweepers minimise."""
        if self.status == "stopped":
            raise WorkersError(STOPPED)
        return self.validation.get("nll", math.nan)


class Silent:
    """Says nothing, and remembers what came of each run."""

    def __init__(self) -> None:
        """Begin with no runs."""
        self.outcomes: list[Outcome] = []
        self.noted: set[str] = set()

    def __enter__(self) -> Silent:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        """A terminal has one owner: in a worker process every display is silent."""
        return Silent, ()

    def plan(self, total: int | None) -> None:
        """Show how many runs there will be if nothing is wrong with them, where it can be taken back."""

    def begin(self, total: int | None) -> None:
        """Say how many runs there will be, if that is known."""

    def run(self, run_id: str, epochs: int, runs: int = 1) -> None:
        """Say that a run begins, or several that are trained as one model."""

    def goes_on(self, run_id: str, done: int, epochs: int) -> None:
        """Say that a run that began is one that was interrupted, after so many epochs or within the next."""

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        """Say how an epoch ended."""

    def waiting(self, run_id: str, holder: str) -> None:
        """Say that another process is training a run, and that this one waits for it."""

    def note(self, text: str) -> None:
        """Say something about the sweep, in a line that stays."""

    def note_once(self, about: str, text: str) -> None:
        """Say something about the sweep, unless something was said about the same."""
        if about not in self.noted:
            self.noted.add(about)
            self.note(text)

    def done(self, outcome: Outcome) -> None:
        """Say that a run is finished, skipped or failed."""
        self.outcomes.append(outcome)


class _Counting(Silent):
    """Knows how many runs are done and left."""

    total: int | None = None

    def begin(self, total: int | None) -> None:
        self.total = total

    @property
    def count(self) -> str:
        return f"{len(self.outcomes)}/{'? runs' if self.total is None else counted(self.total, 'run')}"


class Lines(_Counting):
    """A line when a run begins, when it ends, and every few seconds between."""

    def __init__(self) -> None:
        """Start the clock."""
        super().__init__()
        self.started = time.monotonic()
        self.spoken = 0.0
        self.run_id = ""
        self.paid_for = 0  # runs that the time went into: a stack's are all trained when the first is done

    def begin(self, total: int | None) -> None:
        """Say how many runs there will be."""
        super().begin(total)
        if total is not None and total > 1:
            self._say(f"{total} runs")

    def run(self, run_id: str, epochs: int, runs: int = 1) -> None:
        """Say that a run begins, or several."""
        self.paid_for = self._trained() + runs
        self.run_id, self.spoken = run_id, time.monotonic()
        self._say(f"{run_id}: {counted(epochs, 'epoch')}")

    def goes_on(self, run_id: str, done: int, epochs: int) -> None:
        """Say where."""
        self._say(f"{run_id}: goes on {_where(done, epochs)}")

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        """Say how an epoch ended, unless something was said just now."""
        if time.monotonic() - self.spoken >= LINE_EVERY:
            self.spoken = time.monotonic()
            self._say(f"{self.run_id}: epoch {_epoch(row, epochs)}")

    def waiting(self, run_id: str, holder: str) -> None:
        """Say who is training a run."""
        self._say(f"{run_id}: waiting for {holder or 'another process'}, which is training it")

    def note(self, text: str) -> None:
        """Say it."""
        self._say(text)

    def done(self, outcome: Outcome) -> None:
        """Say that a run ended, and how long the rest will take."""
        super().done(outcome)
        trained = max(self._trained(), self.paid_for)
        left = ""
        if self.total is not None and trained:
            ahead = trained - self._trained()  # trained, and not stored yet
            untrained = self.total - len(self.outcomes) - ahead
            each = (time.monotonic() - self.started) / trained
            left = f", about {duration(each * untrained)} left" if untrained > 0 else ""
        why = f": {outcome.message}" if outcome.message else ""
        self._say(f"{outcome.run_id}: {outcome.status}{why} ({self.count}{left})")

    def _trained(self) -> int:
        return sum(outcome.status != "skipped" for outcome in self.outcomes)

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Bars(_Counting):
    """The run's name above two bars: the runs of the sweep, the epochs of the run."""

    def __init__(self, console: Console) -> None:
        """Take the terminal."""
        super().__init__()
        self.progress = Progress(
            TextColumn("{task.description:6}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[info]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
        )
        self.name = Text(no_wrap=True, overflow="ellipsis")
        self.live = Live(Group(self.name, self.progress), console=console, transient=True)
        self.sweep = self.progress.add_task("runs", total=None, info="")
        self.current = self.progress.add_task("epochs", total=None, info="", visible=False)

    def __enter__(self) -> Bars:
        """Draw."""
        self.live.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        """Clear."""
        self.live.stop()

    def plan(self, total: int | None) -> None:
        """Show it: an error clears the bars."""
        self.begin(total)

    def begin(self, total: int | None) -> None:
        """Say how many runs there will be, if that is known."""
        super().begin(total)
        self.progress.update(self.sweep, total=total, info=self._runs())

    def run(self, run_id: str, epochs: int, runs: int = 1) -> None:
        """Show a run's bar."""
        self.name.plain = run_id
        self.progress.reset(self.current, total=epochs, info="", visible=True)

    def goes_on(self, run_id: str, done: int, epochs: int) -> None:
        """Begin the bar there."""
        self.progress.reset(self.current, total=epochs, completed=done, info=f"goes on {_where(done, epochs)}")

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        """Move a run's bar."""
        self.progress.update(self.current, completed=row["epoch"], info=_epoch(row, epochs))

    def waiting(self, run_id: str, holder: str) -> None:
        """Say who is training a run."""
        self.name.plain = f"{run_id}: waiting for {holder or 'another process'}, which is training it"

    def note(self, text: str) -> None:
        """Print it above the bars."""
        self.live.console.print(text, highlight=False)

    def done(self, outcome: Outcome) -> None:
        """Move the sweep's bar."""
        super().done(outcome)
        self.progress.update(self.sweep, completed=len(self.outcomes), info=self._runs())

    def _runs(self) -> str:
        failed = sum(outcome.status == "failed" for outcome in self.outcomes)
        return f"{self.count} done, {failed} failed"


class Notebook(_Counting):
    """One line below the cell, which in the end says what came of the runs."""

    def __enter__(self) -> Notebook:
        """Make room for the line."""
        from IPython.display import display

        self.started, self.spoken, self.run_id = time.monotonic(), 0.0, ""
        self.handle: Any = display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call,unused-ignore]
        return self

    def __exit__(self, *exception: Any) -> None:
        """Say how many runs there were, and which failed."""
        failed = [f"{outcome.run_id} failed: {outcome.message}" for outcome in self.outcomes if outcome.message]
        self._say("\n".join([f"{self.count} in {duration(time.monotonic() - self.started)}", *failed]))

    def run(self, run_id: str, epochs: int, runs: int = 1) -> None:
        """Say that a run begins."""
        self.run_id = run_id
        self._say(f"{self.count} done; {run_id}")

    def goes_on(self, run_id: str, done: int, epochs: int) -> None:
        """Say where."""
        self._say(f"{self.count} done; {run_id} goes on {_where(done, epochs)}")

    def epoch(self, row: Mapping[str, float], epochs: int) -> None:
        """Say how an epoch ended, a few times a second at most."""
        if time.monotonic() - self.spoken >= NOTEBOOK_EVERY:
            self._say(f"{self.count} done; {self.run_id}: epoch {_epoch(row, epochs)}")

    def _say(self, text: str) -> None:
        self.spoken = time.monotonic()
        self.handle.update({"text/plain": text}, raw=True)


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


def display(*, quiet: bool) -> Silent:
    """Return the display that suits where stderr goes."""
    if quiet:
        return Silent()
    if _in_notebook():
        return Notebook()
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines()


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Count the steps of work that is no training: a bar on a terminal, nothing when piped.

    Args:
        what: a word before the bar.
        total: how many steps there will be.

    Returns:
        A function to call after each.
    """
    console = Console(stderr=True)
    columns = TextColumn(what), BarColumn(bar_width=16), MofNCompleteColumn(), TimeRemainingColumn(compact=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _where(done: int, epochs: int) -> str:
    return f"in epoch {done + 1} of {epochs}" if done < epochs else f"after the last of {counted(epochs, 'epoch')}"


def _epoch(row: Mapping[str, float], epochs: int) -> str:
    return f"{row['epoch']:.0f}/{epochs} loss {row['train_loss']:.4f} val accuracy {row['val_accuracy']:.4f}"


def duration(seconds: float, units: int = 2) -> str:
    """Write seconds as people say them, in so many units at most: `2 h 11 min`."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    while parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{number} {unit}" for number, unit in parts[:units])
