"""What must not change the loss: order, size of the batch, constants, what is ignored, how pixels are laid out."""

from __future__ import annotations

from dataclasses import replace

import torch

from lossbench.conformance.batch import N, differs, disagreement, one_hot, value, value_and_gradient
from lossbench.conformance.result import Outcome, does_not_apply, fails, holds, note
from lossbench.conformance.subject import FORMS, Subject
from lossbench.errors import LossbenchError, ShapeError
from lossbench.losses import cross_entropy

ORDER = [3, 1, 5, 0, 4, 2]
LEFT_OUT = [1, 4]
KEPT = [0, 2, 3, 5]


def order_of_examples(subject: Subject) -> Outcome:
    """The order of the examples does not matter."""
    for batch in subject.batches():
        shuffled, straight = value(subject.loss(), batch.at(ORDER)), value(subject.loss(), batch)
        if differs(shuffled, straight):
            return fails(f"{straight.item():.6g} in one order, {shuffled.item():.6g} in another")
    return holds()


def constant_added(subject: Subject) -> Outcome:
    """A constant added to all logits of an example changes nothing."""
    if not subject.claims.shift_invariant:
        return does_not_apply("not claimed (shift_invariant)")
    for batch in subject.batches():
        constants = torch.arange(1.0, N + 1).to(batch.logits).reshape(N, *(1 for _ in batch.logits.shape[1:]))
        shifted = value(subject.loss(), replace(batch, logits=batch.logits + constants))
        if differs(shifted, value(subject.loss(), batch)):
            return fails(f"{value(subject.loss(), batch).item():.6g} became {shifted.item():.6g}")
    return holds()


def mean_scale(subject: Subject) -> Outcome:
    """A batch beside its copy has the same loss, so that one learning rate suits any batch size."""
    for batch in subject.batches():
        once, twice = value(subject.loss(), batch), value(subject.loss(), batch.at([*range(N)] * 2))
        # A constant that smooths a quotient, such as Dice's 1e-5, weighs half as much in twice the batch.
        if differs(twice, once, rtol=1e-4):
            return fails(f"{once.item():.6g} once, {twice.item():.6g} twice")
    return holds()


def mean_of_examples(subject: Subject) -> Outcome:
    """The loss of a batch is the mean of its examples' losses."""
    if not subject.claims.mean_of_examples:
        return does_not_apply("not claimed (mean_of_examples)")
    if subject.hyperparameters.get("class_weights") is not None:
        return does_not_apply("class weights make it a weighted mean")
    for batch in subject.batches():
        batch = batch.weighted(None)
        alone = torch.stack([value(subject.loss(), batch.at([i])) for i in range(N)]).mean()
        together = value(subject.loss(), batch)
        if differs(together, alone):
            return fails(f"{together.item():.6g} together, {alone.item():.6g} on average alone")
    return holds()


def ignored_targets(subject: Subject) -> Outcome:
    """Ignored targets count as if they were absent, and get no gradient."""
    ignore_index = subject.hyperparameters.get("ignore_index")
    if ignore_index is None:
        return does_not_apply("it takes no ignore_index")
    for batch in subject.batches():
        targets = batch.targets.clone()
        targets[LEFT_OUT] = ignore_index
        marked = replace(batch, targets=targets)
        result, gradient = value_and_gradient(subject.loss(), marked)
        if gradient[LEFT_OUT].any():
            return fails("there is a gradient at ignored targets")
        wrong = disagreement((result, gradient[KEPT]), value_and_gradient(subject.loss(), marked.at(KEPT)))
        if wrong:
            return fails(f"beside ignored targets {wrong}")
    return holds()


def all_ignored(subject: Subject) -> Outcome:
    """Where all targets are ignored the loss is finite and the gradient zero."""
    ignore_index = subject.hyperparameters.get("ignore_index")
    if ignore_index is None:
        return does_not_apply("it takes no ignore_index")
    for batch in subject.batches():
        nothing = replace(batch, targets=torch.full_like(batch.targets, ignore_index))
        result, gradient = value_and_gradient(subject.loss(), nothing)
        if not result.isfinite():
            return fails(f"the loss is {result.item()}")
        if gradient.any():
            return fails("the gradient is not zero")
    return holds()


def sample_weights(subject: Subject) -> Outcome:
    """An example of weight 0 counts as absent, one of weight 2 as two."""
    if "sample_weights" not in subject.extras:
        return does_not_apply("it takes no sample_weights")
    for batch in subject.batches():
        weights = [0.0 if i in LEFT_OUT else 1.0 for i in range(N)]
        result, gradient = value_and_gradient(subject.loss(), batch.weighted(weights))
        plain = batch.weighted([1.0] * N)
        wrong = disagreement((result, gradient[KEPT]), value_and_gradient(subject.loss(), plain.at(KEPT)))
        if wrong or gradient[LEFT_OUT].any():
            return fails(f"weight 0: {wrong or 'there is a gradient at such examples'}")
        double = value(subject.loss(), batch.weighted([2.0] + [1.0] * (N - 1)))
        repeated = value(subject.loss(), plain.at([0, *range(N)]))
        if differs(double, repeated):
            return fails(f"weight 2: {double.item():.6g} instead of {repeated.item():.6g}")
    return holds()


def pixels(subject: Subject) -> Outcome:
    """Logits [N, K, H, W] give what their pixels give as examples, [N·H·W, K]."""
    if subject.hyperparameters.get("over") == "example":
        return does_not_apply("over=example keeps each example's pixels apart")
    batch = subject.batch(FORMS[1])
    ignore_index = subject.hyperparameters.get("ignore_index")
    if ignore_index is not None:
        batch.targets[0, 0, 0] = ignore_index  # one pixel of an example, which counts otherwise
    try:
        laid_out = value(subject.loss(), batch)
        in_a_row = value(subject.loss(), batch.flattened())
    except ShapeError as error:
        return does_not_apply(f"refused ({error})")
    if differs(laid_out, in_a_row):
        return fails(f"{laid_out.item():.6g} instead of {in_a_row.item():.6g}")
    return holds()


def soft_targets(subject: Subject) -> Outcome:
    """One-hot probabilities as targets give what class indices give."""
    for batch in subject.batches():
        soft = replace(batch, targets=one_hot(batch.targets, batch.logits))
        if not subject.claims.soft_targets:
            try:
                value(subject.loss(), soft)
            except ShapeError as error:
                return does_not_apply(f"refused ({error})")
            return does_not_apply("not claimed (soft_targets)")
        wrong = disagreement(value_and_gradient(subject.loss(), soft), value_and_gradient(subject.loss(), batch))
        if wrong:
            return fails(wrong)
    return holds()


def targets_that_do_not_sum_to_one(subject: Subject) -> Outcome:
    """Probabilities that sum to ½ give an error or a finite value."""
    if not subject.claims.soft_targets:
        return does_not_apply("soft targets are not claimed")
    batch = subject.batch()
    halved = replace(batch, targets=one_hot(batch.targets, batch.logits) / 2)
    try:
        result, gradient = value_and_gradient(subject.loss(), halved)
    except (LossbenchError, ValueError) as error:
        return holds(f"refused ({error})")
    if not (result.isfinite() and gradient.isfinite().all()):
        return fails(f"the loss is {result.item()}, its gradient not finite")
    return note(f"taken as they are: {result.item():.4g}, and {value(subject.loss(), batch).item():.4g} at a sum of 1")


def identity(subject: Subject) -> Outcome:
    """The loss is cross-entropy where it claims to be."""
    at = subject.claims.cross_entropy_at
    if not at:
        return does_not_apply("none claimed (cross_entropy_at)")
    batch = subject.batch().weighted(None)
    wrong = disagreement(
        value_and_gradient(subject.cross_entropy(), batch),
        value_and_gradient(lambda logits, targets, **_: cross_entropy(logits, targets), batch),
    )
    where = ", ".join(f"{name}={number:g}" for name, number in at.items())
    return fails(f"at {where} {wrong}") if wrong else holds(f"at {where}")
