"""Online label smoothing: the model's own predictions of the epoch before are the soft labels of this one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn

from lossbench.domains import UNIT
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.inplace import plus_product, times
from lossbench.losses.parts import in_parts, sum_with_gradient
from lossbench.losses.powers import NATS
from lossbench.losses.softmax import Softmax
from lossbench.losses.targets import at_least_float32, is_labelled, parts_of_mean, with_any_label

Note = Callable[[Softmax, Tensor, Tensor], None]  # of a softmax, labels and which are correct


@claim(shift_invariant=True, cross_entropy_at={"alpha": 1.0}, mean_of_examples=True)
class OnlineLabelSmoothing(nn.Module):
    """Cross-entropy to the label mixed with cross-entropy to what the model says of its class on average.

        loss_i = -α log p_iy - (1 - α) Σ_k S_yk log p_ik

    S_y is the mean p of the examples of class y that were classified correctly in the epoch before; uniform in the
    first epoch, and for a class of which none was.

    In training mode `forward` adds to what the next epoch uses, and `end_epoch` must be called after each epoch. Under
    activation checkpointing, which calls `forward` twice, each batch counts twice.
    S and the running sums are buffers: a checkpoint that is to go on bit for bit keeps this module's state dict.

    Source: Zhang et al. 2021, "Delving Deep into Label Smoothing", eq. 4 to 8. The authors' code has S = 0 in the first
    epoch, which leaves α · cross-entropy there: half the learning rate for one epoch.
    """

    soft_labels: Tensor  # S, [K, K], a row per class
    sums: Tensor  # Σ p over this epoch's correct examples of each class, [K, K]
    counts: Tensor  # how many they are, [K]

    def __init__(
        self, num_classes: int, *, alpha: Annotated[float | Tensor, UNIT] = 0.5, ignore_index: int = -100
    ) -> None:
        """Start with uniform soft labels.

        Args:
            num_classes: K.
            alpha: α in [0, 1], the label's share; 1 is cross-entropy.
            ignore_index: positions with this class index count nowhere.
        """
        super().__init__()
        self.alpha = alpha
        self.ignore_index = ignore_index
        self.register_buffer("soft_labels", torch.full((num_classes, num_classes), 1 / num_classes))
        self.register_buffer("sums", torch.zeros(num_classes, num_classes))
        self.register_buffer("counts", torch.zeros(num_classes))

    def forward(self, logits: Tensor, targets: Tensor, *, sample_weights: Tensor | None = None) -> Tensor:
        """Compute the loss of a batch and, in training mode, note its correct predictions.

        Args:
            logits: unnormalised log-probabilities z, float [N, K] or [N, K, H, W].
            targets: class indices in 0..K-1, int64 [N] or [N, H, W].
            sample_weights: s ≥ 0, float [N] or [N, H, W]; None is all 1. What is noted is not weighed.

        Returns:
            Weighted mean loss in nats, scalar; 0 with zero gradient where all is ignored or weighs nothing.

        Raises:
            ShapeError: if shapes or dtypes disagree, or the targets are probabilities.
        """
        check_shapes(logits, targets, soft=False)
        logits = at_least_float32(logits)
        mixed = (1 - self.alpha) * self.soft_labels.to(logits)
        mixed.diagonal().add_(self.alpha)
        weights = parts_of_mean(logits, targets, self.ignore_index, sample_weights)
        labelled = is_labelled(targets, self.ignore_index).unsqueeze(1)
        labels = with_any_label(targets, self.ignore_index).unsqueeze(1)
        compute = _Once(self._note) if self.training else partial(in_parts, _toward)
        amounts = mixed.sum(1)[labels]
        return sum_with_gradient(compute, logits, weights, amounts, labels, labelled, mixed.unsqueeze(0))

    def _note(self, softmax: Softmax, labels: Tensor, is_correct: Tensor) -> None:
        """Add up the predictions that are correct."""
        with torch.no_grad():
            probs = (softmax.powers * (is_correct / softmax.total)).movedim(1, -1).flatten(0, -2)
            self.sums.index_add_(0, labels.flatten(), probs.to(self.sums))
            self.counts.index_add_(0, labels.flatten(), is_correct.flatten().to(self.counts))

    def end_epoch(self) -> None:
        """Make this epoch's mean predictions the next one's soft labels."""
        counts = self.counts.unsqueeze(1)
        means = self.sums / counts.clamp(min=1)
        self.soft_labels.copy_(torch.where(counts > 0, means, 1 / len(means)))
        self.sums.zero_()
        self.counts.zero_()


class _Once:
    """Computes as often as it is asked, and notes what the model says the first time alone."""

    def __init__(self, note: Note) -> None:
        self.note: Note | None = note

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        note, self.note = self.note, None
        return in_parts(_toward, *inputs, note)


def _toward(
    logits: Tensor,
    weights: Tensor,
    amounts: Tensor,
    labels: Tensor,
    labelled: Tensor,
    mixed: Tensor,
    note: Note | None = None,
) -> tuple[Tensor, ...]:
    """Return -Σ_k q_k log p_k of each position times its weight, and its derivative by z; q is its label's row."""
    goal = mixed[0].index_select(0, labels.flatten()).unflatten(0, labels.squeeze(1).shape).movedim(-1, 1)
    softmax = Softmax(logits)
    losses = amounts * softmax.total.log() - NATS * times(softmax.fall, goal).sum(1, keepdim=True)
    if note is not None:
        note(softmax, labels, (logits.gather(1, labels) >= softmax.largest) & labelled)
    derivative = times(softmax.powers, weights * amounts / softmax.total)
    return weights * losses, plus_product(derivative, goal, -weights)
