"""How well a score tells two kinds of examples apart: right from wrong predictions, known from unknown data.

Not metrics themselves: they take scores, not logits and targets.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def auroc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Area under the ROC curve: how often a positive example scores higher than a negative one.

        auroc = P(s⁺ > s⁻) + ½ · P(s⁺ = s⁻)

    Args:
        positives: the scores of the positive examples, [P].
        negatives: those of the negative ones, [M].

    Returns:
        A probability: 1 where every positive is above every negative, ½ for a score that tells nothing; nan where
        one of the two is empty.

    Source: Hanley & McNeil 1982, "The Meaning and Use of the Area under a Receiver Operating Characteristic Curve".
    """
    high, low = np.asarray(positives, dtype=np.float64), np.sort(np.asarray(negatives, dtype=np.float64))
    if not (len(high) and len(low)):
        return math.nan
    below = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    return float(below.mean() / (2 * len(low)))


def fpr95(positives: ArrayLike, negatives: ArrayLike) -> float:
    """False positive rate where at least 95 % of the positive examples are accepted.

        fpr95 = P(s⁻ ≥ t),   t the highest threshold with P(s⁺ ≥ t) ≥ 0.95

    An example is accepted if its score is at least t, so that a tie with the threshold is accepted on both sides.

    Args:
        positives: the scores of the positive examples, [P].
        negatives: those of the negative ones, [M].

    Returns:
        A share of the negatives, 0..1; nan where one of the two is empty.

    Source: Liang et al. 2018, "Enhancing the Reliability of Out-of-distribution Image Detection in Neural Networks",
    section 4.3.
    """
    high, low = np.sort(np.asarray(positives, dtype=np.float64))[::-1], np.asarray(negatives, dtype=np.float64)
    if not (len(high) and len(low)):
        return math.nan
    accepted = -(-95 * len(high) // 100)  # rounded up, in integers: 0.95 · 20 is not 19 in every arithmetic
    return float((low >= high[accepted - 1]).mean())
