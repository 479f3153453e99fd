"""From logits and targets as they come to what the formulas are written in."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.errors import DataError, ShapeError
from lossbench.links import softmax


def log_probs_and_targets(
    logits: ArrayLike, targets: ArrayLike, ignore_index: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read, check and flatten. Every pixel of a segmentation becomes an example.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: positions with this target are left out.

    Returns:
        Log-probabilities in nats, float64 [M, K], and targets, int64 [M], of the M positions that count.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite, a target is no class (the row is named, from 0), or every target
            is ignored.
    """
    log_probs = softmax(logits)
    classes = _class_indices(targets)
    num_classes = log_probs.shape[1]
    expected = (log_probs.shape[0], *log_probs.shape[2:])
    if classes.shape != expected:
        raise ShapeError(
            f"targets must be class indices of shape {list(expected)} "
            f"to fit logits {list(log_probs.shape)}; got {list(classes.shape)}"
        )
    counts = classes != ignore_index
    outside = counts & ((classes < 0) | (classes >= num_classes))
    if outside.any():
        position = tuple(np.argwhere(outside)[0])
        raise DataError(f"target {classes[position]} in row {position[0]} is outside 0..{num_classes - 1}")
    if not counts.any():
        raise DataError(f"every target equals ignore_index {ignore_index}; nothing is left to measure")
    return np.moveaxis(log_probs, 1, -1)[counts], classes[counts]


def _class_indices(targets: ArrayLike) -> NDArray[np.int64]:
    try:
        classes = np.asarray(targets)
    except ValueError as error:  # rows of different lengths
        raise ShapeError(f"targets must be class indices, [N] or [N, H, W]: {error}") from error
    if classes.dtype.kind not in "iub":
        raise DataError(f"targets must be integer class indices; got {classes.dtype}")
    return classes.astype(np.int64)


def confidence_and_correct(
    log_probs: NDArray[np.float64], targets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The largest probability of each example, and whether its class is the target.

    Args:
        log_probs: [N, K], nats.
        targets: [N].

    Returns:
        conf_i = max_k p_ik, float64 [N], and [argmax_k p_ik = y_i], bool [N]. Of tied classes the first counts.
    """
    return np.exp(log_probs.max(axis=1)), log_probs.argmax(axis=1) == targets
