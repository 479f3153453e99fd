import math

import pytest
import torch
import torch.nn.functional as F

from lossbench.errors import ShapeError
from lossbench.losses import (
    binary_cross_entropy,
    cross_entropy,
    decoupled_distillation,
    distillation,
    logit_matching,
    self_distillation,
    virtual_teacher,
)

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


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_torch_agrees_on_the_divergence_by_its_batchmean(temperature):
    student, teacher, targets = random_logits(6, 4, seed=0), random_logits(6, 4, seed=1), torch.arange(6) % 4
    log_probs = [(logits / temperature).log_softmax(1) for logits in (student, teacher)]
    reference = temperature**2 * F.kl_div(*log_probs, log_target=True, reduction="batchmean")
    loss = distillation(student, targets, teacher_logits=teacher, temperature=temperature, alpha=1.0)
    assert loss.item() == pytest.approx(reference.item())


def test_torchs_batchmean_sums_over_the_pixels_where_we_average():
    # One example of 3 pixels that all have the divergence KL
    student, teacher = (logits.reshape(1, 2, 1, 1).expand(1, 2, 1, 3) for logits in (STUDENT, TEACHER))
    log_probs = student.log_softmax(1), teacher.log_softmax(1)
    assert F.kl_div(*log_probs, log_target=True, reduction="batchmean").item() == pytest.approx(3 * KL)
    targets = torch.zeros(1, 1, 3, dtype=torch.int64)
    loss = distillation(student, targets, teacher_logits=teacher, temperature=1.0, alpha=1.0)
    assert loss.item() == pytest.approx(KL)


def test_torch_agrees_on_half_the_mean_squared_error_of_logits():
    student, teacher = random_logits(6, 4, seed=0), random_logits(6, 4, seed=1)
    loss = logit_matching(student, torch.arange(6) % 4, teacher_logits=teacher, beta=1.0)
    assert loss.item() == pytest.approx(F.mse_loss(student, teacher).item() / 2)


def test_alpha_zero_is_the_hard_loss():
    logits, teacher, targets = random_logits(6, 4, seed=0), random_logits(6, 4, seed=1), torch.arange(6) % 4
    for hard in (cross_entropy, binary_cross_entropy):
        loss = distillation(logits, targets, teacher_logits=teacher, alpha=0.0, hard=hard)
        assert loss.item() == pytest.approx(hard(logits, targets).item(), rel=1e-14)


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


def test_logit_matching_is_half_the_mean_squared_distance():
    # Student (0, 0), teacher (log 3, 0): log²3/2 over K = 2 and halved.
    loss = logit_matching(STUDENT, TARGETS, teacher_logits=TEACHER, beta=0.25)
    assert loss.item() == pytest.approx(0.75 * LOG2 + 0.25 * LOG3**2 / 4)


def test_logit_matching_is_the_limit_of_distillation_at_high_temperature():
    # T² KL → 1/(2K) Σ (z - z_t)² where both have mean zero.
    student, teacher = random_logits(6, 4, seed=0), random_logits(6, 4, seed=1)
    student, teacher = student - student.mean(1, keepdim=True), teacher - teacher.mean(1, keepdim=True)
    targets = torch.arange(6) % 4
    soft = distillation(student, targets, teacher_logits=teacher, temperature=1e3, alpha=1.0)
    assert logit_matching(student, targets, teacher_logits=teacher, beta=1.0).item() == pytest.approx(
        soft.item(), rel=1e-2
    )


def test_logit_matching_at_beta_zero_is_the_hard_loss():
    loss = logit_matching(STUDENT, TARGETS, teacher_logits=TEACHER, beta=0.0, hard=binary_cross_entropy)
    assert loss.item() == pytest.approx(binary_cross_entropy(STUDENT, TARGETS).item())


def test_no_gradient_flows_into_the_matched_teacher():
    teacher = TEACHER.clone().requires_grad_()
    logit_matching(STUDENT.clone().requires_grad_(), TARGETS, teacher_logits=teacher).backward()
    assert teacher.grad is None


def test_the_virtual_teacher_gives_the_label_a_and_shares_the_rest():
    # K = 3, a = 1/2, T = 1, uniform student: KL = log 3 - H(1/2, 1/4, 1/4) = log 3 - 3/2 log 2
    logits, targets = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([2])
    loss = virtual_teacher(logits, targets, temperature=1.0, alpha=0.25, correct_probability=0.5)
    assert loss.item() == pytest.approx(0.75 * LOG3 + 0.25 * (LOG3 - 1.5 * LOG2))


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_the_virtual_teacher_is_distillation_from_its_log_probabilities(temperature):
    logits, targets = random_logits(6, 4, seed=0), torch.arange(6) % 4
    teacher = torch.full((6, 4), 0.1 / 3, dtype=torch.float64).scatter(1, targets.unsqueeze(1), 0.9).log()
    expected = distillation(logits, targets, teacher_logits=teacher, temperature=temperature, alpha=0.3)
    loss = virtual_teacher(logits, targets, temperature=temperature, alpha=0.3, correct_probability=0.9)
    assert loss.item() == pytest.approx(expected.item())


def test_the_virtual_teacher_at_temperature_1_is_label_smoothing_but_for_a_constant():
    # Yuan et al.: (1-α) H(δ, p) + α H(p_d, p) is smoothing by ε = α K (1 - a)/(K - 1), and H(p_d) has no gradient.
    logits, targets = random_logits(6, 4, seed=0).requires_grad_(), torch.arange(6) % 4
    (ours,) = torch.autograd.grad(
        virtual_teacher(logits, targets, temperature=1.0, alpha=0.3, correct_probability=0.7), logits
    )
    (smoothed,) = torch.autograd.grad(cross_entropy(logits, targets, epsilon=0.3 * 4 * 0.3 / 3), logits)
    assert torch.allclose(ours, smoothed)


def test_the_authors_virtual_teacher_is_nearer_to_uniform_than_ours():
    # T = 20, K = 2, a = 0.99. Their teacher softmax(p_d/T) has odds e^(0.98/20) = 1.05, ours 99^(1/20) = 1.26.
    # A student that matches theirs is T² KL(ours ‖ theirs) away from ours, t log t/p + (1 - t) log (1 - t)/(1 - p).
    t, p = 99 ** (1 / 20) / (1 + 99 ** (1 / 20)), 1 / (1 + math.exp(-0.98 / 20))
    distance = t * math.log(t / p) + (1 - t) * math.log((1 - t) / (1 - p))
    for odds, expected in [(99 ** (1 / 20), 0.0), (math.exp(0.98 / 20), 400 * distance)]:
        logits = torch.tensor([[20 * math.log(odds), 0.0]], dtype=torch.float64)
        loss = virtual_teacher(logits, torch.tensor([0]), alpha=1.0, correct_probability=0.99)
        assert loss.item() == pytest.approx(expected, abs=1e-10)


def test_the_virtual_teacher_is_silent_at_ignored_positions():
    logits, targets = random_logits(6, 4, seed=0), torch.arange(6) % 4
    ignoring = virtual_teacher(logits, torch.tensor([0, 1, 2, 3, -100, -100]))
    assert ignoring.item() == pytest.approx(virtual_teacher(logits[:4], targets[:4]).item())


def test_self_distillation_takes_the_labels_and_an_unsoftened_teacher_in_equal_parts():
    loss = self_distillation(STUDENT, TARGETS, teacher_logits=TEACHER)
    assert loss.item() == pytest.approx(0.5 * LOG2 + 0.5 * KL)


def test_self_distillation_is_distillation_at_the_same_settings():
    logits, teacher, targets = random_logits(6, 4, seed=0), random_logits(6, 4, seed=1), torch.arange(6) % 4
    settings = {"teacher_logits": teacher, "temperature": 3.0, "alpha": 0.7, "hard": binary_cross_entropy}
    assert self_distillation(logits, targets, **settings).item() == distillation(logits, targets, **settings).item()


TAUGHT = {
    "distillation": distillation,
    "self_distillation": self_distillation,
    "decoupled_distillation": decoupled_distillation,
    "logit_matching": logit_matching,
}


@pytest.mark.parametrize("name", TAUGHT)
def test_a_teacher_of_the_same_mind_costs_nothing(name):
    # float32, and logits that have much in common: what is left of the labels alone is the hard loss's share
    logits = torch.randint(-8, 9, (6, 100), generator=torch.Generator().manual_seed(0)) + 1e4
    targets = torch.arange(6)
    share = {"logit_matching": 0.4, "decoupled_distillation": 1.0, "self_distillation": 0.5, "distillation": 0.1}[name]
    expected = share * F.cross_entropy(logits, targets)
    found = TAUGHT[name](logits, targets, teacher_logits=logits)
    assert found.item() == pytest.approx(expected.item(), rel=2e-6, abs=2e-5)


@pytest.mark.parametrize("name", ["distillation", "self_distillation", "decoupled_distillation", "virtual_teacher"])
def test_the_temperature_can_be_differentiated(name):
    loss = {**TAUGHT, "virtual_teacher": virtual_teacher}[name]
    logits, teacher = random_logits(4, 5, seed=0).requires_grad_(), random_logits(4, 5, seed=1)
    given = {} if name == "virtual_teacher" else {"teacher_logits": teacher}
    temperature = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 1, 4, 2])
    assert torch.autograd.gradcheck(lambda z, t: loss(z, targets, temperature=t, **given), (logits, temperature))


@pytest.mark.parametrize("name", TAUGHT)
def test_no_example_gives_no_loss(name):
    nothing = torch.zeros(0, 4)
    loss = TAUGHT[name](nothing, torch.zeros(0, dtype=torch.int64), teacher_logits=nothing)
    assert loss.item() == 0.0


@pytest.mark.parametrize("name", TAUGHT)
def test_ignored_pixels_are_not_distilled(name):
    logits, teacher = random_logits(2, 3, 2, 2, seed=0), random_logits(2, 3, 2, 2, seed=1)
    targets = torch.tensor([[[0, 1], [2, 0]], [[1, 1], [0, 2]]])
    expected = TAUGHT[name](logits[..., :1], targets[..., :1], teacher_logits=teacher[..., :1])
    targets[..., 1] = -100
    assert TAUGHT[name](logits, targets, teacher_logits=teacher).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("loss", [virtual_teacher, decoupled_distillation])
def test_one_class_has_no_others(loss):
    given = {} if loss is virtual_teacher else {"teacher_logits": torch.zeros(2, 1)}
    with pytest.raises(ShapeError, match="2 classes or more"):
        loss(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64), **given)
