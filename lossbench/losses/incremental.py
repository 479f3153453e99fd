"""Learning new classes without forgetting the old ones."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from lossbench.domains import NON_NEGATIVE, POSITIVE
from lossbench.errors import ShapeError
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.inplace import add_at, blended, divided, minus, plus_product, times
from lossbench.losses.parts import in_parts, sum_with_gradient
from lossbench.losses.powers import NATS, log
from lossbench.losses.softmax import Softmax
from lossbench.losses.targets import at_least_float32, is_labelled, normalised, with_any_label


@claim(shift_invariant=True)
def incremental_distillation(
    logits: Tensor,
    targets: Tensor,
    *,
    teacher_logits: Tensor,
    temperature: Annotated[float | Tensor, POSITIVE] = 2.0,
    teacher_temperature: Annotated[float | Tensor, POSITIVE] = 1.0,
    weight: Annotated[float | Tensor, NON_NEGATIVE] = 10.0,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy over the new classes plus distillation over the old ones, as continual learners write it.

        loss = mean_{i: y_i new} -log softmax(z_i,new)_y + λ · mean_i 1/K_old Σ_{k old} BCE(p_ik, t_ik)
        p    = softmax(z_old / T),   t = softmax(z_t / T_t)

    The old classes are the teacher's: the first K_old of the K. Unlike `distillation`, the term is a binary
    cross-entropy of softmax probabilities, averaged over the classes, with no T² and with two temperatures.

    Args:
        logits: z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W]; positions of an old class count in the second term
            alone.
        teacher_logits: z_t of the model before the new classes, [N, K_old] or [N, K_old, H, W] with K_old < K; no
            gradient flows into it.
        temperature: T > 0, of the student in the second term.
        teacher_temperature: T_t > 0; below T, the student's logits must spread more than the teacher's.
        weight: λ ≥ 0.
        ignore_index: positions with this class index are left out of both terms.

    Returns:
        Mean loss in nats, scalar; 0 with zero gradient where all is ignored.

    Raises:
        ShapeError: if shapes or dtypes disagree, the targets are probabilities, or there is no new class.

    Source: Li and Hoiem 2016, "Learning without Forgetting", whose second term is a cross-entropy of softened
    probabilities at T = 2 on both sides; the binary form is that of public class-incremental code.
    """
    check_shapes(logits, targets, soft=False)
    num_old = teacher_logits.shape[1]
    if teacher_logits.shape != logits[:, :num_old].shape or num_old >= logits.shape[1]:
        raise ShapeError(
            f"teacher_logits must be shaped like the logits {list(logits.shape)} but with fewer classes; "
            f"got {list(teacher_logits.shape)}"
        )
    labelled = is_labelled(targets, ignore_index).to(at_least_float32(logits).dtype)
    is_new = labelled * (targets >= num_old)
    teacher = teacher_logits.detach().to(labelled.dtype)
    labels, old_weight = with_any_label(targets, ignore_index), weight / num_old * normalised(labelled)
    inputs = old_weight.unsqueeze(1), labels.unsqueeze(1), teacher, temperature, teacher_temperature
    return sum_with_gradient(_terms, at_least_float32(logits), normalised(is_new), *inputs)


def _terms(
    logits: Tensor,
    new_weight: Tensor,
    old_weight: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor,
    teacher_temperature: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Return both terms, weighed and added, and their derivative by z."""
    slope = old_weight / temperature
    derivative, new_total, new_largest, logs, others, largest_goal = in_parts(
        _parts, logits, teacher_logits, new_weight, slope, labels, temperature, teacher_temperature
    )
    # The label is one of all classes here, so that a label of none of the K is an error and not an old class.
    new_losses = new_total.log() + (new_largest - logits.gather(1, labels))
    log_total = (others + 1).log()
    log_others = others.clamp(min=_least(others)).log() - log_total
    old_losses = log_total - NATS * logs - (1 - largest_goal) * log_others
    return new_weight * new_losses + old_weight * old_losses, derivative


def _parts(
    logits: Tensor,
    teacher_logits: Tensor,
    new_weight: Tensor,
    slope: Tensor,
    labels: Tensor,
    temperature: float | Tensor,
    teacher_temperature: float | Tensor,
) -> tuple[Tensor, ...]:
    num_old = teacher_logits.shape[1]
    old_logits, new_logits = logits.split([num_old, logits.shape[1] - num_old], dim=1)
    by_old, *of_old = _binary_terms(
        old_logits, Softmax(teacher_logits, teacher_temperature, keep_fall=False), temperature
    )
    new = Softmax(new_logits, keep_fall=False)
    by_both = times(by_old, slope), times(new.powers, new_weight / new.total)
    return add_at(torch.cat(by_both, 1), labels, -new_weight), new.total, new.largest, *of_old


def _binary_terms(logits: Tensor, teacher: Softmax, temperature: float | Tensor) -> tuple[Tensor, ...]:
    """Return what Σ_k BCE(p_k, t_k) is made of.

    1 - p has no digits left where p is nearly 1, as that of the largest logit alone can be. So this class is left out
    of what is summed, and its 1 - p is made of the others.

    Returns:
        The derivative by z / T, and, [N, 1] each: Σ_k t_k fall_k + (1 - t_k) log(1 - p_k) in units, the latter without
        the largest; Σ powers without it; its t.
    """
    largest, place = logits.max(1, keepdim=True)
    student = Softmax(logits, temperature, largest=largest)
    # Less itself, and not replaced by 0: then what is nan shows.
    powers = add_at(student.powers, place, -student.powers.gather(1, place))
    others = powers.sum(1, keepdim=True)
    share = (others + 1).reciprocal()
    goal, probs = times(teacher.powers, teacher.total.reciprocal()), times(powers, share)
    largest_goal = goal.gather(1, place)
    rest = 1 - probs
    logs = blended(log(rest), student.fall, goal).nansum(1, keepdim=True)  # a masked class is 0 · ∞
    # What -Σ_k (1 - t_k) log(1 - p_k) adds up to, c_k = (1 - t_k) p_k / (1 - p_k) of each class: by z_j it moves as
    # c_j (1 - p_j) less p_j times the c of the others. That of the largest may be so large that no digit of theirs is
    # left beside it. Where its 1 - p is 0 but for rounding, the logarithm stays what it is.
    terms = divided(torch.addcmul(probs, probs, goal, value=-1), rest)
    of_others = terms.sum(1, keepdim=True)
    least = _least(others)
    moves = (1 - largest_goal) * (others > least)
    derivative = minus(plus_product(terms, probs, 1 - of_others - moves / others.clamp(min=least)), goal)
    return add_at(derivative, place, share * (1 - of_others + moves)), logs, others, largest_goal


def _least(values: Tensor) -> float:
    return torch.finfo(values.dtype).tiny
