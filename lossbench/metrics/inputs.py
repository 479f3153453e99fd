"""From logits and targets as they come to what the formulas are written in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.errors import DataError, ShapeError
from lossbench.links import finite_logits, row_blocks, softmax

TIE = 1e-14  # of confidence, below which a difference is one of rounding: a sum over 1,000 classes has a tenth of it


class Ranked(NamedTuple):
    """Examples by rising confidence. Equal confidences are a tie, whose members are all as correct as their mean.

    That mean is what a random order of a tie gives on average, so that no value depends on the order of the examples.
    Equal is what differs from the next by TIE at most: what a calibration makes equal, the division by a sum over the
    classes may tell apart in the last digit.
    """

    confidence: NDArray[np.float64]  # [N]
    correct: NDArray[np.float64]  # [N], 0..1
    ends_tie: NDArray[np.bool_]  # [N]


class Predictions:
    """What metrics read: log-probabilities, targets, and what follows from them, each computed once and when asked.

    numpy takes one for its log-probabilities, so that it can stand wherever logits can.
    """

    def __init__(self, log_probs: NDArray[np.float64], classes: NDArray[np.int64]) -> None:
        """Keep what is already checked.

        Args:
            log_probs: nats, float64 [N, K].
            classes: targets, int64 [N].
        """
        self.log_probs = log_probs
        self.classes = classes

    def __array__(self, dtype: type | None = None, copy: bool | None = None) -> NDArray[np.float64]:
        """Log-probabilities are valid logits."""
        return np.array(self.log_probs, dtype=dtype, copy=copy)

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.log_probs.shape[1])

    @cached_property
    def target_log_probs(self) -> NDArray[np.float64]:
        """Of the target: log p_iy, nats, [N]."""
        return self.log_probs[np.arange(len(self.classes)), self.classes]

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """argmax_k p_ik, [N]. Of tied classes the first counts."""
        predicted: NDArray[np.int64] = self.log_probs.argmax(axis=1)
        return predicted

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """conf_i = max_k p_ik, [N]."""
        return np.exp(self.log_probs[np.arange(len(self.predicted)), self.predicted])

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """[argmax_k p_ik = y_i], [N]."""
        correct: NDArray[np.bool_] = self.predicted == self.classes
        return correct

    @cached_property
    def entropy(self) -> NDArray[np.float64]:
        """H_i = -Σ_k p_ik · log p_ik, nats, [N]."""
        blocks = [-np.einsum("ik,ik->i", probs, self.log_probs[rows]) for rows, probs in self.probs()]
        return np.concatenate(blocks) + 0.0  # where one class has it all, 0 and not -0

    @cached_property
    def per_class(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """How many examples of each class are rightly predicted, predicted, and there: [K] each."""
        return (
            np.bincount(self.classes[self.correct], minlength=self.num_classes),
            np.bincount(self.predicted, minlength=self.num_classes),
            np.bincount(self.classes, minlength=self.num_classes),
        )

    @cached_property
    def _by_confidence(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """The order of rising confidence, and the number of the tie at each place of it, from 0: [N] each."""
        order = np.argsort(self.confidence)
        return order, np.append(0, np.cumsum(np.diff(self.confidence[order]) > TIE))

    @cached_property
    def ranked(self) -> Ranked:
        """The examples by rising confidence."""
        order, tie = self._by_confidence
        correct = (np.bincount(tie, weights=self.correct[order]) / np.bincount(tie))[tie]
        return Ranked(self.confidence[order], correct, np.append(tie[1:] != tie[:-1], True))

    @cached_property
    def level(self) -> NDArray[np.int64]:
        """How many lower confidences there are, [N]: equal for examples that are tied."""
        order, tie = self._by_confidence
        level = np.empty_like(tie)
        level[order] = tie
        return level

    def probs(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield p a block of rows at a time: N·K probabilities at once may be too many to hold."""
        for rows in row_blocks(self.log_probs):
            yield rows, np.exp(self.log_probs[rows])


def read(logits: ArrayLike, targets: ArrayLike, ignore_index: int) -> Predictions:
    """Read, check and flatten. Every pixel of a segmentation becomes an example.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits. Predictions with their own `classes` as
            targets are returned as they are, which is how `evaluate` has its metrics share one softmax.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: positions with this target are left out.

    Returns:
        The positions that count.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite, a target is no class (the row is named, from 0), or every target
            is ignored.
    """
    if isinstance(logits, Predictions) and targets is logits.classes:
        return logits
    array = finite_logits(logits)
    classes = class_indices(targets)
    num_classes = array.shape[1]
    expected = (array.shape[0], *array.shape[2:])
    if classes.shape != expected:
        raise ShapeError(
            f"targets must be class indices of shape {list(expected)} "
            f"to fit logits {list(array.shape)}; got {list(classes.shape)}"
        )
    counts = classes != ignore_index
    outside = counts & ((classes < 0) | (classes >= num_classes))
    if outside.any():
        position = tuple(np.argwhere(outside)[0])
        raise DataError(f"target {classes[position]} in row {position[0]} is outside 0..{num_classes - 1}")
    if not counts.any():
        raise DataError(f"every target equals ignore_index {ignore_index}; nothing is left to measure")
    if array.ndim == 4 or not counts.all():  # what a mask picks is a copy, which is not needed where all counts
        array, classes = np.moveaxis(array, 1, -1)[counts], classes[counts]
    return Predictions(softmax(array), classes)


def class_indices(targets: ArrayLike) -> NDArray[np.int64]:
    """Read targets as int64, of whatever shape.

    Raises:
        ShapeError: for rows of different lengths.
        DataError: if they are not integers.
    """
    try:
        classes = np.asarray(targets)
    except ValueError as error:
        raise ShapeError(f"targets must be class indices, [N] or [N, H, W]: {error}") from error
    if classes.dtype.kind not in "iub":
        raise DataError(f"targets must be integer class indices; got {classes.dtype}")
    if classes.dtype == np.uint64 and classes.size and classes.max() > np.iinfo(np.int64).max:
        raise DataError(f"targets must be class indices; got {classes.max()}")  # int64 would make it a negative number
    return classes.astype(np.int64)
