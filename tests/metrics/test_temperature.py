"""optimal_temperature; what every such search must do is in tests/test_calibration.py."""

import math

import numpy as np
import pytest

from lossbench.calibration import fit_temperature
from lossbench.metrics import nll, optimal_temperature, temperature


def test_two_examples_in_three_right_ask_for_confidence_two_thirds():
    # z = (log 8, 0) throughout and 2 of 3 right: the NLL is least where σ(log 8 / T) = 2/3, log 8 / T = log 2, T = 3
    assert optimal_temperature([[math.log(8), 0.0]] * 3, [0, 0, 1]) == pytest.approx(3.0, rel=1e-9)


@pytest.mark.parametrize("scale", [0.02, 0.5, 1.0, 3.0, 500.0])
def test_sharper_logits_want_a_temperature_higher_by_as_much(scale):
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(500, 5))
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    expected = scale * optimal_temperature(logits, targets)
    assert optimal_temperature(scale * logits, targets) == pytest.approx(expected, rel=1e-8)


def test_it_is_what_calibration_fits():
    rng = np.random.default_rng(1)
    logits, targets = 3 * rng.normal(size=(200, 4)), rng.integers(4, size=200)
    assert optimal_temperature(logits, targets) == fit_temperature(logits, targets)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_search_that_is_cut_short_makes_nothing_worse(monkeypatch, steps):
    rng = np.random.default_rng(2)
    logits, targets = 30 * rng.normal(size=(100, 3)), rng.integers(3, size=100)
    monkeypatch.setattr(temperature, "MAX_STEPS", steps)
    found = optimal_temperature(logits, targets)
    assert nll(logits / found, targets) <= nll(logits, targets)
