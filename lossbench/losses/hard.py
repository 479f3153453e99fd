"""A loss of the labels beside one of a teacher, in one pass over the logits where that is possible."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from lossbench.losses.cross_entropy import cross_entropy
from lossbench.losses.parts import sum_with_gradient
from lossbench.losses.targets import at_least_float32, parts_of_mean, with_any_label
from lossbench.signature import parameters

Soft = Callable[..., tuple[Tensor, Tensor]]  # a number per position and its derivative, for `sum_with_gradient`


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
        soft: called as `soft(z, weights, labels, shares, *inputs)` by `sum_with_gradient`; returns the second term of
            each position times its weight, and where there are labels the first, cross-entropy, times its share, too.
        weight: of the other one.
        logits: z, float [N, K] or [N, K, H, W].
        targets: what `hard` takes, of a shape that is checked already.
        ignore_index: positions with this class index are left out of the second term; `hard` has its own.
        inputs: what `soft` takes beside these; what is one for each position, as [N, 1] or [N, 1, H, W].

    Returns:
        Scalar.
    """
    student = at_least_float32(logits)
    weights = parts_of_mean(student, targets, ignore_index)
    if targets.is_floating_point() or not _is_plain(hard, ignore_index):
        return share * hard(logits, targets) + sum_with_gradient(soft, student, weight * weights, None, None, *inputs)
    of_labels = with_any_label(targets, ignore_index).unsqueeze(1), (share * weights).unsqueeze(1)
    return sum_with_gradient(soft, student, weight * weights, *of_labels, *inputs)


def _is_plain(hard: Callable[..., Tensor], ignore_index: int) -> bool:
    """Whether it is cross-entropy that ignores the same positions, and in which nothing else is set."""
    function, bound = (hard.func, hard.keywords) if isinstance(hard, functools.partial) else (hard, {})
    if function is not cross_entropy:
        return False
    defaults = {name: parameter.default for name, parameter in parameters(cross_entropy).items()}
    wanted = {**defaults, "ignore_index": ignore_index}
    return not any(isinstance(v, Tensor | list) or v != wanted[name] for name, v in {**defaults, **bound}.items())
