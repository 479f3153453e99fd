"""The temperature that the logits should have had."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.links import row_blocks
from lossbench.metrics.inputs import read
from lossbench.metrics.metric import metric

# The search is bounded because the best T need not exist: where every prediction is right the NLL falls as long as
# T does. Loss and architecture rarely ask for a T outside 0.05..20; huge logits can, so the upper end is far.
MIN_TEMPERATURE = 0.01
MAX_TEMPERATURE = 10_000.0
MAX_STEPS = 100  # halving alone takes 37


def best_temperature(log_probs: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """Find the temperature as `optimal_temperature` defines it, where logits and targets are read already.

    Args:
        log_probs: nats, [N, K].
        classes: targets, [N].
    """
    # u = log 1/T. Newton's method takes five or six looks at the data where Brent's takes a dozen, and scipy's keeps
    # them in memory, by a cycle of references, until Python happens to collect it.
    low, high = -math.log(MAX_TEMPERATURE), -math.log(MIN_TEMPERATURE)
    u = 0.0
    nll, slope, curvature = _around(log_probs, classes, u)
    as_it_is = nll
    bound = MIN_TEMPERATURE if slope < 0 else MAX_TEMPERATURE
    nll_at_bound, slope_at_bound, _ = _around(log_probs, classes, -math.log(bound))
    if slope * slope_at_bound >= 0:  # no root between
        return bound if nll_at_bound < as_it_is else 1.0
    for _ in range(MAX_STEPS):
        low, high = (u, high) if slope < 0 else (low, u)
        step = u - slope / curvature if curvature > 0 else math.inf
        step = step if low <= step <= high else (low + high) / 2
        moved, u = abs(step - u), step
        if moved < 1e-8:  # the next step would be about the square of this one
            break
        nll, slope, curvature = _around(log_probs, classes, u)
    return math.exp(-u) if nll < as_it_is else 1.0


def _around(log_probs: NDArray[np.float64], classes: NDArray[np.int64], u: float) -> tuple[float, float, float]:
    """NLL of softmax(z·s) at s = e^u in nats, its derivative by s, and how that changes with u.

    With p = softmax(z·s): 1/N · Σ_i (mean of z_i under p_i - z_iy) and s/N · Σ_i (variance of z_i under p_i).
    """
    s = math.exp(u)
    nll = slope = curvature = 0.0
    for rows in row_blocks(log_probs):
        # from the largest down, so that something is left of every row at the largest s
        scores = log_probs[rows] - log_probs[rows].max(axis=1, keepdims=True)
        of_targets = scores[np.arange(len(scores)), classes[rows]]
        weights = np.exp(s * scores)
        total = weights.sum(axis=1)
        weights *= scores
        mean = weights.sum(axis=1) / total
        nll += float((np.log(total) - s * of_targets).sum())
        slope += float((mean - of_targets).sum())
        curvature += s * float((np.einsum("ik,ik->i", weights, scores) / total - mean**2).sum())
    return nll / len(classes), slope / len(classes), curvature / len(classes)


@metric(better=None)
def optimal_temperature(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """The one temperature that minimises the negative log-likelihood of softmax(z/T).

        optimal_temperature = argmin over T of -1/N · Σ_i log softmax(z_i/T)_y

    The NLL is convex in 1/T. The root of its derivative is found within 0.01 ≤ T ≤ 10,000, by Newton's method where
    that stays between the ends known so far, and by halving where it does not: the search always ends.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        T; above 1 means that the model is overconfident on these data. The bound where the best T lies beyond it (no
        prediction is wrong, or hardly any is right). Exactly 1.0 where no T gives a lower NLL than T = 1.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    predictions = read(logits, targets, ignore_index)
    return best_temperature(predictions.log_probs, predictions.classes)
