import math

import pytest
import torch

from lossbench.errors import ShapeError
from lossbench.losses import cross_entropy, decoupled_distillation, distillation

# At T = 1: student (1/3, 1/3, 1/3), teacher (1/2, 3/8, 1/8); the label is class 0.
STUDENT = torch.zeros(1, 3, dtype=torch.float64)
TEACHER = torch.tensor([[4.0, 3.0, 1.0]], dtype=torch.float64).log()
TARGETS = torch.tensor([0])
LOG2, LOG3 = math.log(2), math.log(3)
TARGET_PART = (math.log(1.5) + math.log(0.75)) / 2  # 1/2 log (1/2)/(1/3) + 1/2 log (1/2)/(2/3)
OTHER_PART = 0.75 * LOG3 - LOG2  # (3/4, 1/4) from (1/2, 1/2)


def random_logits(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_two_parts_have_their_own_weights():
    for alpha, beta in [(1.0, 0.0), (0.0, 1.0), (1.0, 8.0)]:
        loss = decoupled_distillation(STUDENT, TARGETS, teacher_logits=TEACHER, temperature=1.0, alpha=alpha, beta=beta)
        assert loss.item() == pytest.approx(LOG3 + alpha * TARGET_PART + beta * OTHER_PART)


def test_it_is_multiplied_by_the_temperature_squared():
    loss = decoupled_distillation(
        2 * STUDENT, TARGETS, teacher_logits=2 * TEACHER, temperature=2.0, alpha=1.0, beta=1.0
    )
    assert loss.item() == pytest.approx(LOG3 + 4 * (TARGET_PART + OTHER_PART))


def test_distillation_is_the_parts_with_the_teachers_own_doubt_as_the_weight():
    # KL = target part + (1 - p_t,y) · other part, eq. 6 of the paper; here one example, so that one β will do.
    logits, teacher = random_logits(1, 5, seed=0), random_logits(1, 5, seed=1)
    doubt = 1 - (teacher / 3).softmax(1)[0, 0].item()
    whole = distillation(logits, TARGETS, teacher_logits=teacher, temperature=3.0, alpha=1.0)
    parts = decoupled_distillation(logits, TARGETS, teacher_logits=teacher, temperature=3.0, alpha=1.0, beta=doubt)
    assert parts.item() == pytest.approx((whole + cross_entropy(logits, TARGETS)).item())


@pytest.mark.parametrize(("epoch", "strength"), [(1, 1 / 20), (10, 1 / 2), (20, 1.0), (21, 1.0), (None, 1.0)], ids=str)
def test_the_teacher_grows_to_full_strength_over_the_warm_up(epoch, strength):
    options = {"teacher_logits": TEACHER, "temperature": 1.0, "alpha": 1.0, "beta": 8.0}
    loss = decoupled_distillation(STUDENT, TARGETS, epoch=epoch, **options)
    assert loss.item() == pytest.approx(LOG3 + strength * (TARGET_PART + 8 * OTHER_PART))


def test_without_warm_up_the_first_epoch_is_at_full_strength():
    options = {"teacher_logits": TEACHER, "epoch": 1}
    loss = decoupled_distillation(STUDENT, TARGETS, warmup_epochs=0, **options)
    assert loss.item() == decoupled_distillation(STUDENT, TARGETS, teacher_logits=TEACHER).item()


def test_a_student_that_equals_its_teacher_has_the_hard_loss_alone():
    logits, targets = random_logits(6, 4, seed=0), torch.arange(6) % 4
    loss = decoupled_distillation(logits, targets, teacher_logits=logits)
    assert loss.item() == pytest.approx(cross_entropy(logits, targets).item(), abs=1e-12)


def test_ignored_pixels_have_no_teacher():
    logits, teacher = random_logits(2, 4, 2, 2, seed=0), random_logits(2, 4, 2, 2, seed=1)
    targets = torch.arange(8).reshape(2, 2, 2) % 4
    alone = decoupled_distillation(logits[:1], targets[:1], teacher_logits=teacher[:1])
    targets[1] = -100
    assert decoupled_distillation(logits, targets, teacher_logits=teacher).item() == pytest.approx(alone.item())


def test_no_gradient_flows_into_the_teacher():
    teacher, student = TEACHER.clone().requires_grad_(), STUDENT.clone().requires_grad_()
    decoupled_distillation(student, TARGETS, teacher_logits=teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_a_teacher_of_another_shape_is_a_shape_error():
    with pytest.raises(ShapeError, match="teacher_logits must be shaped like the logits"):
        decoupled_distillation(STUDENT, TARGETS, teacher_logits=TEACHER[:, :2])
