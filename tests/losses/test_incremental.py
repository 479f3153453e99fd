import math

import pytest
import torch
import torch.nn.functional as F

from lossbench.errors import ShapeError
from lossbench.losses import incremental_distillation

# Two old classes and two new ones.
LOGITS = torch.tensor([[0.0, 0.0, math.log(3), 0.0]], dtype=torch.float64)
TEACHER = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
LOG2, LOG3 = math.log(2), math.log(3)


def test_it_adds_the_new_classes_cross_entropy_and_the_old_ones_binary_one():
    # New: softmax (3/4, 1/4), y = 2: 2 log 2 - log 3. Old: p = (1/2, 1/2), so each BCE is log 2 whatever the teacher.
    loss = incremental_distillation(LOGITS, torch.tensor([2]), teacher_logits=TEACHER, weight=10.0)
    assert loss.item() == pytest.approx(2 * LOG2 - LOG3 + 10 * LOG2)


def test_student_and_teacher_have_their_own_temperatures():
    # Student old logits (2 log 3, 0) at T = 2: p = (3/4, 1/4). Teacher (log 3, 0) at T_t = 1: t = (3/4, 1/4).
    # Both classes have the same BCE: 3/4 log 4/3 + 1/4 log 4 = 2 log 2 - 3/4 log 3.
    logits = torch.tensor([[2 * LOG3, 0.0, 0.0, 0.0]], dtype=torch.float64)
    loss = incremental_distillation(logits, torch.tensor([3]), teacher_logits=TEACHER, weight=1.0)
    assert loss.item() == pytest.approx(LOG2 + 2 * LOG2 - 0.75 * LOG3)


def test_an_example_of_an_old_class_counts_in_the_second_term_alone():
    logits, teacher = LOGITS.expand(2, 4), TEACHER.expand(2, 2)
    loss = incremental_distillation(logits, torch.tensor([2, 0]), teacher_logits=teacher)
    assert loss.item() == pytest.approx(2 * LOG2 - LOG3 + 10 * LOG2)


def test_without_a_new_example_the_first_term_is_zero():
    loss = incremental_distillation(LOGITS, torch.tensor([1]), teacher_logits=TEACHER, weight=1.0)
    assert loss.item() == pytest.approx(LOG2)


def test_an_ignored_example_counts_in_neither_term():
    logits, teacher = torch.cat([LOGITS, 5 * LOGITS.flip(1)]), torch.cat([TEACHER, -TEACHER])
    loss = incremental_distillation(logits, torch.tensor([2, -100]), teacher_logits=teacher)
    assert loss.item() == pytest.approx(2 * LOG2 - LOG3 + 10 * LOG2)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_of_no_class_is_an_error(label):
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        incremental_distillation(LOGITS, torch.tensor([label]), teacher_logits=TEACHER)


def test_torch_agrees_on_the_second_term():
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(8, 6, 2, 2, generator=generator), torch.randn(8, 4, 2, 2, generator=generator)
    targets = torch.randint(4, 6, (8, 2, 2), generator=generator)
    reference = F.binary_cross_entropy((logits[:, :4] / 2).softmax(1), teacher.softmax(1))
    new_term = F.cross_entropy(logits[:, 4:], targets - 4)
    loss = incremental_distillation(logits, targets, teacher_logits=teacher)
    assert loss.item() == pytest.approx((new_term + 10 * reference).item(), rel=1e-6)


def test_no_gradient_flows_into_the_teacher():
    teacher = TEACHER.clone().requires_grad_()
    incremental_distillation(LOGITS.clone().requires_grad_(), torch.tensor([2]), teacher_logits=teacher).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("shape", [(1, 4), (1, 5), (2, 2), (1, 2, 3)])
def test_a_teacher_that_leaves_no_new_class_or_saw_another_batch_is_a_shape_error(shape):
    with pytest.raises(ShapeError, match=r"like the logits \[1, 4\] but with fewer classes"):
        incremental_distillation(LOGITS, torch.tensor([2]), teacher_logits=torch.zeros(shape))


def test_a_class_that_both_mask_counts_for_nothing():
    masked = torch.full((1, 1), -torch.inf, dtype=torch.float64)
    logits = torch.cat([masked, LOGITS], 1).requires_grad_()
    loss = incremental_distillation(
        logits, torch.tensor([3]), teacher_logits=torch.cat([masked, TEACHER], 1), weight=10.0
    )
    # The mean of the old classes' terms is over three, one of which is 0.
    assert loss.item() == pytest.approx(2 * LOG2 - LOG3 + 10 * LOG2 * 2 / 3)
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def test_of_equal_largest_classes_each_has_its_part_of_the_gradient():
    logits = torch.tensor([[1.0, 1.0, -1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[0.5, -0.5, 0.2]], dtype=torch.float64)
    loss = incremental_distillation(logits, torch.tensor([3]), teacher_logits=teacher, weight=1.0)
    reference = F.binary_cross_entropy((logits[:, :3] / 2).softmax(1), teacher.softmax(1))
    torch.testing.assert_close(torch.autograd.grad(loss, logits), torch.autograd.grad(reference, logits))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("num_old", [1, 3])
@pytest.mark.parametrize("wanted", [1.0, 300.0])
def test_a_logit_that_is_no_number_shows(bad, num_old, wanted):
    logits = torch.tensor([[bad, 0.0, 1.0, 2.0, 3.0]], requires_grad=True)
    teacher = torch.tensor([[wanted, 0.0, 1.0]])[:, :num_old]
    loss = incremental_distillation(logits, torch.tensor([3]), teacher_logits=teacher)
    assert loss.isnan()
    assert torch.autograd.grad(loss, logits)[0].isnan().any()
