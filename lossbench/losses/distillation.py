"""Learning from another model's logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import POSITIVE, UNIT
from lossbench.errors import ShapeError
from lossbench.losses.checks import check_shapes
from lossbench.losses.cross_entropy import cross_entropy
from lossbench.losses.targets import at_least_float32


def distillation(
    logits: Tensor,
    targets: Tensor,
    *,
    teacher_logits: Tensor,
    temperature: Annotated[float | Tensor, POSITIVE] = 4.0,
    alpha: Annotated[float | Tensor, UNIT] = 0.9,
    hard: Callable[..., Tensor] = cross_entropy,
) -> Tensor:
    """A loss of the labels mixed with the divergence from a teacher, both softened by T.

        loss = (1 - α) · hard(z, y) + α · T² · mean_i KL(softmax(z_t / T) ‖ softmax(z / T))

    T² keeps the size of the gradient as T changes: without it the second term's falls as 1/T². KL is summed over the
    classes; `torch.nn.KLDivLoss(reduction="mean")` would divide by K as well. T softens this term alone, so the
    trained model is evaluated through plain softmax.

    Args:
        logits: the student's unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: what `hard` takes.
        teacher_logits: z_t, shaped like the logits; no gradient flows into it.
        temperature: T > 0.
        alpha: α in [0, 1], the teacher's share.
        hard: any loss of the labels, `hard(logits, targets)`. What it ignores or weighs is its own: the second
            term needs no label and averages over every position alike.

    Returns:
        Mean loss in nats, scalar.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    check_shapes(logits, targets)
    if teacher_logits.shape != logits.shape:
        raise ShapeError(
            f"teacher_logits must be shaped like the logits {list(logits.shape)}; got {list(teacher_logits.shape)}"
        )
    student = F.log_softmax(at_least_float32(logits) / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.detach().to(student.dtype) / temperature, dim=1)
    divergence = (teacher.exp() * (teacher - student)).sum(1).mean()
    return (1 - alpha) * hard(logits, targets) + alpha * temperature**2 * divergence
