import math

import numpy as np
import pytest
import torch

from lossbench import links
from lossbench.losses import logit_norm


def test_it_is_the_cross_entropy_of_the_direction():
    # z = (3, 4): ‖z‖ = 5, u = (0.6, 0.8); at τ = 0.2 the difference is 0.2/0.2 = 1: -log σ(1) for the larger
    logits = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    loss = logit_norm(logits, torch.tensor([1]), temperature=0.2)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)


def test_the_size_of_the_logits_does_not_matter():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.arange(6) % 4
    assert torch.allclose(logit_norm(1e3 * logits, targets), logit_norm(logits, targets), rtol=1e-5)


def test_the_gradient_is_finite_at_zero_logits():
    logits = torch.zeros(2, 3, requires_grad=True)
    logit_norm(logits, torch.tensor([0, 1])).backward()
    assert logits.grad.isfinite().all()


def test_its_link_gives_the_probabilities_it_is_trained_with():
    logits = torch.randn(6, 4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.arange(6).reshape(6, 1, 1).expand(6, 2, 2) % 4
    log_probs = getattr(links, logit_norm.link)(logits, temperature=0.3)
    nll = -np.take_along_axis(log_probs, targets.numpy()[:, None], axis=1).mean()
    assert logit_norm(logits, targets, temperature=0.3).item() == pytest.approx(nll)


def test_the_loss_has_the_lower_bound_that_its_docstring_states():
    # The best direction is (1, -1/(K-1), …) normalised: the gap to the others is √(K/(K-1)).
    num_classes, temperature = 4, 0.5
    logits = torch.full((1, num_classes), -1 / 3, dtype=torch.float64)
    logits[0, 0] = 1.0
    best = 1 / (1 + 3 * math.exp(-math.sqrt(4 / 3) / temperature))
    assert logit_norm(logits, torch.tensor([0]), temperature=temperature).item() == pytest.approx(-math.log(best))


@pytest.mark.parametrize("size", [1e-19, 1e-21, 2.6e-23, 1e-24])
def test_the_gradient_of_logits_whose_squares_are_nothing_is_that_of_double_precision(size):
    logits = size * torch.tensor([[1.0, -0.6]], dtype=torch.float64)
    gradients = []
    for z in (logits.float().requires_grad_(), logits.requires_grad_()):
        gradients.append(torch.autograd.grad(logit_norm(z, torch.tensor([0])), z)[0].double())
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=0)
