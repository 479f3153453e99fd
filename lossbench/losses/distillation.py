"""Learning from another model's logits, or from what a model might have said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from torch import Tensor

from lossbench.domains import POSITIVE, UNIT, Interval
from lossbench.losses.checks import check_classes, check_shapes, check_teacher
from lossbench.losses.claims import claim
from lossbench.losses.cross_entropy import cross_entropy
from lossbench.losses.divergence import distance, divergence, virtual_divergence
from lossbench.losses.hard import beside_hard
from lossbench.losses.targets import at_least_float32, with_any_label


@claim(shift_invariant=True, cross_entropy_at={"alpha": 0.0}, soft_targets=True, mean_of_examples=True)
def distillation(
    logits: Tensor,
    targets: Tensor,
    *,
    teacher_logits: Tensor,
    temperature: Annotated[float | Tensor, POSITIVE] = 4.0,
    alpha: Annotated[float | Tensor, UNIT] = 0.9,
    ignore_index: int = -100,
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
        ignore_index: positions with this class index are left out of the second term, which needs no label but would
            learn from what is outside of the picture; `hard` has its own.
        hard: any loss of the labels, `hard(logits, targets)`. What it weighs is its own.

    Returns:
        Mean loss in nats, scalar.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    check_shapes(logits, targets, one_label=False)  # `hard` says what it takes
    check_teacher(logits, teacher_logits)
    teacher = teacher_logits.detach().to(at_least_float32(logits).dtype)
    weight = alpha * temperature**2
    return beside_hard(hard, 1 - alpha, divergence, weight, logits, targets, ignore_index, teacher, temperature)


@claim(shift_invariant=True, cross_entropy_at={"alpha": 0.0}, soft_targets=True, mean_of_examples=True)
def self_distillation(
    logits: Tensor,
    targets: Tensor,
    *,
    teacher_logits: Tensor,
    temperature: Annotated[float | Tensor, POSITIVE] = 1.0,
    alpha: Annotated[float | Tensor, UNIT] = 0.5,
    ignore_index: int = -100,
    hard: Callable[..., Tensor] = cross_entropy,
) -> Tensor:
    """`distillation` from a model like the student's own, trained on the same data.

        loss = (1 - α) · hard(z, y) + α · T² · mean_i KL(softmax(z_t / T) ‖ softmax(z / T))

    The formula is the other's; what differs is that a training gives it a teacher of the student's own model, and the
    defaults: labels and an unsoftened teacher in equal parts. α = 1 learns from the teacher alone.

    Args:
        logits: the student's unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: what `hard` takes.
        teacher_logits: z_t, shaped like the logits; no gradient flows into it.
        temperature: T > 0.
        alpha: α in [0, 1], the teacher's share.
        ignore_index: positions with this class index are left out of the second term; `hard` has its own.
        hard: any loss of the labels, `hard(logits, targets)`.

    Returns:
        Mean loss in nats, scalar.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Furlanello et al. 2018, "Born-Again Neural Networks".
    """
    return distillation(
        logits,
        targets,
        teacher_logits=teacher_logits,
        temperature=temperature,
        alpha=alpha,
        ignore_index=ignore_index,
        hard=hard,
    )


# For `lossbench.build`: the teacher is a run of the student's own model.
self_distillation.teacher_model = "own"  # type: ignore[attr-defined]


@claim(cross_entropy_at={"beta": 0.0}, soft_targets=True, mean_of_examples=True)
def logit_matching(
    logits: Tensor,
    targets: Tensor,
    *,
    teacher_logits: Tensor,
    beta: Annotated[float | Tensor, UNIT] = 0.6,
    ignore_index: int = -100,
    hard: Callable[..., Tensor] = cross_entropy,
) -> Tensor:
    """A loss of the labels mixed with the squared distance from a teacher's logits.

        loss = (1 - β) · hard(z, y) + β · mean_i 1/(2K) Σ_k (z_ik - z_t,ik)²

    Hinton et al. show that it is the limit of `distillation` for large T where the logits have mean zero. It asks for
    more than distillation does: the teacher's logits themselves, with whatever constant was added to them.

    Args:
        logits: the student's unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: what `hard` takes.
        teacher_logits: z_t, shaped like the logits; no gradient flows into it.
        beta: β in [0, 1], the teacher's share.
        ignore_index: positions with this class index are left out of the second term; `hard` has its own.
        hard: any loss of the labels, `hard(logits, targets)`.

    Returns:
        Nats and squared logits, mixed, scalar.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2.1; Müller et al. 2019 use it.
    """
    check_shapes(logits, targets, one_label=False)  # `hard` says what it takes
    check_teacher(logits, teacher_logits)
    teacher = teacher_logits.detach().to(at_least_float32(logits).dtype)
    return beside_hard(hard, 1 - beta, distance, beta, logits, targets, ignore_index, teacher)


@claim(shift_invariant=True, cross_entropy_at={"alpha": 0.0}, mean_of_examples=True)
def virtual_teacher(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: Annotated[float | Tensor, POSITIVE] = 20.0,
    alpha: Annotated[float | Tensor, UNIT] = 0.1,
    correct_probability: Annotated[float | Tensor, Interval(0.0, 1.0, open_low=True, open_high=True)] = 0.99,
    ignore_index: int = -100,
    hard: Callable[..., Tensor] = cross_entropy,
) -> Tensor:
    """Distillation from a teacher that is always right and equally unsure of all other classes.

        loss = (1 - α) · hard(z, y) + α · T² · mean_i KL(softmax(log p_d / T) ‖ softmax(z / T))
        p_d  = a for the label, (1 - a) / (K - 1) for each other class

    The authors' code differs from their text and from this: it softens p_d itself, softmax(p_d / T), which at T = 20
    leaves a teacher that is uniform to 5 %, compares the student at T = 1, and has no T² but a factor of its own.

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W], K ≥ 2.
        targets: class indices in 0..K-1, int64 [N] or [N, H, W].
        temperature: T > 0, of the second term only.
        alpha: α in [0, 1], the teacher's share; the authors' ResNet-18 for CIFAR-100 has 0.1.
        correct_probability: a in (0, 1).
        ignore_index: positions with this class index are left out of the second term; `hard` has its own.
        hard: any loss of the labels, `hard(logits, targets)`.

    Returns:
        Mean loss in nats, scalar.

    Raises:
        ShapeError: if shapes or dtypes disagree, the targets are probabilities, or there is one class.

    Source: Yuan et al. 2020, "Revisiting Knowledge Distillation via Label Smoothing Regularization", eq. 9 and 10.
    """
    check_shapes(logits, targets, soft=False)
    check_classes(logits, 2)
    labels = with_any_label(targets, ignore_index).unsqueeze(1)
    inputs = labels, temperature, correct_probability
    weight = alpha * temperature**2
    return beside_hard(hard, 1 - alpha, virtual_divergence, weight, logits, targets, ignore_index, *inputs)
