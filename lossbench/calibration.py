"""Post-hoc calibration: scalers fitted on the validation split."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from lossbench.links import softmax
from lossbench.metrics.inputs import log_probs_and_targets

# The search is bounded because the best T need not exist: where every prediction is right the NLL falls as long as
# T does. Loss and architecture rarely ask for a T outside 0.05..20; huge logits can, so the upper end is far.
MIN_TEMPERATURE = 0.01
MAX_TEMPERATURE = 10_000.0


def fit_temperature(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Find the one temperature that minimises the negative log-likelihood of softmax(z/T).

        T* = argmin over T of -1/N · Σ_i log softmax(z_i/T)_y

    The search is Brent's bounded method in log T over 0.01 ≤ T ≤ 10,000. The NLL is convex in 1/T, so it has no
    local minimum to stop at. Apply the result by `lossbench.links.softmax(logits, temperature=T)`.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        T; above 1 means that the model was overconfident. Close to the bound where the best T lies beyond it (no
        prediction is wrong, or hardly any is right). Exactly 1.0 where no T gives a lower NLL than T = 1, so that
        the NLL on these data never gets worse.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    log_probs, classes = log_probs_and_targets(logits, targets, ignore_index)
    rows = np.arange(len(classes))

    def nll(log_temperature: float) -> float:
        return float(-softmax(log_probs, temperature=math.exp(log_temperature))[rows, classes].mean())

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    found = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x) if found.fun < nll(0.0) else 1.0
