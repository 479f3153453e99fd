"""Links: how logits become log-probabilities.

A loss that is trained through a link is evaluated through it. What comes out goes straight into
`lossbench.metrics`, for which log-probabilities are valid logits.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lossbench.domains import POSITIVE
from lossbench.errors import DataError, ShapeError


def softmax(logits: ArrayLike, *, temperature: Annotated[float, POSITIVE] = 1.0) -> NDArray[np.float64]:
    """Log-probabilities of one class out of K.

        log p_k = z_k/T - log Σ_j exp(z_j/T)

    Args:
        logits: [N, K] or [N, K, H, W], finite; whatever `numpy.asarray` takes.
        temperature: T > 0; above 1 flattens.

    Returns:
        Log-probabilities in nats, float64, shaped like the logits; Σ_k p_k = 1.

    Raises:
        ShapeError: if the logits have another shape.
        DataError: if they are not finite numbers.
    """
    log_probs: NDArray[np.float64] = special.log_softmax(finite_logits(logits) / temperature, axis=1)
    return log_probs


def sigmoid(logits: ArrayLike) -> NDArray[np.float64]:
    """Log-probabilities of K separate questions, one class against the rest.

        log p_k = log σ(z_k) = -log(1 + exp(-z_k))

    The p_k of one example need not sum to 1. Metrics re-normalise them, because they go through log_softmax:
    they see p_k / Σ_j p_j.

    Args:
        logits: [N, K] or [N, K, H, W], finite; whatever `numpy.asarray` takes.

    Returns:
        Log-probabilities in nats, float64, shaped like the logits.

    Raises:
        ShapeError: if the logits have another shape.
        DataError: if they are not finite numbers.
    """
    log_probs: NDArray[np.float64] = special.log_expit(finite_logits(logits))
    return log_probs


def finite_logits(logits: ArrayLike) -> NDArray[np.float64]:
    """Read logits as float64, or say what is wrong with them.

    Args:
        logits: [N, K] or [N, K, H, W] with N ≥ 1 and K ≥ 2; whatever `numpy.asarray` takes.

    Returns:
        The same, float64.

    Raises:
        ShapeError: if they have another shape.
        DataError: if they are not numbers, or the first row with a nan or an infinity, by its number from 0.
    """
    try:
        array = np.asarray(logits, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"logits must be an array of real numbers, [N, K] or [N, K, H, W]: {error}") from error
    if array.ndim not in (2, 4) or array.size == 0 or array.shape[1] < 2:
        raise ShapeError(f"logits must be [N, K] or [N, K, H, W] with N ≥ 1 and K ≥ 2; got {list(array.shape)}")
    finite = np.isfinite(array)
    if not finite.all():
        raise DataError(f"logits row {np.argwhere(~finite)[0, 0]} is not finite")
    return array
