"""How much of each class is predicted, how much is there, and how much of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lossbench.losses.targets import as_probabilities, where_labelled


@dataclass(frozen=True)
class Regions:
    """Soft sizes of the classes, in positions; [K] over the batch, [N, K] over examples."""

    overlap: Tensor  # Σ p g, the true positives
    predicted: Tensor  # Σ p
    actual: Tensor  # Σ g
    counted: Tensor  # 1 for a class that is averaged over, else 0
    labelled: Tensor | None  # which positions count, from `where_labelled`


def regions(
    probs: Tensor,
    targets: Tensor,
    over: Literal["batch", "example"],
    include_absent: bool,
    ignore_index: int,
    *,
    squared: bool = False,
) -> Regions:
    """Sum predictions and targets over the positions of the batch, or of each example.

    Args:
        probs: p, float [N, K] or [N, K, H, W].
        targets: class indices, int64 [N] or [N, H, W], or probabilities g shaped like p.
        over: the scope of the sums.
        include_absent: count a class without a target too, where any position of the scope is labelled.
        ignore_index: positions with this class index are left out of every sum. Probabilities are never ignored.
        squared: Σ p² and Σ g² as the sizes predicted and actual.
    """
    num_pixels = math.prod(probs.shape[2:])
    labelled = where_labelled(targets, probs.shape[1], ignore_index)
    goal = as_probabilities(targets, probs, labelled).reshape(*probs.shape[:2], num_pixels)
    probs = probs.reshape(*probs.shape[:2], num_pixels)
    scope = (0, 2) if over == "batch" else (2,)
    overlap, actual = (probs * goal).sum(scope), goal.sum(scope)
    some = actual.sum(-1, keepdim=True).expand_as(actual) if include_absent else actual
    counted = (some > 0).to(probs.dtype)
    if squared:
        probs, actual = probs.square(), goal.square().sum(scope)
    if labelled is not None:
        probs = probs * labelled.to(probs.dtype).reshape(len(probs), 1, num_pixels)
    return Regions(overlap, probs.sum(scope), actual, counted, labelled)
