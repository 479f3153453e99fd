"""smooth_ece and ks_error by hand and by quadrature."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from lossbench.metrics import confidence_gap, ks_error, smooth_ece
from lossbench.metrics.binless import residual_spectrum, smoothed_error


def logits_of(confidence):
    """Logits of two classes whose first has the probability given, so that a target 0 is a hit."""
    confidence = np.asarray(confidence)
    return np.log(np.stack([confidence, 1 - confidence], axis=1))


def example(num_examples, scale, seed=0):
    """Confidence and correctness of a model sharpened by a factor, with its logits and targets."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(num_examples, 3))
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    probs = np.exp(scale * logits) / np.exp(scale * logits).sum(axis=1, keepdims=True)
    return probs.max(axis=1), probs.argmax(axis=1) == targets, scale * logits, targets


def by_quadrature(confidence, correct, bandwidth):
    """The definition, with ten reflections at each end, by the midpoint rule on 4,000 points."""
    t = (np.arange(4000) + 0.5) / 4000
    smoothed = np.zeros_like(t)
    for where, residual in zip(confidence, (correct - confidence) / len(confidence), strict=True):
        for shift in range(-10, 12, 2):
            for image in (shift + where, shift - where):
                if abs(image) < 1 + 9 * bandwidth:  # of those farther out nothing arrives
                    smoothed += residual * np.exp(-(((t - image) / bandwidth) ** 2) / 2)
    return np.abs(smoothed).mean() / (bandwidth * np.sqrt(2 * np.pi))


@pytest.mark.parametrize("confidence", [0.55, 0.75, 1 - 1e-6])
@pytest.mark.parametrize("target", [0, 1])
def test_residuals_of_one_sign_keep_their_sum_whatever_the_bandwidth(confidence, target):
    # Nothing cancels and the reflections let nothing out: the smoothed residuals add up to 1/N · Σ |residual|.
    expected = abs(1 - target - confidence)
    assert smooth_ece(logits_of([confidence] * 3), [target] * 3) == pytest.approx(expected, abs=1e-9)


def test_smooth_ece_of_a_sure_and_right_model_is_zero():
    assert smooth_ece([[1e4, -1e4]], [0]) == 0.0


@pytest.mark.parametrize("num_examples", [1, 36, 100, 333])  # rounding put the smoothed error of 36 above 1
def test_smooth_ece_of_a_sure_and_wrong_model_is_one(num_examples):
    logits = np.tile([0.0, 50.0, 0.0], (num_examples, 1))
    # Each residual is 0 - 1, and smoothing keeps their sum, 1, at every bandwidth.
    assert smooth_ece(logits, np.zeros(num_examples, dtype=int)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("num_examples", [20, 100])
def test_smooth_ece_is_the_bandwidth_at_which_the_smoothed_error_equals_it(num_examples, scale):
    confidence, correct, logits, targets = example(num_examples, scale)
    value = smooth_ece(logits, targets)
    assert value == pytest.approx(by_quadrature(confidence, correct, value), abs=1e-6)


@pytest.mark.parametrize("num_examples", range(1, 60))
def test_smooth_ece_of_a_sure_and_wrong_model_is_never_above_one(num_examples):
    logits = np.zeros((num_examples, 3))
    logits[:, 0] = 1000
    assert 1 - 1e-12 < smooth_ece(logits, np.ones(num_examples, dtype=int)) <= 1.0


def test_smooth_ece_below_a_cell_of_the_grid_is_a_root_too():
    """There what is left does not fall with the bandwidth, so that the bounds may not hold the root."""
    tried = 0
    for seed in range(400):
        confidence = 1 - np.random.default_rng(seed).uniform(1e-6, 1e-4, size=5)
        spectrum = residual_spectrum(confidence, np.ones(5, dtype=bool))
        least = abs(spectrum[0]) / 2
        most = smoothed_error(spectrum, least)
        value = smooth_ece(logits_of(confidence), np.zeros(5, dtype=int))
        tried += most > least and smoothed_error(spectrum, most) >= most
        assert smoothed_error(spectrum, value) == pytest.approx(value, abs=1e-9)
    assert tried


@pytest.mark.parametrize("scale", [0.3, 0.9, 1.0, 1.1, 5.0])
@pytest.mark.parametrize("num_examples", [1, 2, 30, 400])
def test_smooth_ece_is_the_only_root_between_0_and_1(num_examples, scale):
    for seed in range(10):
        confidence, correct, logits, targets = example(num_examples, scale, seed)
        spectrum = residual_spectrum(confidence, correct)
        root = brentq(lambda bandwidth, s=spectrum: smoothed_error(s, bandwidth) - bandwidth, 0.0, 1.0, xtol=1e-14)
        assert smooth_ece(logits, targets) == pytest.approx(root, abs=1e-12)


@pytest.mark.parametrize("bandwidth", [0.005, 0.05, 0.5, 1.0])
def test_the_smoothed_error_at_any_bandwidth_is_its_integral(bandwidth):
    confidence, correct, _, _ = example(50, 1.0, seed=1)
    confidence[:5] = 1.0  # on the mirror itself
    value = smoothed_error(residual_spectrum(confidence, correct), bandwidth)
    assert value == pytest.approx(by_quadrature(confidence, correct, bandwidth), rel=1e-5)


def test_the_smoothed_error_falls_as_the_bandwidth_grows():
    confidence, correct, _, _ = example(200, 2.0)
    spectrum = residual_spectrum(confidence, correct)
    values = [smoothed_error(spectrum, bandwidth) for bandwidth in np.geomspace(1e-4, 1, 30)]
    assert values == sorted(values, reverse=True)


def test_smooth_ece_does_not_jump_where_a_bin_ends():
    # ece with 10 bins puts 0.7 and 0.7 + 1e-6 into bins apart; here as little changes as was moved
    before, after = (smooth_ece(logits_of([0.65, 0.7 + moved]), [1, 0]) for moved in (0, 1e-6))
    assert after == pytest.approx(before, abs=1e-6)


def test_ks_error_is_the_largest_cumulative_residual():
    # by rising confidence: (0 - 0.6), + (1 - 0.7), + (1 - 0.9): -0.6, -0.3, -0.2, and the largest over 3
    assert ks_error(logits_of([0.9, 0.6, 0.7]), [0, 1, 0]) == pytest.approx(0.2, abs=1e-12)


@pytest.mark.parametrize("targets", [[0, 1], [1, 0]])
def test_ks_error_takes_equal_confidences_together(targets):
    # (1 - 0.8) + (0 - 0.8) over 2. One by one it would be 0.4 where the miss comes first.
    assert ks_error(logits_of([0.8, 0.8]), targets) == pytest.approx(0.3, abs=1e-12)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_ks_error_is_at_least_the_confidence_gap(scale):
    *_, logits, targets = example(300, scale)
    assert ks_error(logits, targets) >= abs(confidence_gap(logits, targets)) - 1e-12


@pytest.mark.parametrize("metric", [smooth_ece, ks_error])
def test_labels_drawn_from_the_models_own_probabilities_leave_only_noise(metric):
    # The cumulative residual is a random walk of N steps, each of variance at most 1/(4·N²): its end has a standard
    # deviation of at most 1/(2·√N), and its largest distance is more than five times that once in 10⁶.
    *_, logits, targets = example(100_000, 1.0)
    assert metric(logits, targets) < 5 / (2 * math.sqrt(100_000))
    assert metric(2 * logits, targets) > 0.05
