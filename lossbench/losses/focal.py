"""Focal losses: cross-entropy with easy examples weighed down."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import NON_NEGATIVE, UNIT
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.cross_entropy import weights_of_targets
from lossbench.losses.inplace import add_at, equal, plus_product, times
from lossbench.losses.softmax import Softmax
from lossbench.losses.targets import at_least_float32, expected_loss, mean_over_labelled, mean_with_gradient


@claim(shift_invariant=True, cross_entropy_at={"gamma": 0.0}, soft_targets=True, mean_of_examples=True)
def focal(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: Annotated[float | Tensor, NON_NEGATIVE] = 2.0,
    class_weights: Tensor | list[float] | Literal["inverse", "effective"] | None = None,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy with easy examples weighed down.

        loss_i = -(1 - p_iy)^γ · log p_iy
        loss   = Σ_i w_y s_i loss_i / Σ_i w_y s_i

    The weights normalise, as in `cross_entropy`. Detection code divides by the number of examples, or of anchors
    with an object, instead, so that there α = 1/4 also makes the learning rate smaller.

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits, over which
            the loss is averaged.
        gamma: γ ≥ 0; 0 is cross-entropy. Mukhoti et al. 2020 use 3 for calibration.
        class_weights: w, K numbers ≥ 0, the paper's α; None is all 1. The config's names `inverse` and `effective`
            are resolved by `lossbench.losses.weights.class_weights` before the loss is called.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree, or `class_weights` has not K entries.
        ConfigError: if a name reaches the function unresolved.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 4 and 5.
    """
    check_shapes(logits, targets)
    log_p_all = F.log_softmax(at_least_float32(logits), dim=1)
    losses = expected_loss(lambda log_p: -(_remainder(log_p) ** gamma) * log_p, log_p_all, targets, ignore_index)
    weights = None if class_weights is None else weights_of_targets(class_weights, log_p_all, targets, ignore_index)
    return mean_over_labelled(losses, targets, ignore_index, sample_weights, weights)


@claim(
    shift_invariant=True, cross_entropy_at={"gamma": 0.0, "gamma_hard": 0.0}, soft_targets=True, mean_of_examples=True
)
def flsd(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: Annotated[float | Tensor, NON_NEGATIVE] = 3.0,
    gamma_hard: Annotated[float | Tensor, NON_NEGATIVE] = 5.0,
    threshold: Annotated[float | Tensor, UNIT] = 0.2,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Focal loss with a sample-dependent exponent.

        loss_i = -(1 - p_iy)^γ_i · log p_iy,   γ_i = γ_hard where p_iy < θ, else γ

    The loss jumps by a factor (1 - θ)^(γ_hard - γ) at p_y = θ; its gradient is that of the branch.

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits, over which
            the loss is averaged.
        gamma: γ ≥ 0.
        gamma_hard: γ_hard ≥ 0, of hard examples.
        threshold: θ in [0, 1].
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Mukhoti et al. 2020, "Calibrating Deep Neural Networks using Focal Loss", FLSD-53.
    """
    check_shapes(logits, targets)

    def loss_of(log_p: Tensor) -> Tensor:
        is_hard = (log_p.exp() < threshold).to(log_p.dtype)
        return -(_remainder(log_p) ** (gamma + (gamma_hard - gamma) * is_hard)) * log_p

    losses = expected_loss(loss_of, F.log_softmax(at_least_float32(logits), dim=1), targets, ignore_index)
    return mean_over_labelled(losses, targets, ignore_index, sample_weights)


@claim(shift_invariant=True, cross_entropy_at={"gamma": 0.0}, mean_of_examples=True)
def dual_focal(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: Annotated[float | Tensor, NON_NEGATIVE] = 5.0,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Focal loss that also looks at the runner-up.

        loss_i = -(1 - p_iy + p_ij)^γ · log p_iy,   p_ij = max {p_ik : p_ik < p_iy}, or 0 where there is none

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W].
        gamma: γ ≥ 0; 0 is cross-entropy.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree, or the targets are probabilities.

    Source: Tao et al. 2023, "Dual Focal Loss for Calibration", eq. 8; γ from its Table 13.
    """
    check_shapes(logits, targets, soft=False)
    logits = at_least_float32(logits)
    return mean_with_gradient(_dual_focal, logits, targets, ignore_index, sample_weights, gamma)


def _dual_focal(logits: Tensor, weights: Tensor, labels: Tensor, gamma: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of each position times its weight, and its derivative by z; runners-up that tie share theirs."""
    softmax, label = Softmax(logits), logits.gather(1, labels)
    log_p = softmax.log_probs_of(labels)
    # The threshold, not torch.where, whose comparison takes ten times as long.
    leads = F.threshold(label - logits, 0.0, torch.inf, inplace=not torch.is_grad_enabled())
    lead = leads.amin(1, keepdim=True)
    p, p_below = log_p.exp(), (log_p - lead).exp()
    rest = _remainder(log_p) + p_below
    power = rest**gamma
    # By rest, log p_y and log p_j; log p_k moves with z_j as [j = k] - p_j.
    by_rest = -gamma * rest ** (gamma - 1) * log_p
    by_label = -power - by_rest * p * (1 - p > torch.finfo(p.dtype).eps)
    by_below = by_rest * p_below
    is_below = equal(leads, lead)
    derivative = times(softmax.powers, -weights * (by_label + by_below) / softmax.total)
    derivative = plus_product(derivative, is_below, weights * by_below / is_below.sum(1, keepdim=True))
    return -weights * power * log_p, add_at(derivative, labels, weights * by_label)


def _remainder(log_p: Tensor) -> Tensor:
    """Return 1 - p, at least the machine epsilon: at 0 the gradient of (1 - p)^γ is infinite for γ < 1."""
    return (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).eps)
