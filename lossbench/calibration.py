"""Post-hoc calibration: scalers fitted on the validation split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.links import row_blocks, softmax
from lossbench.metrics.inputs import read
from lossbench.metrics.temperature import best_temperature, optimal_temperature

MAX_STEPS = 100  # of L-BFGS; most fits need 10 to 40
LEAST = 1e-290  # probabilities below count as 0: between two of these a line may be too steep for a float


def fit_temperature(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> float:
    """Find the one temperature that minimises the negative log-likelihood of softmax(z/T).

        T* = argmin over T of -1/N · Σ_i log softmax(z_i/T)_y

    The search is that of `lossbench.metrics.optimal_temperature`, within 0.01 ≤ T ≤ 10,000. Apply the result by
    `lossbench.links.softmax(logits, temperature=T)`.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        T; above 1 means that the model was overconfident. One of the bounds where the best T lies beyond it (no
        prediction is wrong, or hardly any is right). Exactly 1.0 where no T gives a lower NLL than T = 1, so that
        the NLL on these data never gets worse.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    return optimal_temperature(logits, targets, ignore_index=ignore_index)


@dataclass(frozen=True)
class TemperatureScaling:
    """One temperature for all classes: log-probabilities are log softmax(z/T)."""

    temperature: float

    def __call__(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Map logits, [N, K] or [N, K, H, W], to calibrated log-probabilities of the same shape, nats, float64."""
        return softmax(logits, temperature=self.temperature)


@dataclass(frozen=True)
class VectorScaling:
    """A weight and a bias for each class: log-probabilities are log softmax_k(w_k · log p_k + b_k)."""

    weights: NDArray[np.float64]  # [K]
    biases: NDArray[np.float64]  # [K], nats

    def __call__(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Map logits, [N, K] or [N, K, H, W], to calibrated log-probabilities of the same shape, nats, float64."""
        log_probs = softmax(logits)
        per_class = (-1, *(1,) * (log_probs.ndim - 2))
        return softmax(log_probs * self.weights.reshape(per_class) + self.biases.reshape(per_class))


def fit_vector(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> VectorScaling:
    """Find a weight and a bias for each class: vector scaling.

        w, b = argmin of NLL(softmax(w_k · log p_k + b_k)) + 1/(2N) · Σ_k [(T·w_k - 1)² + b_k²]

    T is the fitted temperature. The second term is a standard normal prior around temperature scaling, worth as much
    as one example: it makes the objective strictly convex with one minimum, where without it a class that is never
    wrong, or never there, would send its parameters to infinity. L-BFGS with the exact gradient starts at
    temperature scaling, w = 1/T and b = 0.

    The paper scales logits. Here it is log p = log softmax(z), so that logits that mean the same probabilities are
    calibrated alike.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        The scaler. Its NLL on these data is never worse than that of temperature scaling, and so never worse than
        that of the logits as they are.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    predictions = read(logits, targets, ignore_index)
    log_probs, classes = predictions.log_probs, predictions.classes
    temperature = best_temperature(log_probs, classes)
    num_classes = log_probs.shape[1]

    def objective(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nll, gradient = _vector_nll(log_probs, classes, parameters[0] / temperature, parameters[1])
        gradient[0] /= temperature
        away = parameters - start
        return nll + float((away**2).sum()) / (2 * len(classes)), gradient + away / len(classes)

    def flat(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = objective(parameters.reshape(2, num_classes))
        return value, gradient.ravel()

    from scipy.optimize import minimize  # slow to import, and a report fits nothing

    start = np.stack([np.ones(num_classes), np.zeros(num_classes)])
    found = minimize(flat, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": MAX_STEPS, "ftol": 1e-9})
    best = found.x.reshape(2, num_classes) if found.fun < objective(start)[0] else start
    return VectorScaling(best[0] / temperature, best[1])


def _vector_nll(
    log_probs: NDArray[np.float64],
    classes: NDArray[np.int64],
    weights: NDArray[np.float64],
    biases: NDArray[np.float64],
) -> tuple[float, NDArray[np.float64]]:
    """The NLL of vector scaling and its gradient, [2, K]."""
    nll, gradient = 0.0, np.zeros((2, log_probs.shape[1]))
    for part in row_blocks(log_probs):
        before, rows = log_probs[part], np.arange(len(classes[part]))
        scores = before * weights + biases
        scores -= scores.max(axis=1, keepdims=True)
        of_targets = scores[rows, classes[part]]
        probs = np.exp(scores, out=scores)
        sums = probs.sum(axis=1, keepdims=True)
        nll += float(np.log(sums).sum() - of_targets.sum())
        probs /= sums
        probs[rows, classes[part]] -= 1.0
        gradient[0] += np.einsum("nk,nk->k", probs, before)
        gradient[1] += probs.sum(axis=0)
    return nll / len(classes), gradient / len(classes)


@dataclass(frozen=True)
class IsotonicCalibration:
    """A rising function of each class's probability; what they give is divided by its sum over the classes."""

    curves: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]  # K times (p, what it becomes), p rising
    floor: float  # the least that a probability becomes, before the division

    def __call__(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Map logits, [N, K] or [N, K, H, W], to calibrated log-probabilities of the same shape, nats, float64."""
        probs = _probs(softmax(logits))
        for k, (before, after) in enumerate(self.curves):
            probs[:, k] = np.maximum(np.interp(probs[:, k], before, after), self.floor)
        probs /= probs.sum(axis=1, keepdims=True)
        return np.log(probs, out=probs)


def fit_isotonic(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> IsotonicCalibration:
    """Find for each class the rising function of its probability that is nearest to the share of that class.

        f_k = argmin over rising f of Σ_i (f(p_ik) - [y_i = k])²,   p'_ik = max(f_k(p_ik), 1/(N·K)) / Σ_j (same)

    Between the fitted points f is linear, outside them constant. Where f is 0, no example of the class was among
    those; that is no proof that there are none, and an infinite NLL would be the price of one. The floor leaves to
    all that was never seen a probability of at most 1/N together. Where every f_k is 0, all classes are equally likely.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        The calibration. It may change which class is the most probable, and it ties what it cannot tell apart.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.

    Source: Zadrozny & Elkan 2002, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates".
    The floor is our own; scikit-learn's `CalibratedClassifierCV` has none, and agrees where no f_k is 0 and where all
    are.
    """
    predictions = read(logits, targets, ignore_index)
    log_probs, classes = predictions.log_probs, predictions.classes
    num_examples, num_classes = log_probs.shape
    probs = _probs(log_probs)
    curves = []
    for k in range(num_classes):
        before, which, counts = np.unique(probs[:, k], return_inverse=True, return_counts=True)
        shares = np.bincount(which, weights=classes == k) / counts
        curves.append(_isotonic(before, shares, counts))
    return IsotonicCalibration(tuple(curves), 1 / (num_examples * num_classes))


def _probs(log_probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """What isotonic regression reads, a class at a time."""
    probs: NDArray[np.float64] = np.exp(log_probs, order="F")
    probs[probs < LEAST] = 0.0
    return probs


def _isotonic(
    before: NDArray[np.float64], shares: NDArray[np.float64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rising function nearest to the shares, by the points where it bends."""
    from scipy.optimize import isotonic_regression  # slow to import, and a report fits nothing

    after = np.asarray(isotonic_regression(shares, weights=counts).x)
    flat = np.zeros(len(after), dtype=bool)
    flat[1:-1] = (after[1:-1] == after[:-2]) & (after[1:-1] == after[2:])
    return before[~flat], after[~flat]


# Logits and targets of the validation split → what maps logits to calibrated log-probabilities. Each run is reported
# through its own link, raw, and after each of these.
FITS: dict[str, Callable[[ArrayLike, ArrayLike], Callable[[ArrayLike], NDArray[np.float64]]]] = {
    "temperature_scaled": lambda logits, targets: TemperatureScaling(fit_temperature(logits, targets)),
    "vector_scaled": fit_vector,
    "isotonic": fit_isotonic,
}
CALIBRATIONS = ("raw", *FITS)
