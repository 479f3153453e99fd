import numpy as np
import pytest

from lossbench.metrics import smooth_ece
from lossbench.metrics.binless import residual_spectrum, smoothed_error


def example(scale, seed=0):
    """Confidence, correctness, logits and targets of 5,000 examples of a model sharpened by a factor."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(5000, 5))
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    probs = np.exp(scale * logits) / np.exp(scale * logits).sum(axis=1, keepdims=True)
    return probs.max(axis=1), probs.argmax(axis=1) == targets, scale * logits, targets


@pytest.mark.parametrize("bandwidth", [0.01, 0.03, 0.08])
def test_the_error_at_one_bandwidth_agrees_on_a_fine_mesh_away_from_the_ends(relplot, monkeypatch, bandwidth):
    # Beyond σ = 0.08 its kernel, cut off at half the interval, is no longer Gaussian to six digits.
    monkeypatch.setattr(relplot.config, "smECE_mesh_pts", 20_000)
    confidence, correct, _, _ = example(0.3)
    assert confidence.max() < 0.98
    theirs = relplot.smECE_sigma(confidence, correct.astype(float), bandwidth)
    assert smoothed_error(residual_spectrum(confidence, correct), bandwidth) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("scale", [0.2, 0.3, 0.5])
def test_smooth_ece_agrees_as_far_as_its_1024_bandwidths_go(relplot, scale):
    confidence, correct, logits, targets = example(scale)
    theirs = relplot.smECE(confidence, correct.astype(float))
    assert smooth_ece(logits, targets) == pytest.approx(theirs, abs=1 / 1024)


def test_it_weighs_confidence_one_by_half(relplot):
    # Half the examples have confidence 1 and are wrong, residual -1; half have 1/2 and are right every other time,
    # residual 0. The smoothed residuals add up to 1/2 whatever the bandwidth. Its grid has a point at 1, which its
    # reflection counts once and not twice: 1/2 · 1/2 among weights of 1/2 · 1/2 + 1/2, which is 1/3.
    confidence = np.array([1.0, 1.0, 0.5, 0.5])
    correct = np.array([False, False, True, False])
    spectrum = residual_spectrum(confidence, correct)
    assert smoothed_error(spectrum, 0.02) == pytest.approx(1 / 2, abs=1e-9)
    assert relplot.smECE_sigma(confidence, correct.astype(float), 0.02) == pytest.approx(1 / 3, abs=0.01)
