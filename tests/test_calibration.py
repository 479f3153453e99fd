"""fit_temperature finds the minimum, always ends and never does harm."""

import math

import numpy as np
import pytest

from lossbench.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE, fit_temperature
from lossbench.errors import DataError
from lossbench.links import softmax
from lossbench.metrics import ece, nll


def drawn_from_itself(num_examples, num_classes, seed):
    """Logits, and targets drawn from their softmax: the best temperature is 1 but for noise."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(num_examples, num_classes))
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def nll_at(temperature, logits, targets):
    return nll(softmax(logits, temperature=temperature), targets)


@pytest.mark.parametrize("scale", [0.25, 1.0, 2.0])
def test_a_posterior_sharpened_by_a_factor_has_that_factor_as_temperature(scale):
    # the standard error of T is below 0.5 % at this N
    logits, targets = drawn_from_itself(100_000, 5, seed=0)
    assert fit_temperature(scale * logits, targets) == pytest.approx(scale, rel=0.01)


def test_two_examples_in_three_right_ask_for_confidence_two_thirds():
    # z = (log 8, 0) throughout and 2 of 3 right: the NLL is least where σ(log 8 / T) = 2/3, that is
    # log 8 / T = log 2, T = 3
    logits = [[math.log(8), 0.0]] * 3
    assert fit_temperature(logits, [0, 0, 1]) == pytest.approx(3.0, rel=1e-4)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("num_classes", [2, 10])
def test_no_temperature_of_a_dense_grid_is_better(num_classes, scale):
    logits, targets = drawn_from_itself(300, num_classes, seed=1)
    logits = scale * logits
    found = fit_temperature(logits, targets)
    # steps of 1e-4 relative on both sides of what was found, and coarse ones far from it
    fine = found * np.exp(1e-4 * np.arange(-50, 51))
    coarse = np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, 300)
    best_fine = fine[np.argmin([nll_at(t, logits, targets) for t in fine])]
    best_coarse = min(nll_at(t, logits, targets) for t in coarse)
    assert best_fine == pytest.approx(found, rel=1.01e-4)
    assert nll_at(found, logits, targets) <= best_coarse


def test_the_fitted_temperature_repairs_the_calibration_of_fresh_examples():
    logits, targets = drawn_from_itself(20_000, 5, seed=2)
    sharpened = 3 * logits
    temperature = fit_temperature(sharpened[:10_000], targets[:10_000])
    raw = ece(sharpened[10_000:], targets[10_000:])
    scaled = ece(softmax(sharpened[10_000:], temperature=temperature), targets[10_000:])
    assert scaled < raw / 5


ROWS = np.random.default_rng(3).normal(size=(50, 4))
HARD_CASES = {
    "all correct": (ROWS, ROWS.argmax(axis=1)),
    "all wrong": (ROWS, ROWS.argmin(axis=1)),
    "constant": (np.full((5, 3), 7.0), [0, 1, 2, 0, 1]),
    "huge, all correct": (1e4 * np.eye(4), [0, 1, 2, 3]),
    "huge, all wrong": (1e4 * ROWS, ROWS.argmin(axis=1)),
    "huge, mixed": (1e4 * ROWS, np.arange(50) % 4),
    "float32's largest": (np.array([[3e38, -3e38], [-3e38, 3e38]]), [0, 0]),
    "tiny": (1e-6 * ROWS, np.arange(50) % 4),
    "one, correct": ([[2.0, 1.0]], [0]),
    "one, wrong": ([[2.0, 1.0]], [1]),
    "one, tied": ([[1.0, 1.0]], [1]),
}


@pytest.mark.parametrize(("logits", "targets"), HARD_CASES.values(), ids=HARD_CASES.keys())
def test_the_nll_never_gets_worse_and_the_temperature_stays_within_bounds(logits, targets):
    temperature = fit_temperature(logits, targets)
    assert MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE
    assert nll_at(temperature, logits, targets) <= nll(logits, targets)


@pytest.mark.parametrize("case", ["constant", "one, tied", "huge, all correct"])
def test_the_temperature_is_exactly_one_where_none_is_better(case):
    # constant logits are uniform at every T; where 1e4 nats part the classes, the NLL is 0 already
    assert fit_temperature(*HARD_CASES[case]) == 1.0


@pytest.mark.parametrize("case", ["one, wrong", "all wrong"])
def test_the_temperature_runs_to_its_upper_bound_where_only_a_uniform_guess_helps(case):
    assert fit_temperature(*HARD_CASES[case]) == pytest.approx(MAX_TEMPERATURE, rel=1e-4)


def test_the_temperature_falls_to_where_the_nll_vanishes_when_nothing_is_wrong():
    logits, targets = HARD_CASES["one, correct"]
    temperature = fit_temperature(logits, targets)
    assert temperature < 0.05
    # log(1 + e^{-1/T}) is below e^-20 for T < 0.05
    assert nll_at(temperature, logits, targets) < math.exp(-20)


def test_pixels_and_ignored_targets_are_read_as_by_the_metrics():
    logits, targets = drawn_from_itself(200, 4, seed=4)
    images, classes = (3 * logits).reshape(2, 10, 10, 4).transpose(0, 3, 1, 2), targets.reshape(2, 10, 10)
    classes[0, 0] = 255
    keep = targets != 255
    expected = fit_temperature(3 * logits[keep], targets[keep])
    assert fit_temperature(images, classes, ignore_index=255) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(DataError, match=r"target 255 in row 0 is outside 0\.\.3"):
        fit_temperature(images, classes)
