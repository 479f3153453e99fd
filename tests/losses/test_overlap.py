import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.segmentation import dice_score

from lossbench.losses import cross_entropy, dice, dice_cross_entropy, generalized_dice, log_cosh_dice

# Two examples of two pixels, [N=2, K=2, H=1, W=2]; p of class 0 is 3/4, 1/4 | 1/2, 1/2.
PROBS = torch.tensor([[[[3, 1]], [[1, 3]]], [[[2, 2]], [[2, 2]]]], dtype=torch.float64) / 4
LOGITS = PROBS.log()
TARGETS = torch.tensor([[[0, 1]], [[0, 0]]])
TINY = 1e-12  # a smooth that does not show in the numbers below


def numpy_dice(logits, targets, over, smooth, squared, include_absent, ignore_index):
    """Loops over scopes and classes; nothing shared with the torch code."""
    logits, targets = logits.numpy(), targets.numpy()
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    losses = []
    for scope in [list(range(len(logits)))] if over == "batch" else [[n] for n in range(len(logits))]:
        kept = targets[scope] != ignore_index
        for k in range(logits.shape[1]):
            p, g = probs[scope, k][kept], (targets[scope][kept] == k).astype(float)
            if g.any() or (include_absent and kept.any()):
                size = (p**2).sum() + (g**2).sum() if squared else p.sum() + g.sum()
                losses.append(1 - (2 * (p * g).sum() + smooth) / (size + smooth))
    return np.mean(losses) if losses else 0.0


def test_dice_over_the_batch():
    # class 0: Σpg = 3/4 + 1/2 + 1/2 = 7/4, Σp = 2, Σg = 3: 1 - 3.5/5 = 0.3
    # class 1: Σpg = 3/4, Σp = 2, Σg = 1: 1 - 1.5/3 = 0.5
    assert dice(LOGITS, TARGETS, smooth=TINY).item() == pytest.approx((0.3 + 0.5) / 2)


def test_dice_over_examples_averages_over_the_classes_present_in_each():
    # example 0: both classes Σpg = 3/4, Σp = 1, Σg = 1: 1 - 1.5/2 = 0.25 each
    # example 1: class 0 alone, Σpg = 1, Σp = 1, Σg = 2: 1 - 2/3 = 1/3; class 1 is absent
    loss = dice(LOGITS, TARGETS, over="example", smooth=TINY)
    assert loss.item() == pytest.approx((0.25 + 0.25 + 1 / 3) / 3)


def test_absent_classes_count_when_asked_for():
    # as above, and the absent class at 1 - 0/1 = 1
    loss = dice(LOGITS, TARGETS, over="example", smooth=TINY, include_absent=True)
    assert loss.item() == pytest.approx((0.25 + 0.25 + 1 / 3 + 1) / 4)


def test_squared_puts_squares_in_the_denominator():
    # Σp² = 9/16 + 1/16 + 1/4 + 1/4 = 9/8 for both classes
    # class 0: 1 - 3.5/(9/8 + 3) = 1 - 28/33 = 5/33; class 1: 1 - 1.5/(9/8 + 1) = 1 - 12/17 = 5/17
    assert dice(LOGITS, TARGETS, squared=True, smooth=TINY).item() == pytest.approx((5 / 33 + 5 / 17) / 2)


def test_smooth_is_added_above_and_below():
    # class 0: 1 - (3.5 + 1)/(5 + 1) = 1/4; class 1: 1 - (1.5 + 1)/(3 + 1) = 3/8
    assert dice(LOGITS, TARGETS, smooth=1.0).item() == pytest.approx((1 / 4 + 3 / 8) / 2)


def test_ignored_pixels_are_in_no_sum():
    # Without example 1: both classes 0.25, as above.
    targets = TARGETS.clone()
    targets[1] = 9
    for over in ("batch", "example"):
        for include_absent in (False, True):
            loss = dice(LOGITS, targets, over=over, smooth=TINY, include_absent=include_absent, ignore_index=9)
            assert loss.item() == pytest.approx(0.25), (over, include_absent)


@pytest.mark.parametrize("over", ["batch", "example"])
@pytest.mark.parametrize("include_absent", [False, True])
@pytest.mark.parametrize("loss", [dice, dice_cross_entropy])
def test_all_ignored_is_zero_with_zero_gradient(over, include_absent, loss):
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, torch.full_like(TARGETS, -100), over=over, include_absent=include_absent)
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(LOGITS))


def test_classification_is_soft_dice_over_the_examples():
    # The four pixels as four examples: the numbers of the first test.
    logits, targets = LOGITS.movedim(1, -1).reshape(4, 2), TARGETS.reshape(4)
    assert dice(logits, targets, smooth=TINY).item() == pytest.approx(0.4)


def test_soft_targets_that_are_one_hot_are_the_indices():
    soft = torch.nn.functional.one_hot(TARGETS, 2).movedim(-1, 1).double()
    for over in ("batch", "example"):
        assert dice(LOGITS, soft, over=over).item() == pytest.approx(dice(LOGITS, TARGETS, over=over).item())


@pytest.mark.parametrize("over", ["batch", "example"])
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("include_absent", [False, True])
@pytest.mark.parametrize("pixels", [(), (3, 4)], ids=["classification", "segmentation"])
def test_an_independent_computation_agrees(over, squared, include_absent, pixels):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, *pixels, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (5, *pixels), generator=generator)  # class 3 is absent
    targets.view(-1)[:2] = -100
    options = {"over": over, "smooth": 0.1, "squared": squared, "include_absent": include_absent, "ignore_index": -100}
    assert dice(logits, targets, **options).item() == pytest.approx(numpy_dice(logits, targets, **options), abs=1e-12)


def test_torchmetrics_agrees_on_certain_predictions():
    # With p in {0, 1} soft Dice is one minus the Dice score; every class is present in every example here.
    generator = torch.Generator().manual_seed(0)
    predicted, targets = torch.randint(3, (2, 4, 8, 8), generator=generator)
    logits = 1e4 * torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1)
    score = dice_score(predicted, targets, num_classes=3, average="macro", input_format="index")
    assert dice(logits.float(), targets, over="example").item() == pytest.approx(1 - score.mean().item(), abs=1e-6)


def test_dice_cross_entropy_adds_the_two():
    # dice 0.4 from above; cross-entropy -(2 log 3/4 + 2 log 1/2)/4 = (3 log 2 - log 3)/2
    entropy = (3 * math.log(2) - math.log(3)) / 2
    assert dice_cross_entropy(LOGITS, TARGETS, smooth=TINY).item() == pytest.approx(0.4 + entropy)
    loss = dice_cross_entropy(LOGITS, TARGETS, smooth=TINY, dice_weight=2.0, cross_entropy_weight=3.0)
    assert loss.item() == pytest.approx(0.8 + 3 * entropy)


def test_dice_cross_entropy_hands_every_option_on():
    overlap = {"over": "example", "smooth": 0.5, "squared": True, "include_absent": True}
    entropy = {
        "epsilon": 0.2,
        "prior": [0.3, 0.7],
        "class_weights": [1.0, 5.0],
        "temperature": 2.0,
    }
    targets = TARGETS.clone()
    targets[0, 0, 0] = 7
    loss = dice_cross_entropy(LOGITS, targets, ignore_index=7, **overlap, **entropy)
    expected = dice(LOGITS / 2, targets, ignore_index=7, **overlap) + cross_entropy(
        LOGITS, targets, ignore_index=7, **entropy
    )
    assert loss.item() == pytest.approx(expected.item())


def test_generalized_dice_weighs_classes_by_one_over_their_squared_size():
    # Σg = 3 and 1: w ∝ 1/9 and 1, so w = (1/10, 9/10). Σpg = 7/4 and 3/4, Σp + Σg = 5 and 3:
    # 1 - 2 (0.175 + 0.675)/(0.5 + 2.7) = 1 - 1.7/3.2
    assert generalized_dice(LOGITS, TARGETS, smooth=TINY).item() == pytest.approx(1 - 1.7 / 3.2)


def test_generalized_dice_over_examples_averages_the_examples():
    # example 0: Σg = 1 each, w = ½: 1 - 2 · 3/4/2 = 1/4. example 1: class 0 alone: 1 - 2/3 = 1/3
    loss = generalized_dice(LOGITS, TARGETS, over="example", smooth=TINY)
    assert loss.item() == pytest.approx((1 / 4 + 1 / 3) / 2)


def test_generalized_dice_can_give_an_absent_class_the_weight_of_one_pixel():
    # example 1: Σg = (2, 0): w ∝ (1/4, 1) = (1/5, 4/5); overlap 1/5 · 1, sizes 1/5 · 3 + 4/5 · 1: 1 - (2/5)/(7/5) = 5/7
    loss = generalized_dice(LOGITS[1:], TARGETS[1:], smooth=TINY, include_absent=True)
    assert loss.item() == pytest.approx(5 / 7)


def test_smooth_does_not_depend_on_the_number_of_pixels_in_generalized_dice():
    # With unnormalised weights 1/(Σg)² it would: tiled 1,000 times the sums shrink to 1e-3 and s = 0.1 rules.
    tiled = generalized_dice(LOGITS.repeat(1, 1, 1, 1000), TARGETS.repeat(1, 1, 1000), smooth=0.1)
    assert tiled.item() == pytest.approx(1 - 1.7 / 3.2, abs=1e-4)


def test_log_cosh_dice_by_hand():
    # dice 0.4 from above; log((e^0.4 + e^-0.4)/2)
    expected = math.log((math.exp(0.4) + math.exp(-0.4)) / 2)
    assert log_cosh_dice(LOGITS, TARGETS, smooth=TINY).item() == pytest.approx(expected)


@pytest.mark.parametrize("over", ["batch", "example"])
@pytest.mark.parametrize("include_absent", [False, True])
def test_all_ignored_is_zero_in_generalized_dice_too(over, include_absent):
    logits = LOGITS.clone().requires_grad_()
    value = generalized_dice(logits, torch.full_like(TARGETS, -100), over=over, include_absent=include_absent)
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(LOGITS))


@pytest.mark.parametrize("loss", [dice, generalized_dice, log_cosh_dice, dice_cross_entropy])
def test_a_class_can_be_ignored_by_its_number(loss):
    marked = TARGETS.where(TARGETS != 1, 9)
    torch.testing.assert_close(loss(LOGITS, TARGETS, ignore_index=1), loss(LOGITS, marked, ignore_index=9))


@pytest.mark.parametrize("label", [-1, 2])
@pytest.mark.parametrize("loss", [dice, generalized_dice, log_cosh_dice, dice_cross_entropy])
def test_a_label_of_no_class_is_an_error(loss, label):
    with pytest.raises(RuntimeError, match="out of bounds"):
        loss(LOGITS, torch.full_like(TARGETS, label))


def test_dice_cross_entropy_is_the_same_where_it_takes_the_shorter_way():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, generator=generator, requires_grad=True)
    targets = torch.randint(3, (2, 4, 4), generator=generator)
    longer = dice_cross_entropy(logits, targets, class_weights=[1.0, 1.0, 1.0])
    shorter = dice_cross_entropy(logits, targets)
    torch.testing.assert_close(shorter, longer)
    torch.testing.assert_close(torch.autograd.grad(shorter, logits), torch.autograd.grad(longer, logits))
    stacked = torch.func.vmap(lambda z: dice_cross_entropy(z, targets))(torch.stack([logits, -logits]))
    torch.testing.assert_close(stacked[0], shorter)
