import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lossbench import links
from lossbench.losses import bi_tempered, cross_entropy, generalized_cross_entropy, symmetric_cross_entropy
from lossbench.losses.tempered import tempered_log_softmax

# softmax of these logits is (1/2, 1/4, 1/4) and (1/8, 1/8, 3/4).
LOGITS = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]], dtype=torch.float64).log()
TARGETS = torch.tensor([0, 2])
LOG2, LOG3 = math.log(2), math.log(3)


def random_case(seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(16, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(5, (16,), generator=generator)


def test_generalized_cross_entropy_at_one_half():
    # (1 - √p)/(1/2) at p = 1/2 and 3/4
    expected = (2 - 2 * math.sqrt(1 / 2) + 2 - math.sqrt(3)) / 2
    assert generalized_cross_entropy(LOGITS, TARGETS, q=0.5).item() == pytest.approx(expected)


def test_generalized_cross_entropy_at_1_is_half_the_absolute_error():
    # Σ_k |δ_k - p_k| = 2 (1 - p_y): 1/2 and 1/4 are the halves
    assert generalized_cross_entropy(LOGITS, TARGETS, q=1.0).item() == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_generalized_cross_entropy_at_0_is_cross_entropy():
    logits, targets = random_case()
    logits = logits.float()
    at_zero = generalized_cross_entropy(logits, targets, q=0.0).item()
    assert at_zero == pytest.approx(cross_entropy(logits, targets).item(), rel=1e-6)


def test_a_certain_mistake_costs_at_most_1_over_q():
    loss = generalized_cross_entropy(torch.tensor([[1e4, -1e4]]), torch.tensor([1]), q=0.5)
    assert loss.item() == 2.0


def test_symmetric_cross_entropy_counts_the_missing_probability_by_the_floor():
    # α H + β log(1/f) (1 - p): with f = 1/8, 3 log 2 · (1/2 and 1/4)
    entropy = (LOG2 + 2 * LOG2 - LOG3) / 2
    loss = symmetric_cross_entropy(LOGITS, TARGETS, alpha=0.5, beta=2.0, floor=1 / 8)
    assert loss.item() == pytest.approx(0.5 * entropy + 2 * 3 * LOG2 * 3 / 8)


def test_symmetric_cross_entropy_of_soft_targets_raises_them_to_the_floor():
    # t = (1/2, 1/2, 0), p = (1/2, 1/4, 1/4), f = 1/8: H(p, t) = (1/2 + 1/4) log 2 + 1/4 · 3 log 2 = 3/2 log 2
    soft = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    loss = symmetric_cross_entropy(LOGITS[:1], soft, alpha=0.0, beta=1.0, floor=1 / 8)
    assert loss.item() == pytest.approx(1.5 * LOG2)


def test_the_authors_code_clamps_more_than_the_reverse_term():
    # Its clamp of the labels from below by 1e-4 also enters α H(t, p): at p = (1/2, 1/4, 1/4) it has
    # log 2 + 1e-4 · 2 log 4 where we have log 2. The difference is 4e-4 log 2 = 2.8e-4.
    labels = F.one_hot(TARGETS[:1], 3).double().clamp(min=1e-4)
    theirs = -(labels * LOGITS[:1].log_softmax(1)).sum()
    ours = symmetric_cross_entropy(LOGITS[:1], TARGETS[:1], alpha=1.0, beta=0.0)
    assert (theirs - ours).item() == pytest.approx(4e-4 * LOG2, rel=1e-9)


def test_the_tempered_softmax_of_equal_logits_is_uniform_and_of_two_at_t_2_is_a_quadratic():
    # t = 2: p = 1/(1 + λ - z). z = (0, -d): 1/a + 1/(a + d) = 1 with a = 1 + λ, so a = (2 - d + √(4 + d²))/2.
    # d = 3/2: a = (1/2 + 5/2)/2 = 3/2, p = (2/3, 1/3).
    probs = tempered_log_softmax(torch.tensor([[0.0, -1.5], [7.0, 7.0]], dtype=torch.float64), 2.0).exp()
    assert torch.allclose(probs, torch.tensor([[2 / 3, 1 / 3], [1 / 2, 1 / 2]], dtype=torch.float64))


@pytest.mark.parametrize("t", [1.0, 1.000001, 1.2, 2.0, 4.0])
@pytest.mark.parametrize("scale", [0.1, 3.0, 1e4])
def test_tempered_probabilities_sum_to_1(t, scale):
    logits = scale * torch.randn(8, 1000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(tempered_log_softmax(logits, t).exp().sum(1), torch.ones(8), atol=1e-5)


def test_the_tempered_softmax_at_1_is_the_softmax():
    logits, _ = random_case()
    assert torch.allclose(tempered_log_softmax(logits, 1.0), logits.log_softmax(1), atol=1e-14)


def test_its_gradient_is_minus_the_escort_distribution():
    # d log p_y / dz = p_y^(t-1) (δ_y - p^t / Σ p^t)
    logits = torch.tensor([[0.0, -1.5]], dtype=torch.float64, requires_grad=True)  # p = (2/3, 1/3) at t = 2
    (gradient,) = torch.autograd.grad(tempered_log_softmax(logits, 2.0)[0, 0], logits)
    # escort (4/9, 1/9)/(5/9) = (4/5, 1/5); 2/3 · (1 - 4/5, -1/5)
    assert torch.allclose(gradient, torch.tensor([[2 / 15, -2 / 15]], dtype=torch.float64))


def test_bi_tempered_by_hand():
    # t2 = 2 and z = (0, -3/2): p = (2/3, 1/3). t1 = 0: log_0 x = x - 1, so for y = 0
    # 1 - 2/3 - (1 - 4/9 - 1/9)/2 = 1/3 - 2/9 = 1/9: half the squared distance, ((1/3)² + (1/3)²)/2.
    logits = torch.tensor([[0.0, -1.5]], dtype=torch.float64)
    assert bi_tempered(logits, torch.tensor([0]), t1=0.0, t2=2.0).item() == pytest.approx(1 / 9)


def test_bi_tempered_at_1_and_1_is_cross_entropy():
    logits, targets = random_case()
    assert torch.allclose(bi_tempered(logits, targets, t1=1.0, t2=1.0), cross_entropy(logits, targets), atol=1e-14)


def test_bi_tempered_is_zero_at_the_target_itself():
    logits = torch.tensor([[0.0, -1.5]], dtype=torch.float64, requires_grad=True)
    loss = bi_tempered(logits, torch.tensor([[2 / 3, 1 / 3]], dtype=torch.float64), t1=0.5, t2=2.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(0.0, abs=1e-15)
    assert gradient.abs().max() < 1e-12


def test_a_certain_mistake_costs_less_than_1_over_1_minus_t1():
    # -log_t1 0 = 1/(1 - t1) = 5, and p of the other class is 1: 5 - (1 - 1)/(2 - t1)
    loss = bi_tempered(torch.tensor([[1e4, -1e4]], dtype=torch.float64), torch.tensor([1]), t1=0.8, t2=1.0)
    assert loss.item() == pytest.approx(5.0)


def test_the_authors_gradient_is_ours():
    # (p - δ) p^(t2-t1) minus its sum in the proportions of the escort distribution.
    logits, targets = random_case()
    logits.requires_grad_()
    t1, t2 = 0.8, 1.2
    (gradient,) = torch.autograd.grad(bi_tempered(logits, targets, t1=t1, t2=t2) * len(logits), logits)
    probs = torch.from_numpy(np.exp(links.tempered_softmax(logits.detach().numpy(), t2=t2)))
    forces = (probs - F.one_hot(targets, 5)) * probs ** (t2 - t1)
    escort = probs**t2 / (probs**t2).sum(1, keepdim=True)
    assert torch.allclose(gradient, forces - escort * forces.sum(1, keepdim=True), atol=1e-9)


def test_bi_tempered_is_evaluated_through_the_probabilities_it_is_trained_with():
    logits, _ = random_case()
    log_probs = getattr(links, bi_tempered.link)(logits.numpy(), t2=1.3)
    assert np.allclose(tempered_log_softmax(logits, 1.3).numpy(), log_probs, atol=1e-12)


def test_bi_tempered_can_be_differentiated_by_t1_where_a_class_has_no_share():
    logits, goal = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64), torch.tensor([[0.7, 0.3, 0.0]])
    t1 = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t1: bi_tempered(logits, goal.double(), t1=t1), t1)
