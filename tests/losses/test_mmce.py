import math

import pytest
import torch

from lossbench.losses import cross_entropy, mmce


def logits_with_confidence(*confidences):
    """Two classes; class 0 is predicted with the given confidence."""
    return torch.tensor([[c, 1 - c] for c in confidences], dtype=torch.float64).log()


def test_one_example_has_the_distance_of_confidence_from_correctness():
    # sqrt((1 - 3/4)² · e⁰) = 1/4
    logits, targets = logits_with_confidence(0.75), torch.tensor([0])
    loss = mmce(logits, targets, weight=2.0)
    assert loss.item() == pytest.approx(cross_entropy(logits, targets).item() + 2 * 0.25)


def test_two_examples_meet_through_the_kernel():
    # c - r = 1 - 0.6 = 0.4 and 0 - 0.8 = -0.8; |r_1 - r_2| = 0.2, so the kernel is e^-0.5.
    logits, targets = logits_with_confidence(0.6, 0.8), torch.tensor([0, 1])
    squared = (0.16 + 0.64 - 2 * 0.4 * 0.8 * math.exp(-0.5)) / 4
    error = mmce(logits, targets, weight=1.0) - cross_entropy(logits, targets)
    assert error.item() == pytest.approx(math.sqrt(squared))


def test_the_sorted_sum_is_the_double_sum():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(50, 6, generator=generator, dtype=torch.float64)
    targets = torch.randint(6, (50,), generator=generator)
    confidence, predicted = logits.softmax(1).max(1)
    residual = (predicted == targets).double() - confidence
    kernel = (-(confidence[:, None] - confidence[None]).abs() / 0.4).exp()
    expected = (residual @ kernel @ residual / 50**2).sqrt()
    error = mmce(logits, targets, weight=1.0) - cross_entropy(logits, targets)
    assert error.item() == pytest.approx(expected.item())


def test_an_ignored_example_is_in_no_sum():
    logits, targets = logits_with_confidence(0.6, 0.8, 0.9), torch.tensor([0, 1, -100])
    assert mmce(logits, targets).item() == pytest.approx(mmce(logits[:2], targets[:2]).item())


def test_a_sample_weight_of_2_is_the_example_twice():
    logits, targets = logits_with_confidence(0.6, 0.8), torch.tensor([0, 1])
    weighted = mmce(logits, targets, sample_weights=torch.tensor([2.0, 1.0]))
    repeated = mmce(logits[[0, 0, 1]], targets[[0, 0, 1]])
    assert weighted.item() == pytest.approx(repeated.item())


def test_where_nothing_is_miscalibrated_the_gradient_is_finite():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)  # p = 1, and correct
    loss = mmce(logits, torch.tensor([0]))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.tolist() == [[0.0, 0.0]]


def test_weight_zero_is_cross_entropy():
    logits, targets = logits_with_confidence(0.6, 0.8), torch.tensor([0, 1])
    assert mmce(logits, targets, weight=0.0).item() == cross_entropy(logits, targets).item()


def test_focal_calibrations_code_has_no_root():
    # One example off by 1/4: its MMCE is 1/16, the square of ours; so the λ of the two are not comparable.
    logits, targets = logits_with_confidence(0.75), torch.tensor([0])
    error = mmce(logits, targets, weight=1.0) - cross_entropy(logits, targets)
    assert error.item() == pytest.approx(math.sqrt(1 / 16))
