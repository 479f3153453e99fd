import pytest
import torch

from lossbench.losses import dice, focal_tversky, tversky

# Two examples of two pixels, [N=2, K=2, H=1, W=2]; p of class 0 is 3/4, 1/4 | 1/2, 1/2.
PROBS = torch.tensor([[[[3, 1]], [[1, 3]]], [[[2, 2]], [[2, 2]]]], dtype=torch.float64) / 4
LOGITS = PROBS.log()
TARGETS = torch.tensor([[[0, 1]], [[0, 0]]])
TINY = 1e-12  # a smooth that does not show in the numbers below


def test_false_positives_and_false_negatives_have_their_own_prices():
    # class 0: TP = 7/4, FP = 2 - 7/4 = 1/4, FN = 3 - 7/4 = 5/4; α FP + β FN = 0.075 + 0.875 = 0.95
    # class 1: TP = 3/4, FP = 5/4, FN = 1/4; 0.375 + 0.175 = 0.55
    expected = (0.95 / 2.7 + 0.55 / 1.3) / 2
    assert tversky(LOGITS, TARGETS, smooth=TINY).item() == pytest.approx(expected)


def test_equal_prices_of_one_half_are_dice_with_twice_the_smooth():
    for over in ("batch", "example"):
        loss = tversky(LOGITS, TARGETS, alpha=0.5, beta=0.5, smooth=0.5, over=over)
        assert loss.item() == pytest.approx(dice(LOGITS, TARGETS, smooth=1.0, over=over).item())


def test_prices_of_1_are_the_jaccard_loss():
    # class 0: union 7/4 + 1/4 + 5/4 = 13/4, 1 - 7/13; class 1: 9/4, 1 - 1/3
    loss = tversky(LOGITS, TARGETS, alpha=1.0, beta=1.0, smooth=TINY)
    assert loss.item() == pytest.approx((6 / 13 + 2 / 3) / 2)


def test_focal_tversky_raises_each_class_to_the_power():
    expected = ((0.95 / 2.7) ** 0.75 + (0.55 / 1.3) ** 0.75) / 2
    assert focal_tversky(LOGITS, TARGETS, smooth=TINY).item() == pytest.approx(expected)


def test_focal_tversky_at_gamma_1_is_tversky():
    assert focal_tversky(LOGITS, TARGETS, gamma=1.0).item() == tversky(LOGITS, TARGETS).item()


def test_the_gradient_is_finite_where_the_prediction_is_perfect():
    logits = torch.where(torch.tensor([[[[True, False]], [[False, True]]]]), 1e4, -1e4).requires_grad_()
    loss = focal_tversky(logits, TARGETS[:1])
    loss.backward()
    assert loss.item() < 1e-4  # (machine epsilon)^¾ = 6e-6
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", [tversky, focal_tversky])
@pytest.mark.parametrize("over", ["batch", "example"])
@pytest.mark.parametrize("include_absent", [False, True])
def test_all_ignored_is_zero_with_zero_gradient(loss, over, include_absent):
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, torch.full_like(TARGETS, -100), over=over, include_absent=include_absent)
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(LOGITS))


@pytest.mark.parametrize("gamma", [0.5, 0.75, 2.0])
def test_a_perfect_prediction_costs_nothing(gamma):
    logits = torch.tensor([[50.0, -50.0], [-50.0, 50.0]], requires_grad=True)
    loss = focal_tversky(logits, torch.tensor([0, 1]), gamma=gamma)
    assert loss.item() == 0
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()
