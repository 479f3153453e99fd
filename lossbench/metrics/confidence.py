"""How sure the model is, over all examples and over those it gets wrong."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from lossbench.domains import UNIT
from lossbench.metrics.inputs import read
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
    return float(read(logits, targets, ignore_index).confidence.mean())


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
    predictions = read(logits, targets, ignore_index)
    return float(predictions.confidence.mean() - predictions.correct.mean())


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
    predictions = read(logits, targets, ignore_index)
    wrong = ~predictions.correct
    return float(predictions.confidence[wrong].mean()) if wrong.any() else math.nan


@metric(better="lower")
def confident_errors(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    threshold: Annotated[float, UNIT] = 0.9,
    ignore_index: int = -100,
) -> float:
    """Share of all examples that are wrong with more than so much confidence.

        confident_errors = 1/N · Σ_i [argmax_k p_ik ≠ y_i and max_k p_ik > threshold]

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        threshold: a confidence above this is a confident one.
        ignore_index: targets of this value are left out.

    Returns:
        A share of all examples, and not of the errors, 0..1.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.
    """
    predictions = read(logits, targets, ignore_index)
    return float((~predictions.correct & (predictions.confidence > threshold)).mean())


@metric(better=None)
def mean_entropy(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Mean entropy of the probabilities.

        mean_entropy = 1/N · Σ_i H(p_i),   H(p) = -Σ_k p_k log p_k

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        Nats, 0..log K.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Shannon 1948, "A Mathematical Theory of Communication", section 6.
    """
    return float(read(logits, targets, ignore_index).entropy.mean())


@metric(better="higher")
def entropy_of_errors(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Mean entropy of the probabilities over the wrong predictions.

        entropy_of_errors = mean over i with argmax_k p_ik ≠ y_i of H(p_i),   H(p) = -Σ_k p_k log p_k

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        Nats, 0..log K; nan when every prediction is right.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.
    """
    predictions = read(logits, targets, ignore_index)
    wrong = ~predictions.correct
    return float(predictions.entropy[wrong].mean()) if wrong.any() else math.nan


@metric(better=None)
def smoothness_index(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """How much probability a teacher gives to the classes that are not the target.

        smoothness_index = K/(K-1) · 1/N · Σ_i Σ_{k≠y} p_ik

    Label smoothing towards the uniform distribution that fits its targets has its ε as smoothness index.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        0 for a teacher that is sure and right, 1 for a uniform guess; up to K/(K-1) for one that is sure and wrong.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Müller et al. 2019, "When Does Label Smoothing Help?"; the factor K/(K-1) was not checked against the paper.
    """
    predictions = read(logits, targets, ignore_index)
    return (
        float(-np.expm1(predictions.target_log_probs).mean()) * predictions.num_classes / (predictions.num_classes - 1)
        + 0.0
    )
