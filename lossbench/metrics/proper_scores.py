"""Scores whose expectation is best, and only best, at the true probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lossbench.metrics.inputs import read
from lossbench.metrics.metric import metric


@metric(better="lower")
def nll(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Negative log-likelihood of the targets.

        nll = -1/N · Σ_i log p_iy

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        Nats per example, ≥ 0; log K for a uniform guess.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Good 1952, "Rational Decisions".
    """
    return float(-read(logits, targets, ignore_index).target_log_probs.mean()) + 0.0  # a perfect score is 0, not -0


@metric(better="lower")
def brier_score(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Squared distance of the probabilities from the one-hot target, summed over classes.

        brier_score = 1/N · Σ_i Σ_k (p_ik - δ_ky)²

    For two classes this is twice what scikit-learn's `brier_score_loss` returns by default.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        Mean per example, 0..2; 1 - 1/K for a uniform guess.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Brier 1950, "Verification of Forecasts Expressed in Terms of Probability".
    """
    predictions = read(logits, targets, ignore_index)
    total = 0.0
    for rows, residual in predictions.probs():
        residual[np.arange(len(residual)), predictions.classes[rows]] -= 1.0
        total += float(np.einsum("ik,ik->", residual, residual))
    return total / len(predictions.classes)
