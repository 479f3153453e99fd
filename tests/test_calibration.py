"""Calibrations find their minimum, always end and never do harm on the data they are fitted on."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime, brentq
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from lossbench import calibration
from lossbench.calibration import fit_isotonic, fit_temperature, fit_vector
from lossbench.errors import DataError
from lossbench.links import softmax
from lossbench.metrics import ece, nll
from lossbench.metrics.temperature import MAX_TEMPERATURE, MIN_TEMPERATURE


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
    "one class only": (ROWS, np.full(50, 2)),
    "1,000 classes, 20 examples": (np.random.default_rng(4).normal(size=(20, 1000)), np.arange(20) * 50),
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


def test_the_gradient_of_vector_scaling_is_that_of_its_nll():
    logits, targets = drawn_from_itself(50, 4, seed=5)
    log_probs = softmax(logits)
    point = np.random.default_rng(6).normal(size=8)

    def nll_of(parameters):
        return calibration._vector_nll(log_probs, targets, parameters[:4], parameters[4:])[0]

    _, gradient = calibration._vector_nll(log_probs, targets, point[:4], point[4:])
    np.testing.assert_allclose(gradient.ravel(), approx_fprime(point, nll_of, 1e-6), atol=1e-5)


def test_vector_scaling_without_information_is_the_class_shares_pulled_by_one_example():
    # p is uniform: only d = (w0 - w1) log ½ + b0 - b1 matters, and T is 1. With 3 of 4 in class 0 the NLL's derivative
    # by d is σ(d) - ¾. Of all w, b that give d the one nearest to 1, 0 is at a squared distance d²/(2 log²2 + 2), so
    # the penalty's derivative is d/(N (2 log²2 + 2)); at the minimum the two cancel.
    scaler = fit_vector([[0.0, 0.0]] * 4, [0, 0, 0, 1])
    logit = brentq(lambda d: 1 / (1 + math.exp(-d)) - 0.75 + d / (4 * (2 * math.log(2) ** 2 + 2)), 0, 2)
    np.testing.assert_allclose(
        np.exp(scaler([[5.0, 5.0]])), [[1 / (1 + math.exp(-logit)), 1 / (1 + math.exp(logit))]], rtol=1e-4
    )


def test_vector_scaling_repairs_a_shift_of_the_classes_that_no_temperature_can():
    logits, targets = drawn_from_itself(40_000, 4, seed=7)
    shifted = 2 * (logits + np.array([1.0, -1.0, 0.5, 0.0]))
    fresh, truth = shifted[20_000:], softmax(logits[20_000:])
    repaired = fit_vector(shifted[:20_000], targets[:20_000])(fresh)
    tempered = softmax(fresh, temperature=fit_temperature(shifted[:20_000], targets[:20_000]))
    # 8 parameters from 20,000 examples: p is known to about √(8/20,000) = 0.02 at worst
    assert np.abs(np.exp(repaired) - np.exp(truth)).max() < 0.03
    assert np.abs(np.exp(tempered) - np.exp(truth)).max() > 0.2


@pytest.mark.parametrize(("logits", "targets"), HARD_CASES.values(), ids=HARD_CASES.keys())
def test_vector_scaling_is_never_worse_on_its_own_data_than_the_temperature(logits, targets):
    scaled = nll_at(fit_temperature(logits, targets), logits, targets)
    assert nll(fit_vector(logits, targets)(logits), targets) <= scaled + 1e-12 * abs(scaled)


@pytest.mark.parametrize("fit", [fit_vector, fit_isotonic])
@pytest.mark.parametrize(("logits", "targets"), HARD_CASES.values(), ids=HARD_CASES.keys())
def test_what_comes_out_of_a_calibration_are_finite_log_probabilities(fit, logits, targets):
    log_probs = fit(logits, targets)(logits)
    assert np.isfinite(log_probs).all()
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("fit", [fit_vector, fit_isotonic])
def test_a_calibration_takes_pixels_as_it_takes_examples(fit):
    logits, targets = drawn_from_itself(200, 4, seed=8)
    images, masks = logits.reshape(2, 10, 10, 4).transpose(0, 3, 1, 2), targets.reshape(2, 10, 10)
    of_pixels = fit(images, masks)(images).transpose(0, 2, 3, 1).reshape(200, 4)
    np.testing.assert_allclose(of_pixels, fit(logits, targets)(logits), rtol=1e-9)
    masks[0, 0] = 255
    keep = targets != 255
    ignoring = fit(images, masks, ignore_index=255)(logits)
    np.testing.assert_allclose(ignoring, fit(logits[keep], targets[keep])(logits), rtol=1e-9)


def test_isotonic_regression_pools_what_falls_and_floors_what_was_never_seen():
    # Class 1 at p = .1, .2, .3, .4 came 0, 1, 0, 1: what falls is pooled, 0, ½, ½, 1. Class 0 mirrors it. The floor is
    # 1/(4·2): (1, 1/8) becomes (8/9, 1/9).
    p = np.array([0.1, 0.2, 0.3, 0.4])
    logits = np.log(np.stack([1 - p, p], axis=1))
    calibrated = np.exp(fit_isotonic(logits, [0, 1, 0, 1])(logits))
    np.testing.assert_allclose(calibrated, [[8 / 9, 1 / 9], [0.5, 0.5], [0.5, 0.5], [1 / 9, 8 / 9]])


def test_isotonic_regression_is_linear_between_its_points_and_constant_outside():
    # class 0 was never there at p = .2 and always at .6: half way, at .4, it is ½, and so is class 1
    fitted = fit_isotonic(np.log([[0.2, 0.8], [0.6, 0.4]]), [1, 0])
    outside = 0.25 / 1.25  # the floor 1/(2·2) beside 1, divided by their sum
    np.testing.assert_allclose(
        np.exp(fitted(np.log([[0.4, 0.6], [0.05, 0.95], [0.9, 0.1]]))),
        [[0.5, 0.5], [outside, 1 - outside], [1 - outside, outside]],
    )


def test_classes_that_isotonic_regression_all_rules_out_are_equally_likely():
    # each of classes 0 and 1 was there at .5 and not at .4, class 2 never: at (.3, .3, .4) all three are 0
    fitted = fit_isotonic(np.log([[0.5, 0.4, 0.1], [0.4, 0.5, 0.1]]), [0, 1])
    np.testing.assert_allclose(np.exp(fitted(np.log([[0.3, 0.3, 0.4]]))), 1 / 3)


def test_isotonic_regression_stands_probabilities_that_are_next_to_0():
    """From 4e-323 to 1e-322 the line to a share of 1 would rise by 1 / 6e-323, which no float holds: both count as 0.

    Class 0 is then 1 of 2 examples at 0, and class 1 is 1 of 2 at 1: a half each.
    """
    fitted = fit_isotonic(np.log([[4e-323, 1.0], [1e-322, 1.0], [0.9, 0.1]]), [1, 0, 0])
    assert np.exp(fitted(np.log([[7e-323, 1.0]]))) == pytest.approx(np.array([[0.5, 0.5]]))


def test_without_its_floor_isotonic_regression_is_scikit_learns():
    class Stored(ClassifierMixin, BaseEstimator):
        """A classifier whose inputs are its probabilities."""

        def fit(self, inputs, targets):
            self.classes_ = np.unique(targets)
            return self

        def predict_proba(self, inputs):
            return inputs

        def predict(self, inputs):
            return self.classes_[inputs.argmax(axis=1)]

    logits, targets = drawn_from_itself(500, 4, seed=9)
    probs = np.exp(softmax(2 * logits))
    theirs = CalibratedClassifierCV(FrozenEstimator(Stored().fit(probs, targets)), method="isotonic").fit(
        probs, targets
    )
    ours = dataclasses.replace(fit_isotonic(np.log(probs), targets), floor=1e-300)
    np.testing.assert_allclose(np.exp(ours(np.log(probs))), theirs.predict_proba(probs), atol=1e-9)


def test_each_calibration_of_a_run_is_fitted_by_one_call():
    logits, targets = drawn_from_itself(200, 3, seed=10)
    assert calibration.CALIBRATIONS == ("raw", "temperature_scaled", "vector_scaled", "isotonic")
    tempered = calibration.FITS["temperature_scaled"](logits, targets)
    np.testing.assert_allclose(tempered(logits), softmax(logits, temperature=fit_temperature(logits, targets)))
