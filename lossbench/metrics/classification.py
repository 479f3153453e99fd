"""How often the predicted class is right."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lossbench.links import row_blocks
from lossbench.metrics.inputs import read
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
    return float(read(logits, targets, ignore_index).correct.mean())


@metric(better="higher")
def top5_accuracy(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Share of examples whose target is among the five most probable classes.

        top5_accuracy = 1/N · Σ_i [y_i is among the five k with the largest p_ik]

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1; 1 for K ≤ 5. Of tied classes the first comes first, as in `accuracy`.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge".
    """
    predictions = read(logits, targets, ignore_index)
    hits = 0
    for rows in row_blocks(predictions.log_probs):
        log_probs, classes = predictions.log_probs[rows], predictions.classes[rows, None]
        own = np.take_along_axis(log_probs, classes, axis=1)
        before = (log_probs > own) | ((log_probs == own) & (np.arange(predictions.num_classes) < classes))
        hits += int((before.sum(axis=1) < 5).sum())
    return hits / len(predictions.classes)


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
    hits, _, size = read(logits, targets, ignore_index).per_class
    present = size > 0
    return float((hits[present] / size[present]).mean())


@metric(better="higher")
def macro_f1(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Mean over the classes of the F1 score, the harmonic mean of precision and recall.

        macro_f1 = mean over k of 2 TP_k / (2 TP_k + FP_k + FN_k)

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1. A class that is neither predicted nor a target is left out.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: van Rijsbergen 1979, "Information Retrieval", chapter 7, with equal weights.
    """
    hits, predicted, there = read(logits, targets, ignore_index).per_class
    occurs = predicted + there > 0
    return float((2 * hits[occurs] / (predicted + there)[occurs]).mean())


@metric(better="higher")
def worst_class_accuracy(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Lowest recall of a class that occurs among the targets: what a mean over classes may hide.

        worst_class_accuracy = min over k with n_k > 0 of 1/n_k · Σ_{i: y_i = k} [argmax_j p_ij = k]

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Narasimhan and Menon 2021, "Training Over-parameterized Models with Non-decomposable Objectives", section 2.
    """
    hits, _, size = read(logits, targets, ignore_index).per_class
    present = size > 0
    return float((hits[present] / size[present]).min())
