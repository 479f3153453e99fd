"""nll and brier_score by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from lossbench.metrics import brier_score, nll


def test_nll_is_the_mean_surprise_at_the_target():
    # p_y = 1/4 and 1/2: (log 4 + log 2)/2 = 1.5·log 2
    logits = np.log([[0.25, 0.75], [0.5, 0.5]])
    assert nll(logits, [0, 1]) == pytest.approx(1.5 * math.log(2), abs=1e-15)


def test_nll_of_a_uniform_guess_is_log_k():
    assert nll(np.zeros((3, 10)), [0, 4, 9]) == pytest.approx(math.log(10), abs=1e-15)


def test_nll_of_a_sure_mistake_is_the_margin_in_nats():
    assert nll([[1e4, -1e4]], [1]) == 2e4


def test_brier_score_sums_the_squares_over_classes():
    # y = 0: (0.5-1)² + 0.3² + 0.2² = 0.25 + 0.09 + 0.04 = 0.38
    assert brier_score(np.log([[0.5, 0.3, 0.2]]), [0]) == pytest.approx(0.38, abs=1e-15)


def test_brier_score_runs_from_zero_to_two():
    assert brier_score([[1e4, 0.0]], [0]) == 0.0
    assert brier_score([[1e4, 0.0]], [1]) == 2.0


@pytest.mark.parametrize("num_classes", [2, 7])
def test_nll_agrees_with_scikit_learn(num_classes):
    rng = np.random.default_rng(2)
    logits, targets = rng.normal(size=(400, num_classes)), rng.integers(num_classes, size=400)
    expected = log_loss(targets, softmax(logits, axis=1), labels=range(num_classes))
    assert nll(logits, targets) == pytest.approx(expected, rel=1e-12)


def test_brier_score_of_two_classes_is_twice_that_of_scikit_learn():
    # scikit-learn squares the positive class alone; the other class errs by as much
    rng = np.random.default_rng(3)
    logits, targets = rng.normal(size=(400, 2)), rng.integers(2, size=400)
    expected = 2 * brier_score_loss(targets, softmax(logits, axis=1)[:, 1])
    assert brier_score(logits, targets) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("score", [nll, brier_score])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_true_probabilities_score_best(score, scale):
    rng = np.random.default_rng(4)
    logits = 2 * rng.normal(size=(20_000, 4))
    # argmax of logits plus Gumbel noise is a draw from softmax(logits)
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    assert score(logits, targets) < score(scale * logits, targets)
