"""Learning new classes without forgetting the old ones."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import NON_NEGATIVE, POSITIVE
from lossbench.errors import ShapeError
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.parts import with_gradient
from lossbench.losses.targets import at_least_float32, at_target, is_labelled, mean_over_labelled, weighted_mean


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
    logits = at_least_float32(logits)
    is_new = is_labelled(targets, ignore_index) & (targets >= num_old)
    old_logits, new_logits = logits.split([num_old, logits.shape[1] - num_old], dim=1)
    # Of all classes, so that a label of none of the K is an error and not an old class.
    label = at_target(logits, targets, ignore_index)
    new_losses = (new_logits - label.unsqueeze(1)).logsumexp(1)
    new_term = weighted_mean(new_losses, is_new.to(new_losses.dtype))

    teacher = teacher_logits.detach().to(logits.dtype)
    old_losses = with_gradient(_binary_terms, old_logits, teacher, temperature, teacher_temperature)
    return new_term + weight * mean_over_labelled(old_losses, targets, ignore_index)


def _binary_terms(
    logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor, teacher_temperature: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Return the binary cross-entropy of softmax(z / T) from softmax(z_t / T_t), averaged, and its derivative by z."""
    goal = F.softmax(teacher_logits / teacher_temperature, dim=1)
    log_p = F.log_softmax(logits / temperature, dim=1)
    probs = log_p.exp()
    # log(1 - p) is -∞ where p rounds to 1; from machine epsilon on, p is as good as 1.
    unbound, least = -torch.expm1(log_p), torch.finfo(log_p.dtype).eps
    rest = unbound.clamp(min=least)
    losses = -torch.lerp(rest.log(), log_p, goal).sum(1)
    by_log_p = probs * (1 - goal) / rest * (unbound >= least).to(rest.dtype) - goal
    by_logits = (by_log_p - probs * by_log_p.sum(1, keepdim=True)) / temperature
    return losses / logits.shape[1], by_logits / logits.shape[1]
