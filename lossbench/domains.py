"""The values a hyperparameter may take, written into the signature that takes it.

A function says `epsilon: Annotated[float, UNIT]`; the configuration is held against that once, where it
becomes objects (`lossbench.signature`), so that functions need not check values on every call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A real interval, printed as mathematicians write it: `[0, 1]`, `(0, ∞)`."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a value lies in the interval; nan never does."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        """The interval as written in an error message."""
        left = "(" if self.open_low or math.isinf(self.low) else "["
        right = ")" if self.open_high or math.isinf(self.high) else "]"
        return f"{left}{_number(self.low)}, {_number(self.high)}{right}"


def _number(value: float) -> str:
    return f"{value:g}".replace("inf", "∞")


UNIT = Interval(0.0, 1.0)  # a share or a probability
BELOW_ONE = Interval(0.0, 1.0, open_high=True)  # a share that leaves something over
SHARE = Interval(0.0, 1.0, open_low=True)  # a share that takes something
POSITIVE = Interval(0.0, math.inf, open_low=True, open_high=True)  # finite and above zero
NON_NEGATIVE = Interval(0.0, math.inf, open_high=True)
AT_LEAST_ONE = Interval(1.0, math.inf, open_high=True)
SUM_TOLERANCE = 1e-3  # around 1, of probabilities that were written to a file with three or four digits
BINS = Interval(1.0, 10_000.0)  # more would be empty but for a few, and could fill the memory
