"""Binary cross-entropy: one yes-or-no question per class."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import POSITIVE, UNIT
from lossbench.losses.checks import check_shapes, per_class
from lossbench.losses.claims import claim
from lossbench.losses.inplace import add_at, plus, plus_product, put_at, raised, times
from lossbench.losses.link import link
from lossbench.losses.parts import in_parts, sum_with_gradient
from lossbench.losses.powers import NATS
from lossbench.losses.targets import (
    as_probabilities,
    at_least_float32,
    is_labelled,
    mean_over_labelled,
    parts_of_mean,
    with_any_label,
)


@link("sigmoid")
@claim(soft_targets=True, mean_of_examples=True)
def binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    epsilon: Annotated[float | Tensor, UNIT] = 0.0,
    pos_weight: Annotated[float | Tensor, POSITIVE] = 1.0,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """One-vs-rest binary cross-entropy, summed over the classes.

        q_ik   = (1 - ε) t_ik + ε / K
        loss_i = -Σ_k [π q_ik log σ(z_ik) + (1 - q_ik) log (1 - σ(z_ik))]
        loss   = Σ_i s_i loss_i / Σ_i s_i

    Summed, not averaged, over K: then the gradient with respect to z_ik is σ(z_ik) - q_ik at π = 1, of the size of
    cross-entropy's p_ik - q_ik. `torch.nn.BCEWithLogitsLoss` averages, which makes it K times smaller.

    Args:
        logits: log-odds z of each class, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits, which
            need not sum to 1 over the classes (several labels per example).
        epsilon: ε in [0, 1].
        pos_weight: π > 0, the weight of the positive term; one number, or a tensor [K].
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree, or `pos_weight` has not one or K entries.

    Source: Wightman et al. 2021, "ResNet strikes back"; q as in its code, timm's `BinaryCrossEntropy`.
    """
    check_shapes(logits, targets, one_label=False)
    logits = at_least_float32(logits)
    if isinstance(pos_weight, Tensor) and pos_weight.ndim > 0:
        pos_weight = per_class("pos_weight", pos_weight, logits)
    if targets.is_floating_point() or (isinstance(pos_weight, Tensor) and pos_weight.ndim > 0):
        smoothed = (1 - epsilon) * as_probabilities(
            targets, logits, is_labelled(targets, ignore_index)
        ) + epsilon / logits.shape[1]
        # log(1 - σ(z)) = log σ(-z), which stays finite where σ(z) rounds to 1.
        losses = -(pos_weight * smoothed * F.logsigmoid(logits) + (1 - smoothed) * F.logsigmoid(-logits)).sum(1)
        return mean_over_labelled(losses, targets, ignore_index, sample_weights)
    weights = parts_of_mean(logits, targets, ignore_index, sample_weights)
    labels = with_any_label(targets, ignore_index).unsqueeze(1)
    return sum_with_gradient(_of_labels, logits, weights, labels, epsilon, pos_weight)


def _of_labels(
    logits: Tensor, weights: Tensor, labels: Tensor, epsilon: float | Tensor, pos_weight: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss of each position times its weight, and its derivative by z."""
    share = epsilon / logits.shape[1]
    # -log σ(z) = -log(1 - σ(z)) - z: of another class the loss is a · -log(1 - σ(z)) - b z, and of the label it is
    # c · -log σ(z) + d z.
    a, b = 1 + (pos_weight - 1) * share, pos_weight * share
    c, d = 1 + (pos_weight - 1) * (1 - epsilon + share), epsilon - share
    of_others = weights * a
    all_z = None if not isinstance(epsilon, Tensor) and epsilon == 0 else -weights * b
    derivative, no, total = in_parts(_of_others, logits, of_others, all_z, labels)
    label = logits.gather(1, labels)
    value = of_others * no - weights * (b * (total - label) - d * label + c * F.logsigmoid(label))
    p = torch.sigmoid(label)
    of_label = weights * (b + d - c * (1 - p)) - of_others * p
    return value, add_at(derivative, labels, of_label)


def _of_others(logits: Tensor, slope: Tensor, all_z: Tensor | None, labels: Tensor) -> tuple[Tensor, ...]:
    """Return slope · σ(z) + all_z, Σ_{k≠y} -log(1 - σ(z_k)), and Σ_k z_k where it counts."""
    # -log(1 - σ(z)) = max(z, 0) + log(1 + exp(-|z|)): torch's own softplus and logsigmoid take longer.
    above = F.relu(logits)
    powers = raised(times(torch.sub(logits, above, alpha=2), 1 / NATS))  # exp(-|z|)
    above, powers = (put_at(values, labels, 0.0) for values in (above, powers))
    no = above.sum(1, keepdim=True) + _log_product(powers)
    derivative = times(torch.sigmoid(logits), slope)
    if all_z is None:
        return derivative, no, torch.zeros_like(no)
    return plus(derivative, all_z), no, logits.sum(1, keepdim=True)


def _log_product(powers: Tensor) -> Tensor:
    """Return Σ_k log(1 + x_k) of 0 ≤ x ≤ 1 by an eighth of the logarithms: (1 + a)(1 + b) = 1 + (a + b + ab)."""
    odd_ones: float | Tensor = 0.0
    for _ in range(3):
        half = powers.shape[1] // 2
        first, second = powers[:, :half], powers[:, half : 2 * half]
        if powers.shape[1] > 2 * half:
            odd_ones = odd_ones + powers[:, 2 * half :].log1p()
        powers = plus_product(first + second, first, second)
    return odd_ones + powers.log1p().sum(1, keepdim=True)
