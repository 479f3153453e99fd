import itertools

import pytest
import torch

from lossbench.errors import ShapeError
from lossbench.losses import lovasz_softmax


def random_case(*pixels, num_classes=3, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(4, num_classes, *pixels, generator=generator, dtype=torch.float64)
    return logits, torch.randint(num_classes, (4, *pixels), generator=generator)


def test_two_pixels_by_hand():
    # p of class 0: 3/4, 1/4; targets 0, 0. Errors of class 0: 3/4 (pixel 2), 1/4 (pixel 1), n = 2.
    # J({2}) = 1 - 1/2, J({2, 1}) = 1 - 0/2: 3/4 · 1/2 + 1/4 · 1/2 = 1/2. Class 1 is absent.
    logits = torch.tensor([[3.0, 1.0], [1.0, 3.0]], dtype=torch.float64).log()
    assert lovasz_softmax(logits, torch.tensor([0, 0])).item() == pytest.approx(1 / 2)
    # Class 1, absent: the first error alone counts, J({2}) = 1 - 0/1 and stays: 3/4.
    loss = lovasz_softmax(logits, torch.tensor([0, 0]), include_absent=True)
    assert loss.item() == pytest.approx((1 / 2 + 3 / 4) / 2)


def test_a_false_positive_widens_the_union():
    # p of class 0: 3/4, 3/4; targets 0, 1. Class 0: errors 3/4 (pixel 2, g = 0), 1/4 (pixel 1), n = 1:
    # J({2}) = 1 - 1/2, J({2, 1}) = 1 - 0/2: 3/4 · 1/2 + 1/4 · 1/2 = 1/2.
    # Class 1: errors 3/4 (pixel 2, g = 1), 1/4 (pixel 1): J({2}) = 1 - 0/1 = 1: 3/4.
    logits = torch.tensor([[3.0, 1.0], [3.0, 1.0]], dtype=torch.float64).log()
    assert lovasz_softmax(logits, torch.tensor([0, 1])).item() == pytest.approx((1 / 2 + 3 / 4) / 2)


def test_of_certain_predictions_it_is_one_minus_the_intersection_over_union():
    _, targets = random_case(4, 4)
    _, predicted = random_case(4, 4, seed=1)
    logits = 1e4 * torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1).double()
    ious = [((predicted == k) & (targets == k)).sum() / ((predicted == k) | (targets == k)).sum() for k in range(3)]
    assert lovasz_softmax(logits, targets).item() == pytest.approx(1 - sum(ious).item() / 3)


def largest_gain(logits, targets, k):
    """The Lovász extension of a submodular set function is its gain over the best of all orders; no sorting here."""
    truth = {i for i, y in enumerate(targets.tolist()) if y == k}
    errors = [abs(float(i in truth) - p) for i, p in enumerate(logits.softmax(1)[:, k].tolist())]

    def jaccard_loss(wrong):
        predicted = truth ^ set(wrong)
        return 1 - len(predicted & truth) / max(len(predicted | truth), 1)

    def gain(order):
        return sum(errors[order[i]] * (jaccard_loss(order[: i + 1]) - jaccard_loss(order[:i])) for i in range(4))

    return max(gain(order) for order in itertools.permutations(range(4)))


def test_it_is_the_largest_gain_over_all_orders_of_the_errors():
    logits, targets = random_case(num_classes=2)
    targets[:2] = torch.tensor([0, 1])
    expected = (largest_gain(logits, targets, 0) + largest_gain(logits, targets, 1)) / 2
    assert lovasz_softmax(logits, targets).item() == pytest.approx(expected)


def test_over_examples_averages_over_the_classes_present_in_each():
    logits, targets = random_case(3, 3)
    targets[0] = 1
    alone = [(lovasz_softmax(logits[i : i + 1], targets[i : i + 1]), len(targets[i].unique())) for i in range(4)]
    expected = sum(loss * present for loss, present in alone) / sum(present for _, present in alone)
    assert torch.allclose(lovasz_softmax(logits, targets, over="example"), expected)


@pytest.mark.parametrize("over", ["batch", "example"])
@pytest.mark.parametrize("include_absent", [False, True])
def test_ignored_pixels_are_as_if_they_were_not_there(over, include_absent):
    logits, targets = random_case(1, 6)
    targets[:, :, 4:] = -100
    options = {"over": over, "include_absent": include_absent}
    assert torch.allclose(
        lovasz_softmax(logits, targets, **options),
        lovasz_softmax(logits[..., :4], targets[..., :4], **options),
    )


@pytest.mark.parametrize("over", ["batch", "example"])
@pytest.mark.parametrize("include_absent", [False, True])
def test_all_ignored_is_zero_with_zero_gradient(over, include_absent):
    logits, targets = random_case(2, 2)
    logits.requires_grad_()
    loss = lovasz_softmax(logits, torch.full_like(targets, -100), over=over, include_absent=include_absent)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_probabilities_are_refused():
    logits, _ = random_case(2, 2)
    with pytest.raises(ShapeError, match="class indices alone"):
        lovasz_softmax(logits, logits.softmax(1))
