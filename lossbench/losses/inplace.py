"""Arithmetic that may write its result over its first argument, which is not to be read again.

A fresh tensor as large as the logits costs a pass over memory that its result does not need. Where autograd or
`torch.func` would read what is written over, the result is a fresh tensor all the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lossbench.losses.powers import antilog, antilog_


def times(values: Tensor, factor: float | Tensor) -> Tensor:
    """Return values · factor; the values themselves where that is the number 1.

    Args:
        values: any shape.
        factor: a number, or what can be spread over the values.
    """
    if isinstance(factor, float) and factor == 1:
        return values
    return values.mul_(factor) if _may_write(values, factor) else values * factor


def plus(values: Tensor, other: float | Tensor) -> Tensor:
    """Return values + other.

    Args:
        values: any shape.
        other: a number, or what can be spread over the values.
    """
    return values.add_(other) if _may_write(values, other) else values + other


def minus(values: Tensor, other: Tensor) -> Tensor:
    """Return values - other.

    Args:
        values: any shape.
        other: what can be spread over the values.
    """
    return values.sub_(other) if _may_write(values, other) else values - other


def plus_product(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return values + first · second.

    Args:
        values: any shape.
        first: any shape; in a fresh tensor where it is not that of the values.
        second: what can be spread over `first`.
    """
    if values.shape == first.shape and _may_write(values, first, second):
        return values.addcmul_(first, second)
    return torch.addcmul(values, first, second)


def blended(values: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Return values + share · (other - values).

    Args:
        values: any shape.
        other: shaped like the values.
        share: shaped like the values.
    """
    if _may_write(values, other, share):
        return values.lerp_(other, share)
    return torch.lerp(values, other, share)


def at_least(values: Tensor, least: float) -> Tensor:
    """Return the larger of each value and a number; nan stays nan.

    Args:
        values: any shape.
        least: the number.
    """
    return values.clamp_(min=least) if _may_write(values) else values.clamp(min=least)


def at_most(values: Tensor, most: float) -> Tensor:
    """Return the smaller of each value and a number; nan stays nan.

    Args:
        values: any shape.
        most: the number.
    """
    return values.clamp_(max=most) if _may_write(values) else values.clamp(max=most)


def power(values: Tensor, exponent: int) -> Tensor:
    """Return values to the power of a whole number.

    Args:
        values: any shape.
        exponent: the number; 2 and 3 are products.
    """
    return values.pow_(exponent) if _may_write(values) else values.pow(exponent)


def sign(values: Tensor) -> Tensor:
    """Return -1, 0 or 1, the sign of each value.

    Args:
        values: any shape.
    """
    return values.sign_() if _may_write(values) else values.sign()


def raised(values: Tensor) -> Tensor:
    """Return exp(NATS · values), the power that the processor is quickest with.

    Args:
        values: any shape.
    """
    return antilog_(values) if _may_write(values) else antilog(values)


def divided(values: Tensor, divisor: Tensor) -> Tensor:
    """Return values / divisor.

    Args:
        values: any shape.
        divisor: what can be spread over the values.
    """
    return values.div_(divisor) if _may_write(values, divisor) else values / divisor


def reciprocal(values: Tensor) -> Tensor:
    """Return 1 / values.

    Args:
        values: any shape.
    """
    return values.reciprocal_() if _may_write(values) else values.reciprocal()


def equal(values: Tensor, other: Tensor) -> Tensor:
    """Return 1 where the values are the other's, 0 elsewhere.

    Args:
        values: any shape.
        other: what can be spread over the values.
    """
    # As numbers at once: as booleans, and then as numbers, it takes ten times as long.
    return values.eq_(other) if _may_write(values, other) else (values == other).to(values.dtype)


def add_at(values: Tensor, indices: Tensor, added: Tensor) -> Tensor:
    """Add a number per position to the value of one class each.

    Args:
        values: [N, K] or [N, K, H, W].
        indices: of the classes, int64 [N, 1] or [N, 1, H, W].
        added: what can be spread over the shape of the indices.
    """
    added = added.expand(indices.shape)
    if _may_write(values, indices, added):
        return values.scatter_add_(1, indices, added)
    return values.scatter_add(1, indices, added)


def put_at(values: Tensor, indices: Tensor, number: float) -> Tensor:
    """Put a number in the place of the value of one class each.

    Args:
        values: [N, K] or [N, K, H, W].
        indices: of the classes, int64 [N, 1] or [N, 1, H, W].
        number: what to put there.
    """
    return values.scatter_(1, indices, number) if _may_write(values, indices) else values.scatter(1, indices, number)


def has_memory(tensor: Tensor) -> bool:
    """Say whether it is a tensor of numbers, and not one that `torch.func` or `torch.compile` puts in their place."""
    return not torch.compiler.is_compiling() and _has_storage(tensor)


def _has_storage(tensor: Tensor) -> bool:
    try:
        tensor.untyped_storage()
    except NotImplementedError:
        return False
    return True


def _may_write(values: Tensor, *others: float | Tensor) -> bool:
    tensors = (values, *(other for other in others if isinstance(other, Tensor)))
    return not torch.is_grad_enabled() and all(has_memory(tensor) for tensor in tensors)
