"""class_tightness by hand, over all pairs, and what it refuses."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from lossbench.errors import DataError, ShapeError
from lossbench.metrics import class_tightness


def test_classes_at_right_angles_that_are_one_direction_each_are_as_tight_as_can_be():
    # lengths do not matter
    assert class_tightness([[1.0, 0], [5.0, 0], [0, 2.0]], [0, 0, 1]) == 1.0


def test_classes_that_spread_alike_have_no_tightness():
    features = [[1.0, 0.0], [0.0, 1.0]]
    assert class_tightness(features * 2, [0, 0, 1, 1]) == pytest.approx(0.0, abs=1e-15)


def test_a_spread_within_one_class_is_held_against_the_spread_of_all():
    # Class 0 is (1, 0) and (0, 1), with distances 0, 1, 1, 0 and a mean of 1/2; class 1 is (1, 0): within (1/2 + 0)/2.
    # Between the two classes the distances are 0 and 1, a mean of 1/2: total (1/2 + 0 + 1/2 + 1/2)/4 = 3/8. 1 - 2/3.
    assert class_tightness([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [0, 0, 1]) == pytest.approx(1 / 3)


def test_it_is_the_mean_over_all_pairs_of_examples_and_classes():
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(60, 7)) + 1, rng.choice([2, 5, 9], size=60, p=[0.6, 0.3, 0.1])
    groups = [features[targets == k] for k in (2, 5, 9)]
    distances = np.array([[cdist(a, b, metric="cosine").mean() for b in groups] for a in groups])
    expected = 1 - distances.diagonal().mean() / distances.mean()
    assert class_tightness(features, targets) == pytest.approx(expected, abs=1e-12)


def test_one_class_has_none_and_one_direction_no_value():
    assert class_tightness([[1.0, 0.0], [0.0, 1.0]], [3, 3]) == pytest.approx(0.0, abs=1e-15)
    assert math.isnan(class_tightness([[1.0, 1.0], [2.0, 2.0]], [0, 1]))


@pytest.mark.parametrize("row", [[0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_a_row_without_an_angle_is_named(row):
    with pytest.raises(DataError, match="features row 1 is all zeros or not finite"):
        class_tightness([[1.0, 0.0], row], [0, 1])


@pytest.mark.parametrize(
    ("features", "targets"), [([1.0, 2.0], [0, 1]), ([[1.0, 2.0]], [0, 1]), (np.zeros((0, 2)), [])]
)
def test_shapes_that_do_not_fit_are_refused_with_both(features, targets):
    with pytest.raises(ShapeError, match=r"features must be \[N, D\] and targets \[N\]; got \["):
        class_tightness(features, np.asarray(targets, dtype=int))


def test_targets_that_are_no_classes_are_refused():
    with pytest.raises(DataError, match="integer class indices"):
        class_tightness([[1.0, 2.0]], [0.5])
