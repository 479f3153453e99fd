"""A number comes out, whatever goes in, and its gradient is one too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from lossbench.conformance.batch import Batch, differs, value, value_and_gradient
from lossbench.conformance.result import Outcome, does_not_apply, fails, holds, note
from lossbench.conformance.subject import Subject

MANY = 1000


def finite_scalar(subject: Subject) -> Outcome:
    """The loss of a batch is one finite number with a finite gradient."""
    for batch in subject.batches():
        result = value(subject.loss(), batch)
        if not isinstance(result, Tensor) or result.shape != ():
            came = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
            return fails(f"expected a scalar tensor; got {came}")
        wrong = _not_finite(subject.loss(), batch)
        if wrong:
            return fails(wrong)
    return holds()


def repeats(subject: Subject) -> Outcome:
    """The same batch gives the same loss each time."""
    for batch in subject.batches():
        first, again = value(subject.loss(), batch), value(subject.loss(), batch)
        if differs(again, first):
            seen = f"{first.item():.6g}, then {again.item():.6g}"
            return note(f"{seen}: it draws random numbers, and what compares two losses below compares two draws")
    return holds()


def single_precision(subject: Subject) -> Outcome:
    """float32 logits give a float32 loss, near that of float64."""
    for batch in subject.batches():
        single, double = value(subject.loss(), batch.to(torch.float32)), value(subject.loss(), batch)
        if single.dtype != torch.float32:
            return fails(f"got {_dtype(single)}")
        if differs(single.double(), double, rtol=1e-4):
            return fails(f"{single.item():.6g} instead of {double.item():.6g}")
    return holds()


def extreme_logits(subject: Subject) -> Outcome:
    """Loss and gradient are finite at logits of ±10,000, in float32 and float64."""
    for batch in subject.batches():
        for dtype in (torch.float32, torch.float64):
            wrong = _not_finite(subject.loss(), _extreme(batch).to(dtype))
            if wrong:
                return fails(f"{wrong} in {str(dtype).removeprefix('torch.')}")
    return holds()


def nan_shows(subject: Subject) -> Outcome:
    """The loss is not finite where a logit is nan: a training that has diverged ends."""
    for batch in subject.batches():
        logits = batch.logits.clone()
        logits[0, -1] = torch.nan
        result = value(subject.loss(), replace(batch, logits=logits))
        if result.isfinite():
            return fails(f"{result.item():.6g}")
    return holds()


def one_class_present(subject: Subject) -> Outcome:
    """Loss and gradient are finite where all targets are of one class."""
    for batch in subject.batches():
        wrong = _not_finite(subject.loss(), replace(batch, targets=torch.zeros_like(batch.targets)))
        if wrong:
            return fails(wrong)
    return holds()


def one_example(subject: Subject) -> Outcome:
    """Loss and gradient are finite for a batch of one example."""
    for batch in subject.batches():
        wrong = _not_finite(subject.loss(), batch.at([0]))
        if wrong:
            return fails(wrong)
    return holds()


def many_classes(subject: Subject) -> Outcome:
    """Loss and gradient are finite for 1,000 classes."""
    if subject.fixed_classes:
        return does_not_apply(f"a hyperparameter has numbers for {subject.fixed_classes} classes")
    wrong = _not_finite(subject.loss(MANY), subject.batch(num_classes=MANY, dtype=torch.float32))
    return fails(wrong) if wrong else holds()


def gradient_of_finite_differences(subject: Subject) -> Outcome:
    """The gradient is that of finite differences in float64 (torch.autograd.gradcheck)."""
    for batch in subject.batches():
        try:
            gradcheck(_of_logits(subject.loss(), batch), batch.logits.requires_grad_())
        except GradcheckError as error:
            return fails(str(error).splitlines()[0].rstrip(",:."))
    return holds()


def autocast(subject: Subject) -> Outcome:
    """Under bf16 autocast the loss is finite, near the float32 value and not in half precision."""
    for batch in subject.batches():
        half = batch.to(torch.bfloat16)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result, gradient = value_and_gradient(subject.loss(), half)
        if torch.finfo(result.dtype).bits < 32:
            return fails(f"got {_dtype(result)}")
        if not (result.isfinite() and gradient.isfinite().all()):
            return fails("loss or gradient is not finite")
        # The same rounded logits in float32. 1 % is what a product or two in bf16 costs.
        expected = value(subject.loss(), half.to(torch.float32))
        if differs(result.float(), expected.float(), rtol=1e-2):
            return fails(f"{result.item():.6g} instead of {expected.item():.6g}")
    return holds()


def _of_logits(loss: Callable[..., Tensor], batch: Batch) -> Callable[[Tensor], Tensor]:
    return lambda logits: value(loss, replace(batch, logits=logits))


def _extreme(batch: Batch) -> Batch:
    return replace(batch, logits=1e4 * batch.logits.sign())


def _not_finite(loss: Callable[..., Tensor], batch: Batch) -> str:
    """Say what is not finite; empty where all is."""
    result, gradient = value_and_gradient(loss, batch)
    if not result.isfinite():
        return f"the loss is {result.item()}"
    return "" if gradient.isfinite().all() else "the gradient has nan or infinity"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
