"""On data whose posterior is known: what calibration errors and temperatures must come out as."""

import functools

import numpy as np
import pytest

from lossbench import metrics
from lossbench.data import gaussian_log_posterior, gaussian_means, gaussians

SIZES = (1_000, 10_000, 100_000)
DRAWS = (40, 20, 10)  # of each size, averaged


@functools.cache
def posterior(num_examples, data_seed):
    """Examples of five overlapping classes with their true log-posterior."""
    test = gaussians(num_classes=5, separation=1.5, n_train=2, n_test=num_examples, data_seed=data_seed).test
    return gaussian_log_posterior(test.inputs, gaussian_means(5, 2, 1.5)).numpy(), test.targets.numpy()


def slope(metric):
    """Of the log of a metric's mean absolute value on the true posterior, by log N; and that mean at the largest N."""
    measure = metrics.ALL[metric]
    means = [
        np.mean([abs(measure(*posterior(size, seed))) for seed in range(draws)])
        for size, draws in zip(SIZES, DRAWS, strict=True)
    ]
    return np.polyfit(np.log(SIZES), np.log(means), 1)[0], means[-1]


@pytest.mark.parametrize("metric", ["ece", "adaptive_ece", "rmsce", "classwise_ece", "ks_error", "confidence_gap"])
def test_the_calibration_error_of_the_true_posterior_vanishes_like_one_over_root_n(metric):
    # What is left is the noise of the shares in the bins, of order 1/√N: over two decades of N the slope of log error
    # by log N is -½. The mean over the draws is known to about 10 % at both ends, which makes ±0.03 of the slope.
    found, left = slope(metric)
    assert found == pytest.approx(-0.5, abs=0.1)
    assert left < 0.01


def test_the_smooth_calibration_error_of_the_true_posterior_vanishes_like_the_cube_root():
    # Noise smoothed over a width σ is of order 1/√(Nσ), and σ is the error itself: σ = 1/√(Nσ) makes it N^(-1/3).
    found, left = slope("smooth_ece")
    assert found == pytest.approx(-1 / 3, abs=0.06)
    assert left < 0.01


@pytest.mark.parametrize("sharpening", [0.5, 1.5, 4.0])
def test_a_posterior_sharpened_by_a_factor_has_that_factor_as_optimal_temperature(sharpening):
    # the standard error of T is about 0.4 % at this N
    log_posterior, targets = posterior(100_000, 0)
    assert metrics.optimal_temperature(sharpening * log_posterior, targets) == pytest.approx(sharpening, rel=0.01)


def test_the_nll_of_the_true_posterior_is_its_mean_entropy():
    # E[-log p_y] = E[H(p)]; the standard deviation of their difference is below 1 nat, so below 0.004 for the mean
    log_posterior, targets = posterior(100_000, 0)
    nll, entropy = metrics.nll(log_posterior, targets), metrics.mean_entropy(log_posterior, targets)
    assert nll == pytest.approx(entropy, abs=0.01)
