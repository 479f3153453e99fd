"""How often the predicted class is right."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lossbench.metrics.inputs import confidence_and_correct, log_probs_and_targets
from lossbench.metrics.metric import metric


@metric(better="higher")
def accuracy(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Share of examples whose most probable class is the target.

        accuracy = 1/N · Σ_i [argmax_k p_ik = y_i]

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1. Of tied classes the first is the prediction.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.
    """
    _, correct = confidence_and_correct(*log_probs_and_targets(logits, targets, ignore_index))
    return float(correct.mean())


@metric(better="higher")
def balanced_accuracy(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Mean recall over the classes that occur among the targets.

        balanced_accuracy = mean over k with n_k > 0 of 1/n_k · Σ_{i: y_i = k} [argmax_j p_ij = k]

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Brodersen et al. 2010, "The Balanced Accuracy and Its Posterior Distribution".
    """
    log_probs, classes = log_probs_and_targets(logits, targets, ignore_index)
    _, correct = confidence_and_correct(log_probs, classes)
    size = np.bincount(classes)
    hits = np.bincount(classes, weights=correct)
    present = size > 0
    return float((hits[present] / size[present]).mean())
