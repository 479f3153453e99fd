"""Distillation with the target and the other classes taken apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from torch import Tensor

from lossbench.domains import NON_NEGATIVE, POSITIVE
from lossbench.losses.checks import check_classes, check_shapes, check_teacher
from lossbench.losses.claims import claim
from lossbench.losses.cross_entropy import cross_entropy
from lossbench.losses.divergence import decoupled_divergence
from lossbench.losses.hard import beside_hard
from lossbench.losses.targets import at_least_float32, with_any_label


@claim(shift_invariant=True, cross_entropy_at={"alpha": 0.0, "beta": 0.0}, mean_of_examples=True)
def decoupled_distillation(
    logits: Tensor,
    targets: Tensor,
    *,
    teacher_logits: Tensor,
    temperature: Annotated[float | Tensor, POSITIVE] = 4.0,
    alpha: Annotated[float | Tensor, NON_NEGATIVE] = 1.0,
    beta: Annotated[float | Tensor, NON_NEGATIVE] = 8.0,
    warmup_epochs: Annotated[int, NON_NEGATIVE] = 20,
    epoch: int | None = None,
    ignore_index: int = -100,
    hard: Callable[..., Tensor] = cross_entropy,
) -> Tensor:
    """A loss of the labels plus distillation of how sure the teacher is, and of how it ranks the other classes.

        loss   = hard(z, y) + w · T² · mean_i [α · KL(b_t ‖ b) + β · KL(q_t ‖ q)]
        p      = softmax(z / T),   b = (p_y, 1 - p_y),   q_k = p_k / (1 - p_y) for k ≠ y
        w      = min(epoch / warm-up, 1)

    `distillation`'s divergence is KL(b_t ‖ b) + (1 - p_t,y) · KL(q_t ‖ q): there a sure teacher teaches little of
    the other classes, here as much as β says.

    Args:
        logits: the student's unnormalised log-probabilities z, float [N, K] or [N, K, H, W], K ≥ 2.
        targets: class indices in 0..K-1, int64 [N] or [N, H, W].
        teacher_logits: z_t, shaped like the logits; no gradient flows into it.
        temperature: T > 0, of the teacher's terms only.
        alpha: α ≥ 0.
        beta: β ≥ 0. The paper chooses it between 1 and 10 by how sure the teacher is.
        warmup_epochs: epochs over which the teacher's terms grow to full strength; 0 for none.
        epoch: the epoch in training, from 1; None is full strength.
        ignore_index: positions with this class index are left out of the teacher's terms; `hard` has its own.
        hard: any loss of the labels, `hard(logits, targets)`.

    Returns:
        Mean loss in nats, scalar.

    Raises:
        ShapeError: if shapes or dtypes disagree, the targets are probabilities, or there is one class.

    Source: Zhao et al. 2022, "Decoupled Knowledge Distillation", eq. 7 and its code's warm-up.
    """
    check_shapes(logits, targets, soft=False)
    check_classes(logits, 2)
    check_teacher(logits, teacher_logits)
    labels = with_any_label(targets, ignore_index).unsqueeze(1)
    teacher = teacher_logits.detach().to(at_least_float32(logits).dtype)
    strength = 1.0 if epoch is None else min(epoch / max(warmup_epochs, 1), 1.0)
    inputs = teacher, labels, temperature, alpha, beta
    weight = strength * temperature**2
    return beside_hard(hard, 1.0, decoupled_divergence, weight, logits, targets, ignore_index, *inputs)
