"""Losses that a wrong label moves less than it moves cross-entropy."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import NON_NEGATIVE, SHARE, UNIT, Interval
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.link import link
from lossbench.losses.parts import sum_with_gradient
from lossbench.losses.targets import (
    at_least_float32,
    at_target,
    expected_loss,
    mean_over_labelled,
    parts_of_mean,
    with_any_label,
)
from lossbench.losses.tempered import limit_at_zero, tempered_divergence, tempered_log, tempered_log_softmax


@claim(shift_invariant=True, cross_entropy_at={"q": 0.0}, soft_targets=True, mean_of_examples=True)
def generalized_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    q: Annotated[float | Tensor, UNIT] = 0.7,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Between cross-entropy and the mean absolute error.

        loss_i = (1 - p_iy^q) / q

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits, over which
            the loss is averaged.
        q: in [0, 1]; 0 is the limit, cross-entropy, and 1 is 1 - p_y, half the mean absolute error.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss, at most 1/q, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Zhang and Sabuncu 2018, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels", eq. 6.
    """
    check_shapes(logits, targets)
    log_probs = F.log_softmax(at_least_float32(logits), dim=1)
    q = limit_at_zero(q, log_probs)
    losses = expected_loss(lambda log_p: -tempered_log(log_p, q), log_probs, targets, ignore_index)
    return mean_over_labelled(losses, targets, ignore_index, sample_weights)


@claim(shift_invariant=True, cross_entropy_at={"alpha": 1.0, "beta": 0.0}, soft_targets=True, mean_of_examples=True)
def symmetric_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: Annotated[float | Tensor, NON_NEGATIVE] = 0.1,
    beta: Annotated[float | Tensor, NON_NEGATIVE] = 1.0,
    floor: Annotated[float | Tensor, SHARE] = 1e-4,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy plus cross-entropy the other way round.

        loss_i = α · H(t_i, p_i) + β · H(p_i, t_i) = -α Σ_k t_ik log p_ik - β Σ_k p_ik log max(t_ik, f)

    For a class index the second term is β · log(1/f) · (1 - p_iy).

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities t shaped like the logits.
        alpha: α ≥ 0; the authors' code has 0.1 for CIFAR-10 and 6 for CIFAR-100.
        beta: β ≥ 0; 1 and 0.1 there.
        floor: f in (0, 1], what stands for a probability of 0 in log 0: 1e-4 in the authors' code. The paper's text
            has log 0 = -4, which is f = e⁻⁴.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Wang et al. 2019, "Symmetric Cross Entropy for Robust Learning with Noisy Labels", eq. 7.
    """
    check_shapes(logits, targets)
    log_probs = F.log_softmax(at_least_float32(logits), dim=1)
    log_p = at_target(log_probs, targets, ignore_index)
    floor = torch.as_tensor(floor, dtype=log_p.dtype, device=log_p.device)
    if targets.is_floating_point():
        reverse = -(log_probs.exp() * torch.maximum(targets.to(log_probs), floor).log()).sum(1)
    else:
        reverse = -floor.log() * (1 - log_p.exp())
    return mean_over_labelled(beta * reverse - alpha * log_p, targets, ignore_index, sample_weights)


@link("tempered_softmax")
@claim(shift_invariant=True, cross_entropy_at={"t1": 1.0, "t2": 1.0}, soft_targets=True, mean_of_examples=True)
def bi_tempered(
    logits: Tensor,
    targets: Tensor,
    *,
    t1: Annotated[float | Tensor, UNIT] = 0.8,
    t2: Annotated[float | Tensor, Interval(1.0, 4.0)] = 1.2,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """A bounded logarithm of a softmax with a heavy tail.

        log_t x = (x^(1-t) - 1) / (1 - t),   exp_t its inverse
        p_i     = exp_t2(z_i - λ_i) with λ_i such that Σ_k p_ik = 1
        loss_i  = Σ_k [t_ik (log_t1 t_ik - log_t1 p_ik) - (t_ik^(2-t1) - p_ik^(2-t1)) / (2 - t1)]

    It is a Bregman divergence of t from p, least where p = t: these p are the model's probabilities, and it is
    evaluated through them, `lossbench.links.tempered_softmax`. The class with the largest logit stays the same.

    Args:
        logits: activations z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities t shaped like the logits.
        t1: in [0, 1]; below 1 the loss of an example is at most 1 / (1 - t1).
        t2: in [1, 4]; above 1 the tail of p is that of a power. t1 = t2 = 1 is cross-entropy. λ reaches K^(t2-1), which
            beyond 4 float32 could not hold for many classes.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Amid et al. 2019, "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences", eq. 7.
    """
    check_shapes(logits, targets)
    logits = at_least_float32(logits)
    if targets.is_floating_point():
        losses = _divergence_from_soft(tempered_log_softmax(logits, t2), targets.to(logits), t1)
        return mean_over_labelled(losses, targets, ignore_index, sample_weights)
    weights = parts_of_mean(logits, targets, ignore_index, sample_weights)
    labels = with_any_label(targets, ignore_index).unsqueeze(1)
    return sum_with_gradient(tempered_divergence, logits, weights, labels, t1, t2)


def _divergence_from_soft(log_probs: Tensor, goal: Tensor, t1: float | Tensor) -> Tensor:
    r = limit_at_zero(1 - t1, log_probs)
    log_goal = goal.clamp(min=torch.finfo(goal.dtype).tiny).log()  # times 0 where that matters
    entropy_term = goal * (tempered_log(log_goal, r) - tempered_log(log_probs, r))
    return (entropy_term - (goal ** (1 + r) - ((1 + r) * log_probs).exp()) / (1 + r)).sum(1)
