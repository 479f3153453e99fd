"""Losses: pure functions `loss(logits, targets, *, hyperparameters…, **extras) -> scalar`.

All are on a mean scale, per example or per pixel. The extras `teacher_logits`, `sample_weights`, `features`, `epoch`
and `class_counts` are declared by those that need them. `OnlineLabelSmoothing` alone is a module: it has a memory.
"""

from lossbench.losses.binary import binary_cross_entropy
from lossbench.losses.cross_entropy import cross_entropy
from lossbench.losses.decoupled import decoupled_distillation
from lossbench.losses.distillation import distillation, logit_matching, self_distillation, virtual_teacher
from lossbench.losses.focal import dual_focal, flsd, focal
from lossbench.losses.incremental import incremental_distillation
from lossbench.losses.logit_norm import logit_norm
from lossbench.losses.long_tail import balanced_softmax, ldam, logit_adjusted
from lossbench.losses.lovasz import lovasz_softmax
from lossbench.losses.mmce import mmce
from lossbench.losses.online_smoothing import OnlineLabelSmoothing
from lossbench.losses.overlap import dice, dice_cross_entropy, generalized_dice, log_cosh_dice
from lossbench.losses.regularised import confidence_penalty, margin_smoothing, max_suppression, poly1
from lossbench.losses.relaxation import label_relaxation
from lossbench.losses.robust import bi_tempered, generalized_cross_entropy, symmetric_cross_entropy
from lossbench.losses.squared import brier, squared_error
from lossbench.losses.tversky import focal_tversky, tversky
from lossbench.losses.weighted_sum import weighted_sum

__all__ = [
    "OnlineLabelSmoothing",
    "balanced_softmax",
    "bi_tempered",
    "binary_cross_entropy",
    "brier",
    "confidence_penalty",
    "cross_entropy",
    "decoupled_distillation",
    "dice",
    "dice_cross_entropy",
    "distillation",
    "dual_focal",
    "flsd",
    "focal",
    "focal_tversky",
    "generalized_cross_entropy",
    "generalized_dice",
    "incremental_distillation",
    "label_relaxation",
    "ldam",
    "log_cosh_dice",
    "logit_adjusted",
    "logit_matching",
    "logit_norm",
    "lovasz_softmax",
    "margin_smoothing",
    "max_suppression",
    "mmce",
    "poly1",
    "self_distillation",
    "squared_error",
    "symmetric_cross_entropy",
    "tversky",
    "virtual_teacher",
    "weighted_sum",
]
