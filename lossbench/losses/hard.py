"""A loss of the labels beside one of a teacher, in one pass over the logits where that is possible."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lossbench.losses.cross_entropy import cross_entropy
from lossbench.losses.divergence import below_largest, softmax_below
from lossbench.losses.parts import with_gradient
from lossbench.losses.targets import at_least_float32, is_labelled, mean_over_labelled
from lossbench.signature import parameters

Soft = Callable[..., tuple[Tensor, Tensor]]  # a number per position and its derivative, for `with_gradient`


def beside_hard(
    hard: Callable[..., Tensor],
    share: float | Tensor,
    soft: Soft,
    weight: float | Tensor,
    logits: Tensor,
    targets: Tensor,
    ignore_index: int,
    *inputs: Any,
) -> Tensor:
    """Return share · hard(z, y) + weight · mean_i soft(z, …)_i.

    Args:
        hard: any loss of the labels. Cross-entropy of class indices, with nothing set, is computed along with `soft`.
        share: of the labels' loss.
        soft: called as `soft(z, *inputs)`, as `lossbench.losses.parts.with_gradient` calls it.
        weight: of the other one.
        logits: z, float [N, K] or [N, K, H, W].
        targets: what `hard` takes, of a shape that is checked already.
        ignore_index: positions with this class index are left out of the second term; `hard` has its own.
        inputs: what `soft` takes beside the logits.

    Returns:
        Scalar.
    """
    student = at_least_float32(logits)
    if targets.is_floating_point() or not _is_plain(hard, ignore_index):
        losses = with_gradient(soft, student, *inputs)
        return share * hard(logits, targets) + weight * mean_over_labelled(losses, targets, ignore_index)
    labels = targets.where(is_labelled(targets, ignore_index), 0)
    losses = with_gradient(_both, student, labels, share, soft, weight, *inputs)
    return mean_over_labelled(losses, targets, ignore_index)


def _is_plain(hard: Callable[..., Tensor], ignore_index: int) -> bool:
    """Whether it is cross-entropy that ignores the same positions, and in which nothing else is set."""
    function, bound = (hard.func, hard.keywords) if isinstance(hard, functools.partial) else (hard, {})
    if function is not cross_entropy:
        return False
    defaults = {name: parameter.default for name, parameter in parameters(cross_entropy).items()}
    wanted = {**defaults, "ignore_index": ignore_index}
    return not any(isinstance(v, Tensor | list) or v != wanted[name] for name, v in {**defaults, **bound}.items())


def _both(
    logits: Tensor, labels: Tensor, share: float | Tensor, soft: Soft, weight: float | Tensor, *inputs: Any
) -> tuple[Tensor, Tensor]:
    losses, slopes = soft(logits, *inputs)
    labels = labels.unsqueeze(1)
    fall = below_largest(logits)
    probs, log_sum = softmax_below(fall)
    of_labels = log_sum - fall.gather(1, labels).squeeze(1)
    weighted = slopes * weight
    # A number is multiplied along with the addition; a tensor, of which there may be many under vmap, is not.
    by_logits = weighted + probs * share if isinstance(share, Tensor) else torch.add(weighted, probs, alpha=share)
    taken = -share * torch.ones_like(labels, dtype=by_logits.dtype)
    return share * of_labels + weight * losses, by_logits.scatter_add_(1, labels, taken)
