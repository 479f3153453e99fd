"""How far confidence is from accuracy, without bins."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import dct, idct

from lossbench.metrics.inputs import read
from lossbench.metrics.metric import metric

CELLS = 2**14  # of the grid that residuals are put on
LEAST_CELLS = 2**7  # of the one that they are summed on, smoothed
SMOOTH = 8  # cells in a bandwidth, from which on two neighbours say what is between them
VANISHES = 39.0  # e^(-x²/2) is 0 in float64 from here on


def residual_spectrum(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cosine transform of the residuals over [0, 1].

    Each residual is shared by the two nearest cells of a grid, which leaves errors of the order of the square of
    cell width/bandwidth.

    Args:
        confidence: in 0..1, [N].
        correct: [N].

    Returns:
        Coefficients, float64 [CELLS].
    """
    residual = (correct - confidence) / len(confidence)
    position = np.clip(
        confidence * CELLS - 0.5, 0, CELLS - 1
    )  # beyond an outer centre lies that cell's own mirror image
    left = np.minimum(position.astype(np.int64), CELLS - 2)
    to_the_right = position - left
    masses = np.bincount(left, weights=residual * (1 - to_the_right), minlength=CELLS)
    masses += np.bincount(left + 1, weights=residual * to_the_right, minlength=CELLS)
    spectrum: NDArray[np.float64] = dct(masses)
    return spectrum


def smoothed_error(spectrum: NDArray[np.float64], bandwidth: float) -> float:
    """Size of the residuals after they are smoothed at one bandwidth.

        smECE_σ = ∫₀¹ |1/N · Σ_i (correct_i - conf_i) · K_σ(t, conf_i)| dt

    K_σ is the Gaussian kernel, reflected at 0 and 1 as often as it takes. Under it cos(πkt) shrinks by e^(-(πkσ)²/2),
    so that smoothing is a product of cosine transforms.

    Args:
        spectrum: of the residuals, from `residual_spectrum`.
        bandwidth: σ ≥ 0.
    """
    kept = CELLS if bandwidth * np.pi * CELLS < VANISHES else int(VANISHES / (np.pi * bandwidth)) + 1
    # What is left has no more than `kept` waves, so that a grid of twice as many cells says all of it.
    cells = min(CELLS, max(LEAST_CELLS, 1 << (2 * kept - 1).bit_length()))
    smoothed = np.zeros(cells)
    smoothed[:kept] = spectrum[:kept] * np.exp(-((np.pi * bandwidth * np.arange(kept)) ** 2) / 2)
    values = idct(smoothed)
    sizes = np.abs(values)
    size = float(sizes.sum())
    if bandwidth * cells >= SMOOTH:
        # Where the sign changes between two cells, the size has an edge, which a sum over cells misses by this much.
        crossed = np.flatnonzero(values[1:] * values[:-1] < 0)
        before, after = sizes[crossed], sizes[crossed + 1]
        size += float(((before + after) / 6 - before * after / (before + after)).sum())
    return min(size, 1.0)  # but for rounding it is no more


@metric(better="lower")
def smooth_ece(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Calibration error smoothed by a kernel instead of bins, at the bandwidth that equals its value.

        smooth_ece = σ with ∫₀¹ |1/N · Σ_i (correct_i - conf_i) · K_σ(t, conf_i)| dt = σ

    K_σ is the Gaussian kernel, reflected at 0 and 1. The left side falls as σ grows, so that there is one such σ.
    Residuals lie on a grid of 16,384 cells: values above 0.001 are exact to 1e-6. The authors' relplot tries 1,024
    bandwidths and counts confidences next to 0 and 1 by half; without such it agrees to 0.001.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A difference of probabilities, 0..1. A calibrated model does not reach 0, but comes closer than by `ece`.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Błasiok & Nakkiran 2024, "Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing".
    """
    from scipy.optimize import brentq  # slow to import, and a report measures nothing

    predictions = read(logits, targets, ignore_index)
    spectrum = residual_spectrum(predictions.confidence, predictions.correct)
    if not spectrum.any():
        return 0.0
    error = functools.cache(functools.partial(smoothed_error, spectrum))  # brentq asks for that at its ends again
    # No smoothing takes from the size of the sum of all residuals, so the value is no less than that; and what is
    # left at that bandwidth is no less than the value.
    least = min(abs(float(spectrum[0])) / 2, 1.0)
    most = error(least)
    if most <= least:
        return least
    if error(most) >= most:  # rounding, or a bandwidth below a cell of the grid
        if error(1.0) >= 1.0:  # all wrong and all certain
            return 1.0
        most = 1.0
    return float(brentq(lambda bandwidth: error(bandwidth) - bandwidth, least, most, xtol=1e-14))


@metric(better="lower")
def ks_error(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Largest distance between cumulative confidence and cumulative correctness, after Kolmogorov and Smirnov.

        ks_error = max over τ of |1/N · Σ_{i: conf_i ≤ τ} (correct_i - conf_i)|

    τ takes the confidences that occur, so that examples of equal confidence enter together; in the authors' code they
    enter one by one, and where there are ties the value depends on their order.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        A difference of probabilities, 0..1; at least the size of `confidence_gap`.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Gupta et al. 2021, "Calibration of Neural Networks Using Splines".
    """
    ranked = read(logits, targets, ignore_index).ranked
    distance = np.abs(np.cumsum(ranked.correct - ranked.confidence)[ranked.ends_tie])
    return float(distance.max() / len(ranked.correct))
