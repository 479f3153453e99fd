"""Cross-entropy of the direction of the logits."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from lossbench.domains import POSITIVE
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.inplace import plus_product
from lossbench.losses.link import link
from lossbench.losses.powers import NATS
from lossbench.losses.softmax import Softmax
from lossbench.losses.targets import at_least_float32, mean_with_gradient

LEAST_NORM = 1e-7


@link("normalized")
@claim(soft_targets=True, mean_of_examples=True)
def logit_norm(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: Annotated[float | Tensor, POSITIVE] = 0.04,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy of logits divided by their norm.

        loss_i = -log softmax(z_i / (τ ‖z_i‖))_y

    1e-7 is added to the norm, as in the authors' code: the gradient stays finite at z = 0. The size of z is of no
    account, so the model is evaluated through the same link, `lossbench.links.normalized`.

    Args:
        logits: z, float [N, K] or [N, K, H, W]; the norm is over the classes.
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        temperature: τ > 0; p_y cannot exceed 1 / (1 + (K-1) exp(-√(K/(K-1)) / τ)). 0.04 is the paper's for CIFAR-10.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree.

    Source: Wei et al. 2022, "Mitigating Neural Network Overconfidence with Logit Normalization", eq. 4.
    """
    check_shapes(logits, targets)
    logits = at_least_float32(logits)
    return mean_with_gradient(_of_direction, logits, targets, ignore_index, sample_weights, temperature)


def _of_direction(
    logits: Tensor, weights: Tensor, targets: Tensor, temperature: float | Tensor
) -> tuple[Tensor, Tensor]:
    length = torch.linalg.vector_norm(logits, dim=1, keepdim=True)
    norm = length + LEAST_NORM
    softmax = Softmax(logits, temperature * norm)
    losses = -weights * softmax.log_probs_of(targets)
    # As if the norm did not change with z, and then what of it lies along z, which changes the norm alone. It sums to
    # 0, so that what all logits have in common is of no account.
    derivative = softmax.less_targets(targets, weights / softmax.temperature)
    along = NATS * temperature * (derivative * softmax.fall).sum(1, keepdim=True)
    # Below this the squares of logits would be 0, and what lies along z is 1e-12 of the rest.
    least = torch.finfo(length.dtype).tiny ** 0.5
    return losses, plus_product(derivative, logits, -along / length.clamp(min=least))
