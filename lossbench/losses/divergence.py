"""How far a student is from its teacher, with cross-entropy beside it and the derivative by the logits.

The functions are for `lossbench.losses.parts.sum_with_gradient`. What they are given and return for each position is
[N, 1], or [N, 1, H, W].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.losses.inplace import add_at, plus_product, times
from lossbench.losses.parts import in_parts
from lossbench.losses.powers import NATS
from lossbench.losses.softmax import Softmax

Number = float | Tensor  # a number or scalar tensor


def divergence(
    logits: Tensor,
    weights: Tensor,
    labels: Tensor | None,
    shares: Tensor | None,
    teacher_logits: Tensor,
    temperature: Number,
) -> tuple[Tensor, Tensor]:
    """Compute s · -log softmax(z)_y + w · KL(q ‖ p) of q = softmax(z_t / T) and p = softmax(z / T).

    Args:
        logits: z, [N, K] or [N, K, H, W].
        weights: w of each position.
        labels: y, int64, one for each position; None where the first term is not wanted.
        shares: s of each position; None where the first term is not wanted.
        teacher_logits: z_t, shaped like the logits.
        temperature: T > 0.

    Returns:
        The loss of each position, and its derivative by z, shaped like the logits.
    """
    steepness = weights / temperature
    derivative, units, total, teacher_total, largest, hard_total = in_parts(
        _divergence, logits, steepness, shares, teacher_logits, temperature
    )
    value = weights * (NATS * units / teacher_total + (total / teacher_total).log())
    return _with_labels(value, derivative, logits, labels, shares, largest, hard_total)


def _divergence(
    logits: Tensor, steepness: Tensor, shares: Tensor | None, teacher_logits: Tensor, temperature: Number
) -> tuple[Tensor, ...]:
    teacher = Softmax(teacher_logits, temperature)
    student = Softmax(logits, temperature, teacher=teacher)
    derivative = times(teacher.powers, -steepness / teacher.total)
    derivative, hard_total = _with_softmaxes(derivative, student, steepness, shares)
    return derivative, student.units_below, student.total, teacher.total, student.largest, hard_total


def virtual_divergence(
    logits: Tensor,
    weights: Tensor,
    labels: Tensor | None,
    shares: Tensor | None,
    teacher_labels: Tensor,
    temperature: Number,
    correct_probability: Number,
) -> tuple[Tensor, Tensor]:
    """Compute what `divergence` does of q = softmax(log p_d / T), p_d = a for y, (1 - a) / (K - 1) for the others.

    Args:
        logits: z, [N, K] or [N, K, H, W]; p = softmax(z / T).
        weights: as in `divergence`.
        labels: as in `divergence`.
        shares: as in `divergence`.
        teacher_labels: what the teacher says, int64, one for each position.
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
    steepness = weights / temperature
    derivative, units, total, largest, hard_total = in_parts(
        _virtual_divergence, logits, steepness, -steepness * other, shares, temperature
    )
    # Σ_k q_k log p_k, in which Σ_k q_k = 1
    log_p_label = (logits.gather(1, teacher_labels) - largest) / temperature
    cross_term = (label - other) * log_p_label + other * NATS * units
    value = weights * (total.log() - cross_term - entropy.to(logits.dtype))
    derivative = add_at(derivative, teacher_labels, steepness * (other - label))
    return _with_labels(value, derivative, logits, labels, shares, largest, hard_total)


def _virtual_divergence(
    logits: Tensor, steepness: Tensor, of_all: Tensor, shares: Tensor | None, temperature: Number
) -> tuple[Tensor, ...]:
    student = Softmax(logits, temperature)
    derivative, hard_total = _with_softmaxes(of_all, student, steepness, shares)
    return derivative, student.fall.sum(1, keepdim=True), student.total, student.largest, hard_total


def decoupled_divergence(
    logits: Tensor,
    weights: Tensor,
    labels: Tensor | None,
    shares: Tensor | None,
    teacher_logits: Tensor,
    teacher_labels: Tensor,
    temperature: Number,
    alpha: Number,
    beta: Number,
) -> tuple[Tensor, Tensor]:
    """Compute s · -log softmax(z)_y + w · [α · KL(b_t ‖ b) + β · KL(q_t ‖ q)]: of the label, and among the others.

    Args:
        logits: z, [N, K] or [N, K, H, W]; p = softmax(z / T), b = (p_y, 1 - p_y), q_k = p_k / (1 - p_y) for k ≠ y.
        weights: as in `divergence`.
        labels: as in `divergence`.
        shares: as in `divergence`.
        teacher_logits: shaped like the logits.
        teacher_labels: y of the second term, int64, one for each position.
        temperature: T > 0.
        alpha: α.
        beta: β.

    Returns:
        As `divergence` does.
    """
    steepness = weights / temperature
    of_classes = teacher_labels, alpha * steepness, beta * steepness, shares
    of_labels = (z.gather(1, teacher_labels) for z in (logits, teacher_logits))
    derivative, units, total, teacher_total, rest, teacher_rest, hard_rest, by_rest = in_parts(
        _decoupled_divergence, logits, teacher_logits, *of_classes, *of_labels, temperature
    )
    label_share, rest_share = torch.sigmoid(-teacher_rest), torch.sigmoid(teacher_rest)
    label_term = label_share * (F.logsigmoid(-teacher_rest) - F.logsigmoid(-rest))
    rest_term = rest_share * (F.logsigmoid(teacher_rest) - F.logsigmoid(rest))
    others_term = NATS * units / teacher_total + (total / teacher_total).log()
    value = weights * (alpha * (label_term + rest_term) + beta * others_term)
    if shares is not None:  # the labels are the teacher's
        value = value - shares * F.logsigmoid(-hard_rest)
    return value, add_at(derivative, teacher_labels, -by_rest)


def _decoupled_divergence(
    logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    of_rest: Tensor,
    of_others: Tensor,
    shares: Tensor | None,
    label: Tensor,
    teacher_label: Tensor,
    temperature: Number,
) -> tuple[Tensor, ...]:
    teacher = Softmax(teacher_logits, temperature, without=labels)
    student = Softmax(logits, temperature, without=labels, teacher=teacher)
    # log (1 - p_y) / p_y, by which the label's probability and that of the rest are told without 1 - p
    rest, teacher_rest = student.log_odds_against(label), teacher.log_odds_against(teacher_label)
    by_rest = of_rest * (torch.sigmoid(rest) - torch.sigmoid(teacher_rest))
    derivative = times(teacher.powers, -of_others / teacher.total)
    derivative = plus_product(derivative, student.powers, (of_others + by_rest) / student.total)
    hard_rest = rest
    if shares is not None:  # the same two parts make the softmax of all
        powers = student.unsoftened()
        total = powers.sum(1, keepdim=True)
        hard_rest = student.largest - label + total.log()
        by_hard_rest = shares * torch.sigmoid(hard_rest)
        derivative = plus_product(derivative, powers, by_hard_rest / total)
        by_rest = by_rest + by_hard_rest
    return derivative, student.units_below, student.total, teacher.total, rest, teacher_rest, hard_rest, by_rest


def distance(
    logits: Tensor, weights: Tensor, labels: Tensor | None, shares: Tensor | None, teacher_logits: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute s · -log softmax(z)_y + w · 1/(2K) Σ_k (z_k - z_t,k)².

    Args:
        logits: z, [N, K] or [N, K, H, W].
        weights: as in `divergence`.
        labels: as in `divergence`.
        shares: as in `divergence`.
        teacher_logits: z_t, shaped like the logits.

    Returns:
        As `divergence` does.
    """
    per_class = weights / logits.shape[1]
    derivative, squares, *of_softmax = in_parts(_distance, logits, per_class, shares, teacher_logits)
    value = per_class / 2 * squares
    return _with_labels(value, derivative, logits, labels, shares, *of_softmax) if of_softmax else (value, derivative)


def _distance(logits: Tensor, slope: Tensor, shares: Tensor | None, teacher_logits: Tensor) -> tuple[Tensor, ...]:
    difference = logits - teacher_logits
    squares = (difference * difference).sum(1, keepdim=True)
    derivative = times(difference, slope)
    if shares is None:
        return derivative, squares
    student = Softmax(logits)
    derivative = plus_product(derivative, student.powers, shares / student.total)
    return derivative, squares, student.largest, student.total


def _with_softmaxes(
    derivative: Tensor, student: Softmax, steepness: Tensor, shares: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Add steepness · softmax(z / T) + s · softmax(z); return what softmax(z) is divided by, too."""
    if shares is None or student.is_unsoftened:
        slope = steepness if shares is None else steepness + shares
        return plus_product(derivative, student.powers, slope / student.total), student.total
    derivative = plus_product(derivative, student.powers, steepness / student.total)
    powers = student.unsoftened()
    total = powers.sum(1, keepdim=True)
    return plus_product(derivative, powers, shares / total), total


def _with_labels(
    value: Tensor,
    derivative: Tensor,
    logits: Tensor,
    labels: Tensor | None,
    shares: Tensor | None,
    largest: Tensor,
    total: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the value plus s · -log softmax(z)_y, and the derivative, with s · softmax(z) in it, less s at y."""
    if labels is None or shares is None:
        return value, derivative
    loss = total.log() + (largest - logits.gather(1, labels))
    return value + shares * loss, add_at(derivative, labels, -shares)
