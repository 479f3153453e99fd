"""How far a student's softmax is from its teacher's, with cross-entropy beside it and the derivative by the logits.

The functions are for `lossbench.losses.parts.with_gradient`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.losses.softmax import Softmax, minus_targets
from lossbench.losses.targets import add_at

Number = float | Tensor  # a number or scalar tensor


def divergence(
    logits: Tensor, labels: Tensor | None, share: Number, weight: Number, teacher_logits: Tensor, temperature: Number
) -> tuple[Tensor, Tensor]:
    """Compute s · -log softmax(z)_y + w · KL(q ‖ p) of q = softmax(z_t / T) and p = softmax(z / T).

    Args:
        logits: z, [N, K] or [N, K, H, W].
        labels: y, int64 [N] or [N, H, W]; None where the first term is not wanted.
        share: s.
        weight: w.
        teacher_logits: z_t, shaped like the logits.
        temperature: T > 0.

    Returns:
        The loss of each position, [N] or [N, H, W], and its derivative by z, shaped like the logits.
    """
    student, teacher = Softmax(logits, temperature), Softmax(teacher_logits, temperature)
    value = weight * student.divergence_from(teacher).squeeze(1)
    steepness = weight / temperature
    derivative = torch.addcmul(student.powers * (steepness / student.total), teacher.powers, -steepness / teacher.total)
    if labels is None:
        return value, derivative
    loss, derivative = _plus_cross_entropy(derivative, student, labels, share)
    return loss + value, derivative


def virtual_divergence(
    logits: Tensor,
    labels: Tensor | None,
    share: Number,
    weight: Number,
    teacher_labels: Tensor,
    temperature: Number,
    correct_probability: Number,
) -> tuple[Tensor, Tensor]:
    """Compute what `divergence` does of q = softmax(log p_d / T), p_d = a for y, (1 - a) / (K - 1) for the others.

    Args:
        logits: z, [N, K] or [N, K, H, W]; p = softmax(z / T).
        labels: as in `divergence`.
        share: as in `divergence`.
        weight: as in `divergence`.
        teacher_labels: what the teacher says, int64 [N] or [N, H, W].
        temperature: T > 0.
        correct_probability: a.

    Returns:
        As `divergence` does.
    """
    # In float64, for a may be nearly 1; by log (1 - q_y) / q_y, for the odds of a low temperature overflow.
    a = torch.as_tensor(correct_probability, dtype=torch.float64, device=logits.device)
    num_others = logits.shape[1] - 1
    rest = math.log(num_others) - (a.log() - (-a).log1p() + math.log(num_others)) / temperature
    log_label, log_rest = F.logsigmoid(-rest), F.logsigmoid(rest)
    entropy = -log_label.exp() * log_label - log_rest.exp() * (log_rest - math.log(num_others))
    label, other = log_label.exp().to(logits.dtype), (log_rest.exp() / num_others).to(logits.dtype)
    student = Softmax(logits, temperature)
    teacher_labels = teacher_labels.unsqueeze(1)
    # Σ_k q_k log p_k, in which Σ_k q_k = 1
    cross_term = (label - other) * student.fall.gather(1, teacher_labels) + other * student.fall.sum(1, keepdim=True)
    value = weight * (student.total.log() - cross_term - entropy.to(logits.dtype)).squeeze(1)
    steepness = weight / temperature
    derivative = torch.addcmul(
        -steepness * other + torch.zeros_like(student.total), student.powers, steepness / student.total
    )
    derivative = add_at(derivative, teacher_labels, steepness * (other - label))
    if labels is None:
        return value, derivative
    loss, derivative = _plus_cross_entropy(derivative, student, labels, share)
    return loss + value, derivative


def decoupled_divergence(
    logits: Tensor,
    labels: Tensor | None,
    share: Number,
    weight: Number,
    teacher_logits: Tensor,
    teacher_labels: Tensor,
    temperature: Number,
    alpha: Number,
    beta: Number,
) -> tuple[Tensor, Tensor]:
    """Compute s · -log softmax(z)_y + w · [α · KL(b_t ‖ b) + β · KL(q_t ‖ q)]: of the label, and among the others.

    Args:
        logits: z, [N, K] or [N, K, H, W]; p = softmax(z / T), b = (p_y, 1 - p_y), q_k = p_k / (1 - p_y) for k ≠ y.
        labels: as in `divergence`.
        share: as in `divergence`.
        weight: as in `divergence`.
        teacher_logits: shaped like the logits.
        teacher_labels: y of the second term, int64 [N] or [N, H, W].
        temperature: T > 0.
        alpha: α.
        beta: β.

    Returns:
        As `divergence` does.
    """
    chosen = teacher_labels.unsqueeze(1)
    (others, label), (teacher_others, teacher_label) = _apart(logits, chosen), _apart(teacher_logits, chosen)
    student, teacher = Softmax(others, temperature), Softmax(teacher_others, temperature)
    # log (1 - p_y) / p_y, by which the label's probability and that of the rest are told without 1 - p
    rest = (student.largest - label) / temperature + student.total.log()
    teacher_rest = (teacher.largest - teacher_label) / temperature + teacher.total.log()
    label_share, rest_share = torch.sigmoid(-teacher_rest), torch.sigmoid(teacher_rest)
    of_label = label_share * (F.logsigmoid(-teacher_rest) - F.logsigmoid(-rest))
    of_rest = rest_share * (F.logsigmoid(teacher_rest) - F.logsigmoid(rest))
    value = weight * (alpha * (of_label + of_rest) + beta * student.divergence_from(teacher)).squeeze(1)
    steepness = weight / temperature
    by_rest = steepness * alpha * (torch.sigmoid(rest) - rest_share)
    slope, teacher_slope = (steepness * beta + by_rest) / student.total, -steepness * beta / teacher.total
    derivative = torch.addcmul(student.powers * slope, teacher.powers, teacher_slope)
    if labels is not None:  # which are the teacher's; the same two parts make the softmax of all
        powers = student.unsoftened()
        total = powers.sum(1, keepdim=True)
        hard_rest = student.largest - label + total.log()
        value = value - share * F.logsigmoid(-hard_rest).squeeze(1)
        by_hard_rest = share * torch.sigmoid(hard_rest)
        derivative = torch.addcmul(derivative, powers, by_hard_rest / total)
        by_rest = by_rest + by_hard_rest
    return value, add_at(derivative, chosen, -by_rest)


def _plus_cross_entropy(derivative: Tensor, student: Softmax, labels: Tensor, share: Number) -> tuple[Tensor, Tensor]:
    """Return share · -log softmax(z)_y of each position, and the derivative with its own added."""
    powers = student.unsoftened()
    total = powers.sum(1, keepdim=True)
    label = student.logits.gather(1, labels.unsqueeze(1))
    loss = share * (total.log() + (student.largest - label)).squeeze(1)
    return loss, minus_targets(torch.addcmul(derivative, powers, share / total), labels, share)


def _apart(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits with the label's out of reach, and the label's."""
    # A finite number for minus infinity, as 0 · ∞ would be nan.
    return logits.scatter(1, labels, -1e30), logits.gather(1, labels)
