"""The scale audit: is one learning rate fair to this loss and to cross-entropy?"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from lossbench.conformance.batch import Batch, teacher_logits, value_and_gradient
from lossbench.conformance.result import Outcome, does_not_apply, fails, note
from lossbench.conformance.subject import FORMS, Subject, dataset_of
from lossbench.data.bundled import digits
from lossbench.losses import cross_entropy
from lossbench.models import mlp
from lossbench.randomness import stream

BATCH = 256
FAIR = 3.0  # ratios from 1/3 to 3 are within what a learning rate is usually searched over


def scale_audit(subject: Subject) -> Outcome:
    """The gradient at initialisation has cross-entropy's size (mlp on digits, its last layer's weights)."""
    num_classes = subject.fixed_classes or 10
    if num_classes > 10 or FORMS[0] not in subject.forms:
        return does_not_apply("digits has 10 classes and no pixels to label")
    hidden, logits, targets = _at_initialisation()
    few = targets < num_classes
    logits, targets, hidden = logits[few][:, :num_classes], targets[few], hidden[few]
    drawn = {"teacher_logits": teacher_logits(logits, targets, torch.Generator().manual_seed(0))}
    extras = {name: drawn[name] for name in subject.extras if name in drawn}  # all examples weigh the same
    loss = subject.loss(dataset=dataset_of(targets, num_classes))
    reference = _norm(cross_entropy, Batch(logits, targets), hidden)
    ratio = _norm(loss, subject.fitted(Batch(logits, targets, extras)), hidden) / reference
    if not 0 < ratio < math.inf:
        return fails(f"the gradient is {ratio:g} × cross-entropy's")
    if 1 / FAIR <= ratio <= FAIR:
        return note(f"{ratio:.3g} × cross-entropy's")
    return note(
        f"{ratio:.3g} × cross-entropy's; one learning rate is not fair to both: try ×{1 / ratio:.2g} for this loss"
    )


@functools.cache
def _at_initialisation() -> tuple[Tensor, Tensor, Tensor]:
    """The last hidden layer [B, 128], the logits [B, 10] and the labels [B] of a batch before any training."""
    examples = digits().train.select(torch.arange(BATCH))
    inputs = (examples.resident - examples.resident.mean()) / examples.resident.std()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(0, "init"))
        model = mlp(tuple(inputs.shape[1:]), 10)
    with torch.no_grad():
        hidden = model[:-1](inputs)
        logits = model[-1](hidden)
    return hidden, logits, examples.targets


def _norm(loss: Callable[..., Tensor], batch: Batch, hidden: Tensor) -> float:
    """Return the norm of the gradient of weights and biases in logits = hidden · Wᵀ + b."""
    _, gradient = value_and_gradient(loss, batch)
    return float(torch.cat([gradient.T @ hidden, gradient.sum(0).unsqueeze(1)], dim=1).norm())
