"""What a metric is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, TypeVar

from numpy.typing import ArrayLike

Better: TypeAlias = Literal["higher", "lower", "zero"] | None


class Metric(Protocol):
    """A function of logits and targets that says which of its values are better."""

    __name__: str
    better: Better

    def __call__(self, logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
        """Compute the metric."""


F = TypeVar("F", bound=Callable[..., float])


def metric(*, better: Better) -> Callable[[F], F]:
    """Mark a function as a metric of this package.

    Args:
        better: which values are better: `higher`, `lower`, those near `zero` (a signed quantity), or None where
            the value describes a model without judging it.

    Returns:
        A decorator that leaves the function as it is and sets its `better`.
    """

    def mark(function: F) -> F:
        function.better = better  # type: ignore[attr-defined]
        return function

    return mark
