"""Losses for training splits where some classes are rare: larger margins for these, smaller for the others."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from lossbench.domains import NON_NEGATIVE, POSITIVE
from lossbench.losses.checks import check_shapes, per_class
from lossbench.losses.claims import claim
from lossbench.losses.inplace import add_at, plus
from lossbench.losses.link import link
from lossbench.losses.log_probs import falls
from lossbench.losses.softmax import Softmax
from lossbench.losses.targets import at_least_float32, at_target, mean_with_gradient


@claim(shift_invariant=True, cross_entropy_at={"tau": 0.0}, soft_targets=True, mean_of_examples=True)
def logit_adjusted(
    logits: Tensor,
    targets: Tensor,
    *,
    class_counts: Tensor,
    tau: Annotated[float | Tensor, NON_NEGATIVE] = 1.0,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy of logits to which the classes' log-frequencies are added.

        loss_i = -log softmax(z_i + τ log π)_y,   π_k = n_k / Σ_j n_j

    The model learns the log-odds that the frequencies do not explain, and is evaluated on plain z: as if all classes
    were equally frequent.

    Args:
        logits: z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        class_counts: n, examples (or pixels) per class in the training split, [K]. An empty class counts as 1.
        tau: τ ≥ 0; 0 is cross-entropy.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree, or there are not K counts.

    Source: Menon et al. 2021, "Long-tail learning via logit adjustment", eq. 10.
    """
    check_shapes(logits, targets)
    logits = at_least_float32(logits)
    # Counts in the place of frequencies differ by τ log N in every class, which softmax does not see.
    added = (tau * _counts(class_counts, logits).log()).unsqueeze(0)
    return mean_with_gradient(_adjusted, logits, targets, ignore_index, sample_weights, added)


def _adjusted(logits: Tensor, weights: Tensor, targets: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
    softmax = Softmax(plus(falls(logits), added))
    return -weights * softmax.log_probs_of(targets), softmax.less_targets(targets, weights)


@claim(shift_invariant=True, soft_targets=True, mean_of_examples=True)
def balanced_softmax(
    logits: Tensor,
    targets: Tensor,
    *,
    class_counts: Tensor,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy of a softmax whose terms are weighed by the classes' counts.

        loss_i = -log (n_y exp z_iy / Σ_k n_k exp z_ik)

    The same as `logit_adjusted` at τ = 1, found independently. The model is evaluated on plain z.

    Args:
        logits: z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        class_counts: n, examples (or pixels) per class in the training split, [K]. An empty class counts as 1.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum. Probabilities are never ignored.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree, or there are not K counts.

    Source: Ren et al. 2020, "Balanced Meta-Softmax for Long-Tailed Visual Recognition", eq. 4.
    """
    return logit_adjusted(
        logits, targets, class_counts=class_counts, sample_weights=sample_weights, ignore_index=ignore_index
    )


@link("softmax")
@claim(shift_invariant=True, cross_entropy_at={"max_margin": 0.0, "scale": 1.0}, mean_of_examples=True)
def ldam(
    logits: Tensor,
    targets: Tensor,
    *,
    class_counts: Tensor,
    max_margin: Annotated[float | Tensor, NON_NEGATIVE] = 0.5,
    scale: Annotated[float | Tensor, POSITIVE] = 30.0,
    sample_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Cross-entropy with a margin that is larger for rarer classes (label-distribution-aware margin).

        loss_i = -log softmax(s (z_i - m_y δ_y))_y,   m_k = m_max · (min_j n_j / n_k)^¼

    The paper's model normalises features and weights, so that z are cosines in [-1, 1] and s = 30 brings them to the
    range of logits. Under a plain linear layer s makes the gradient s times larger; the scale audit shows it. The model
    is evaluated through softmax(s z), without the margin: that belongs to a label nobody knows by then.

    Args:
        logits: z, float [N, K] or [N, K, H, W].
        targets: class indices in 0..K-1, int64 [N] or [N, H, W].
        class_counts: n, examples (or pixels) per class in the training split, [K]. An empty class counts as 1.
        max_margin: m_max ≥ 0, the margin of the rarest class.
        scale: s > 0.
        sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1.
        ignore_index: positions with this class index count in neither sum.

    Returns:
        Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

    Raises:
        ShapeError: if shapes or dtypes disagree, the targets are probabilities, or there are not K counts.

    Source: Cao et al. 2019, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", eq. 13 and 14.
    """
    check_shapes(logits, targets, soft=False)
    logits = at_least_float32(logits)
    counts = _counts(class_counts, logits)
    margins = max_margin * (counts.amin() / counts) ** 0.25
    margins = at_target(margins.expand_as(logits), targets, ignore_index).unsqueeze(1)
    return mean_with_gradient(_with_margins, logits, targets, ignore_index, sample_weights, margins, scale)


def _with_margins(
    logits: Tensor, weights: Tensor, labels: Tensor, margins: Tensor, scale: float | Tensor
) -> tuple[Tensor, Tensor]:
    softmax = Softmax(add_at(falls(logits), labels, -margins), 1 / scale)
    return -weights * softmax.log_probs_of(labels), softmax.less_targets(labels, scale * weights)


def _counts(class_counts: Tensor, logits: Tensor) -> Tensor:
    """Lay the counts along the class axis; an empty class as 1, for log 0 and 1/0 would make the loss infinite."""
    return per_class("class_counts", torch.as_tensor(class_counts).clamp(min=1), logits)
