import math

import pytest
import torch

from lossbench.losses import dice, dice_cross_entropy, focal, generalized_dice, tversky, weighted_sum

LOG2, LOG3 = math.log(2), math.log(3)
TINY = 1e-12  # a smooth that does not show in the numbers below
INDICES = {"softmax": True, "to_onehot_y": True}

# Two examples of two pixels, [N=2, K=2, H=1, W=2]; p of class 0 is 3/4, 1/4 | 1/2, 1/2.
PROBS = torch.tensor([[[[3, 1]], [[1, 3]]], [[[2, 2]], [[2, 2]]]]) / 4
LOGITS = PROBS.log()
TARGETS = torch.tensor([[[0, 1]], [[0, 0]]])


def value(theirs, logits, targets):
    """Their targets have an axis for the class."""
    return theirs(logits, targets.unsqueeze(1)).item()


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("over", ["batch", "example"])
@pytest.mark.parametrize("smooth", [0.1, 100.0])
@pytest.mark.parametrize("ignore_index", [-100, 2])
def test_dice_agrees_where_ours_averages_over_absent_classes_too(monai, scene, squared, over, smooth, ignore_index):
    logits, targets = scene
    targets = torch.where(targets == 2, ignore_index, targets)
    smoothing = {"smooth_nr": smooth, "smooth_dr": smooth}
    theirs = monai.DiceLoss(
        **INDICES, squared_pred=squared, batch=over == "batch", ignore_index=ignore_index, **smoothing
    )
    options = {"squared": squared, "over": over, "smooth": smooth, "ignore_index": ignore_index}
    loss = dice(logits, targets, include_absent=True, **options)  # class 2 is: all of it is ignored
    assert loss.item() == pytest.approx(value(theirs, logits, targets), abs=1e-5)


def test_its_dice_averages_over_examples_and_over_absent_classes(monai):
    # Example 0: Σpg = 3/4, Σp = Σg = 1 for both classes, 1 - 1.5/2 = 1/4 each. Example 1: class 0 has Σpg = 1, Σp = 1,
    # Σg = 2, 1 - 2/3 = 1/3, and class 1 is absent: 1.
    theirs = monai.DiceLoss(**INDICES)
    assert value(theirs, LOGITS, TARGETS) == pytest.approx((1 / 4 + 1 / 4 + 1 / 3 + 1) / 4, abs=1e-4)
    by_example = dice(LOGITS, TARGETS, over="example", smooth=TINY)
    assert by_example.item() == pytest.approx((1 / 4 + 1 / 4 + 1 / 3) / 3)
    # Over the batch: class 0 has Σpg = 7/4, Σp = 2, Σg = 3, 1 - 3.5/5 = 0.3; class 1 has 3/4, 2, 1, 1 - 1.5/3 = 0.5.
    assert dice(LOGITS, TARGETS, smooth=TINY).item() == pytest.approx(0.4)


def test_it_can_leave_class_0_out_and_we_cannot(monai):
    # 0.5 of class 1 alone, from above
    theirs = monai.DiceLoss(**INDICES, include_background=False, batch=True)
    assert value(theirs, LOGITS, TARGETS) == pytest.approx(0.5, abs=1e-4)


def test_of_targets_that_are_probabilities_its_soft_overlap_is_the_smaller_and_ours_the_product(monai):
    # p = g = (1/2, 1/2): Σ min(p, g) = 1/2 is a perfect overlap, 1 - 1/1; Σ p g = 1/4 is not, 1 - (1/2)/1.
    logits = torch.zeros(1, 2, 1, 1)
    soft = logits.softmax(1)
    assert monai.DiceLoss(softmax=True, soft_label=True)(logits, soft).item() == pytest.approx(0.0, abs=1e-6)
    assert monai.DiceLoss(softmax=True)(logits, soft).item() == pytest.approx(0.5, abs=1e-4)
    assert dice(logits, soft, smooth=TINY).item() == pytest.approx(0.5)


@pytest.mark.parametrize("over", ["batch", "example"])
@pytest.mark.parametrize("smooth", [0.1, 100.0])
def test_tversky_agrees_where_each_example_has_all_classes(monai, scene, over, smooth):
    theirs = monai.TverskyLoss(
        **INDICES, alpha=0.3, beta=0.7, batch=over == "batch", smooth_nr=smooth, smooth_dr=smooth
    )
    assert tversky(*scene, over=over, smooth=smooth).item() == pytest.approx(value(theirs, *scene), abs=1e-5)


@pytest.mark.parametrize("smooth", [0.1, 100.0])
def test_its_jaccard_loss_is_tversky_at_prices_of_1_and_half_the_smooth(monai, scene, smooth):
    # Theirs is 1 - (2 TP + s) / (2 (TP + FP + FN) + s).
    theirs = monai.DiceLoss(**INDICES, jaccard=True, batch=True, smooth_nr=smooth, smooth_dr=smooth)
    loss = tversky(*scene, alpha=1.0, beta=1.0, smooth=smooth / 2)
    assert loss.item() == pytest.approx(value(theirs, *scene), abs=1e-5)


def test_its_tversky_averages_over_absent_classes_too(monai):
    # Example 1: class 0 has TP = FN = 1, FP = 0, 0.7/1.7 at α = 0.3, β = 0.7; class 1 has TP = FN = 0, FP = 1: 1.
    theirs = monai.TverskyLoss(**INDICES, alpha=0.3, beta=0.7)
    assert value(theirs, LOGITS[1:], TARGETS[1:]) == pytest.approx((0.7 / 1.7 + 1) / 2, abs=1e-4)
    assert tversky(LOGITS[1:], TARGETS[1:], smooth=TINY).item() == pytest.approx(0.7 / 1.7)


@pytest.mark.parametrize("over", ["batch", "example"])
def test_generalized_dice_agrees_but_for_its_smoothing(monai, scene, over):
    theirs = monai.GeneralizedDiceLoss(**INDICES, batch=over == "batch", smooth_nr=0.0, smooth_dr=0.0)
    loss = generalized_dice(*scene, over=over, smooth=TINY)
    assert loss.item() == pytest.approx(value(theirs, *scene), abs=1e-5)


def test_its_generalized_dice_adds_the_smooth_to_sums_by_weights_that_shrink_with_the_number_of_pixels(monai):
    # Σg = 3 and 1, Σpg = 7/4 and 3/4, Σp + Σg = 5 and 3. Theirs: w = 1/9 and 1, s = 1:
    # 1 - (2 (7/36 + 3/4) + 1)/(5/9 + 3 + 1) = 1 - 26/41. Ours: w = 1/10 and 9/10, 9/10 of theirs, so s = 9/10.
    theirs = monai.GeneralizedDiceLoss(**INDICES, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    assert value(theirs, LOGITS, TARGETS) == pytest.approx(1 - 26 / 41)
    assert generalized_dice(LOGITS, TARGETS, smooth=0.9).item() == pytest.approx(1 - 26 / 41)
    tiled = LOGITS.repeat(1, 1, 1, 10), TARGETS.repeat(1, 1, 10)
    # In an image 10 times as large theirs is 1 - (17/9/10 + 1)/(32/9/10 + 1): the sums shrink and s takes over.
    assert value(theirs, *tiled) == pytest.approx(1 - 107 / 122)
    # Ours is 1 - (1.7 · 10 + 0.9)/(3.2 · 10 + 0.9): the sums grow and s fades.
    assert generalized_dice(*tiled, smooth=0.9).item() == pytest.approx(1 - 17.9 / 32.9)


def test_its_generalized_dice_gives_an_absent_class_the_largest_weight_of_a_class_present(monai):
    # Example 1: Σg = 2 and 0, both weigh 1/4: Σpg = 1 and 0, Σp + Σg = 3 and 1: 1 - 2 · 1/(3 + 1) = 1/2.
    # Ours leaves it out, 1 - 2/3, or gives it the weight of one pixel, 1/4 : 1: 1 - (2/4)/(3/4 + 1) = 5/7.
    one = LOGITS[1:], TARGETS[1:]
    assert value(monai.GeneralizedDiceLoss(**INDICES), *one) == pytest.approx(1 / 2, abs=1e-4)
    assert generalized_dice(*one, smooth=TINY).item() == pytest.approx(1 / 3)
    assert generalized_dice(*one, smooth=TINY, include_absent=True).item() == pytest.approx(5 / 7)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.0])
def test_focal_agrees_where_its_class_axis_is_summed(monai, scene, gamma):
    logits, targets = scene
    theirs = monai.FocalLoss(gamma=gamma, use_softmax=True, to_onehot_y=True, reduction="none")
    reference = theirs(logits, targets.unsqueeze(1)).sum(1).mean()
    assert focal(logits, targets, gamma=gamma).item() == pytest.approx(reference.item(), abs=1e-6)


def test_its_focal_averages_the_class_axis_so_that_it_is_a_kth_of_ours(monai, scene):
    theirs = monai.FocalLoss(gamma=2.0, use_softmax=True, to_onehot_y=True)  # K = 3
    assert focal(*scene, gamma=2.0).item() == pytest.approx(3 * value(theirs, *scene), abs=1e-6)


def test_the_alpha_of_its_focal_does_not_normalise(monai):
    # One pixel, p_y = 1/2, γ = 2: (1/2)² log 2. α = 1/4 weighs class 0 by 3/4 and any other by 1/4, and K = 2 divides.
    logits, targets = torch.zeros(1, 2, 1, 1), torch.ones(1, 1, 1, dtype=torch.int64)
    theirs = monai.FocalLoss(gamma=2.0, use_softmax=True, to_onehot_y=True, alpha=0.25)
    assert value(theirs, logits, targets) == pytest.approx(LOG2 / 4 * (1 / 4) / 2)
    assert focal(logits, targets, gamma=2.0, class_weights=[0.75, 0.25]).item() == pytest.approx(LOG2 / 4)


@pytest.mark.parametrize("over", ["batch", "example"])
@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_dice_cross_entropy_agrees(monai, scene, over, epsilon):
    theirs = monai.DiceCELoss(**INDICES, batch=over == "batch", lambda_dice=2.0, lambda_ce=3.0, label_smoothing=epsilon)
    loss = dice_cross_entropy(*scene, dice_weight=2.0, cross_entropy_weight=3.0, over=over, epsilon=epsilon)
    assert loss.item() == pytest.approx(value(theirs, *scene), abs=1e-5)


def test_the_class_weights_of_its_dice_cross_entropy_multiply_dice_too_and_do_not_normalise_there(monai):
    # The classes' dice is 0.3 and 0.5, see above. Theirs: (1 · 0.3 + 3 · 0.5)/2 = 0.9; ours 0.4; the rest is equal.
    weights = torch.tensor([1.0, 3.0])
    theirs = monai.DiceCELoss(**INDICES, batch=True, weight=weights)
    ours = dice_cross_entropy(LOGITS, TARGETS, class_weights=weights)
    assert value(theirs, LOGITS, TARGETS) - ours.item() == pytest.approx(0.9 - 0.4, abs=1e-4)


def test_its_dice_focal_takes_dice_of_the_softmax_and_focal_of_sigmoids(monai):
    # Logits 0, K = 3, one pixel of class 0: dice 1 - (2/3)/(1/3 + 1) = 1/2, in theirs with twice 1 for absent classes,
    # (1/2 + 1 + 1)/3. Focal with γ = 2, theirs by σ = 1/2, (1/2)² log 2; ours by p = 1/3, (2/3)² log 3.
    logits, targets = torch.zeros(1, 3, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64)
    theirs = monai.DiceFocalLoss(**INDICES)
    assert value(theirs, logits, targets) == pytest.approx(5 / 6 + LOG2 / 4, abs=1e-4)
    ours = weighted_sum(logits, targets, first=dice, second=focal)
    assert ours.item() == pytest.approx(1 / 2 + 4 / 9 * LOG3, abs=1e-4)
