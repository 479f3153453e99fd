import math

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from lossbench.losses import cross_entropy, dual_focal, flsd, focal

# softmax of these logits is (1/2, 1/4, 1/4) in the first row and (1/8, 1/8, 3/4) in the second.
LOGITS = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]], dtype=torch.float64).log()
TARGETS = torch.tensor([0, 2])
LOG2, LOG3 = math.log(2), math.log(3)
EASY = 2 * LOG2 - LOG3  # -log 3/4


def test_focal_multiplies_each_loss_by_a_power_of_what_is_missing_from_1():
    # (1 - 1/2)² log 2 and (1 - 3/4)² (2 log 2 - log 3)
    assert focal(LOGITS, TARGETS, gamma=2.0).item() == pytest.approx((LOG2 / 4 + EASY / 16) / 2)


def test_focal_class_weights_normalise_as_in_cross_entropy():
    loss = focal(LOGITS, TARGETS, gamma=1.0, class_weights=[3.0, 9.0, 1.0])
    assert loss.item() == pytest.approx((3 * LOG2 / 2 + EASY / 4) / (3 + 1))


def test_focal_of_soft_targets_is_the_expectation_over_the_labels():
    # First row, t = (1/2, 1/2, 0): the mean of log 2 · 1/2 at p = 1/2 and of log 4 · 3/4 at p = 1/4.
    soft = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    assert focal(LOGITS[:1], soft, gamma=1.0).item() == pytest.approx((LOG2 / 2 + 1.5 * LOG2) / 2)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_torchvision_agrees_on_two_classes_whose_second_logit_is_the_log_odds(gamma):
    # softmax(0, z) = (1 - σ(z), σ(z)); alpha=-1 is no weight
    log_odds = torch.tensor([-2.0, 0.5, 3.0, 0.0])
    targets = torch.tensor([0, 0, 1, 1])
    reference = sigmoid_focal_loss(log_odds, targets.float(), alpha=-1, gamma=gamma, reduction="mean")
    loss = focal(torch.stack([torch.zeros(4), log_odds], 1), targets, gamma=gamma)
    assert loss.item() == pytest.approx(reference.item())


def test_torchvision_divides_by_the_count_where_we_divide_by_the_weights():
    # Two examples, p_y = 1/2, γ = 2, (1/2)² log 2 each; α = 1/4 weighs class 1 by 1/4 and class 0 by 3/4.
    # Theirs: (3/4 + 1/4)/2 of that, so that its default α halves the learning rate. Ours: all of it.
    targets = torch.tensor([0, 1])
    theirs = sigmoid_focal_loss(torch.zeros(2), targets.float(), alpha=0.25, gamma=2.0, reduction="mean")
    assert theirs.item() == pytest.approx(LOG2 / 8)
    ours = focal(torch.zeros(2, 2), targets, gamma=2.0, class_weights=[0.75, 0.25])
    assert ours.item() == pytest.approx(LOG2 / 4)


def test_torchvision_asks_one_question_per_class_where_we_ask_for_one_of_k():
    # Logits 0, K = 3, γ = 2. Theirs, summed: three times (1/2)² log 2. Ours: p_y = 1/3, (2/3)² log 3.
    one_hot = torch.tensor([[1.0, 0.0, 0.0]])
    theirs = sigmoid_focal_loss(torch.zeros(1, 3), one_hot, alpha=-1, gamma=2.0, reduction="sum")
    assert theirs.item() == pytest.approx(3 / 4 * LOG2)
    assert focal(torch.zeros(1, 3), torch.tensor([0]), gamma=2.0).item() == pytest.approx(4 / 9 * LOG3)


def test_flsd_has_a_larger_exponent_below_the_threshold():
    # p_y = 1/8 < 0.2: (7/8)⁵ · 3 log 2; p_y = 1/2: (1/2)³ log 2
    logits, targets = torch.stack([LOGITS[1], LOGITS[0]]), torch.tensor([0, 0])
    expected = ((7 / 8) ** 5 * 3 * LOG2 + LOG2 / 8) / 2
    assert flsd(logits, targets).item() == pytest.approx(expected)


def test_flsd_at_the_threshold_itself_is_not_hard():
    # p_y = 1/2: γ = 1 from the threshold on, (1/2) log 2; below it would be (1/2)² log 2
    loss = flsd(torch.zeros(1, 2), torch.tensor([0]), gamma=1.0, gamma_hard=2.0, threshold=0.5)
    assert loss.item() == pytest.approx(LOG2 / 2)


def test_flsd_with_equal_exponents_is_focal():
    loss = flsd(LOGITS, TARGETS, gamma=2.0, gamma_hard=2.0)
    assert loss.item() == focal(LOGITS, TARGETS, gamma=2.0).item()


def test_dual_focal_adds_the_runner_up_below_the_target():
    # Second row, y = 2: p_y = 3/4, p_j = 1/8: (1/4 + 1/8)² (2 log 2 - log 3)
    assert dual_focal(LOGITS[1:], TARGETS[1:], gamma=2.0).item() == pytest.approx(9 / 64 * EASY)


def test_dual_focal_does_not_look_above_the_target_nor_at_its_equals():
    # First row, y = 1: p_y = 1/4, nothing is below it: (3/4)² log 4
    assert dual_focal(LOGITS[:1], torch.tensor([1]), gamma=2.0).item() == pytest.approx(9 / 16 * 2 * LOG2)


def test_the_gradient_of_dual_focal_flows_through_the_runner_up():
    # K = 2, y = 0 with p_y > 1/2: 1 - p_y + p_j = 2 (1 - p_y), so the loss is 2^γ times focal's.
    logits = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (dual,) = torch.autograd.grad(dual_focal(logits, torch.tensor([0]), gamma=3.0), logits)
    (single,) = torch.autograd.grad(focal(logits, torch.tensor([0]), gamma=3.0), logits)
    assert torch.allclose(dual, 8 * single)


@pytest.mark.parametrize("loss", [focal, dual_focal])
def test_gamma_zero_is_cross_entropy(loss):
    assert loss(LOGITS, TARGETS, gamma=0.0).item() == pytest.approx(cross_entropy(LOGITS, TARGETS).item(), abs=1e-15)


@pytest.mark.parametrize("loss", [focal, flsd, dual_focal])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_the_gradient_is_finite_where_p_rounds_to_1(loss, gamma):
    # d (1 - p)^γ / dp = -γ (1 - p)^(γ-1) is infinite at p = 1 for γ < 1.
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    loss(logits, torch.tensor([0]), gamma=gamma).backward()
    assert logits.grad.abs().max() < 1e-6
