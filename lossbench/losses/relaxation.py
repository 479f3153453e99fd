"""Label relaxation: any distribution that is sure enough of the label will do."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.domains import BELOW_ONE
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.targets import at_least_float32, at_target, mean_over_labelled


@claim(shift_invariant=True, cross_entropy_at={"alpha": 0.0}, mean_of_examples=True)
def label_relaxation(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: Annotated[float | Tensor, BELOW_ONE] = 0.1,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Distance from the nearest distribution that gives the label at least 1 - α.

        loss_i = 0 where p_iy ≥ 1 - α, else KL(q_i ‖ p_i)
        q_iy   = 1 - α,   q_ik = α · p_ik / Σ_{j≠y} p_ij

    Because q shares α in the proportions of p, the divergence depends on p_y alone:
    KL = (1 - α) log ((1 - α) / p_y) + α log (α / (1 - p_y)).

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W].
        alpha: α in [0, 1); 0 is cross-entropy.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree, or the targets are probabilities.

    Source: Lienen and Hüllermeier 2021, "From Label Smoothing to Label Relaxation", eq. 6 and 7.
    """
    check_shapes(logits, targets, soft=False)
    log_p = at_target(F.log_softmax(at_least_float32(logits), dim=1), targets, ignore_index)
    alpha = torch.as_tensor(alpha, dtype=log_p.dtype, device=log_p.device)
    # Outside the set 1 - p_y > α, so that the clamp shows only at α = 0, where the term has no weight.
    log_rest = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).eps).log()
    entropy = torch.special.entr(alpha) + torch.special.entr(1 - alpha)
    divergence = -(1 - alpha) * log_p - alpha * log_rest - entropy
    losses = divergence.masked_fill(log_p.exp() >= 1 - alpha, 0.0)  # which nan is not
    return mean_over_labelled(losses, targets, ignore_index, sample_weights)
