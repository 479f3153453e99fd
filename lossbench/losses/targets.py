"""Which positions carry a label, what the label is as probabilities, and the mean over what counts.

A position is an example, or a pixel of one.
"""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(logits: Tensor) -> Tensor:
    """Lift half-precision logits to float32; others come back as they are.

    Under bf16 autocast the model hands over bf16 logits, whose 8 bits would round each loss to 3 digits.
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def is_labelled(targets: Tensor, ignore_index: int) -> Tensor:
    """Say which positions are not ignored.

    Args:
        targets: class indices, int64 [N] or [N, H, W], or probabilities [N, K] or [N, K, H, W], of which
            none is ignored.
        ignore_index: the index that marks a position to leave out.

    Returns:
        bool [N] or [N, H, W].
    """
    if targets.is_floating_point():
        return torch.ones_like(targets[:, 0], dtype=torch.bool)
    return targets != ignore_index


def as_probabilities(targets: Tensor, probs: Tensor, ignore_index: int) -> Tensor:
    """Write the targets as probabilities; an ignored position is zero in every class.

    Args:
        targets: class indices, int64 [N] or [N, H, W], or probabilities shaped like `probs`.
        probs: [N, K] or [N, K, H, W]; gives shape, device and dtype.
        ignore_index: the index that marks a position to leave out.

    Returns:
        [N, K] or [N, K, H, W].
    """
    if targets.is_floating_point():
        return targets.to(probs)
    labelled = is_labelled(targets, ignore_index)
    indices = targets.where(labelled, 0)  # any valid index will do: what is written there is zero
    return torch.zeros_like(probs).scatter(1, indices.unsqueeze(1), labelled.to(probs.dtype).unsqueeze(1))


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Average the values by their weights; 0, with zero gradient, where the weights sum to zero.

    Args:
        values: finite, any shape.
        weights: shaped like the values, ≥ 0.

    Returns:
        Scalar.
    """
    total = weights.sum()
    return (weights * values).sum() / total.where(total > 0, 1.0)
