"""Cross-entropy plus a calibration error that can be differentiated."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from lossbench.domains import NON_NEGATIVE
from lossbench.losses.checks import check_shapes, per_position
from lossbench.losses.claims import claim
from lossbench.losses.inplace import add_at, plus_product, times
from lossbench.losses.parts import in_parts, of_as_many
from lossbench.losses.softmax import Softmax
from lossbench.losses.targets import at_least_float32, is_labelled, weighted_mean, with_any_label

KERNEL_WIDTH = 0.4


@claim(shift_invariant=True, cross_entropy_at={"weight": 0.0})
def mmce(
    logits: Tensor,
    targets: Tensor,
    *,
    weight: Annotated[float | Tensor, NON_NEGATIVE] = 2.0,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy plus the maximum mean calibration error of the batch.

        loss = mean_i(-log p_iy) + λ · sqrt(Σ_ij (c_i - r_i)(c_j - r_j) exp(-|r_i - r_j| / 0.4) / B²)

    r_i = max_k p_ik is the confidence, c_i whether the prediction is correct, B the number of positions that are not
    ignored. The double sum takes O(B log B): in the order of r the kernel factors into exp(-r_i/0.4) · exp(r_j/0.4).

    Args:
        logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W].
        weight: λ ≥ 0; 0 is cross-entropy.
        sample_weights: s ≥ 0, float [N] or [N, H, W], which weigh each c_i - r_i and its share of B too; None is
            all 1.
        ignore_index: positions with this class index are left out of every sum.

    Returns:
        Nats plus λ times an error in [0, 1], scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree, or the targets are probabilities.

    Source: Kumar et al. 2018, "Trainable Calibration Measures for Neural Networks from Kernel Mean Embeddings", eq. 5,
    MMCE_m. λ = 2 is Mukhoti et al. 2020's; the authors' own code for 20 Newsgroups has 4, of the reweighted MMCE_w.
    """
    check_shapes(logits, targets, soft=False)
    logits, labels = at_least_float32(logits), with_any_label(targets, ignore_index).unsqueeze(1)
    of_target, highest = (log_p.squeeze(1) for log_p in _LogProbs.apply(logits, labels))
    weights = is_labelled(targets, ignore_index).to(logits.dtype)
    if sample_weights is not None:
        weights = weights * per_position(sample_weights, weights)

    confidence = highest.exp()
    is_correct = (of_target == highest).to(weights.dtype)
    residuals = (weights * (is_correct - confidence)).flatten()
    total = weights.sum()
    squared = _kernel_sum(residuals, confidence.flatten()) / total.where(total > 0, 1.0).square()
    # The gradient of a root is infinite at 0, which is where nothing is left to correct.
    is_positive = squared > 0
    error = torch.where(is_positive, squared.where(is_positive, 1.0).sqrt(), 0.0)
    return weighted_mean(-of_target, weights) + weight * error


class _LogProbs(torch.autograd.Function):
    """log p of the label and of the largest class, [N, 1] or [N, 1, H, W], from z and labels of that shape.

    The backward pass computes p again: that takes less time than to fetch it from memory.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return of_as_many(*in_parts(_log_probs, logits, labels))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, of_label: Tensor, of_largest: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = in_parts(_gradient, *ctx.saved_tensors, of_label, of_largest)
        return gradient, None


def _log_probs(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    softmax = Softmax(logits)
    return softmax.log_probs_of(labels), -softmax.total.log()


def _gradient(logits: Tensor, labels: Tensor, of_label: Tensor, of_largest: Tensor) -> tuple[Tensor, ...]:
    softmax = Softmax(logits)
    is_largest = softmax.is_largest()
    derivative = times(softmax.powers, -(of_label + of_largest) / softmax.total)
    derivative = plus_product(
        derivative, is_largest, of_largest / is_largest.sum(1, keepdim=True)
    )  # equal ones share it
    return (add_at(derivative, labels, of_label),)


def _kernel_sum(residuals: Tensor, confidence: Tensor) -> Tensor:
    """Σ_ij a_i a_j exp(-|r_i - r_j| / 0.4), each pair once and twice over."""
    confidence, order = confidence.sort()
    residuals = residuals[order]
    growing = residuals * (confidence / KERNEL_WIDTH).exp()  # at most e^2.5, since r ≤ 1
    lower = growing.cumsum(0) - growing  # Σ_{j<i}
    pairs = residuals * (-confidence / KERNEL_WIDTH).exp() * lower
    return residuals.square().sum() + 2 * pairs.sum()
