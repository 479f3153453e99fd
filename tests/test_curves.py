"""Curves are what the metrics are made of."""

import math
import time

import numpy as np
import pytest

from lossbench import curves, metrics
from lossbench.links import softmax


def binary(confidences, correct):
    """Two-class logits whose predictions have these confidences, and targets that make them right or wrong."""
    p = np.array(confidences)
    return np.log(np.stack([p, 1 - p], axis=1)), np.where(correct, 0, 1)


def drawn(num_examples=2000, num_classes=5, seed=0):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(num_examples, num_classes))
    return 1.5 * logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def test_reliability_bins_have_edges_sizes_and_means_and_leave_out_the_empty_ones():
    # five bins: .55 and .6 lie in (.4, .6], .9 and 1.0 in (.8, 1]
    logits, targets = binary([0.55, 0.6, 0.9, 0.95], [True, False, True, True])
    bins = curves.reliability(logits, targets, n_bins=5)
    assert list(bins) == ["lo", "hi", "n", "confidence", "accuracy"]
    np.testing.assert_allclose(bins["lo"], [0.4, 0.8])
    np.testing.assert_allclose(bins["hi"], [0.6, 1.0])
    np.testing.assert_array_equal(bins["n"], [2, 2])
    np.testing.assert_allclose(bins["confidence"], [0.575, 0.925])
    np.testing.assert_allclose(bins["accuracy"], [0.5, 1.0])


def test_bins_of_equal_mass_reach_from_their_least_to_their_largest_confidence():
    # 5 examples in 2 bins: the first holds one more
    logits, targets = binary([0.9, 0.6, 0.7, 0.8, 0.55], [True, True, False, True, False])
    bins = curves.reliability(logits, targets, n_bins=2, equal_mass=True)
    np.testing.assert_allclose(bins["lo"], [0.55, 0.8])
    np.testing.assert_allclose(bins["hi"], [0.7, 0.9])
    np.testing.assert_array_equal(bins["n"], [3, 2])
    np.testing.assert_allclose(bins["accuracy"], [1 / 3, 1.0])


@pytest.mark.parametrize(("equal_mass", "metric"), [(False, metrics.ece), (True, metrics.adaptive_ece)])
@pytest.mark.parametrize("n_bins", [1, 7, 15])
def test_the_gaps_of_reliability_sum_to_the_calibration_error(equal_mass, metric, n_bins):
    logits, targets = drawn()
    bins = curves.reliability(logits, targets, n_bins=n_bins, equal_mass=equal_mass)
    gaps = bins["n"] * np.abs(bins["accuracy"] - bins["confidence"])
    assert bins["n"].sum() == len(targets)
    assert gaps.sum() / len(targets) == pytest.approx(metric(logits, targets, n_bins=n_bins), rel=1e-9)


def test_risk_is_the_share_of_errors_among_those_above_the_threshold():
    # by falling confidence: right, wrong, right, and two of equal confidence, one of them wrong
    logits, targets = binary([0.9, 0.8, 0.7, 0.6, 0.6], [True, False, True, True, False])
    curve = curves.risk_coverage(logits, targets)
    np.testing.assert_allclose(curve["threshold"], [0.9, 0.8, 0.7, 0.6])
    np.testing.assert_allclose(curve["coverage"], [0.2, 0.4, 0.6, 1.0])
    np.testing.assert_allclose(curve["risk"], [0.0, 1 / 2, 1 / 3, 2 / 5], atol=1e-15)


def test_the_mean_risk_is_the_area_and_the_last_one_the_error_rate():
    logits, targets = drawn()
    curve = curves.risk_coverage(logits, targets)
    assert curve["risk"].mean() == pytest.approx(metrics.aurc(logits, targets), rel=1e-9)
    assert curve["risk"][-1] == pytest.approx(1 - metrics.accuracy(logits, targets))


def test_each_temperature_gives_what_the_metrics_say_of_logits_scaled_by_it():
    logits, targets = drawn(500)
    tried = [0.3, 1.0, 2.5]
    curve = curves.temperature(logits, targets, tried, n_bins=10)
    np.testing.assert_array_equal(curve["temperature"], tried)
    scaled = [softmax(logits, temperature=value) for value in tried]
    np.testing.assert_allclose(curve["nll"], [metrics.nll(z, targets) for z in scaled], rtol=1e-10)
    np.testing.assert_allclose(curve["ece"], [metrics.ece(z, targets, n_bins=10) for z in scaled], rtol=1e-9)


def test_the_nll_is_least_at_the_optimal_temperature():
    logits, targets = drawn()
    tried = np.geomspace(0.5, 5, 2001)
    curve = curves.temperature(logits, targets, tried)
    step = math.log(10) / 2000  # between two of them in log T
    least = curve["temperature"][curve["nll"].argmin()]
    assert math.log(least) == pytest.approx(math.log(metrics.optimal_temperature(logits, targets)), abs=step)


def test_pixels_and_ignored_targets_are_read_as_by_the_metrics():
    logits, targets = drawn(200)
    images, masks = logits.reshape(2, 10, 10, 5).transpose(0, 3, 1, 2), targets.reshape(2, 10, 10).copy()
    masks[1, 3] = 255
    keep = masks.ravel() != 255
    of_pixels = curves.temperature(images, masks, [2.0], ignore_index=255)
    of_examples = curves.temperature(logits[keep], targets[keep], [2.0])
    np.testing.assert_allclose(of_pixels["nll"], of_examples["nll"], rtol=1e-12)


def test_three_hundred_temperatures_of_10_000_examples_take_a_few_seconds_at_most():
    logits, targets = drawn(10_000, 10)
    started = time.perf_counter()
    curves.temperature(logits, targets, np.geomspace(0.1, 10, 300))
    assert time.perf_counter() - started < 5  # 0.2 s on an idle core
