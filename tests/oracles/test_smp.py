"""Losses of segmentation_models_pytorch."""

import math

import pytest
import torch

from lossbench.losses import cross_entropy, dice, focal, focal_tversky, lovasz_softmax, tversky

LOG2, LOG3 = math.log(2), math.log(3)
TINY = 1e-12  # a smooth that does not show in the numbers below

# Two examples of two pixels, [N=2, K=2, H=1, W=2]; p of class 0 is 3/4, 1/4 | 1/2, 1/2.
PROBS = torch.tensor([[[[3, 1]], [[1, 3]]], [[[2, 2]], [[2, 2]]]]) / 4
LOGITS = PROBS.log()
TARGETS = torch.tensor([[[0, 1]], [[0, 0]]])


@pytest.fixture
def ignoring(scene):
    """The scene with its first column ignored."""
    logits, targets = scene
    targets[:, :, 0] = -100
    return logits, targets


@pytest.mark.parametrize("smooth", [0.1, 100.0])
def test_dice_agrees_at_half_the_smooth(smp, ignoring, smooth):
    # Theirs is (Σpg + s) / ((Σp + Σg)/2 + s).
    reference = smp.DiceLoss("multiclass", smooth=smooth / 2, ignore_index=-100)(*ignoring)
    assert dice(*ignoring, smooth=smooth).item() == pytest.approx(reference.item(), abs=1e-6)


def test_its_dice_divides_by_the_number_of_all_classes_where_we_divide_by_those_present(smp):
    # The second example has class 0 alone: 1 - 2/(1 + 2) = 1/3. Its absent class counts as 0: (1/3 + 0)/2.
    assert smp.DiceLoss("multiclass")(LOGITS[1:], TARGETS[1:]).item() == pytest.approx(1 / 6)
    assert dice(LOGITS[1:], TARGETS[1:], smooth=TINY).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.7), (1.0, 1.0)])
@pytest.mark.parametrize("smooth", [0.1, 100.0])
def test_tversky_agrees(smp, ignoring, alpha, beta, smooth):
    theirs = smp.TverskyLoss("multiclass", smooth=smooth, ignore_index=-100, alpha=alpha, beta=beta)
    loss = tversky(*ignoring, alpha=alpha, beta=beta, smooth=smooth)
    assert loss.item() == pytest.approx(theirs(*ignoring).item(), abs=1e-6)


def test_its_tversky_takes_the_power_of_the_mean_where_focal_tversky_takes_the_mean_of_the_powers(smp):
    # Class 0: TP 7/4, FP 1/4, FN 5/4, so 0.95/2.7 at α = 0.3, β = 0.7; class 1: TP 3/4, FP 5/4, FN 1/4, so 0.55/1.3.
    of_class = [0.95 / 2.7, 0.55 / 1.3]
    theirs = smp.TverskyLoss("multiclass", alpha=0.3, beta=0.7, gamma=3.0)(LOGITS, TARGETS)
    assert theirs.item() == pytest.approx((sum(of_class) / 2) ** 3)
    ours = focal_tversky(LOGITS, TARGETS, gamma=3.0, smooth=TINY)
    assert ours.item() == pytest.approx(sum(loss**3 for loss in of_class) / 2)


@pytest.mark.parametrize("over", ["batch", "example"])
def test_lovasz_agrees_where_each_example_has_all_classes(smp, ignoring, over):
    theirs = smp.LovaszLoss("multiclass", per_image=over == "example", ignore_index=-100)
    assert lovasz_softmax(*ignoring, over=over).item() == pytest.approx(theirs(*ignoring).item(), abs=1e-6)


def test_its_lovasz_averages_the_examples_where_we_average_the_pairs_of_an_example_and_a_class(smp):
    # Where all errors of a class are equal its loss is that error, for the weights of J sum to J of all errors, 1.
    # Errors are 1/4 in example 0, of both classes, and 1/2 in example 1, of class 0; class 1 is absent there.
    theirs = smp.LovaszLoss("multiclass", per_image=True)(LOGITS, TARGETS)
    assert theirs.item() == pytest.approx(((1 / 4 + 1 / 4) / 2 + 1 / 2) / 2)
    assert lovasz_softmax(LOGITS, TARGETS, over="example").item() == pytest.approx((1 / 4 + 1 / 4 + 1 / 2) / 3)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_agrees_on_two_classes_whose_second_logit_is_the_log_odds(smp, scene, gamma):
    # softmax(0, z) = (1 - σ(z), σ(z))
    log_odds, targets = scene[0][:, 0], scene[1] % 2
    reference = smp.FocalLoss("binary", gamma=gamma)(log_odds, targets)
    logits = torch.stack([torch.zeros_like(log_odds), log_odds], 1)
    assert focal(logits, targets, gamma=gamma).item() == pytest.approx(reference.item(), abs=1e-6)


def test_its_focal_of_several_classes_asks_one_question_per_class_and_averages_the_answers(smp):
    # Logits 0, K = 3, γ = 2. Theirs: σ = 1/2 for each class, (1/2)² log 2. Ours: p_y = 1/3, (2/3)² log 3.
    logits, targets = torch.zeros(1, 3, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64)
    assert smp.FocalLoss("multiclass", gamma=2.0)(logits, targets).item() == pytest.approx(LOG2 / 4)
    assert focal(logits, targets, gamma=2.0).item() == pytest.approx(4 / 9 * LOG3)


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_cross_entropy_agrees_where_nothing_is_ignored(smp, scene, epsilon):
    reference = smp.SoftCrossEntropyLoss(smooth_factor=epsilon)(*scene)
    assert cross_entropy(*scene, epsilon=epsilon).item() == pytest.approx(reference.item(), abs=1e-6)


def test_ignored_pixels_dilute_its_cross_entropy_and_not_ours(smp):
    # Logits 0, K = 2: log 2 for each of three pixels, and the fourth ignored: 3/4 log 2 over all four.
    logits, targets = torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 1, 0, -100]]])
    assert smp.SoftCrossEntropyLoss(smooth_factor=0.0)(logits, targets).item() == pytest.approx(0.75 * LOG2)
    assert cross_entropy(logits, targets).item() == pytest.approx(LOG2)
