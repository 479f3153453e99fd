import math

import pytest
import torch

from lossbench.losses import cross_entropy, label_relaxation

# softmax of these logits is (1/2, 1/4, 1/4) and (1/8, 1/8, 3/4).
LOGITS = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]], dtype=torch.float64).log()
TARGETS = torch.tensor([0, 2])


def test_a_prediction_in_the_set_has_no_loss_and_no_gradient():
    # p_y = 3/4 ≥ 1 - 0.25
    logits = LOGITS[1:].clone().requires_grad_()
    loss = label_relaxation(logits, TARGETS[1:], alpha=0.26)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_outside_it_is_the_divergence_from_the_nearest_distribution():
    # p = (1/2, 1/4, 1/4), α = 1/4: q = (3/4, 1/8, 1/8), so KL = 3/4 log 3/2 + 1/4 log 1/2 = 3/4 log 3 - log 2
    loss = label_relaxation(LOGITS[:1], TARGETS[:1], alpha=0.25)
    assert loss.item() == pytest.approx(0.75 * math.log(3) - math.log(2))


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.4])
def test_it_is_the_kl_of_the_projection_written_out(alpha):
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(64, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(5, (64,), generator=generator)
    losses = []
    for p, y in zip(logits.softmax(1), targets, strict=True):
        q = alpha * p / (1 - p[y])
        q[y] = 1 - alpha
        losses.append((q * (q / p).log()).sum() if p[y] < 1 - alpha else torch.tensor(0.0))
    assert 0 < sum(loss == 0 for loss in losses) < 64
    assert torch.allclose(label_relaxation(logits, targets, alpha=alpha), torch.stack(losses).mean())


def test_alpha_zero_is_cross_entropy():
    assert label_relaxation(LOGITS, TARGETS, alpha=0.0).item() == pytest.approx(cross_entropy(LOGITS, TARGETS).item())


def test_alpha_zero_has_a_finite_gradient_at_certainty():
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    label_relaxation(logits, torch.tensor([0]), alpha=0.0).backward()
    assert logits.grad.tolist() == [[0.0, 0.0]]
