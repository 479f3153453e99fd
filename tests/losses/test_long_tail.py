import math

import pytest
import torch

from lossbench.errors import ShapeError
from lossbench.losses import balanced_softmax, cross_entropy, ldam, logit_adjusted

COUNTS = torch.tensor([16, 4, 1])
LOGITS = torch.zeros(1, 3, dtype=torch.float64)
RANDOM = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.arange(8) % 3


def test_equal_logits_predict_the_frequencies_in_training():
    # softmax(log n) = n/Σn: -log 4/21 for the second class
    for loss in (logit_adjusted, balanced_softmax):
        assert loss(LOGITS, torch.tensor([1]), class_counts=COUNTS).item() == pytest.approx(math.log(21 / 4))


def test_tau_is_a_power_of_the_frequencies():
    # τ = 1/2: weights 4, 2, 1, so -log 2/7
    loss = logit_adjusted(LOGITS, torch.tensor([1]), class_counts=COUNTS, tau=0.5)
    assert loss.item() == pytest.approx(math.log(7 / 2))


def test_tau_zero_is_cross_entropy():
    loss = logit_adjusted(RANDOM, TARGETS, class_counts=COUNTS, tau=0.0)
    assert loss.item() == cross_entropy(RANDOM, TARGETS).item()


def test_counts_and_frequencies_are_the_same():
    frequencies = logit_adjusted(RANDOM + (COUNTS / 21.0).log(), TARGETS, class_counts=torch.ones(3))
    assert torch.allclose(balanced_softmax(RANDOM, TARGETS, class_counts=COUNTS), frequencies)


def test_ldam_takes_a_margin_from_the_true_class_and_scales():
    # Margins ½ (1/16)^¼ = 1/4, ½ (1/4)^¼ = 1/√8, 1/2. y = 0, s = 4: logits (-1, 0, 0): log(e⁻¹ + 2) + 1
    loss = ldam(LOGITS, torch.tensor([0]), class_counts=COUNTS, scale=4.0)
    assert loss.item() == pytest.approx(math.log(math.exp(-1) + 2) + 1)
    # y = 1: (0, -4/√8, 0)
    loss = ldam(LOGITS, torch.tensor([1]), class_counts=COUNTS, scale=4.0)
    assert loss.item() == pytest.approx(math.log(math.exp(-math.sqrt(2)) + 2) + math.sqrt(2))


def test_ldam_without_margin_and_scale_is_cross_entropy():
    loss = ldam(RANDOM, TARGETS, class_counts=COUNTS, max_margin=0.0, scale=1.0)
    assert loss.item() == pytest.approx(cross_entropy(RANDOM, TARGETS).item())


@pytest.mark.parametrize("loss", [logit_adjusted, balanced_softmax, ldam])
def test_an_empty_class_counts_as_one_example(loss):
    empty, one = torch.tensor([16, 4, 0]), torch.tensor([16, 4, 1])
    assert loss(RANDOM, TARGETS, class_counts=empty).item() == loss(RANDOM, TARGETS, class_counts=one).item()


@pytest.mark.parametrize("loss", [logit_adjusted, balanced_softmax, ldam])
def test_counts_of_another_length_are_a_shape_error(loss):
    with pytest.raises(ShapeError, match=r"class_counts must have one entry per class \(3\); got 2"):
        loss(RANDOM, TARGETS, class_counts=torch.ones(2))


def test_counts_lie_along_the_class_axis_of_pixels():
    logits = RANDOM[:4].T.reshape(1, 3, 2, 2)
    targets = TARGETS[:4].reshape(1, 2, 2)
    for loss in (balanced_softmax, ldam):
        pixels = loss(logits, targets, class_counts=COUNTS)
        assert pixels.item() == pytest.approx(loss(RANDOM[:4], TARGETS[:4], class_counts=COUNTS).item())


def test_what_logits_have_in_common_rounds_no_adjustment():
    logits, counts, targets = torch.tensor([[1.0, 2.0, 3.0]]) + 1e4, torch.tensor([900, 90, 9]), torch.tensor([0])
    expected = balanced_softmax(logits.double(), targets, class_counts=counts)
    assert balanced_softmax(logits, targets, class_counts=counts).item() == pytest.approx(expected.item(), rel=1e-6)


def test_what_all_logits_have_in_common_takes_no_digits_from_the_margin():
    logits = torch.tensor([[0.25, 0.5, -0.25]])
    losses = [ldam(logits + common, torch.tensor([2]), class_counts=COUNTS).item() for common in (0.0, 2.0**20)]
    assert losses[0] == losses[1]
