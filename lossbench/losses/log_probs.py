"""What losses read of log softmax(z), with one backward for all of it.

Most losses want a few sums over the classes of log p. Autograd would write out log p, p and the gradient of each sum,
[N, K] each, going over memory for every one. Here the forward keeps p alone, and the backward writes the gradient once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lossbench.losses.parts import of_as_many
from lossbench.losses.targets import weights_or_labels


class LogProbs(NamedTuple):
    """Sums over the classes of log p = log softmax(z · scale), a number per position, [N] or [N, H, W]."""

    target: Tensor  # Σ_k t_k log p_k, which is log p_y for class indices; at an ignored position that of any class
    total: Tensor  # Σ_k log p_k
    probs: Tensor  # p itself, [N, K] or [N, K, H, W]


def log_probs(logits: Tensor, targets: Tensor, ignore_index: int = -100, *, scale: float | Tensor = 1.0) -> LogProbs:
    """Compute sums over the classes of log softmax(z · scale).

    Args:
        logits: z, float32 or wider, [N, K] or [N, K, H, W].
        targets: class indices, int64 [N] or [N, H, W], or weights t shaped like the logits.
        ignore_index: the index that marks a position to leave out.
        scale: > 0, one over a temperature: a number or scalar tensor.
    """
    return LogProbs(*_LogProbs.apply(logits, weights_or_labels(targets, logits, ignore_index), scale))


def falls(logits: Tensor) -> Tensor:
    """Subtract the largest logit, which changes no probability: what large logits have in common would round sums.

    Args:
        logits: [N, K] or [N, K, H, W].
    """
    return logits - logits.detach().amax(1, keepdim=True)


class _LogProbs(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, targets: Tensor, scale: float | Tensor) -> tuple[Tensor, ...]:
        num_classes = logits.shape[1]
        # log p = (z - max z) + log max p. What all logits have in common goes first, before anything can round it.
        fall = _scaled(falls(logits), scale)
        probs = torch.softmax(fall, 1)
        highest = probs.amax(1).log()  # max p ≥ 1/K
        if targets.is_floating_point():
            target = _dot(targets, fall) + targets.sum(1) * highest
        else:
            target = fall.gather(1, targets).squeeze(1) + highest
        total = fall.sum(1) + num_classes * highest
        return of_as_many(target, total, probs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        logits, targets, scale = inputs
        ctx.set_materialize_grads(False)  # most losses read one or two of the sums
        ctx.scale = None if isinstance(scale, Tensor) else scale
        ctx.save_for_backward(logits, targets, scale if isinstance(scale, Tensor) else None, output[2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        logits, targets, scale, probs = ctx.saved_tensors
        scale = ctx.scale if scale is None else scale
        is_soft = targets.is_floating_point()
        # Each weight is brought to the scale here, while it is a number per position.
        of_target, of_total, of_probs = (
            None if gradient is None else _scaled(gradient, scale) for gradient in gradients
        )

        # d log p_j / d z_k = [j = k] - p_k: each sum takes its weight off p.
        share = torch.zeros_like(probs.select(1, 0))
        if of_target is not None:
            share = share - (of_target * targets.sum(1) if is_soft else of_target)
        if of_total is not None:
            share = share - logits.shape[1] * of_total
        if of_probs is not None:
            share = share - _dot(of_probs, probs)
        share = share.unsqueeze(1)

        # In place where a fresh tensor is at hand: a new one of this size costs as much as three passes over it. Under
        # vmap what is written to must be stacked wherever what is added is, hence the zeros.
        gradient = (share if of_probs is None else share + of_probs) * probs
        if of_total is not None:
            gradient.add_(of_total.unsqueeze(1))
        if of_target is not None and is_soft:
            gradient.add_(targets * of_target.unsqueeze(1))
        elif of_target is not None:
            gradient.scatter_add_(1, targets, of_target.unsqueeze(1))

        of_targets = of_scale = None
        if ctx.needs_input_grad[1] and gradients[0] is not None:
            of_targets = _log_p(logits, scale, probs) * gradients[0].unsqueeze(1)
        if ctx.needs_input_grad[2]:
            of_scale = (gradient * falls(logits)).sum() / scale
        return gradient, of_targets, of_scale


def _scaled(values: Tensor, scale: float | Tensor) -> Tensor:
    if isinstance(scale, Tensor):
        return values * scale
    # By the number 1, most losses' default, without a pass over memory.
    return values if scale == 1.0 else values * scale


def _log_p(logits: Tensor, scale: float | Tensor, probs: Tensor) -> Tensor:
    return _scaled(falls(logits), scale) + probs.amax(1, keepdim=True).log()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1)  # not vecdot, einsum or matmul, which autocast would run in half precision
