"""A loss of the labels beside one of a teacher, in one pass over the logits where that is possible."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from lossbench.losses.cross_entropy import cross_entropy
from lossbench.losses.parts import with_gradient
from lossbench.losses.targets import at_least_float32, mean_over_labelled, with_any_label
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
        soft: called as `soft(z, labels, share, weight, *inputs)` by `lossbench.losses.parts.with_gradient`; returns the
            second term of each position, and where there are labels the first, plain cross-entropy, with it.
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
        losses = with_gradient(soft, student, None, 0.0, weight, *inputs)
        return share * hard(logits, targets) + mean_over_labelled(losses, targets, ignore_index)
    labels = with_any_label(targets, ignore_index)
    losses = with_gradient(soft, student, labels, share, weight, *inputs)
    return mean_over_labelled(losses, targets, ignore_index)


def _is_plain(hard: Callable[..., Tensor], ignore_index: int) -> bool:
    """Whether it is cross-entropy that ignores the same positions, and in which nothing else is set."""
    function, bound = (hard.func, hard.keywords) if isinstance(hard, functools.partial) else (hard, {})
    if function is not cross_entropy:
        return False
    defaults = {name: parameter.default for name, parameter in parameters(cross_entropy).items()}
    wanted = {**defaults, "ignore_index": ignore_index}
    return not any(isinstance(v, Tensor | list) or v != wanted[name] for name, v in {**defaults, **bound}.items())
