"""Binary cross-entropy: one yes-or-no question per class."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import POSITIVE, UNIT
from lossbench.losses.checks import check_shapes, per_class
from lossbench.losses.claims import claim
from lossbench.losses.link import link
from lossbench.losses.parts import in_parts, of_as_many
from lossbench.losses.targets import (
    add_at,
    as_probabilities,
    at_least_float32,
    is_labelled,
    mean_over_labelled,
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
    else:
        labels = with_any_label(targets, ignore_index).unsqueeze(1)
        yes, no, label, total = _BinaryTerms.apply(logits, labels)
        # -log σ(z) = z less than -log(1 - σ(z)): smoothing costs that difference, ε/K for each class.
        losses = yes + no + epsilon * (label - total / logits.shape[1])
        wrong_yes = no - (total - label)  # Σ_{k≠y} -log σ(z_k), which weighs ε/K
        share = epsilon / logits.shape[1]
        losses = losses + (pos_weight - 1) * ((1 - epsilon + share) * yes + share * wrong_yes)
    return mean_over_labelled(losses, targets, ignore_index, sample_weights)


class _BinaryTerms(torch.autograd.Function):
    """Of each position -log σ(z_y), Σ_{k≠y} -log(1 - σ(z_k)), z_y and Σ_k z_k, with one backward for all of it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return in_parts(_binary_terms, logits, labels)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (of_logits,) = in_parts(_of_logits, *ctx.saved_tensors, *gradients)
        return of_logits, None


def _binary_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    # -log(1 - σ(z)) = max(z, 0) + log(1 + exp(-|z|)): torch's own softplus and logsigmoid take longer.
    above = F.relu(logits)
    powers = torch.sub(logits, above, alpha=2).exp_()  # exp(-|z|)
    others, powers = (add_at(values, labels, -values.gather(1, labels)) for values in (above, powers))
    label = logits.gather(1, labels)
    no = others.sum(1) + _log_product(powers)
    return of_as_many(-F.logsigmoid(label).squeeze(1), no, label.squeeze(1), logits.sum(1))


def _log_product(powers: Tensor) -> Tensor:
    """Return Σ_k log(1 + x_k) of 0 ≤ x ≤ 1 by an eighth of the logarithms: (1 + a)(1 + b) = 1 + (a + b + ab)."""
    odd_ones = torch.zeros_like(powers[:, 0])
    for _ in range(3):
        half = powers.shape[1] // 2
        first, second, odd_one = powers.split([half, half, powers.shape[1] - 2 * half], dim=1)
        odd_ones = odd_ones + odd_one.log1p().sum(1)
        powers = torch.addcmul(first + second, first, second)
    return odd_ones + powers.log1p().sum(1)


def _of_logits(
    logits: Tensor, labels: Tensor, of_yes: Tensor, of_no: Tensor, of_label: Tensor, of_total: Tensor
) -> tuple[Tensor]:
    of_yes, of_no, of_label, of_total = (gradient.unsqueeze(1) for gradient in (of_yes, of_no, of_label, of_total))
    label = torch.sigmoid(logits.gather(1, labels))
    gradient = (torch.sigmoid(logits) * of_no).add_(of_total)
    return (add_at(gradient, labels, of_label - of_no * label - of_yes * (1 - label)),)
