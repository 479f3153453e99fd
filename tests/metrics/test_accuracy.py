"""accuracy and balanced_accuracy by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from lossbench.metrics import accuracy, balanced_accuracy

# predictions 0 0 0 1
LOGITS = [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [1.0, 2.0]]


def test_accuracy_counts_the_hits():
    assert accuracy(LOGITS, [0, 0, 1, 1]) == 0.75


def test_balanced_accuracy_gives_a_rare_class_the_same_say():
    # recall of class 0 is 3/3, of class 1 is 0/1: (1 + 0)/2, where accuracy is 3/4
    logits = [[1.0, 0.0]] * 4
    assert balanced_accuracy(logits, [0, 0, 0, 1]) == 0.5
    assert accuracy(logits, [0, 0, 0, 1]) == 0.75


def test_balanced_accuracy_leaves_out_classes_that_do_not_occur():
    # classes 0 and 2 occur, with recalls 1/2 and 1/1; class 1 is predicted once but never true, class 3 never
    logits = np.eye(4)[[0, 1, 2]]
    assert balanced_accuracy(logits, [0, 0, 2]) == 0.75


def test_the_first_of_tied_classes_is_the_prediction():
    assert accuracy([[0.0, 0.0]], [0]) == 1.0
    assert accuracy([[0.0, 0.0]], [1]) == 0.0


@pytest.mark.parametrize("num_classes", [2, 7])
def test_both_agree_with_scikit_learn(num_classes):
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(500, num_classes)), rng.integers(num_classes, size=500)
    predictions = logits.argmax(axis=1)
    assert accuracy(logits, targets) == pytest.approx(accuracy_score(targets, predictions), abs=1e-12)
    assert balanced_accuracy(logits, targets) == pytest.approx(balanced_accuracy_score(targets, predictions), abs=1e-12)
