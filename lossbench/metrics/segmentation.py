"""How far what is predicted overlaps with what is there, class by class.

Every position counts once, over all images together: a class that is in one image of a hundred is measured on it,
and not dropped from the mean of the others. Classification has these too; there the IoU is the Jaccard index.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.metrics.classification import accuracy, macro_f1
from lossbench.metrics.inputs import read
from lossbench.metrics.metric import metric


def iou_per_class(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> NDArray[np.float64]:
    """Intersection over union of each class.

        iou_k = TP_k / (TP_k + FP_k + FN_k)

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        Shares in 0..1, float64 [K]; nan for a class that is neither predicted nor a target.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Everingham et al. 2010, "The Pascal Visual Object Classes (VOC) Challenge", section 4.4.
    """
    both, predicted, there = read(logits, targets, ignore_index).per_class
    return _quotient(both, predicted + there - both)


def dice_per_class(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> NDArray[np.float64]:
    """Dice coefficient of each class, which is also its F1 score.

        dice_k = 2 TP_k / (2 TP_k + FP_k + FN_k)

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        Shares in 0..1, float64 [K]; nan for a class that is neither predicted nor a target.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Dice 1945, "Measures of the Amount of Ecologic Association Between Species".
    """
    both, predicted, there = read(logits, targets, ignore_index).per_class
    return _quotient(2 * both, predicted + there)


@metric(better="higher")
def mean_iou(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Mean over the classes of intersection over union.

        mean_iou = mean over k of TP_k / (TP_k + FP_k + FN_k)

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1. A class that is neither predicted nor a target is left out.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Long et al. 2015, "Fully Convolutional Networks for Semantic Segmentation", section 5.
    """
    return float(np.nanmean(iou_per_class(logits, targets, ignore_index=ignore_index)))


@metric(better="higher")
def worst_class_iou(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Lowest intersection over union of a class that occurs among the targets: what a mean over classes may hide.

        worst_class_iou = min over k with n_k > 0 of TP_k / (TP_k + FP_k + FN_k)

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: the IoU of a class by Everingham et al. 2010, "The Pascal Visual Object Classes (VOC) Challenge",
        section 4.4; the lowest in place of the mean is ours.
    """
    both, predicted, there = read(logits, targets, ignore_index).per_class
    return float(np.nanmin(np.where(there > 0, _quotient(both, predicted + there - both), np.nan)))


@metric(better="higher")
def dice_score(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Mean over the classes of the Dice coefficient: `macro_f1`, by the name that segmentation gives it.

        dice_score = mean over k of 2 TP_k / (2 TP_k + FP_k + FN_k)

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1. A class that is neither predicted nor a target is left out.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Dice 1945, "Measures of the Amount of Ecologic Association Between Species".
    """
    return macro_f1(logits, targets, ignore_index=ignore_index)


@metric(better="higher")
def pixel_accuracy(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Share of pixels whose most probable class is the target: `accuracy`, by the name that segmentation gives it.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Long et al. 2015, "Fully Convolutional Networks for Semantic Segmentation", section 5.
    """
    return accuracy(logits, targets, ignore_index=ignore_index)


def _quotient(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    quotient: NDArray[np.float64] = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return quotient
