import math

import pytest
import torch

from lossbench.errors import ShapeError
from lossbench.losses import binary_cross_entropy, cross_entropy, distillation

# At T = 1: student (1/2, 1/2), teacher (3/4, 1/4).
STUDENT = torch.zeros(1, 2, dtype=torch.float64)
TEACHER = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
TARGETS = torch.tensor([1])
LOG2, LOG3 = math.log(2), math.log(3)
KL = 0.75 * LOG3 - LOG2  # 3/4 log (3/4)/(1/2) + 1/4 log (1/4)/(1/2)


def random_logits(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_mixes_the_hard_loss_with_the_divergence_from_the_teacher():
    loss = distillation(STUDENT, TARGETS, teacher_logits=TEACHER, temperature=1.0, alpha=0.25)
    assert loss.item() == pytest.approx(0.75 * LOG2 + 0.25 * KL)


def test_the_soft_term_is_multiplied_by_the_temperature_squared():
    # Logits twice as large at T = 2 have the same softmax, so only T² = 4 shows.
    loss = distillation(2 * STUDENT, TARGETS, teacher_logits=2 * TEACHER, temperature=2.0, alpha=1.0)
    assert loss.item() == pytest.approx(4 * KL)


def test_the_divergence_is_averaged_over_examples_and_not_over_classes():
    student, teacher = STUDENT.expand(2, 2), torch.cat([TEACHER, STUDENT])
    loss = distillation(student, TARGETS.expand(2), teacher_logits=teacher, temperature=1.0, alpha=1.0)
    assert loss.item() == pytest.approx(KL / 2)  # KL of the first example, 0 of the second


def test_alpha_zero_is_the_hard_loss():
    logits, teacher, targets = random_logits(6, 4, seed=0), random_logits(6, 4, seed=1), torch.arange(6) % 4
    for hard in (cross_entropy, binary_cross_entropy):
        loss = distillation(logits, targets, teacher_logits=teacher, alpha=0.0, hard=hard)
        assert loss.item() == hard(logits, targets).item()


def test_a_student_that_equals_its_teacher_has_no_divergence():
    logits, targets = random_logits(6, 4, seed=0).requires_grad_(), torch.arange(6) % 4
    loss = distillation(logits, targets, teacher_logits=logits, alpha=1.0)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.abs().max() < 1e-15


def soft_gradient(temperature):
    logits = random_logits(6, 4, seed=0).requires_grad_()
    teacher = random_logits(6, 4, seed=1)
    targets = torch.arange(6) % 4
    distillation(logits, targets, teacher_logits=teacher, temperature=temperature, alpha=1.0).backward()
    return logits.grad


def test_the_gradient_keeps_its_size_as_the_temperature_grows():
    # softmax(z/T) → 1/K + (z - mean z)/(K T), so T² · (p - p_t)/(N T) → ((z - mean z) - (z_t - mean z_t)) / (N K).
    difference = random_logits(6, 4, seed=0) - random_logits(6, 4, seed=1)
    limit = (difference - difference.mean(1, keepdim=True)) / (6 * 4)
    assert torch.allclose(soft_gradient(1e4), limit, rtol=1e-2, atol=1e-5)
    assert soft_gradient(1e2).norm().item() == pytest.approx(soft_gradient(1e4).norm().item(), rel=0.05)


def test_no_gradient_flows_into_the_teacher():
    teacher = TEACHER.clone().requires_grad_()
    student = STUDENT.clone().requires_grad_()
    distillation(student, TARGETS, teacher_logits=teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_a_teacher_of_another_shape_is_a_shape_error():
    with pytest.raises(ShapeError, match=r"teacher_logits must be shaped like the logits \[1, 2\]; got \[1, 3\]"):
        distillation(STUDENT, TARGETS, teacher_logits=torch.zeros(1, 3))
