"""Calibration errors over bins by hand, and at the edges of bins."""

import math

import numpy as np
import pytest

from lossbench.metrics import (
    adaptive_ece,
    classwise_ece,
    confidence_gap,
    ece,
    mce,
    overconfidence_error,
    rmsce,
    underconfidence_error,
)

# Two classes, class 0 predicted throughout, so that a target 0 is a hit and a target 1 a mistake.
# Of 10 bins, (0.6, 0.7] holds two examples with confidence 0.65 and 0.67, one right: conf 0.66, acc 0.5;
# (0.9, 1] holds one with 0.92, right: conf 0.92, acc 1. The other eight are empty.
CONFIDENCE = [0.65, 0.67, 0.92]
TARGETS = [0, 1, 0]


def logits_of(confidence):
    """Logits of two classes whose first has the probability given."""
    confidence = np.asarray(confidence)
    return np.log(np.stack([confidence, 1 - confidence], axis=1))


def test_ece_weighs_each_gap_by_the_share_of_its_bin():
    # 2/3·|0.5 - 0.66| + 1/3·|1 - 0.92| = 0.32/3 + 0.08/3 = 0.4/3
    assert ece(logits_of(CONFIDENCE), TARGETS, n_bins=10) == pytest.approx(0.4 / 3, abs=1e-12)


def test_mce_is_the_gap_of_the_worst_bin():
    # max(0.16, 0.08)
    assert mce(logits_of(CONFIDENCE), TARGETS, n_bins=10) == pytest.approx(0.16, abs=1e-12)


def test_rmsce_is_the_root_of_the_mean_squared_gap():
    # √(2/3·0.16² + 1/3·0.08²) = √(0.0576/3)
    assert rmsce(logits_of(CONFIDENCE), TARGETS, n_bins=10) == pytest.approx(math.sqrt(0.0576 / 3), abs=1e-12)


def test_rmsce_lies_between_ece_and_mce():
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(200, 4)), rng.integers(4, size=200)
    assert ece(logits, targets) < rmsce(logits, targets) < mce(logits, targets)


def test_overconfidence_error_leaves_out_the_underconfident_bin():
    # 2/3·0.66·0.16 = 0.0704; the bin (0.9, 1] promises less than it keeps
    assert overconfidence_error(logits_of(CONFIDENCE), TARGETS, n_bins=10) == pytest.approx(0.0704, abs=1e-12)


def test_overconfidence_error_of_an_underconfident_model_is_zero():
    assert overconfidence_error(logits_of([0.6, 0.7, 0.8]), [0, 0, 0]) == 0.0


def test_underconfidence_error_leaves_out_the_overconfident_bin_and_weighs_by_size_alone():
    # 1/3·0.08
    assert underconfidence_error(logits_of(CONFIDENCE), TARGETS, n_bins=10) == pytest.approx(0.08 / 3, abs=1e-12)


def test_underconfidence_error_of_an_overconfident_model_is_zero():
    assert underconfidence_error(logits_of([0.6, 0.7, 0.8]), [1, 1, 1]) == 0.0


def test_adaptive_ece_cuts_the_examples_into_bins_of_equal_size():
    # Two bins of two: 0.6 and 0.7, one right, |1/2 - 0.65|; 0.8 and 0.9, both right, |1 - 0.85|. In two bins of equal
    # width all four are in (1/2, 1]: |3/4 - 3/4| = 0.
    logits, targets = logits_of([0.6, 0.7, 0.8, 0.9]), [0, 1, 0, 0]
    assert adaptive_ece(logits, targets, n_bins=2) == pytest.approx(0.15, abs=1e-12)
    assert ece(logits, targets, n_bins=2) == pytest.approx(0.0, abs=1e-12)


def test_adaptive_ece_gives_the_first_bins_one_example_more_where_they_do_not_divide():
    # Two bins of 3 and 2: 0.6, 0.7, 0.8 with one right, |1 - 2.1|/5; 0.9, 0.95 with both right, |2 - 1.85|/5
    logits, targets = logits_of([0.6, 0.7, 0.8, 0.9, 0.95]), [1, 0, 1, 0, 0]
    assert adaptive_ece(logits, targets, n_bins=2) == pytest.approx((1.1 + 0.15) / 5, abs=1e-12)


def test_adaptive_ece_of_more_bins_than_examples_takes_each_example_alone():
    # |1 - 0.6| and |0 - 0.8|
    assert adaptive_ece(logits_of([0.6, 0.8]), [0, 1]) == pytest.approx((0.4 + 0.8) / 2, abs=1e-12)


@pytest.mark.parametrize("targets", [[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1]])
def test_adaptive_ece_of_equal_confidences_is_the_size_of_their_gap(targets):
    # All four are half right, in whichever bin they are: |1/2 - 0.8|. Cut by their order, the first two bins of
    # [0, 0 | 1, 1] would have given (0.2 + 0.8)/2.
    assert adaptive_ece(logits_of([0.8] * 4), targets, n_bins=2) == pytest.approx(0.3, abs=1e-12)


def test_classwise_ece_looks_at_each_class_against_the_rest():
    # Two bins. Class 0 is promised 0.8 and 0.4: 0.8 is alone in (1/2, 1] and right, |1 - 0.8|; 0.4 alone in [0, 1/2]
    # and wrong, |0 - 0.4|: (0.2 + 0.4)/2. Class 1 is promised 0.2 and 0.6, wrong and right: (0.2 + 0.4)/2.
    assert classwise_ece(np.log([[0.8, 0.2], [0.4, 0.6]]), [0, 1], n_bins=2) == pytest.approx(0.3, abs=1e-12)


def test_classwise_ece_halves_when_as_many_classes_are_added_that_are_never_there():
    rng = np.random.default_rng(2)
    logits, targets = rng.normal(size=(100, 3)), rng.integers(3, size=100)
    more = np.column_stack([logits, np.full((100, 3), -1e4)])
    assert classwise_ece(more, targets) == pytest.approx(classwise_ece(logits, targets) / 2, abs=1e-12)


def test_fifteen_bins_are_the_default():
    # 0.68 lies in (10/15, 11/15] and 0.65 in (9/15, 10/15]: gaps 0.68 and 0.35 in bins apart, (0.68 + 0.35)/2.
    # Of 10 bins both would be in (0.6, 0.7]: |0.5 - 0.665| = 0.165
    logits = logits_of([0.65, 0.68])
    assert ece(logits, [0, 1]) == pytest.approx(0.515, abs=1e-12)
    assert ece(logits, [0, 1], n_bins=10) == pytest.approx(0.165, abs=1e-12)


def test_one_bin_makes_ece_the_size_of_the_confidence_gap():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(100, 5)), rng.integers(5, size=100)
    assert ece(logits, targets, n_bins=1) == pytest.approx(abs(confidence_gap(logits, targets)), abs=1e-12)


@pytest.mark.parametrize(
    ("edge", "n_bins"), [(0.6, 5), (0.9, 10), (0.55, 20), (0.57, 100), (0.73, 100), (0.91, 100), (0.94, 100)]
)
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(edge, n_bins):
    # the other example sits just below the edge, in the same bin: a hit at one and a miss at the other give one
    # gap |1/2 - conf|; in bins apart they would give (1-conf)/2 + conf/2 = 1/2
    below = edge - 0.001
    expected = abs(0.5 - (edge + below) / 2)
    assert ece(logits_of([edge, below]), [1, 0], n_bins=n_bins) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("num_classes", [2, 6, 7, 10, 20])
def test_a_uniform_guess_belongs_to_the_bin_that_ends_at_one_over_k(num_classes):
    # conf 1/K, the upper edge of the first of K bins, comes out of a softmax; the second example is clearly above it
    # and alone in its bin, right: gaps |0 - 1/K| and |1 - conf|
    logits = np.zeros((2, num_classes))
    logits[1, 0] = math.log(1.2)
    confidence = 1.2 / (num_classes + 0.2)
    expected = (1 / num_classes + 1 - confidence) / 2
    assert ece(logits, [1, 0], n_bins=num_classes) == pytest.approx(expected, abs=1e-12)


def test_confidence_one_belongs_to_the_last_bin():
    # conf 1.0 wrong and 0.95 right, both in (14/15, 1]: |1/2 - 0.975| = 0.475
    logits = [[1e4, -1e4], [math.log(0.95), math.log(0.05)]]
    assert ece(logits, [1, 0]) == mce(logits, [1, 0]) == pytest.approx(0.475, abs=1e-12)


@pytest.mark.parametrize("num_examples", [1_000, 100_000])
def test_labels_drawn_from_the_models_own_probabilities_leave_only_noise(num_examples):
    # a filled bin's accuracy errs by at most sqrt(1/(4·n_b)) in standard deviation, so that the expected ECE is at
    # most Σ_b (n_b/N)·sqrt(1/(4·n_b)) ≤ sqrt(n_bins/(4·N)), by Cauchy-Schwarz
    rng = np.random.default_rng(6)
    logits = 2 * rng.normal(size=(num_examples, 5))
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    noise = math.sqrt(15 / (4 * num_examples))
    assert ece(logits, targets) < 1.5 * noise
    assert ece(2 * logits, targets) > 1.5 * noise
