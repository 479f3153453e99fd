"""Work on many positions done some at a time, so that what lies between its steps stays in the processor's cache."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lossbench.losses.inplace import has_memory, times

PART = 4 * 2**17  # numbers that each thread reads and writes at a time: two megabytes of float32


def in_parts(compute: Callable[..., tuple[Tensor, ...]], *inputs: Any) -> tuple[Tensor, ...]:
    """Return compute(*inputs), which computes each position from that position's inputs alone.

    A tensor of [4096, 1000] is larger than the cache, and each step of a formula would fetch it from memory and put
    what comes of it into fresh pages, which takes longer than most arithmetic. In parts that fit, only what `compute`
    is given and returns goes that way. On a GPU, under `torch.func` and where a graph is recorded, it is one call.

    Args:
        compute: called with the positions of a part; what it returns has them along the first axis, too.
        inputs: tensors of [N, …], which are cut, the first of which says how many parts there are; what else there is,
            such as numbers and None, is handed on.
    """
    like: Tensor = inputs[0]
    if like.device.type != "cpu" or torch.is_grad_enabled() or not has_memory(like):
        return compute(*inputs)
    is_cut = [isinstance(values, Tensor) and values.ndim > 0 and len(values) == len(like) for values in inputs]
    numbers = like.numel() + sum(values.numel() for values, cut in zip(inputs, is_cut, strict=True) if cut)
    positions = max(1, PART * torch.get_num_threads() * len(like) // max(numbers, 1))
    if positions > 16:  # 16 numbers of float32 are a line of the cache: each part starts one, however many classes
        positions -= positions % 16
    if len(like) < 2 * positions:
        return compute(*inputs)
    of_parts = (v.split(positions) if cut else itertools.repeat(v) for v, cut in zip(inputs, is_cut, strict=True))
    large: list[Tensor | None] = []  # what is as large as the logits, written where it is to be; small things wait
    small: list[list[Tensor]] = []
    for start, arguments in zip(range(0, len(like), positions), zip(*of_parts, strict=False), strict=False):
        parts = compute(*arguments)
        if not small:
            small = [[] for _ in parts]
            large = [None if _is_small(part) else part.new_empty(len(like), *part.shape[1:]) for part in parts]
        for whole, waiting, part in zip(large, small, parts, strict=True):
            if whole is None:
                waiting.append(part)
            else:
                whole[start : start + positions] = part
    return tuple(torch.cat(waiting) if whole is None else whole for whole, waiting in zip(large, small, strict=True))


def sum_with_gradient(
    compute: Callable[..., tuple[Tensor, ...]], logits: Tensor, weights: Tensor, *inputs: Any
) -> Tensor:
    """Return a sum over the positions whose gradient by the logits is computed along with it.

    What autograd would keep for the backward pass, several tensors as large as the logits, is one beside the inputs. It
    is the gradient already where nothing multiplies the sum.

    Args:
        compute: called as `compute(logits, weights, *inputs)`; returns two tensors, what is summed, [N, 1] or
            [N, 1, H, W], each times its weight, and the derivative of each by its logits, shaped like them, both by
            operations that autograd can differentiate, most of them `in_parts`.
        logits: float [N, K] or [N, K, H, W].
        weights: of the positions, [N] or [N, H, W], from `lossbench.losses.targets.parts_of_mean` where the sum is to
            be a mean; `compute` has them as [N, 1] or [N, 1, H, W].
        inputs: where a gradient is wanted by one of these or by the weights, autograd does it all.

    Returns:
        Scalar.
    """
    inputs = weights.unsqueeze(1), *inputs
    if torch.is_grad_enabled() and any(isinstance(values, Tensor) and values.requires_grad for values in inputs):
        return compute(logits, *inputs)[0].sum()
    # What was made in inference mode, a teacher's logits say, cannot be kept for a backward pass; a copy can.
    inputs = tuple(v.clone() if isinstance(v, Tensor) and has_memory(v) and v.is_inference() else v for v in inputs)
    numbers, _ = _WithGradient.apply(compute, logits, *inputs)
    total: Tensor = numbers.sum()
    return total


class _WithGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(compute: Callable[..., tuple[Tensor, ...]], logits: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
        return compute(logits, *inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)  # zeros for the derivative, which has no gradient, would be a pass over memory
        ctx.compute = inputs[0]
        ctx.others = [Tensor if isinstance(values, Tensor) else values for values in inputs[2:]]
        tensors = [values for values in inputs[1:] if isinstance(values, Tensor)]
        _, derivative = output
        ctx.mark_non_differentiable(derivative)
        # The first backward pass, mostly the only one, takes the derivative for the gradient: a new tensor of this size
        # costs as much as three passes over it. What `torch.func` computes with must be saved.
        ctx.derivative = derivative if has_memory(derivative) else None
        ctx.save_for_backward(*tensors, *([] if ctx.derivative is derivative else [derivative]))

    @staticmethod
    def backward(ctx: Any, of_numbers: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        if of_numbers is None:
            return None, None, *(None for _ in ctx.others)
        logits, *tensors = ctx.saved_tensors
        inputs = [tensors.pop(0) if values is Tensor else values for values in ctx.others]
        if any(ctx.needs_input_grad[2:]):  # which under `torch.func.vmap` is told here alone
            return None, *_gradients(ctx.compute, (logits, *inputs), ctx.needs_input_grad[1:], of_numbers)
        if torch.is_grad_enabled():  # the gradient is to be differentiated
            gradient = ctx.compute(logits, *inputs)[1] * of_numbers
        elif tensors:
            gradient = tensors[0] * of_numbers
        else:
            derivative, ctx.derivative = ctx.derivative, None
            if derivative is None:  # this is another backward pass
                derivative = ctx.compute(logits, *inputs)[1]
            gradient = derivative if surely((of_numbers == 1).all()) else times(derivative, of_numbers)
        return None, gradient, *(None for _ in ctx.others)


def _gradients(
    compute: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Any], wanted: Sequence[bool], of_numbers: Tensor
) -> list[Tensor | None]:
    """Return the gradient by each input of the first thing that is computed, None where it is not wanted."""
    places = [place for place, is_wanted in enumerate(wanted) if is_wanted]

    def numbers(*values: Tensor) -> Tensor:
        given = dict(zip(places, values, strict=True))
        return compute(*(given.get(place, value) for place, value in enumerate(inputs)))[0]

    pull_back: Any = torch.func.vjp(numbers, *(inputs[place] for place in places))[1]
    found = dict(zip(places, pull_back(of_numbers), strict=True))
    return [found.get(place) for place in range(len(inputs))]


def of_as_many(like: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return what a `torch.autograd.Function` gives, all of it for each model of `torch.func.vmap` where one of it is.

    Of what is one for all models the gradient is summed over the models, and then it would be counted for each.

    Args:
        like: per position, [N] or [N, H, W]: what is of several models where anything is.
        others: per position, or per position and class.
    """
    if has_memory(like):
        return like, *others
    nothing = torch.zeros_like(like)
    return like, *(other + (nothing if other.ndim == like.ndim else nothing.unsqueeze(1)) for other in others)


def _is_small(part: Tensor) -> bool:
    return part.numel() == len(part)


def surely(condition: Tensor) -> bool:
    """Say whether a condition is known to hold; what it spares must not matter.

    Args:
        condition: bool, scalar; see `known`.
    """
    return known(condition) == 1


def known(scalar: Tensor) -> float:
    """Return the number in a tensor, or nan where it is not known.

    On a GPU nothing is known, since every step would wait for the answer, nothing under `torch.func.vmap`, where a
    tensor is that of many models, and nothing while torch writes down what is to be done with other numbers, too.

    Args:
        scalar: a number or a condition.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return math.nan
    try:
        return scalar.item() if scalar.device.type == "cpu" else math.nan
    except RuntimeError:
        return math.nan
