"""mean_confidence, confidence_gap and confidence_of_errors by hand."""

import math

import numpy as np
import pytest

from lossbench.metrics import confidence_gap, confidence_of_errors, mean_confidence

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
