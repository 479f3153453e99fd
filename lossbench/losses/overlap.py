"""Losses of the overlap between what is predicted and what is there: Dice and its kin."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import NON_NEGATIVE, POSITIVE, UNIT
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.cross_entropy import smoothed_cross_entropy, softened, weights_of_targets
from lossbench.losses.inplace import has_memory
from lossbench.losses.link import link
from lossbench.losses.regions import Regions, regions
from lossbench.losses.targets import at_least_float32, at_target, mean_over_labelled, weighted_mean


@claim(shift_invariant=True, soft_targets=True)
def dice(
    logits: Tensor,
    targets: Tensor,
    *,
    over: Literal["batch", "example"] = "batch",
    smooth: Annotated[float | Tensor, POSITIVE] = 1e-5,
    squared: bool = False,
    include_absent: bool = False,
    ignore_index: int = -100,
) -> Tensor:
    """Soft Dice: one minus twice the overlap over the total size, averaged over classes.

        dice_k = 1 - (2 Σ p_k g_k + s) / (Σ p_k + Σ g_k + s)

    p = softmax(z), g the target as probabilities; the sums run over all positions of the batch, or of each
    example. A class is absent where Σ g_k = 0 in that scope. It is left out of the mean: its value is about 1
    whatever small p_k > 0 is predicted, which says nothing about the other classes.

    Args:
        logits: unnormalised log-probabilities z, float [N, K] (soft Dice over the batch's examples) or
            [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        over: `batch` sums over all pixels of the batch and averages over the classes present in it; `example`
            sums over each example's own pixels and averages over all pairs of an example and a class present.
        smooth: s > 0, keeps the quotient defined.
        squared: put Σ p² + Σ g² in the denominator, as Milletari et al. do.
        include_absent: average over absent classes too, where any position of the scope is labelled.
        ignore_index: positions with this class index are left out of every sum. Probabilities are never ignored.

    Returns:
        Mean over classes in [0, 1], without unit, scalar; 0 with zero gradient where all is ignored.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Milletari et al. 2016, "V-Net", section 3 (`squared=True`, of the foreground class alone).
    """
    check_shapes(logits, targets)
    probs = F.softmax(at_least_float32(logits), dim=1)
    return _dice(regions(probs, targets, over, include_absent, ignore_index, squared=squared), smooth)


def _dice(sums: Regions, smooth: float | Tensor) -> Tensor:
    losses = 1 - (2 * sums.overlap + smooth) / (sums.predicted + sums.actual + smooth)
    return weighted_mean(losses, sums.counted)


@claim(shift_invariant=True, soft_targets=True)
def generalized_dice(
    logits: Tensor,
    targets: Tensor,
    *,
    over: Literal["batch", "example"] = "batch",
    smooth: Annotated[float | Tensor, POSITIVE] = 1e-5,
    include_absent: bool = False,
    ignore_index: int = -100,
) -> Tensor:
    """Soft Dice of all classes together, each weighed by one over its squared size.

        loss = 1 - (2 Σ_k w_k Σ p_k g_k + s) / (Σ_k w_k (Σ p_k + Σ g_k) + s),   w_k ∝ 1 / (Σ g_k)², Σ_k w_k = 1

    The quotient does not depend on the scale of w, but s does: with w = 1/(Σ g)² itself the sums are about 1 over the
    number of pixels, and s = 1e-5 would shift the loss of a large image. Hence w sums to 1.

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        over: `batch` sums over all pixels of the batch; `example` over each example's own, averaged over the
            examples with a labelled pixel.
        smooth: s > 0, keeps the quotient defined.
        include_absent: give a class without a target the weight of one with a single pixel; it then dominates.
        ignore_index: positions with this class index are left out of every sum. Probabilities are never ignored.

    Returns:
        In [0, 1], without unit, scalar; 0 with zero gradient where all is ignored.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Sudre et al. 2017, "Generalised Dice Overlap as a Deep Learning Loss Function", section 2.1.
    """
    check_shapes(logits, targets)
    sums = regions(F.softmax(at_least_float32(logits), dim=1), targets, over, include_absent, ignore_index)
    weights = sums.counted / sums.actual.where(sums.actual > 0, 1.0).square()
    total = weights.sum(-1, keepdim=True)
    weights = weights / total.where(total > 0, 1.0)
    overlap, size = (weights * sums.overlap).sum(-1), (weights * (sums.predicted + sums.actual)).sum(-1)
    losses = 1 - (2 * overlap + smooth) / (size + smooth)
    return weighted_mean(losses, (total.squeeze(-1) > 0).to(losses.dtype))


@claim(shift_invariant=True, soft_targets=True)
def log_cosh_dice(
    logits: Tensor,
    targets: Tensor,
    *,
    over: Literal["batch", "example"] = "batch",
    smooth: Annotated[float | Tensor, POSITIVE] = 1e-5,
    squared: bool = False,
    include_absent: bool = False,
    ignore_index: int = -100,
) -> Tensor:
    """Logarithm of the hyperbolic cosine of Dice: about dice²/2, so that the gradient fades as Dice nears 0.

        loss = log cosh(dice)

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        over: as in `dice`.
        smooth: as in `dice`.
        squared: as in `dice`.
        include_absent: as in `dice`.
        ignore_index: positions with this class index are left out of every sum. Probabilities are never ignored.

    Returns:
        In [0, 0.434], without unit, scalar; 0 with zero gradient where all is ignored.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Jadon 2020, "A survey of loss functions for semantic segmentation", section II-M.
    """
    mean_dice = dice(
        logits,
        targets,
        over=over,
        smooth=smooth,
        squared=squared,
        include_absent=include_absent,
        ignore_index=ignore_index,
    )
    return torch.cosh(mean_dice).log()


@link("softmax")
@claim(shift_invariant=True, cross_entropy_at={"dice_weight": 0.0}, soft_targets=True)
def dice_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    dice_weight: Annotated[float | Tensor, NON_NEGATIVE] = 1.0,
    cross_entropy_weight: Annotated[float | Tensor, NON_NEGATIVE] = 1.0,
    over: Literal["batch", "example"] = "batch",
    smooth: Annotated[float | Tensor, POSITIVE] = 1e-5,
    squared: bool = False,
    include_absent: bool = False,
    epsilon: Annotated[float | Tensor, UNIT] = 0.0,
    prior: Tensor | list[float] | Literal["train"] | None = None,
    temperature: Annotated[float | Tensor, POSITIVE] = 1.0,
    class_weights: Tensor | list[float] | Literal["inverse", "effective"] | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Soft Dice plus cross-entropy, both of p = softmax(z / T).

        loss = a · dice + b · cross_entropy

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        dice_weight: a ≥ 0.
        cross_entropy_weight: b ≥ 0.
        over: as in `dice`.
        smooth: as in `dice`.
        squared: as in `dice`.
        include_absent: as in `dice`.
        epsilon: as in `cross_entropy`; Dice sees the targets unsmoothed.
        prior: as in `cross_entropy`.
        temperature: T > 0, of both terms.
        class_weights: as in `cross_entropy`; Dice has equal classes already.
        ignore_index: positions with this class index are left out of both terms.

    Returns:
        Weighted sum of the two means, scalar; 0 with zero gradient where all is ignored.

    Raises:
        ShapeError: if shapes or dtypes disagree, or `prior` or `class_weights` has not K entries.
        ConfigError: if a name reaches the function unresolved.

    Source: Isensee et al. 2021, "nnU-Net", with equal weights.
    """
    check_shapes(logits, targets)
    logits = at_least_float32(logits)
    # Written out, not by `log_probs`: of few classes, passes over memory cost less than what these would save.
    log_p = F.log_softmax(softened(logits, temperature), dim=1)
    sums = regions(log_p.exp(), targets, over, include_absent, ignore_index, squared=squared)
    is_smoothed = isinstance(epsilon, Tensor) or epsilon > 0
    is_plain = not is_smoothed and class_weights is None and not targets.is_floating_point()
    if is_plain and sums.labelled is None and has_memory(log_p):
        entropy_term = F.nll_loss(log_p, targets)  # the same but for rounding; what follows takes twice as long
    else:
        of_target = at_target(log_p, targets, ignore_index)
        if is_smoothed:
            losses = smoothed_cross_entropy(of_target, log_p.sum(1), logits, epsilon, prior, temperature)
        else:
            losses = -of_target
        weights = None if class_weights is None else weights_of_targets(class_weights, logits, targets, ignore_index)
        entropy_term = mean_over_labelled(losses, targets, ignore_index, class_weights=weights)
    return dice_weight * _dice(sums, smooth) + cross_entropy_weight * entropy_term
