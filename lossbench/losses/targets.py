"""Which positions carry a label, what the label is as probabilities, and the mean over what counts.

A position is an example, or a pixel of one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lossbench.losses.checks import per_position
from lossbench.losses.parts import in_parts, sum_with_gradient, surely


def at_least_float32(logits: Tensor) -> Tensor:
    """Lift half-precision logits to float32; others come back as they are.

    Under bf16 autocast the model hands over bf16 logits, whose 8 bits would round each loss to 3 digits.
    """
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


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


def with_any_label(targets: Tensor, ignore_index: int) -> Tensor:
    """Give ignored positions a class, so that something can be computed there, which is to weigh nothing.

    Args:
        targets: class indices, int64 [N] or [N, H, W], or probabilities, which come back as they are.
        ignore_index: the index that marks a position to leave out.
    """
    return targets if targets.is_floating_point() else targets.where(is_labelled(targets, ignore_index), 0)


def weights_or_labels(targets: Tensor, logits: Tensor, ignore_index: int) -> Tensor:
    """Return what a loss that takes both reads of the targets.

    Args:
        targets: class indices, int64 [N] or [N, H, W], or probabilities [N, K] or [N, K, H, W].
        logits: gives the type of probabilities.
        ignore_index: the index that marks a position to leave out.

    Returns:
        Labels, any where there is none, int64 [N, 1] or [N, 1, H, W]; probabilities of the logits' type.
    """
    return targets.to(logits) if targets.is_floating_point() else with_any_label(targets, ignore_index).unsqueeze(1)


def where_labelled(targets: Tensor, num_classes: int, ignore_index: int) -> Tensor | None:
    """Return `is_labelled`, or None where every position is known to have one of the K labels.

    That is known of probabilities, and of class indices where `surely` knows.

    Args:
        targets: class indices, int64 [N] or [N, H, W], or probabilities [N, K] or [N, K, H, W].
        num_classes: K.
        ignore_index: the index that marks a position to leave out.
    """
    if targets.is_floating_point():
        return None
    if targets.device.type == "cpu" and targets.numel() and not 0 <= ignore_index < num_classes:
        low, high = targets.aminmax()
        if surely((low >= 0) & (high < num_classes)):
            return None
    return is_labelled(targets, ignore_index)


def as_probabilities(targets: Tensor, probs: Tensor, labelled: Tensor | None) -> Tensor:
    """Write the targets as probabilities; an ignored position is zero in every class.

    Args:
        targets: class indices, int64 [N] or [N, H, W], or probabilities shaped like `probs`.
        probs: [N, K] or [N, K, H, W]; gives shape, device and dtype.
        labelled: which positions are not ignored, bool [N] or [N, H, W]; None from `where_labelled`.

    Returns:
        [N, K] or [N, K, H, W].
    """
    if targets.is_floating_point():
        return targets.to(probs)
    if labelled is None:
        classes = torch.arange(probs.shape[1], dtype=probs.dtype).reshape(-1, *(1 for _ in probs.shape[2:]))
        # Into numbers at once: as booleans, and then as numbers, it takes ten times as long. Not `empty_like`, which
        # under vmap would be a tensor for each model.
        goal = torch.empty_strided(probs.shape, probs.stride(), dtype=probs.dtype)
        return torch.eq(targets.to(probs.dtype).unsqueeze(1), classes, out=goal)
    indices = targets.where(labelled, 0)  # any valid index will do: what is written there is zero
    return torch.zeros_like(probs).scatter(1, indices.unsqueeze(1), labelled.to(probs.dtype).unsqueeze(1))


def at_target(values: Tensor, targets: Tensor, ignore_index: int) -> Tensor:
    """Take each position's value of its target class, or the expectation over targets that are probabilities.

    Args:
        values: one per class, [N, K] or [N, K, H, W].
        targets: class indices, int64 [N] or [N, H, W], or probabilities shaped like the values.
        ignore_index: the index that marks a position to leave out; what is taken there is any class's value.

    Returns:
        [N] or [N, H, W].
    """
    if targets.is_floating_point():
        return (targets.to(values) * values).sum(1)
    indices = with_any_label(targets, ignore_index)
    return values.gather(1, indices.unsqueeze(1)).squeeze(1)


def subtract_target(values: Tensor, targets: Tensor, ignore_index: int, amount: float | Tensor = 1.0) -> Tensor:
    """Return values - amount · t, t the target as probabilities, without writing out t where it is an index.

    Args:
        values: one per class, [N, K] or [N, K, H, W].
        targets: class indices, int64 [N] or [N, H, W], or probabilities shaped like the values.
        ignore_index: the index that marks a position to leave out; an amount is subtracted from any class there.
        amount: a number or scalar tensor, or one for each position, [N] or [N, H, W].

    Returns:
        Shaped like the values.
    """
    amount = torch.as_tensor(amount, dtype=values.dtype, device=values.device)
    if targets.is_floating_point():
        return values - amount * targets.to(values)
    indices = with_any_label(targets, ignore_index)
    return values.scatter_add(1, indices.unsqueeze(1), -amount.expand_as(indices).unsqueeze(1))


def sum_of_squares(values: Tensor) -> Tensor:
    """Sum the squares over the classes; forward and backward are one pass over memory each.

    Args:
        values: [N, K] or [N, K, H, W].

    Returns:
        [N] or [N, H, W].
    """
    squares: Tensor = _SumOfSquares.apply(values)
    return squares


class _SumOfSquares(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(values, dim=1)
        return norm.square()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        values: Tensor = ctx.saved_tensors[0]
        return values * (2 * gradient).unsqueeze(1)


def expected_loss(loss_of: Callable[[Tensor], Tensor], log_probs: Tensor, targets: Tensor, ignore_index: int) -> Tensor:
    """Compute a loss that depends on the value of the target's class alone, mostly on log p_y.

    Of soft targets t it is the expectation Σ_k t_k loss_of(log p_k).
    That is what mixup minimises when it adds the losses of two labels. Class indices need the loss of one
    class, not of K.

    Args:
        loss_of: elementwise function of log-probabilities, finite for all of them.
        log_probs: [N, K] or [N, K, H, W].
        targets: class indices, int64 [N] or [N, H, W], or probabilities shaped like the log-probabilities.
        ignore_index: the index that marks a position to leave out.

    Returns:
        [N] or [N, H, W].
    """
    if targets.is_floating_point():
        return at_target(loss_of(log_probs), targets, ignore_index)
    return loss_of(at_target(log_probs, targets, ignore_index))


def mean_over_labelled(
    losses: Tensor,
    targets: Tensor,
    ignore_index: int,
    sample_weights: Tensor | None = None,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Average the losses of the positions that are not ignored, Σ w s loss / Σ w s.

    Args:
        losses: finite, [N] or [N, H, W].
        targets: class indices, int64 [N] or [N, H, W], or probabilities, of which none is ignored.
        ignore_index: the index that marks a position to leave out.
        sample_weights: s ≥ 0, [N] or shaped like the losses; None is all 1.
        class_weights: w ≥ 0 of each position's target, shaped like the losses; None is all 1.

    Returns:
        Scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if the sample weights have another shape.
    """
    weights = _position_weights(losses, targets, ignore_index, sample_weights, class_weights)
    return weighted_mean(losses, weights)


def parts_of_mean(logits: Tensor, targets: Tensor, ignore_index: int, sample_weights: Tensor | None = None) -> Tensor:
    """Return what `mean_over_labelled` multiplies each position's loss by before it adds them up.

    Args:
        logits: [N, K] or [N, K, H, W]; gives the dtype.
        targets: class indices, int64 [N] or [N, H, W], or probabilities, of which none is ignored.
        ignore_index: the index that marks a position to leave out.
        sample_weights: s ≥ 0, [N] or one for each position; None is all 1.

    Returns:
        [N] or [N, H, W]; they sum to 1, or are all 0.

    Raises:
        ShapeError: if the sample weights have another shape.
    """
    return normalised(_position_weights(logits[:, 0], targets, ignore_index, sample_weights))


def normalised(weights: Tensor) -> Tensor:
    """Return the weights over their sum; where it is zero, as they are."""
    total = weights.sum()
    return weights / total.where(total > 0, 1.0)


def _position_weights(
    like: Tensor,
    targets: Tensor,
    ignore_index: int,
    sample_weights: Tensor | None,
    class_weights: Tensor | None = None,
) -> Tensor:
    weights = is_labelled(targets, ignore_index).to(like.dtype)
    if class_weights is not None:
        weights = weights * class_weights
    if sample_weights is not None:
        weights = weights * per_position(sample_weights, like)
    return weights


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


def mean_with_gradient(
    compute: Callable[..., tuple[Tensor, Tensor]],
    logits: Tensor,
    targets: Tensor,
    ignore_index: int,
    sample_weights: Tensor | None,
    *inputs: Any,
) -> Tensor:
    """Return the weighted mean over the positions of a loss that computes its derivative along with it, in parts.

    Args:
        compute: called as `compute(logits, weights, goal, *inputs)` with some positions at a time, as
            `lossbench.losses.parts.sum_with_gradient` says; the goal is what `weights_or_labels` returns.
        logits: float32 or wider, [N, K] or [N, K, H, W].
        targets: class indices, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        ignore_index: the index that marks a position to leave out.
        sample_weights: [N] or [N, H, W]; None is all 1.
        inputs: what else it takes.

    Returns:
        Scalar; 0 with zero gradient where all is ignored or weighs nothing.
    """
    weights = parts_of_mean(logits, targets, ignore_index, sample_weights)
    goal = weights_or_labels(targets, logits, ignore_index)
    return sum_with_gradient(partial(in_parts, compute), logits, weights, goal, *inputs)
