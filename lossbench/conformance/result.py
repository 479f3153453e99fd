"""What came of a property: it holds, it fails, it does not apply, or there is something to say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """How a line begins."""

    HOLDS = "✓"
    FAILS = "✗"
    DOES_NOT_APPLY = "–"
    NOTE = "·"  # measured or observed, neither right nor wrong


@dataclass(frozen=True)
class Outcome:
    """What a property says of a loss, with the reason or the number behind it."""

    mark: Mark
    detail: str = ""


@dataclass(frozen=True)
class Result:
    """One line of `lossbench check`.

    Attributes:
        name: the property, such as `order_of_examples`.
        claim: the property in a sentence.
        mark: what came of it.
        detail: the reason or the number; empty where there is nothing to add.
    """

    name: str
    claim: str
    mark: Mark
    detail: str = ""

    def __str__(self) -> str:
        """The line as it is printed."""
        return f"{self.mark} {self.claim}" + (f": {self.detail}" if self.detail else "")


def holds(detail: str = "") -> Outcome:
    """Say that the property holds."""
    return Outcome(Mark.HOLDS, detail)


def fails(detail: str) -> Outcome:
    """Say that it fails, and what came instead."""
    return Outcome(Mark.FAILS, detail)


def does_not_apply(reason: str) -> Outcome:
    """Say that it is not asked of this loss, and why."""
    return Outcome(Mark.DOES_NOT_APPLY, reason)


def note(detail: str) -> Outcome:
    """Say what was seen."""
    return Outcome(Mark.NOTE, detail)
