"""Learning new classes without forgetting the old ones."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import NON_NEGATIVE, POSITIVE
from lossbench.errors import ShapeError
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.inplace import add_at, minus, plus, plus_product, reciprocal, times
from lossbench.losses.parts import in_parts, sum_with_gradient
from lossbench.losses.softmax import BIT, Softmax
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
    return sum_with_gradient(partial(in_parts, _terms), at_least_float32(logits), normalised(is_new), *inputs)


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
    num_old = teacher_logits.shape[1]
    old_logits, new_logits = logits.split([num_old, logits.shape[1] - num_old], dim=1)
    new = Softmax(new_logits)
    # The label is one of all classes here, so that a label of none of the K is an error and not an old class.
    new_losses = new.total.log() + (new.largest - logits.gather(1, labels))
    old_losses, by_old = _binary_terms(Softmax(old_logits, temperature), Softmax(teacher_logits, teacher_temperature))
    by_both = times(by_old, old_weight / temperature), times(new.powers, new_weight / new.total)
    losses = new_weight * new_losses + old_weight * old_losses
    return losses, add_at(torch.cat(by_both, 1), labels, -new_weight)


def _binary_terms(student: Softmax, teacher: Softmax) -> tuple[Tensor, Tensor]:
    """Return Σ_k BCE(p_k, t_k), [N, 1] or [N, 1, H, W], and its derivative by z / T."""
    least = torch.finfo(student.powers.dtype).tiny
    # 1 - p has no digits left where p is nearly 1. Only the largest is: there it is the sum of the others.
    is_largest = student.is_largest()
    others = (student.powers - is_largest).sum(1, keepdim=True) + (is_largest.sum(1, keepdim=True) - 1)
    bits, share = minus(student.fall, student.total.log2()), 1 / student.total  # log p, and p of the largest
    goal, probs = times(teacher.powers, 1 / teacher.total), times(student.powers, share)
    rest = plus_product(1 - probs, is_largest, others / student.total - (1 - share))
    losses = -BIT * torch.lerp(rest.clamp(min=least).log2(), bits, goal).sum(1, keepdim=True)
    # What -Σ_k (1 - t_k) log(1 - p_k) adds up to, c_k = (1 - t_k) p_k / (1 - p_k) of each class: by z_j it moves as
    # c_j (1 - p_j) less p_j times the c of the others. That of the largest may be so large that no digit of theirs is
    # left beside it. Where 1 - p is 0 but for rounding, its logarithm stays what it is.
    terms = times(torch.addcmul(probs, probs, goal, value=-1), reciprocal(F.threshold(rest, least, torch.inf)))
    of_largest = times(is_largest, terms)
    less_others = terms - of_largest.sum(1, keepdim=True)
    less_others = plus(less_others, 1 - (terms - of_largest).sum(1, keepdim=True))
    return losses, minus(plus_product(times(terms, rest), probs, less_others), goal)
