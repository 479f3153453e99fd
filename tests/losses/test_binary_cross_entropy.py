import math

import pytest
import torch
import torch.nn.functional as F

from lossbench.errors import ShapeError
from lossbench.losses import binary_cross_entropy

# σ(log 3) = 3/4 and σ(0) = 1/2
LOGITS = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
FIRST, SECOND = torch.tensor([0]), torch.tensor([1])
LOG2, LOG3 = math.log(2), math.log(3)


def test_it_sums_one_question_per_class():
    # y = 0: -log 3/4 - log(1 - 1/2); y = 1: -log(1 - 3/4) - log 1/2
    assert binary_cross_entropy(LOGITS, FIRST).item() == pytest.approx(3 * LOG2 - LOG3)
    assert binary_cross_entropy(LOGITS, SECOND).item() == pytest.approx(3 * LOG2)


def test_it_averages_over_examples():
    loss = binary_cross_entropy(LOGITS.expand(2, 2), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((6 * LOG2 - LOG3) / 2)


def test_smoothing_moves_both_answers():
    # K = 4: q = (1 - 0.2) δ + 0.2/4 = (0.85, 0.05, 0.05, 0.05). A class with p = 1/2 costs log 2 whatever q; three do.
    # The first: -0.85 log 3/4 - 0.15 log 1/4 = 2 log 2 - 0.85 log 3.
    logits = torch.tensor([[math.log(3), 0.0, 0.0, 0.0]], dtype=torch.float64)
    assert binary_cross_entropy(logits, FIRST, epsilon=0.2).item() == pytest.approx(5 * LOG2 - 0.85 * LOG3)


def test_pos_weight_weighs_the_positive_term_alone():
    # y = 0: 5 · (-log 3/4) + log 2
    assert binary_cross_entropy(LOGITS, FIRST, pos_weight=5.0).item() == pytest.approx(11 * LOG2 - 5 * LOG3)


def test_pos_weight_may_differ_by_class():
    # y = 1 is weighed by its own 7: -log 1/4 + 7 log 2
    loss = binary_cross_entropy(LOGITS, SECOND, pos_weight=torch.tensor([5.0, 7.0]))
    assert loss.item() == pytest.approx(9 * LOG2)


def test_pos_weight_of_another_length_is_a_shape_error():
    with pytest.raises(ShapeError, match=r"pos_weight must have one entry per class \(2\); got 3"):
        binary_cross_entropy(LOGITS, FIRST, pos_weight=torch.ones(3))


def test_sample_weights_normalise_and_ignored_examples_do_not_count():
    # losses 3 log 2 - log 3 and 3 log 2 with weights 3 and 1; the third is ignored
    loss = binary_cross_entropy(
        LOGITS.expand(3, 2), torch.tensor([0, 1, -100]), sample_weights=torch.tensor([3.0, 1.0, 9.0])
    )
    assert loss.item() == pytest.approx(3 * LOG2 - 0.75 * LOG3)


def test_all_ignored_is_zero_with_zero_gradient():
    logits = LOGITS.clone().requires_grad_()
    loss = binary_cross_entropy(logits, torch.tensor([-100]), epsilon=0.3)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4, 5)], ids=["classification", "segmentation"])
def test_torch_agrees_on_several_labels_per_example(shape):
    generator = torch.Generator().manual_seed(0)
    logits, soft = torch.randn(shape, generator=generator), torch.rand(shape, generator=generator)
    weight = torch.tensor([1.0, 2.0, 0.5])
    # Its mean would divide by the classes as well.
    reference = F.binary_cross_entropy_with_logits(
        logits.movedim(1, -1), soft.movedim(1, -1), pos_weight=weight, reduction="none"
    )
    loss = binary_cross_entropy(logits, soft, pos_weight=weight)
    assert loss.item() == pytest.approx(reference.sum(-1).mean().item(), abs=1e-6)


@pytest.mark.parametrize("num_classes", [1, 2, 3, 5, 8, 11, 1000])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 20.0, 1e4])
def test_the_logarithm_of_a_product_has_as_many_digits_as_the_sum_of_logarithms(num_classes, scale):
    # In float32 1 + e^-20 is 1; -20 itself and what it costs, e^-20, must not be lost.
    logits = scale * torch.randn(16, num_classes, generator=torch.Generator().manual_seed(0)) - scale
    targets = torch.zeros(16, dtype=torch.int64)
    goal = F.one_hot(targets, num_classes).double()
    expected = F.binary_cross_entropy_with_logits(logits.double(), goal, reduction="none").sum(1)
    found = torch.stack([binary_cross_entropy(*pair) for pair in zip(logits.split(1), targets.split(1), strict=True)])
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-37)
