"""Curves as data: columns of numbers for a figure, or for whatever draws one.

Each function returns its columns by name, in the order in which a table would show them.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.domains import AT_LEAST_ONE, POSITIVE
from lossbench.links import row_blocks
from lossbench.metrics.calibration_error import bin_numbers, equal_mass_bins, reliability_bins
from lossbench.metrics.inputs import read

Curve: TypeAlias = dict[str, NDArray[np.float64]]
RELIABILITY = ("lo", "hi", "n", "confidence", "accuracy")  # the columns of reliability


def reliability(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: Annotated[int, AT_LEAST_ONE] = 15,
    equal_mass: bool = False,
    ignore_index: int = -100,
) -> Curve:
    """Accuracy against confidence, bin by bin: what `ece`, or with equal mass `adaptive_ece`, is the sum of.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        n_bins: number of bins.
        equal_mass: bins that share the examples out evenly, and not of equal width over 0..1.
        ignore_index: targets of this value are left out.

    Returns:
        By rising confidence, a row for each bin that is not empty: `lo` and `hi`, its edges or, at equal mass, its
        least and its largest confidence; `n`, its examples; `confidence` and `accuracy`, their means.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Niculescu-Mizil & Caruana 2005, "Predicting Good Probabilities with Supervised Learning".
    """
    ranked = read(logits, targets, ignore_index).ranked
    num_examples = len(ranked.confidence)
    bins = equal_mass_bins(num_examples, n_bins) if equal_mass else bin_numbers(ranked.confidence, n_bins)
    filled, first, size = np.unique(bins, return_index=True, return_counts=True)
    if equal_mass:
        lo, hi = ranked.confidence[first], ranked.confidence[first + size - 1]
    else:
        lo, hi = filled / n_bins, (filled + 1) / n_bins
    return {
        "lo": lo,
        "hi": hi,
        "n": size,
        "confidence": np.bincount(bins, weights=ranked.confidence)[filled] / size,
        "accuracy": np.bincount(bins, weights=ranked.correct)[filled] / size,
    }


def risk_coverage(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> Curve:
    """The share of errors among the examples whose confidence reaches a threshold, for every threshold there is.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        By rising coverage, a row for each confidence that occurs: `threshold`, that confidence; `coverage`, the share
        of examples that reach it; `risk`, the share of errors among those. The last row has coverage 1 and as its
        risk the error rate. `aurc` is the mean risk where no two confidences are equal.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural Networks".
    """
    ranked = read(logits, targets, ignore_index).ranked
    covered = np.arange(1, len(ranked.confidence) + 1)
    risk = np.cumsum(1 - ranked.correct[::-1]) / covered
    # A threshold lets in all examples of equal confidence: the last of them, seen from above, is the first of its tie.
    last = np.append(True, ranked.ends_tie[:-1])[::-1]
    return {"threshold": ranked.confidence[::-1][last], "coverage": covered[last] / len(covered), "risk": risk[last]}


def temperature(
    logits: ArrayLike,
    targets: ArrayLike,
    temperatures: Annotated[ArrayLike, POSITIVE],
    *,
    n_bins: Annotated[int, AT_LEAST_ONE] = 15,
    ignore_index: int = -100,
) -> Curve:
    """NLL and ECE of softmax(z/T) for many T: what scaling the stored logits by each would give.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        temperatures: T > 0, [M]; 1 leaves the logits as they are.
        n_bins: bins of equal width, for the ECE.
        ignore_index: targets of this value are left out.

    Returns:
        In the order of the temperatures: `temperature`; `nll`, nats; `ece`. The NLL is least at
        `optimal_temperature`; the ECE, which is no proper score, may be least elsewhere.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.
    """
    predictions = read(logits, targets, ignore_index)
    values = np.asarray(temperatures, dtype=np.float64)
    num_examples = len(predictions.classes)
    # No temperature changes which class is the largest, so that its score is 0 throughout, its p one over the sum.
    scores = predictions.log_probs - predictions.log_probs.max(axis=1, keepdims=True)
    of_targets = scores[np.arange(num_examples), predictions.classes].mean()
    nll, ece = np.empty(len(values)), np.empty(len(values))
    for m, value in enumerate(values):
        sums = np.concatenate([np.exp(scores[rows] / value).sum(axis=1) for rows in row_blocks(scores)])
        nll[m] = np.log(sums).mean() - of_targets / value
        share, mean_confidence, accuracy = reliability_bins(1 / sums, predictions.correct, n_bins)
        ece[m] = (share * np.abs(accuracy - mean_confidence)).sum()
    return {"temperature": values, "nll": nll, "ece": ece}
