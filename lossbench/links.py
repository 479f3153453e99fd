"""Links: how logits become log-probabilities.

A loss that is trained through a link is evaluated through it. What comes out goes straight into
`lossbench.metrics`, for which log-probabilities are valid logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lossbench.domains import POSITIVE, Interval
from lossbench.errors import DataError, ShapeError, did_you_mean

LARGEST = 1e150  # of a logit: sums of squares, and logits over a small temperature, must be finite in float64


def softmax(
    logits: ArrayLike, *, temperature: Annotated[float, POSITIVE] = 1.0, scale: Annotated[float, POSITIVE] = 1.0
) -> NDArray[np.float64]:
    """Log-probabilities of one class out of K.

        log p_k = s z_k/T - log Σ_j exp(s z_j/T)

    Args:
        logits: [N, K] or [N, K, H, W], finite; whatever `numpy.asarray` takes.
        temperature: T > 0; above 1 flattens.
        scale: s > 0; above 1 sharpens. Losses of cosines call it so.

    Returns:
        Log-probabilities in nats, float64, shaped like the logits; Σ_k p_k = 1.

    Raises:
        ShapeError: if the logits have another shape.
        DataError: if they are not finite numbers.
    """
    array = finite_logits(logits)
    log_probs = np.empty_like(array)
    for rows in row_blocks(array):
        log_probs[rows] = special.log_softmax(array[rows] * (scale / temperature), axis=1)
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


def normalized(logits: ArrayLike, *, temperature: Annotated[float, POSITIVE] = 0.04) -> NDArray[np.float64]:
    """Log-probabilities of one class out of K from the direction of the logits.

        log p_k = u_k/τ - log Σ_j exp(u_j/τ),   u = z / (‖z‖ + 1e-7)

    Args:
        logits: [N, K] or [N, K, H, W], finite; whatever `numpy.asarray` takes. The norm is over the classes.
        temperature: τ > 0; the larger, the less sure can p be.

    Returns:
        Log-probabilities in nats, float64, shaped like the logits; Σ_k p_k = 1.

    Raises:
        ShapeError: if the logits have another shape.
        DataError: if they are not finite numbers.
    """
    array = finite_logits(logits)
    directions = array / (np.linalg.norm(array, axis=1, keepdims=True) + 1e-7)
    log_probs: NDArray[np.float64] = special.log_softmax(directions / temperature, axis=1)
    return log_probs


def tempered_softmax(logits: ArrayLike, *, t2: Annotated[float, Interval(1.0, 4.0)] = 1.2) -> NDArray[np.float64]:
    """Log-probabilities of one class out of K with a heavy tail.

        p_k = [1 + (t - 1)(λ - z_k)]^(-1/(t - 1)) with λ such that Σ_k p_k = 1;   softmax at t = 1

    λ is found by Newton's method on (Σ_k p_k)^(1-t), which is concave in λ, from max z on: no step leads past the root,
    and a handful reach it.

    Args:
        logits: [N, K] or [N, K, H, W], finite; whatever `numpy.asarray` takes.
        t2: t in [1, 4]; the larger, the heavier the tail.

    Returns:
        Log-probabilities in nats, float64, shaped like the logits; Σ_k p_k = 1.

    Raises:
        ShapeError: if the logits have another shape.
        DataError: if they are not finite numbers.

    Source: Amid et al. 2019, "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences", eq. 4.
    """
    array = finite_logits(logits)
    if t2 == 1:
        return softmax(array)
    s = t2 - 1
    shifted = array - array.max(axis=1, keepdims=True)
    root = np.zeros_like(shifted[:, :1])
    step = np.ones_like(root)
    while np.any(step > 1e-12 * (1 + root)):  # the error after a step is about its square
        growth = np.log1p(s * (root - shifted))
        terms = np.exp(-growth / s)
        log_total = np.log(terms.sum(axis=1, keepdims=True))
        slope = (terms * np.exp(-growth)).sum(axis=1, keepdims=True)
        step = -np.expm1(-s * log_total) / s * np.exp(t2 * log_total) / slope
        root = root + step
    log_probs: NDArray[np.float64] = -np.log1p(s * (root - shifted)) / s
    return log_probs


LINKS = {"softmax": softmax, "sigmoid": sigmoid, "normalized": normalized, "tempered_softmax": tempered_softmax}


def through(link: Mapping[str, Any], logits: ArrayLike) -> NDArray[np.float64]:
    """Log-probabilities through the link that a run records.

    Args:
        link: `name`, one of LINKS, and its arguments: `{"name": "softmax", "temperature": 2.0}`.
        logits: [N, K] or [N, K, H, W], finite; whatever `numpy.asarray` takes.

    Returns:
        Log-probabilities in nats, float64, shaped like the logits.

    Raises:
        ShapeError: if the logits have another shape.
        DataError: if they are not finite numbers, or the link is none of LINKS or is not given its own arguments.
    """
    name, arguments = link.get("name"), {key: value for key, value in link.items() if key != "name"}
    if name not in LINKS:
        raise DataError(f"no link named {name!r}{did_you_mean(str(name), LINKS)}")
    try:
        return LINKS[name](logits, **arguments)
    except TypeError as error:
        raise DataError(f"the link {name} cannot be given {arguments}: {error}") from error


def row_blocks(array: NDArray[np.float64]) -> Iterator[slice]:
    """Yield slices that cut an array into blocks of rows of about a megabyte.

    What is computed a block at a time stays in the cache of a core, and needs no memory of the array's size.

    Args:
        array: [N, …].
    """
    size = max(1, 2**17 // max(1, math.prod(array.shape[1:])))
    for start in range(0, len(array), size):
        yield slice(start, start + size)


def raw_and_scaled(link: Mapping[str, Any], logits: ArrayLike, temperature: float) -> dict[str, NDArray[np.float64]]:
    """Log-probabilities that sum to 1, through a run's link and after its fitted temperature.

    Args:
        link: as in `through`. One-vs-rest probabilities are brought to a sum of 1.
        logits: [N, K] or [N, K, H, W], finite.
        temperature: T > 0, fitted on validation.

    Returns:
        `raw` and `temperature_scaled`, nats, float64, shaped like the logits.

    Raises:
        ShapeError: as `through`.
        DataError: as `through`.
    """
    raw = softmax(through(link, logits))
    return {"raw": raw, "temperature_scaled": softmax(raw, temperature=temperature)}


def finite_logits(logits: ArrayLike) -> NDArray[np.float64]:
    """Read logits as float64, or say what is wrong with them.

    Args:
        logits: [N, K] or [N, K, H, W] with N ≥ 1 and K ≥ 2; whatever `numpy.asarray` takes.

    Returns:
        The same, float64.

    Raises:
        ShapeError: if they have another shape.
        DataError: if they are not real numbers, or the first row with a nan, an infinity or a number whose square
            is none, by its number from 0.
    """
    try:
        given = np.asarray(logits)
        if given.dtype.kind not in "biufO":  # numpy would drop imaginary parts, and read text as numbers
            raise TypeError(f"got {given.dtype}")
        array = given.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"logits must be an array of real numbers, [N, K] or [N, K, H, W]: {error}") from error
    if array.ndim not in (2, 4) or array.size == 0 or array.shape[1] < 2:
        raise ShapeError(f"logits must be [N, K] or [N, K, H, W] with N ≥ 1 and K ≥ 2; got {list(array.shape)}")
    within = np.abs(array) <= LARGEST  # which nan is not
    if not within.all():
        position = tuple(np.argwhere(~within)[0])
        why = f"is above {LARGEST:g} in size" if np.isfinite(array[position]) else "is not finite"
        raise DataError(f"logits row {position[0]} {why}")
    return array
