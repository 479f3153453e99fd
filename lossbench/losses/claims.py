"""What a loss says of itself, so that `lossbench check` can hold it to that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

Loss = TypeVar("Loss", bound=Callable[..., Any])  # a function, or a module's class


@dataclass(frozen=True)
class Claims:
    """The properties that not every loss has. What is not claimed is not checked.

    Attributes:
        shift_invariant: a constant added to all logits of an example changes nothing.
        cross_entropy_at: values of hyperparameters at which the loss is plain cross-entropy; empty for none.
        soft_targets: targets may be probabilities shaped like the logits.
        mean_of_examples: the loss of a batch is the mean of what its examples give alone.
    """

    shift_invariant: bool = False
    cross_entropy_at: Mapping[str, float] = field(default_factory=dict)
    soft_targets: bool = False
    mean_of_examples: bool = False


def claim(
    *,
    shift_invariant: bool = False,
    cross_entropy_at: Mapping[str, float] | None = None,
    soft_targets: bool = False,
    mean_of_examples: bool = False,
) -> Callable[[Loss], Loss]:
    """Attach claims to a loss as its attribute `claims`.

    Returns:
        A decorator that marks the loss and returns it unchanged.
    """

    def mark(loss: Loss) -> Loss:
        loss.claims = Claims(shift_invariant, cross_entropy_at or {}, soft_targets, mean_of_examples)  # type: ignore[attr-defined]
        return loss

    return mark
