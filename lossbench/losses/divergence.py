"""How far a student's softmax is from its teacher's, with the derivative by the student's logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def divergence(logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """Compute KL(q ‖ p) = Σ_k q_k (log q_k - log p_k) of q = softmax(z_t / T) and p = softmax(z / T).

    Args:
        logits: z, [N, K] or [N, K, H, W].
        teacher_logits: z_t, shaped like the logits.
        temperature: T > 0, a number or scalar tensor.

    Returns:
        The divergence of each position, [N] or [N, H, W], and its derivative by z, shaped like the logits, for
        `lossbench.losses.parts.with_gradient`.
    """
    fall, teacher_fall = below_largest(logits) / temperature, below_largest(teacher_logits) / temperature
    value, difference, *_ = _compare(fall, teacher_fall)
    return value, difference.div_(temperature)


def virtual_divergence(
    logits: Tensor, labels: Tensor, temperature: float | Tensor, correct_probability: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Compute KL(q ‖ p) where q = softmax(log p_d / T), p_d = a for the label and (1 - a) / (K - 1) for each other.

    Args:
        logits: z, [N, K] or [N, K, H, W]; p = softmax(z / T).
        labels: y, int64 [N] or [N, H, W].
        temperature: T > 0, a number or scalar tensor.
        correct_probability: a, a number or scalar tensor.

    Returns:
        As `divergence` does.
    """
    num_others = logits.shape[1] - 1
    a = torch.as_tensor(correct_probability, dtype=logits.dtype, device=logits.device)
    odds = (a * num_others / (1 - a)) ** (1 / temperature)  # of the label against one other class, softened
    other = 1 / (odds + num_others)
    label = odds * other
    negative_entropy = label * label.log() + num_others * other * other.log()
    fall = below_largest(logits) / temperature
    probs, log_sum = softmax_below(fall)
    labels = labels.unsqueeze(1)
    # Σ_k q_k log p_k, in which Σ_k q_k = 1
    cross_term = (label - other) * fall.gather(1, labels).squeeze(1) + other * fall.sum(1) - log_sum
    by_fall = (probs - other).scatter_add(1, labels, (other - label).expand(labels.shape))
    return negative_entropy - cross_term, by_fall / temperature


def decoupled_divergence(
    logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float | Tensor,
    alpha: float | Tensor,
    beta: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Compute α · KL(b_t ‖ b) + β · KL(q_t ‖ q): of the label against the others, and among the others.

    Args:
        logits: z, [N, K] or [N, K, H, W]; p = softmax(z / T), b = (p_y, 1 - p_y), q_k = p_k / (1 - p_y) for k ≠ y.
        teacher_logits: shaped like the logits.
        labels: y, int64 [N] or [N, H, W].
        temperature: T > 0, a number or scalar tensor.
        alpha: α, a number or scalar tensor.
        beta: β, a number or scalar tensor.

    Returns:
        As `divergence` does.
    """
    labels = labels.unsqueeze(1)
    fall, above = (values / temperature for values in _others(logits, labels))
    teacher_fall, teacher_above = (values / temperature for values in _others(teacher_logits, labels))
    among_others, difference, probs, log_sum, teacher_log_sum = _compare(fall, teacher_fall)
    # log (1 - p_y) / p_y, by which the label's probability and that of the rest are told without 1 - p
    rest, teacher_rest = above + log_sum, teacher_above + teacher_log_sum
    label_share, rest_share = torch.sigmoid(-teacher_rest), torch.sigmoid(teacher_rest)
    of_label = label_share * (F.logsigmoid(-teacher_rest) - F.logsigmoid(-rest))
    of_rest = rest_share * (F.logsigmoid(teacher_rest) - F.logsigmoid(rest))
    by_rest = (alpha * (torch.sigmoid(rest) - rest_share)).unsqueeze(1)
    by_logits = (beta * difference + by_rest * probs).scatter_add(1, labels, -by_rest)
    return alpha * (of_label + of_rest) + beta * among_others, by_logits.div_(temperature)


def _compare(fall: Tensor, teacher_fall: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return KL, p - q, p and both log Σ exp(fall), of logits whose largest is 0."""
    (probs, log_sum), (goal, teacher_log_sum) = softmax_below(fall), softmax_below(teacher_fall)
    value = ((teacher_fall - fall) * goal).sum(1) + log_sum - teacher_log_sum
    return value, probs - goal, probs, log_sum, teacher_log_sum


def softmax_below(fall: Tensor) -> tuple[Tensor, Tensor]:
    """Return p and log Σ exp(fall) of logits whose largest is 0."""
    probs = torch.softmax(fall, 1)
    if torch.is_grad_enabled():  # a largest p shares its gradient where two are equal but for rounding
        return probs, fall.logsumexp(1)
    return probs, -probs.amax(1).log()  # max p = 1 / Σ exp(fall)


def below_largest(logits: Tensor) -> Tensor:
    """Return how far each is below the largest: what they have in common would round sums."""
    return logits - logits.amax(1, keepdim=True)


def _others(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each but the label is below the largest of these, and how far that is above the label's."""
    # A finite number for minus infinity, as 0 · ∞ would be nan.
    others = logits.scatter(1, labels, -1e30)
    peak = others.amax(1, keepdim=True)
    return others - peak, (peak - logits.gather(1, labels)).squeeze(1)
