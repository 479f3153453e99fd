"""accuracy, top5_accuracy, balanced_accuracy, worst_class_accuracy and macro_f1 by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score, top_k_accuracy_score

from lossbench.metrics import accuracy, balanced_accuracy, macro_f1, top5_accuracy, worst_class_accuracy

# predictions 0 0 0 1
LOGITS = [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [1.0, 2.0]]


def test_accuracy_counts_the_hits():
    assert accuracy(LOGITS, [0, 0, 1, 1]) == 0.75


def test_balanced_accuracy_gives_a_rare_class_the_same_say():
    # recall of class 0 is 3/3, of class 1 is 0/1: (1 + 0)/2, where accuracy is 3/4
    logits = [[1.0, 0.0]] * 4
    assert balanced_accuracy(logits, [0, 0, 0, 1]) == 0.5
    assert accuracy(logits, [0, 0, 0, 1]) == 0.75


def test_the_worst_class_is_the_one_of_the_lowest_recall_among_those_that_occur():
    logits = [[2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 2.0, 1.0]]
    assert worst_class_accuracy(logits, [0, 1, 1, 1]) == pytest.approx(2 / 3)
    assert worst_class_accuracy(logits, [0, 0, 1, 2]) == 0


def test_balanced_accuracy_leaves_out_classes_that_do_not_occur():
    # classes 0 and 2 occur, with recalls 1/2 and 1/1; class 1 is predicted once but never true, class 3 never
    logits = np.eye(4)[[0, 1, 2]]
    assert balanced_accuracy(logits, [0, 0, 2]) == 0.75


def test_the_first_of_tied_classes_is_the_prediction():
    assert accuracy([[0.0, 0.0]], [0]) == 1.0
    assert accuracy([[0.0, 0.0]], [1]) == 0.0


@pytest.mark.parametrize("num_classes", [2, 7])
def test_all_agree_with_scikit_learn(num_classes):
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(500, num_classes)), rng.integers(num_classes, size=500)
    predictions = logits.argmax(axis=1)
    assert accuracy(logits, targets) == pytest.approx(accuracy_score(targets, predictions), abs=1e-12)
    assert balanced_accuracy(logits, targets) == pytest.approx(balanced_accuracy_score(targets, predictions), abs=1e-12)
    assert macro_f1(logits, targets) == pytest.approx(f1_score(targets, predictions, average="macro"), abs=1e-12)
    recalls = recall_score(targets, predictions, average=None)
    assert worst_class_accuracy(logits, targets) == pytest.approx(recalls.min(), abs=1e-12)
    if num_classes > 5:
        expected = top_k_accuracy_score(targets, logits, k=5)
        assert top5_accuracy(logits, targets) == pytest.approx(expected, abs=1e-12)


def test_top5_accuracy_counts_targets_among_the_five_most_probable():
    # Class 0 is the most probable of seven, 6 the least: of the targets 0, 4, 5, 6 the first two are among the five.
    logits = np.tile(-np.arange(7.0), (4, 1))
    assert top5_accuracy(logits, [0, 4, 5, 6]) == 0.5


def test_top5_accuracy_takes_the_first_of_tied_classes_as_accuracy_does():
    # Seven classes alike: the first five are the five most probable.
    assert [top5_accuracy(np.zeros((1, 7)), [target]) for target in range(7)] == [1, 1, 1, 1, 1, 0, 0]


def test_top5_accuracy_of_five_classes_is_one():
    assert top5_accuracy(np.eye(5), [4, 3, 2, 1, 0]) == 1.0


def test_macro_f1_averages_the_classes_that_are_predicted_or_there():
    # predicted 0 0 0 1, targets 0 0 1 1: class 0 has TP 2, FP 1, FN 0, F1 4/5; class 1 TP 1, FP 0, FN 1, F1 2/3.
    # A third class that is neither changes nothing.
    logits = np.column_stack([LOGITS, np.full(4, -9.0)])
    assert macro_f1(LOGITS, [0, 0, 1, 1]) == macro_f1(logits, [0, 0, 1, 1]) == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_macro_f1_of_a_class_that_is_never_right_is_zero():
    assert macro_f1([[1.0, 0.0]] * 4, [0, 0, 0, 1]) == pytest.approx((6 / 7 + 0) / 2)
