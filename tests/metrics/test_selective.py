"""aurc, eaurc, failure_auroc and failure_fpr95 by hand, in all orders of a tie, and against scikit-learn."""

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from lossbench.calibration import fit_isotonic
from lossbench.metrics import adaptive_ece, aurc, eaurc, failure_auroc, failure_fpr95, ks_error


def logits_of(confidence):
    """Logits of two classes whose first has the probability given, so that a target 0 is a hit."""
    confidence = np.asarray(confidence)
    return np.log(np.stack([confidence, 1 - confidence], axis=1))


def test_aurc_is_the_mean_risk_over_the_coverages():
    # right, wrong, right by falling confidence: risks 0, 1/2, 1/3
    assert aurc(logits_of([0.7, 0.9, 0.8]), [0, 0, 1]) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)


def test_eaurc_takes_off_what_an_oracle_would_have():
    # the oracle has right, right, wrong: risks 0, 0, 1/3; what is left is 5/18 - 1/9. The paper's approximation of the
    # oracle, r + (1-r)·log(1-r) with r = 1/3, is 0.0630 where 1/9 = 0.1111 is exact
    assert eaurc(logits_of([0.7, 0.9, 0.8]), [0, 0, 1]) == pytest.approx(1 / 6)


def test_eaurc_of_confidence_that_finds_every_error_is_zero():
    assert eaurc(logits_of([0.6, 0.7, 0.8, 0.9]), [1, 1, 0, 0]) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("targets", "expected"), [([0, 0, 0], 0.0), ([1, 1, 1], 1.0)])
def test_aurc_without_a_right_or_a_wrong_prediction_leaves_nothing_to_find(targets, expected):
    logits = logits_of([0.6, 0.7, 0.8])
    assert aurc(logits, targets) == expected
    assert eaurc(logits, targets) == 0.0


@pytest.mark.parametrize("metric", [aurc, eaurc])
def test_a_tie_has_the_value_that_its_orders_have_on_average(metric):
    # three right and two wrong, four of them tied at 0.8; 1e-9 puts the tie into each of its orders
    targets = np.array([0, 1, 0, 1, 0])
    confidence = np.array([0.9, 0.8, 0.8, 0.8, 0.8])
    orders = [
        metric(logits_of(confidence + 1e-9 * np.array([0, *order])), targets)
        for order in itertools.permutations(range(4))
    ]
    assert len({round(value, 6) for value in orders}) > 1
    assert metric(logits_of(confidence), targets) == pytest.approx(np.mean(orders), abs=1e-12)


def test_failure_auroc_counts_pairs_of_a_right_and_a_wrong_prediction():
    # right 0.9, 0.6; wrong 0.8, 0.6: of 0.9 > 0.8, 0.9 > 0.6, 0.6 < 0.8, 0.6 = 0.6 two count one and one a half
    assert failure_auroc(logits_of([0.9, 0.6, 0.8, 0.6]), [0, 0, 1, 1]) == pytest.approx(2.5 / 4)


def test_failure_fpr95_lets_nineteen_of_twenty_pass():
    # right: 0.51, and 0.61 … 0.79 in steps of 0.01. The threshold is 0.61, and a wrong 0.61 passes, as 0.7 does.
    right = [0.51, *(0.6 + 0.01 * np.arange(1, 20))]
    logits = logits_of([*right, right[1], 0.7, 0.55])
    assert failure_fpr95(logits, [0] * 20 + [1] * 3) == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", [failure_auroc, failure_fpr95])
@pytest.mark.parametrize("target", [0, 1])
def test_there_is_no_value_where_every_prediction_is_right_or_every_one_wrong(metric, target):
    assert math.isnan(metric(logits_of([0.6, 0.7]), [target] * 2))


@pytest.mark.parametrize("decimals", [1, 2, 12])
def test_both_agree_with_scikit_learn_with_ties_and_without(decimals):
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.55, 0.94, size=500).round(decimals)
    targets = (rng.uniform(size=500) > confidence).astype(int)
    logits = logits_of(confidence)
    # the confidences as they come out of the softmax, since rounding may part a tie
    correct, score = targets == 0, (1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))).round(14)
    assert failure_auroc(logits, targets) == pytest.approx(roc_auc_score(correct, score), abs=1e-12)
    false_positives, true_positives, _ = roc_curve(correct, score, drop_intermediate=False)
    expected = false_positives[np.argmax(true_positives >= 0.95)]
    assert failure_fpr95(logits, targets) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [aurc, eaurc, failure_auroc, failure_fpr95, adaptive_ece, ks_error])
def test_confidences_that_differ_by_rounding_alone_are_tied(metric):
    """As isotonic calibration leaves them, which divides by a sum over the classes, in whatever order those come."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, 200)
    confidence = np.repeat([0.6, 0.7, 0.85, 0.99], 50)
    expected = metric(logits_of(confidence), targets)
    for _ in range(5):
        rounded = confidence * (1 + generator.choice([-4e-16, 0, 4e-16], 200))
        assert metric(logits_of(rounded), targets) == pytest.approx(expected, abs=1e-12)


def test_metrics_after_isotonic_calibration_do_not_depend_on_the_order_of_the_classes():
    generator = np.random.default_rng(1)
    (val, val_targets), (test, test_targets) = (
        (generator.normal(size=(n, 4)) + 2 * np.eye(4)[targets], targets)
        for n in (150, 360)
        for targets in [generator.integers(0, 4, n)]
    )
    # Of equally probable classes the first is predicted, so that orders are alike where they predict the same.
    alike: dict[bytes, list[list[float]]] = {}
    for order in map(np.array, itertools.permutations(range(4))):
        place = np.argsort(order)
        calibrated = fit_isotonic(val[:, order], place[val_targets])(test[:, order])
        values = [metric(calibrated, place[test_targets]) for metric in (aurc, adaptive_ece, failure_auroc)]
        alike.setdefault(order[calibrated.argmax(axis=1)].tobytes(), []).append(values)
    assert max(map(len, alike.values())) > 1
    for found in alike.values():
        assert np.ptp(np.array(found), axis=0).max() < 1e-12
