import numpy as np
import pytest

from lossbench.metrics import accuracy, dice_score, mean_iou, pixel_accuracy, worst_class_iou
from lossbench.metrics.segmentation import dice_per_class, iou_per_class

# Ten pixels, targets and predictions of four classes:
#   0: targets 6, predicted 5, both 5      iou 5/6,  dice 10/11
#   1: targets 3, predicted 4, both 3      iou 3/4,  dice 6/7
#   2: targets 1, predicted 0, both 0      iou 0,    dice 0
#   3: none, predicted 1                   iou 0,    dice 0
TARGETS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
PREDICTED = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 3])


def logits_of(predicted, num_classes=5):
    return 3.0 * np.eye(num_classes)[predicted]


def test_iou_and_dice_of_each_class_by_hand_and_nan_for_one_absent_from_both():
    np.testing.assert_allclose(iou_per_class(logits_of(PREDICTED), TARGETS), [5 / 6, 3 / 4, 0, 0, np.nan])
    np.testing.assert_allclose(dice_per_class(logits_of(PREDICTED), TARGETS), [10 / 11, 6 / 7, 0, 0, np.nan])


def test_a_class_absent_from_both_is_left_out_of_the_mean():
    assert mean_iou(logits_of(PREDICTED), TARGETS) == pytest.approx((5 / 6 + 3 / 4) / 4)
    assert dice_score(logits_of(PREDICTED), TARGETS) == pytest.approx((10 / 11 + 6 / 7) / 4)


def test_the_worst_class_is_one_that_occurs():
    # Of the classes above 2 is missed, and without it 3, predicted where nothing of it is, would be the worst.
    assert worst_class_iou(logits_of(PREDICTED), TARGETS) == 0
    assert worst_class_iou(logits_of(PREDICTED), np.where(TARGETS == 2, -100, TARGETS)) == pytest.approx(3 / 4)


def test_a_class_that_is_missed_counts_as_zero():
    # Nine pixels of class 0 found, the one of class 1 not: IoU 9/10 and 0.
    targets = [0] * 9 + [1]
    assert mean_iou(logits_of([0] * 10, 2), targets) == pytest.approx(0.45)
    assert pixel_accuracy(logits_of([0] * 10, 2), targets) == pytest.approx(0.9)


def test_pixels_count_over_all_images_together():
    # Class 1 has one pixel in the first image and is missed; in the second it has three and all are found: IoU 3/4,
    # where a mean over the two images would be 1/2. Class 0 has four pixels, found, and the missed one: 4/5.
    targets = np.array([[[0, 0], [0, 1]], [[1, 1], [1, 0]]])
    predicted = np.array([[[0, 0], [0, 0]], [[1, 1], [1, 0]]])
    logits = np.moveaxis(logits_of(predicted, 2), -1, 1)
    np.testing.assert_allclose(iou_per_class(logits, targets), [4 / 5, 3 / 4])


def test_dice_is_twice_the_iou_over_one_more():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(200, 4)), rng.integers(0, 4, 200)
    iou = iou_per_class(logits, targets)
    np.testing.assert_allclose(dice_per_class(logits, targets), 2 * iou / (1 + iou))


def test_perfect_predictions_have_iou_and_dice_one():
    assert mean_iou(logits_of(TARGETS), TARGETS) == dice_score(logits_of(TARGETS), TARGETS) == 1.0


def test_pixel_accuracy_is_accuracy():
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(4, 3, 5, 6)), rng.integers(0, 3, (4, 5, 6))
    targets[0, 0] = -100
    assert pixel_accuracy(logits, targets) == accuracy(logits, targets)
