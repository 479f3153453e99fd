"""Losses: pure functions `loss(logits, targets, *, hyperparameters…, **extras) -> scalar`.

All are on a mean scale, per example or per pixel. The extras `teacher_logits`, `sample_weights` and `features`
are declared by those that need them.
"""

from lossbench.losses.binary import binary_cross_entropy
from lossbench.losses.cross_entropy import cross_entropy
from lossbench.losses.distillation import distillation
from lossbench.losses.overlap import dice, dice_cross_entropy

__all__ = ["binary_cross_entropy", "cross_entropy", "dice", "dice_cross_entropy", "distillation"]
