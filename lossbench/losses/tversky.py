"""Tversky losses: overlap with false positives and false negatives at different prices."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import NON_NEGATIVE, POSITIVE
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.regions import regions
from lossbench.losses.targets import at_least_float32, weighted_mean


@claim(shift_invariant=True, soft_targets=True)
def tversky(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: Annotated[float | Tensor, NON_NEGATIVE] = 0.3,
    beta: Annotated[float | Tensor, NON_NEGATIVE] = 0.7,
    over: Literal["batch", "example"] = "batch",
    smooth: Annotated[float | Tensor, POSITIVE] = 1e-5,
    include_absent: bool = False,
    ignore_index: int = -100,
) -> Tensor:
    """One minus the Tversky index, averaged over classes.

        tversky_k = 1 - (TP_k + s) / (TP_k + α FP_k + β FN_k + s)
        TP = Σ p g,   FP = Σ p (1 - g),   FN = Σ (1 - p) g

    β > α makes a missed pixel cost more than one too many. α = β = ½ is `dice` with twice the s, α = β = 1 the Jaccard
    loss.

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities g shaped like the logits.
        alpha: α ≥ 0, the price of a false positive.
        beta: β ≥ 0, the price of a false negative.
        over: as in `dice`.
        smooth: s > 0, keeps the quotient defined.
        include_absent: average over classes without a target too, where any position of the scope is labelled.
        ignore_index: positions with this class index are left out of every sum. Probabilities are never ignored.

    Returns:
        Mean over classes in [0, 1], without unit, scalar; 0 with zero gradient where all is ignored.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Salehi et al. 2017, "Tversky loss function for image segmentation using 3D fully convolutional deep
    networks", eq. 4; its best α and β.
    """
    losses, counted = _by_class(logits, targets, alpha, beta, over, smooth, include_absent, ignore_index)
    return weighted_mean(losses, counted)


@claim(shift_invariant=True, soft_targets=True)
def focal_tversky(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: Annotated[float | Tensor, POSITIVE] = 0.75,
    alpha: Annotated[float | Tensor, NON_NEGATIVE] = 0.3,
    beta: Annotated[float | Tensor, NON_NEGATIVE] = 0.7,
    over: Literal["batch", "example"] = "batch",
    smooth: Annotated[float | Tensor, POSITIVE] = 1e-5,
    include_absent: bool = False,
    ignore_index: int = -100,
) -> Tensor:
    """A power of each class's Tversky loss, averaged over classes.

        loss = mean_k tversky_k^γ

    Below 1, γ raises the gradient of classes that are nearly right. The paper writes the exponent 1/γ with γ = 4/3 and
    calls the price of a false negative α; its code has the exponent 0.75.

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities g shaped like the logits.
        gamma: γ > 0; 1 is `tversky`.
        alpha: α ≥ 0, the price of a false positive.
        beta: β ≥ 0, the price of a false negative.
        over: as in `dice`.
        smooth: s > 0, keeps the quotient defined.
        include_absent: average over classes without a target too, where any position of the scope is labelled.
        ignore_index: positions with this class index are left out of every sum. Probabilities are never ignored.

    Returns:
        Mean over classes in [0, 1], without unit, scalar; 0 with zero gradient where all is ignored.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Abraham and Khan 2019, "A Novel Focal Tversky Loss Function with Improved Attention U-Net", eq. 4.
    """
    losses, counted = _by_class(logits, targets, alpha, beta, over, smooth, include_absent, ignore_index)
    # At 0 the gradient of a power below 1 is infinite, and rounding can go below 0: nothing is left to learn there.
    is_zero = losses <= 0  # which nan is not
    return weighted_mean((losses.masked_fill(is_zero, 1.0) ** gamma).masked_fill(is_zero, 0.0), counted)


def _by_class(
    logits: Tensor,
    targets: Tensor,
    alpha: float | Tensor,
    beta: float | Tensor,
    over: Literal["batch", "example"],
    smooth: float | Tensor,
    include_absent: bool,
    ignore_index: int,
) -> tuple[Tensor, Tensor]:
    """Return the Tversky loss of each class and whether it is averaged over."""
    check_shapes(logits, targets)
    sums = regions(F.softmax(at_least_float32(logits), dim=1), targets, over, include_absent, ignore_index)
    missed = alpha * (sums.predicted - sums.overlap) + beta * (sums.actual - sums.overlap)
    return missed / (sums.overlap + missed + smooth), sums.counted
