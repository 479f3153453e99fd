"""Squared errors, of probabilities and of logits."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import POSITIVE
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.targets import (
    at_least_float32,
    expected_loss,
    mean_over_labelled,
    subtract_target,
    sum_of_squares,
)


@claim(shift_invariant=True, soft_targets=True, mean_of_examples=True)
def brier(logits: Tensor, targets: Tensor, *, sample_weights: Tensor | None = None, ignore_index: int = -100) -> Tensor:
    """Squared distance of the prediction from the target, summed over the classes.

        loss_i = Σ_k (p_ik - t_ik)²

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities t shaped like the logits.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean in [0, 2], without unit, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Brier 1950, "Verification of Forecasts Expressed in Terms of Probability".
    """
    check_shapes(logits, targets)
    probs = F.softmax(at_least_float32(logits), dim=1)
    losses = sum_of_squares(subtract_target(probs, targets, ignore_index))
    return mean_over_labelled(losses, targets, ignore_index, sample_weights)


@claim(soft_targets=True, mean_of_examples=True)
def squared_error(
    logits: Tensor,
    targets: Tensor,
    *,
    target_weight: Annotated[float | Tensor, POSITIVE] = 1.0,
    target_value: Annotated[float | Tensor, POSITIVE] = 1.0,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Squared distance of the logits from the rescaled one-hot target, averaged over the classes.

        loss_i = 1/K Σ_k c_ik (z_ik - M t_ik)²,   c_ik = 1 + (c - 1) t_ik

    so that the target's class weighs c and is to reach M, and the others weigh 1 and are to reach 0. There is no
    softmax in training; it is how the model is evaluated all the same, and at M = 1 a perfect fit still gives
    p_y = e / (e + K - 1), far from 1: read the temperature-scaled metrics.

    Args:
        logits: outputs z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities t shaped like the logits.
        target_weight: c > 0, the paper's k; its choice is 1 up to 42 classes and, with M = 30, 15 for ImageNet.
        target_value: M > 0.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean, in squared logits, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Hui and Belkin 2021, "Evaluation of Neural Architectures Trained with Square Loss vs Cross-Entropy",
    section 2.
    """
    check_shapes(logits, targets)
    logits = at_least_float32(logits)
    residuals = subtract_target(logits, targets, ignore_index, target_value)
    of_target = expected_loss(torch.square, residuals, targets, ignore_index)
    losses = (sum_of_squares(residuals) + (target_weight - 1) * of_target) / logits.shape[1]
    return mean_over_labelled(losses, targets, ignore_index, sample_weights)
