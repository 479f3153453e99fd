"""What is said of confidence and entropy, by hand and against scipy."""

import math

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from lossbench.metrics import (
    confidence_gap,
    confidence_of_errors,
    confident_errors,
    entropy_of_errors,
    mean_confidence,
    mean_entropy,
    smoothness_index,
)

# confidences 0.5, 0.7, 0.9 in classes 0, 1, 2
LOGITS = np.log([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1], [0.05, 0.05, 0.9]])


def test_mean_confidence_averages_the_largest_probability():
    assert mean_confidence(LOGITS, [0, 0, 0]) == pytest.approx(0.7, abs=1e-15)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [([0, 1, 2], 0.7 - 1), ([0, 1, 0], 0.7 - 2 / 3), ([1, 0, 0], 0.7)],  # 3, 2 and 0 of 3 right
)
def test_confidence_gap_is_positive_for_an_overconfident_model(targets, expected):
    assert confidence_gap(LOGITS, targets) == pytest.approx(expected, abs=1e-12)


def test_confidence_of_errors_looks_at_mistakes_alone():
    # the second and third are wrong: (0.7 + 0.9)/2
    assert confidence_of_errors(LOGITS, [0, 0, 0]) == pytest.approx(0.8, abs=1e-15)


def test_confidence_of_errors_is_nan_without_errors():
    # warnings are errors here: none is raised on the way
    assert math.isnan(confidence_of_errors(LOGITS, [0, 1, 2]))


@pytest.mark.parametrize(("threshold", "expected"), [(0.6, 2 / 3), (0.8, 1 / 3), (0.95, 0.0)])
def test_confident_errors_are_a_share_of_all_examples(threshold, expected):
    # the second and third are wrong, with 0.7 and 0.9
    assert confident_errors(LOGITS, [0, 0, 0], threshold=threshold) == pytest.approx(expected, abs=1e-15)


def test_confident_errors_start_above_nine_tenths_unless_said():
    logits = np.log([[0.89, 0.11], [0.91, 0.09], [0.91, 0.09]])
    assert confident_errors(logits, [1, 1, 0]) == pytest.approx(1 / 3, abs=1e-15)


def test_mean_entropy_of_halves_is_log_two():
    # p = (1/2, 1/2, 0) costs log 2, a certainty nothing
    logits = [[1e4, 1e4, -1e4], [1e4, -1e4, -1e4]]
    assert mean_entropy(logits, [0, 0]) == pytest.approx(math.log(2) / 2, abs=1e-15)


def test_mean_entropy_of_a_certainty_is_zero_without_a_sign():
    assert math.copysign(1, mean_entropy([[1e4, -1e4]], [0])) == 1


@pytest.mark.parametrize("num_classes", [2, 1000])
def test_mean_entropy_agrees_with_scipy(num_classes):
    # 1,000 classes are read in several blocks of rows
    logits = np.random.default_rng(0).normal(size=(400, num_classes))
    expected = entropy(softmax(logits, axis=1), axis=1).mean()
    assert mean_entropy(logits, np.zeros(400, dtype=int)) == pytest.approx(expected, rel=1e-12)


def test_entropy_of_errors_looks_at_mistakes_alone():
    # the first, uniform over two, is right; the second, uniform over four, is wrong
    logits = [[1e4, 1e4, -1e4, -1e4], [0.0, 0.0, 0.0, 0.0]]
    assert entropy_of_errors(logits, [0, 1]) == pytest.approx(math.log(4), abs=1e-15)
    assert math.isnan(entropy_of_errors(logits, [0, 0]))


def test_smoothness_index_of_smoothed_targets_is_epsilon():
    # ε = 0.3 and K = 3: p_y = 0.7 + 0.1, the others 0.1 each, (0.1 + 0.1)·3/2 = 0.3
    assert smoothness_index(np.log([[0.8, 0.1, 0.1]]), [0]) == pytest.approx(0.3, abs=1e-15)


def test_smoothness_index_runs_from_zero_over_one_for_a_uniform_guess():
    assert smoothness_index([[1e4, 0.0, 0.0]], [0]) == 0
    assert smoothness_index([[0.0, 0.0, 0.0]], [0]) == pytest.approx(1, abs=1e-15)
    assert smoothness_index([[1e4, 0.0, 0.0]], [1]) == pytest.approx(3 / 2, abs=1e-15)
