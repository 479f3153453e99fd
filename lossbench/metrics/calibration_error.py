"""How far confidence is from accuracy, over bins of confidence.

Bins are (lo, hi] of equal width over [0, 1], unless said; 0 belongs to the first and 1.0 to the last. Empty bins
contribute nothing.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.domains import BINS
from lossbench.metrics.inputs import read
from lossbench.metrics.metric import metric


def bin_numbers(probs: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """Number of the bin that each probability lies in.

    Args:
        probs: in 0..1, of any shape.
        n_bins: number of bins of equal width.

    Returns:
        0..n_bins-1, int64, shaped like the probabilities.
    """
    # The slack is for a probability that lies on an edge but for rounding, as exp(log(p)) and 0.07·100 do; without it
    # that one falls into the bin above.
    upper_edge = probs * n_bins
    upper_edge -= 1e-12 * n_bins
    bins = np.ceil(upper_edge, out=upper_edge).astype(np.int64)
    bins -= 1
    return np.maximum(bins, 0, out=bins)


def equal_mass_bins(num_examples: int, n_bins: int) -> NDArray[np.int64]:
    """Number of the bin that each example lies in, by rising confidence, where bins share the examples out evenly.

    Args:
        num_examples: N.
        n_bins: number of bins; the first N mod n_bins of them hold one example more.

    Returns:
        0..n_bins-1, int64 [N], rising.
    """
    least, more = divmod(num_examples, n_bins)
    return np.repeat(np.arange(n_bins), least + (np.arange(n_bins) < more))


def reliability_bins(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], n_bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Share of examples, mean confidence and accuracy of each bin that is not empty.

    Args:
        confidence: in 0..1, [N].
        correct: [N].
        n_bins: number of bins of equal width.

    Returns:
        n_b/N, conf_b and acc_b, float64, one entry for each of the filled bins, by rising confidence.
    """
    bins = bin_numbers(confidence, n_bins)
    size = np.bincount(bins)
    filled = size > 0
    size = size[filled]
    mean_confidence = np.bincount(bins, weights=confidence)[filled] / size
    accuracy = np.bincount(bins, weights=correct)[filled] / size
    return size / len(confidence), mean_confidence, accuracy


@metric(better="lower")
def ece(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: Annotated[int, BINS] = 15,
    ignore_index: int = -100,
) -> float:
    """Expected calibration error.

        ece = Σ_b (n_b/N) · |acc_b - conf_b|

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        n_bins: number of bins of equal width.
        ignore_index: targets of this value are left out.

    Returns:
        A difference of probabilities, 0..1. A calibrated model does not reach 0: noise of order √(n_bins/N) is left.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3.
    """
    predictions = read(logits, targets, ignore_index)
    share, mean_confidence, accuracy = reliability_bins(predictions.confidence, predictions.correct, n_bins)
    return float((share * np.abs(accuracy - mean_confidence)).sum())


@metric(better="lower")
def mce(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: Annotated[int, BINS] = 15,
    ignore_index: int = -100,
) -> float:
    """Maximum calibration error: the gap of the worst bin, however few examples it holds.

        mce = max_b |acc_b - conf_b|

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        n_bins: number of bins of equal width.
        ignore_index: targets of this value are left out.

    Returns:
        A difference of probabilities, 0..1.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 5.
    """
    predictions = read(logits, targets, ignore_index)
    _, mean_confidence, accuracy = reliability_bins(predictions.confidence, predictions.correct, n_bins)
    return float(np.abs(accuracy - mean_confidence).max())


@metric(better="lower")
def rmsce(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: Annotated[int, BINS] = 15,
    ignore_index: int = -100,
) -> float:
    """Root mean square calibration error: `ece` with squared gaps, so that large ones weigh more.

        rmsce = √(Σ_b (n_b/N) · (acc_b - conf_b)²)

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        n_bins: number of bins of equal width.
        ignore_index: targets of this value are left out.

    Returns:
        A difference of probabilities, 0..1, between `ece` and `mce`.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Hendrycks et al. 2019, "Deep Anomaly Detection with Outlier Exposure"; Kumar et al. 2019, "Verified
    Uncertainty Calibration", with p = 2.
    """
    predictions = read(logits, targets, ignore_index)
    share, mean_confidence, accuracy = reliability_bins(predictions.confidence, predictions.correct, n_bins)
    return float(np.sqrt((share * (accuracy - mean_confidence) ** 2).sum()))


@metric(better="lower")
def overconfidence_error(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: Annotated[int, BINS] = 15,
    ignore_index: int = -100,
) -> float:
    """Calibration error of the bins that promise too much, the more weighed the more they promise.

        overconfidence_error = Σ_b (n_b/N) · conf_b · max(conf_b - acc_b, 0)

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        n_bins: number of bins of equal width.
        ignore_index: targets of this value are left out.

    Returns:
        0..1.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Thulasidasan et al. 2019, "On Mixup Training: Improved Calibration and Predictive Uncertainty for Deep
    Neural Networks", section 3.
    """
    predictions = read(logits, targets, ignore_index)
    share, mean_confidence, accuracy = reliability_bins(predictions.confidence, predictions.correct, n_bins)
    return float((share * mean_confidence * np.maximum(mean_confidence - accuracy, 0.0)).sum())


@metric(better="lower")
def underconfidence_error(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: Annotated[int, BINS] = 15,
    ignore_index: int = -100,
) -> float:
    """Calibration error of the bins that promise too little.

        underconfidence_error = Σ_b (n_b/N) · max(acc_b - conf_b, 0)

    Its gaps are not weighed by conf_b as those of `overconfidence_error` are: the two do not add up to `ece`.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        n_bins: number of bins of equal width.
        ignore_index: targets of this value are left out.

    Returns:
        0..1.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.
    """
    predictions = read(logits, targets, ignore_index)
    share, mean_confidence, accuracy = reliability_bins(predictions.confidence, predictions.correct, n_bins)
    return float((share * np.maximum(accuracy - mean_confidence, 0.0)).sum())


@metric(better="lower")
def adaptive_ece(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: Annotated[int, BINS] = 15,
    ignore_index: int = -100,
) -> float:
    """Expected calibration error over bins of equal mass.

        adaptive_ece = Σ_b (n_b/N) · |acc_b - conf_b|

    The examples are cut into bins by rising confidence; where N is no multiple of the number of bins, the first
    N mod n_bins of them hold one example more. Examples of equal confidence count as correct as they are on average,
    so that it does not matter which of them a bin gets. What others call ACE differs: that of Nixon et al. 2019
    averages over the classes too, and that of netcal weighs all bins alike.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        n_bins: number of bins that share the examples out evenly.
        ignore_index: targets of this value are left out.

    Returns:
        A difference of probabilities, 0..1. A calibrated model does not reach 0: noise of order √(n_bins/N) is left.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Nguyen & O'Connor 2015, "Posterior Calibration and Exploratory Analysis for Natural Language Processing
    Models".
    """
    ranked = read(logits, targets, ignore_index).ranked
    bins = equal_mass_bins(len(ranked.correct), n_bins)
    # (n_b/N)·|acc_b - conf_b| is |Σ_b (correct - confidence)|/N
    return float(np.abs(np.bincount(bins, weights=ranked.correct - ranked.confidence)).sum() / len(bins))


@metric(better="lower")
def classwise_ece(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: Annotated[int, BINS] = 15,
    ignore_index: int = -100,
) -> float:
    """Expected calibration error of each class against the rest, averaged over the classes.

        classwise_ece = 1/K · Σ_k Σ_b (n_kb/N) · |share of y = k in the bin - mean p_k in it|

    It shrinks as K grows, since most p_k are next to 0 and right: compare it at one K only.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        n_bins: number of bins of equal width.
        ignore_index: targets of this value are left out.

    Returns:
        A difference of probabilities, 0..2/K.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Kull et al. 2019, "Beyond Temperature Scaling: Obtaining Well-Calibrated Multiclass Probabilities with
    Dirichlet Calibration".
    """
    predictions = read(logits, targets, ignore_index)
    num_classes = predictions.num_classes
    promised = np.zeros(num_classes * n_bins)
    kept = np.zeros(num_classes * n_bins)
    for rows, probs in predictions.probs():
        bins = bin_numbers(probs, n_bins)
        bins += n_bins * np.arange(num_classes)
        promised += np.bincount(bins.ravel(), weights=probs.ravel(), minlength=len(promised))
        kept += np.bincount(bins[np.arange(len(bins)), predictions.classes[rows]], minlength=len(kept))
    # (n_kb/N)·|share - mean p_k| is |kept - promised|/N
    return float(np.abs(kept - promised).sum() / (len(predictions.classes) * num_classes))
