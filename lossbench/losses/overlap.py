"""Losses of the overlap between what is predicted and what is there."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import NON_NEGATIVE, POSITIVE, UNIT
from lossbench.losses.checks import check_shapes
from lossbench.losses.cross_entropy import cross_entropy
from lossbench.losses.link import link
from lossbench.losses.targets import as_probabilities, at_least_float32, is_labelled, weighted_mean


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
    num_examples, num_classes = logits.shape[:2]
    num_pixels = math.prod(logits.shape[2:])
    labelled = is_labelled(targets, ignore_index).unsqueeze(1)
    probs = F.softmax(at_least_float32(logits), dim=1)
    goal = as_probabilities(targets, probs, ignore_index).reshape(num_examples, num_classes, num_pixels)
    probs = (probs * labelled).reshape(num_examples, num_classes, num_pixels)

    scope = (0, 2) if over == "batch" else (2,)
    overlap = (probs * goal).sum(scope)  # [K] or [N, K]
    size = (probs.square() + goal.square() if squared else probs + goal).sum(scope)
    losses = 1 - (2 * overlap + smooth) / (size + smooth)
    marks = labelled.reshape(num_examples, 1, num_pixels).to(losses.dtype) if include_absent else goal
    counted = (marks.sum(scope) > 0).to(losses.dtype).expand_as(losses)
    return weighted_mean(losses, counted)


@link("softmax")
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
    sample_weights: Tensor | None = None,
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
        sample_weights: as in `cross_entropy`; Dice has no sum over examples to weigh.
        ignore_index: positions with this class index are left out of both terms.

    Returns:
        Weighted sum of the two means, scalar; 0 with zero gradient where all is ignored.

    Raises:
        ShapeError: if shapes or dtypes disagree, or `prior` or `class_weights` has not K entries.
        ConfigError: if a name reaches the function unresolved.

    Source: Isensee et al. 2021, "nnU-Net", with equal weights.
    """
    overlap_term = dice(
        at_least_float32(logits) / temperature,
        targets,
        over=over,
        smooth=smooth,
        squared=squared,
        include_absent=include_absent,
        ignore_index=ignore_index,
    )
    entropy_term = cross_entropy(
        logits,
        targets,
        epsilon=epsilon,
        prior=prior,
        temperature=temperature,
        class_weights=class_weights,
        sample_weights=sample_weights,
        ignore_index=ignore_index,
    )
    return dice_weight * overlap_term + cross_entropy_weight * entropy_term
