import math

import pytest
import torch

from lossbench.losses import confidence_penalty, cross_entropy, margin_smoothing, max_suppression, poly1

# softmax of these logits is (1/2, 1/4, 1/4) and (1/8, 1/8, 3/4).
LOGITS = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]], dtype=torch.float64).log()
TARGETS = torch.tensor([0, 2])
LOG2, LOG3 = math.log(2), math.log(3)
CROSS_ENTROPY = (LOG2 + 2 * LOG2 - LOG3) / 2
LOSSES = [
    (poly1, "epsilon1"),
    (confidence_penalty, "beta"),
    (margin_smoothing, "alpha"),
    (max_suppression, "alpha"),
]


def random_logits(*shape, seed=0):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_poly1_adds_the_probability_that_is_missing():
    # 1 - 1/2 and 1 - 3/4, a mean of 3/8
    assert poly1(LOGITS, TARGETS, epsilon1=2.0).item() == pytest.approx(CROSS_ENTROPY + 2 * 3 / 8)


def test_poly1_of_soft_targets_sums_the_probability_of_all_their_classes():
    # t = (1/2, 1/2, 0): H(t, p) = (log 2 + log 4)/2, Σ t p = 3/8
    soft = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    assert poly1(LOGITS[:1], soft, epsilon1=1.0).item() == pytest.approx(1.5 * LOG2 + 5 / 8)


def test_poly1_at_minus_1_has_no_first_order_term():
    # -log p - (1 - p) = (1 - p)²/2 + …, so at 1 - p = δ the loss is about δ²/2
    delta = 1e-4
    logits = torch.tensor([[1 - delta, delta]], dtype=torch.float64).log()
    loss = poly1(logits, torch.tensor([0]), epsilon1=-1.0)
    assert loss.item() == pytest.approx(delta**2 / 2, rel=1e-3)


def test_the_confidence_penalty_subtracts_the_entropy():
    # H(1/2, 1/4, 1/4) = 3/2 log 2; H(1/8, 1/8, 3/4) = 1/4 · 3 log 2 + 3/4 (2 log 2 - log 3) = 9/4 log 2 - 3/4 log 3
    entropy = (1.5 * LOG2 + 2.25 * LOG2 - 0.75 * LOG3) / 2
    loss = confidence_penalty(LOGITS, TARGETS, beta=0.4)
    assert loss.item() == pytest.approx(CROSS_ENTROPY - 0.4 * entropy)


def test_the_margin_leaves_small_distances_alone_and_penalises_the_excess():
    # Distances from the largest logit: (0, 4, 12); beyond m = 10 there is 2, over K = 3 classes.
    logits = torch.tensor([[12.0, 8.0, 0.0]], dtype=torch.float64)
    plain = cross_entropy(logits, torch.tensor([1]))
    loss = margin_smoothing(logits, torch.tensor([1]), alpha=0.6, margin=10.0)
    assert loss.item() == pytest.approx(plain.item() + 0.6 * 2 / 3)


def test_margin_zero_is_max_suppression():
    # mean_k (max z - z_k) = max z - mean z
    logits, targets = random_logits(8, 5), torch.arange(8) % 5
    assert torch.allclose(
        margin_smoothing(logits, targets, alpha=0.3, margin=0.0), max_suppression(logits, targets, alpha=0.3)
    )


def test_max_suppression_penalises_the_largest_logit_over_the_mean():
    # 12 - 20/3, though the target is another class
    logits = torch.tensor([[12.0, 8.0, 0.0]], dtype=torch.float64)
    plain = cross_entropy(logits, torch.tensor([1]))
    loss = max_suppression(logits, torch.tensor([1]), alpha=0.6)
    assert loss.item() == pytest.approx(plain.item() + 0.6 * (12 - 20 / 3))


def test_max_suppression_of_right_predictions_is_label_smoothing():
    # (1-ε)(-log p_y) + ε/K Σ (-log p_k) = -log p_y + ε (z_y - mean z), and z_y is the largest.
    logits = random_logits(8, 5)
    targets = logits.argmax(1)
    assert torch.allclose(max_suppression(logits, targets, alpha=0.1), cross_entropy(logits, targets, epsilon=0.1))


@pytest.mark.parametrize(("loss", "name"), LOSSES)
def test_without_its_penalty_it_is_cross_entropy(loss, name):
    logits, targets = random_logits(32, 7).float().requires_grad_(), torch.arange(32) % 7
    value, plain = loss(logits, targets, **{name: 0.0}), cross_entropy(logits, targets)
    assert value.item() == pytest.approx(plain.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(value, logits)
    (expected,) = torch.autograd.grad(plain, logits)
    assert torch.allclose(gradient, expected, atol=1e-8)


@pytest.mark.parametrize(("masked", "loss"), [(-math.inf, math.inf), (torch.finfo(torch.float32).min, 8.507059e36)])
@pytest.mark.parametrize("alpha", [0.1, torch.tensor(0.1)])
def test_the_largest_logit_is_suppressed_by_the_mean_of_all_masked_ones_too(alpha, masked, loss):
    logits = torch.tensor([[0.5, -0.5, 1.0, masked]], requires_grad=True)
    value = max_suppression(logits, torch.tensor([0]), alpha=alpha)
    assert value.item() == pytest.approx(loss)  # α / 4 of what is masked
    assert torch.autograd.grad(value, logits)[0][0, 3].item() == pytest.approx(-0.1 / 4)
