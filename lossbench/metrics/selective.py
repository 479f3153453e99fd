"""How well confidence tells right predictions from wrong ones, whatever its scale.

Examples of equal confidence count as correct as they are on average, which is what a random order of them gives: no
value depends on the order of the examples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.metrics.inputs import read
from lossbench.metrics.metric import metric
from lossbench.metrics.ranking import auroc, fpr95


def selective_risk(correct: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of errors among the first, for each number of them.

        risk_k = 1/k · Σ_{i≤k} (1 - correct_i)

    Args:
        correct: in 0..1, [N], the most confident first.

    Returns:
        Risks at the coverages 1/N, 2/N … 1, float64 [N].
    """
    risk: NDArray[np.float64] = np.cumsum(1 - correct) / np.arange(1, len(correct) + 1)
    return risk


@metric(better="lower")
def aurc(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Area under the risk-coverage curve: the mean share of errors among the k most confident examples.

        aurc = 1/N · Σ_k risk_k,   risk_k = share of errors among the k examples of largest confidence

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1. It mixes how many errors there are with how well confidence finds them; `eaurc` does not.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Geifman et al. 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers".
    """
    return float(selective_risk(read(logits, targets, ignore_index).ranked.correct[::-1]).mean())


@metric(better="lower")
def eaurc(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Excess of `aurc` over that of an oracle, whose confidence is lowest on its errors.

        eaurc = aurc - 1/N · Σ_k max(0, k - number of right predictions)/k

    The oracle is computed and not approximated by r + (1-r)·log(1-r), r the share of errors, as in the paper.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1; 0 where every right prediction is more confident than every wrong one.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Geifman et al. 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers".
    """
    predictions = read(logits, targets, ignore_index)
    oracle = selective_risk(-np.sort(-predictions.correct.astype(np.float64)))
    risk = selective_risk(predictions.ranked.correct[::-1])
    return float((risk - oracle).mean())


@metric(better="higher")
def failure_auroc(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Probability that a right prediction is more confident than a wrong one: the AUROC of confidence for correctness.

        failure_auroc = P(conf⁺ > conf⁻) + ½ · P(conf⁺ = conf⁻)   for a right and a wrong prediction, drawn at random

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A probability, 0..1; ½ is chance. nan when every prediction is right, or every one wrong.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Hendrycks & Gimpel 2017, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural
    Networks".
    """
    predictions = read(logits, targets, ignore_index)
    return auroc(predictions.level[predictions.correct], predictions.level[~predictions.correct])


@metric(better="lower")
def failure_fpr95(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Share of the wrong predictions that pass the confidence threshold which lets 95 % of the right ones pass.

        failure_fpr95 = [share of conf⁻ ≥ t],   t = the largest with [share of conf⁺ ≥ t] ≥ 0.95

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A share, 0..1. nan when every prediction is right, or every one wrong.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Liang et al. 2018, "Enhancing the Reliability of Out-of-Distribution Image Detection in Neural Networks",
    section 4.3, for errors in place of strangers.
    """
    predictions = read(logits, targets, ignore_index)
    return fpr95(predictions.level[predictions.correct], predictions.level[~predictions.correct])
