"""How far confidence is from accuracy, over bins of confidence.

Bins are (lo, hi] of equal width over [0, 1]; 0 belongs to the first and 1.0 to the last. Empty bins contribute
nothing.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.domains import AT_LEAST_ONE
from lossbench.metrics.inputs import confidence_and_correct, log_probs_and_targets
from lossbench.metrics.metric import metric


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
    # searchsorted, not ceil(confidence·n_bins): 0.07·100 is 7.000000000000001. The slack is for a confidence that
    # lies on an edge but for rounding, as exp(log(p)) does; without it that one falls into the bin above.
    inner_edges = np.arange(1, n_bins) / n_bins
    bins = np.searchsorted(inner_edges + 1e-12, confidence, side="left")
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
    n_bins: Annotated[int, AT_LEAST_ONE] = 15,
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
    confidence, correct = confidence_and_correct(*log_probs_and_targets(logits, targets, ignore_index))
    share, mean_confidence, accuracy = reliability_bins(confidence, correct, n_bins)
    return float((share * np.abs(accuracy - mean_confidence)).sum())


@metric(better="lower")
def mce(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: Annotated[int, AT_LEAST_ONE] = 15,
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
    confidence, correct = confidence_and_correct(*log_probs_and_targets(logits, targets, ignore_index))
    _, mean_confidence, accuracy = reliability_bins(confidence, correct, n_bins)
    return float(np.abs(accuracy - mean_confidence).max())


@metric(better="lower")
def overconfidence_error(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: Annotated[int, AT_LEAST_ONE] = 15,
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
    confidence, correct = confidence_and_correct(*log_probs_and_targets(logits, targets, ignore_index))
    share, mean_confidence, accuracy = reliability_bins(confidence, correct, n_bins)
    return float((share * mean_confidence * np.maximum(mean_confidence - accuracy, 0.0)).sum())
