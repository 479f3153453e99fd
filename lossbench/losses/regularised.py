"""Cross-entropy plus a penalty on confident or extreme outputs."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from lossbench.domains import NON_NEGATIVE, Interval
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.inplace import at_most, plus, plus_product, sign, times
from lossbench.losses.log_probs import log_probs
from lossbench.losses.powers import NATS
from lossbench.losses.softmax import Softmax, minus_targets
from lossbench.losses.targets import at_least_float32, at_target, mean_over_labelled, mean_with_gradient


@claim(shift_invariant=True, cross_entropy_at={"epsilon1": 0.0}, soft_targets=True, mean_of_examples=True)
def poly1(
    logits: Tensor,
    targets: Tensor,
    *,
    epsilon1: Annotated[float | Tensor, Interval(-1.0, math.inf, open_high=True)] = 1.0,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy whose first Taylor coefficient in 1 - p_y is raised by ε₁.

        loss_i = -log p_iy + ε₁ · (1 - p_iy)

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities t shaped like the logits, for
            which p_y is Σ_k t_k p_k.
        epsilon1: ε₁ ≥ -1, where the coefficient 1 + ε₁ stays non-negative; 0 is cross-entropy. The paper tunes it
            for each task.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Leng et al. 2022, "PolyLoss", eq. 6 and its appendix's code.
    """
    check_shapes(logits, targets)
    log_p = log_probs(at_least_float32(logits), targets, ignore_index)
    p = at_target(log_p.probs, targets, ignore_index) if targets.is_floating_point() else log_p.target.exp()
    return mean_over_labelled(epsilon1 * (1 - p) - log_p.target, targets, ignore_index, sample_weights)


@claim(shift_invariant=True, cross_entropy_at={"beta": 0.0}, soft_targets=True, mean_of_examples=True)
def confidence_penalty(
    logits: Tensor,
    targets: Tensor,
    *,
    beta: Annotated[float | Tensor, NON_NEGATIVE] = 0.1,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy minus the entropy of the prediction.

        loss_i = -log p_iy - β · H(p_i),   H(p) = -Σ_k p_k log p_k

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        beta: β ≥ 0; 0 is cross-entropy.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar, which is negative where β H exceeds the cross-entropy; 0 with zero gradient
        where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Pereyra et al. 2017, "Regularizing Neural Networks by Penalizing Confident Output Distributions", eq. 3.
    """
    check_shapes(logits, targets)
    logits = at_least_float32(logits)
    return mean_with_gradient(_less_entropy, logits, targets, ignore_index, sample_weights, beta)


def _less_entropy(logits: Tensor, weights: Tensor, targets: Tensor, beta: float | Tensor) -> tuple[Tensor, Tensor]:
    softmax = Softmax(logits)
    log_total = softmax.total.log()
    negative_entropy = NATS / softmax.total * (softmax.fall * softmax.powers).sum(1, keepdim=True) - log_total
    losses = beta * negative_entropy - softmax.log_probs_of(targets)
    # p (Σ t + β (log p - Σ p log p)), p and log p by what they are made of
    share = weights / softmax.total
    constant = share * (_sum(targets, softmax) - beta * (log_total + negative_entropy))
    derivative = times(torch.addcmul(constant, softmax.fall, beta * NATS * share), softmax.powers)
    return weights * losses, minus_targets(derivative, targets, weights)


@claim(shift_invariant=True, cross_entropy_at={"alpha": 0.0}, soft_targets=True, mean_of_examples=True)
def margin_smoothing(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: Annotated[float | Tensor, NON_NEGATIVE] = 0.1,
    margin: Annotated[float | Tensor, NON_NEGATIVE] = 10.0,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy plus a penalty on logits that lie further than a margin below the largest one (MbLS).

        loss_i = -log p_iy + α · 1/K Σ_k max(0, max_j z_ij - z_ik - m)

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        alpha: α ≥ 0; 0 is cross-entropy.
        margin: m ≥ 0; 0 penalises every distance, as label smoothing does.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Liu et al. 2022, "The Devil is in the Margin", eq. 8. The formula in the paper sums over k; its code
    averages, and the paper's α belongs to the average.
    """
    check_shapes(logits, targets)
    logits = at_least_float32(logits)
    return mean_with_gradient(_within_margin, logits, targets, ignore_index, sample_weights, alpha, margin)


def _within_margin(
    logits: Tensor, weights: Tensor, targets: Tensor, alpha: float | Tensor, margin: float | Tensor
) -> tuple[Tensor, Tensor]:
    softmax, share = Softmax(logits), weights * alpha / logits.shape[1]
    log_p = softmax.log_probs_of(targets)
    beyond = at_most(plus(softmax.fall, margin / NATS), 0.0)  # by how many units below the margin, negative
    losses = -share * NATS * beyond.sum(1, keepdim=True) - weights * log_p
    is_beyond = sign(beyond)  # -1 where it is
    is_largest = softmax.is_largest()
    by_largest = -share * is_beyond.sum(1, keepdim=True) / is_largest.sum(1, keepdim=True)  # equal ones share it
    derivative = plus_product(softmax.less_targets(targets, weights), is_largest, by_largest)
    return losses, plus_product(derivative, is_beyond, share)


@claim(shift_invariant=True, cross_entropy_at={"alpha": 0.0}, soft_targets=True, mean_of_examples=True)
def max_suppression(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: Annotated[float | Tensor, NON_NEGATIVE] = 0.1,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy plus a penalty on the largest logit, whether or not it is the target's (MaxSup).

        loss_i = -log p_iy + α · (max_k z_ik - 1/K Σ_k z_ik)

    With z_iy in the place of the maximum it is label smoothing at ε = α.

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        alpha: α ≥ 0; 0 is cross-entropy.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Zhou et al. 2025, "MaxSup". Its code raises α linearly from 0.1 to 0.2 over the epochs; here it is constant.
    """
    check_shapes(logits, targets)
    logits = at_least_float32(logits)
    return mean_with_gradient(_below_largest, logits, targets, ignore_index, sample_weights, alpha)


def _below_largest(logits: Tensor, weights: Tensor, targets: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
    softmax, share = Softmax(logits), weights * alpha
    # Not by `fall`, which is not infinite where a class is masked.
    losses = share * (softmax.largest - logits).mean(1, keepdim=True) - weights * softmax.log_probs_of(targets)
    is_largest = softmax.is_largest()
    by_largest = share / is_largest.sum(1, keepdim=True)  # equal ones share it
    derivative = plus(softmax.less_targets(targets, weights), -share / logits.shape[1])
    return losses, plus_product(derivative, is_largest, by_largest)


def _sum(targets: Tensor, softmax: Softmax) -> Tensor:
    """Return Σ_k t_k, by which p counts in the derivative of -Σ_k t_k log p_k."""
    return targets.sum(1, keepdim=True) if targets.is_floating_point() else torch.ones_like(softmax.total)
