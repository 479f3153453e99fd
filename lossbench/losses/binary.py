"""Binary cross-entropy: one yes-or-no question per class."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import POSITIVE, UNIT
from lossbench.losses.checks import check_shapes, per_class
from lossbench.losses.claims import claim
from lossbench.losses.link import link
from lossbench.losses.targets import as_probabilities, at_least_float32, mean_over_labelled


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
    check_shapes(logits, targets)
    logits = at_least_float32(logits)
    smoothed = (1 - epsilon) * as_probabilities(targets, logits, ignore_index) + epsilon / logits.shape[1]
    if isinstance(pos_weight, Tensor) and pos_weight.ndim > 0:
        pos_weight = per_class("pos_weight", pos_weight, logits)
    # log(1 - σ(z)) = log σ(-z), which stays finite where σ(z) rounds to 1.
    losses = -(pos_weight * smoothed * F.logsigmoid(logits) + (1 - smoothed) * F.logsigmoid(-logits)).sum(1)
    return mean_over_labelled(losses, targets, ignore_index, sample_weights)
