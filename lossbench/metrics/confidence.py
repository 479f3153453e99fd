"""How sure the model is, over all examples and over those it gets wrong."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from lossbench.metrics.inputs import confidence_and_correct, log_probs_and_targets
from lossbench.metrics.metric import metric


@metric(better=None)
def mean_confidence(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Mean of the largest probability.

        mean_confidence = 1/N · Σ_i max_k p_ik

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W]; only which are ignored matters.
        ignore_index: targets of this value are left out.

    Returns:
        A probability, 1/K..1.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.
    """
    confidence, _ = confidence_and_correct(*log_probs_and_targets(logits, targets, ignore_index))
    return float(confidence.mean())


@metric(better="zero")
def confidence_gap(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Mean confidence minus accuracy.

        confidence_gap = 1/N · Σ_i (max_k p_ik - [argmax_k p_ik = y_i])

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A signed difference of probabilities, -1..1; above 0 the model is overconfident.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.
    """
    confidence, correct = confidence_and_correct(*log_probs_and_targets(logits, targets, ignore_index))
    return float(confidence.mean() - correct.mean())


@metric(better="lower")
def confidence_of_errors(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Mean confidence over the wrong predictions.

        confidence_of_errors = mean over i with argmax_k p_ik ≠ y_i of max_k p_ik

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A probability, 1/K..1; nan when every prediction is right.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.
    """
    confidence, correct = confidence_and_correct(*log_probs_and_targets(logits, targets, ignore_index))
    return math.nan if correct.all() else float(confidence[~correct].mean())
