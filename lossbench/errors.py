"""The exception tree.

LossbenchError
├── RequestError        the request was wrong: exit code 2, nothing written
│   ├── ConfigError     a key, a value or a name
│   ├── DataError       data missing, unreadable or unfit for the request
│   ├── DeviceError     a device that is not there
│   ├── StoreError      a stored run that is missing or unreadable
│   └── ShapeError      tensors that do not fit together (also a ValueError)
└── RunError            a run failed while it trained: exit code 1, the others go on
    ├── CheckpointError its checkpoint is damaged, or of other data or code
    ├── DivergedError   the loss became nan or infinite
    ├── TeacherError    a student has no teacher, for that failed
    └── WorkersError    the processes of a sweep were killed: all of it stops, the same command goes on

Beside it Terminated, a KeyboardInterrupt: the process was asked to end by SIGTERM.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

MOST_NAMES = 40  # more of them would bury the message
LONGEST = 1000  # characters of a message: a value that was typed or read can be a megabyte


class LossbenchError(Exception):
    """Base of every error that lossbench raises on purpose."""


class RequestError(LossbenchError):
    """The request cannot be carried out as it stands."""


class ConfigError(RequestError):
    """A key, a value or a name in the configuration is wrong."""


class DataError(RequestError):
    """Data are missing, unreadable or unfit for what was asked."""


class DeviceError(RequestError):
    """The device asked for is not on this machine."""


class StoreError(RequestError):
    """A stored run is missing or cannot be read."""


class ShapeError(RequestError, ValueError):
    """Tensors or arrays do not fit together."""


class RunError(LossbenchError):
    """A run failed while it trained."""


class CheckpointError(RunError):
    """A run cannot go on from its checkpoint."""


class DivergedError(RunError):
    """The training loss became nan or infinite."""


class TeacherError(RunError):
    """The teacher of a student failed."""


class WorkersError(RunError):
    """The processes that a sweep trains in were killed."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM, as clusters do before they kill it."""


def did_you_mean(name: str, known: Iterable[str], *, before: str = "") -> str:
    """Return `; did you mean X?` for the nearest known name, or the names themselves.

    Args:
        name: what was typed.
        known: the names that would have been valid.
        before: what stands before a name where it is typed, `loss.` before `gamma` say.

    Returns:
        The end of an error message, starting with `; `, or empty where nothing is known.
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if nearest:
        # To difflib mpl is as near to smp as to mlp, which has its letters.
        best = next((one for one in nearest if sorted(one) == sorted(name)), nearest[0])
        return f"; did you mean {before}{best}?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= MOST_NAMES else ""


def check_names(lacking: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Hold names against those that there are.

    Args:
        lacking: how the message begins: `no metric named`.
        names: what was typed.
        known: those that there are.

    Raises:
        ConfigError: for the first that is none of them, with the nearest.
    """
    valid = set(known)
    for name in names:
        if name not in valid:
            raise ConfigError(f"{lacking} {name!r}{did_you_mean(name, valid)}")


def counted(number: int, noun: str) -> str:
    """Return `1 run` or `2 runs`, as messages have it."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def printable(text: str) -> str:
    r"""Return text without what would move the cursor, colour a terminal or turn the reading direction.

    A line break is a space; other control and formatting characters are written as Python does, `\x1b`, `\u202e`.
    """
    return "".join(
        " " if c in "\n\r\t\u2028\u2029" else repr(c)[1:-1] if unicodedata.category(c)[0] == "C" else c for c in text
    )


def one_line(text: str) -> str:
    """Return a message as one line that can be printed, with the middle left out where it is very long."""
    shown = printable(text)
    half = LONGEST // 2
    return shown if len(shown) <= LONGEST else f"{shown[:half]} … {shown[-half:]}"
