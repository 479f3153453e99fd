"""The tempered logarithm log_t x = (x^(1-t) - 1) / (1 - t), and the softmax made of its inverse.

Both have a limit at t = 1, the logarithm and the softmax, where the formula is 0/0. With s = |1 - t| at least 1e-19
the formula itself gives the limit to the last digit: expm1(s x)/s and log1p(s x)/s round to x.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lossbench.losses.parts import in_parts
from lossbench.losses.targets import surely

SMALLEST = 1e-19  # its square is still above float32's least normal number
NEWTON_STEPS = 10  # at most: with one logit far above a thousand equal ones; mostly two or three


def limit_at_zero(exponent: float | Tensor, like: Tensor) -> Tensor:
    """Return an exponent as a tensor, at least so large that a quotient by it is defined.

    Args:
        exponent: ≥ 0, a number or scalar tensor.
        like: gives device and dtype.

    Returns:
        Scalar tensor.
    """
    return torch.as_tensor(exponent, dtype=like.dtype, device=like.device).clamp(min=SMALLEST)


def tempered_log(log_x: Tensor, r: Tensor) -> Tensor:
    """Return log_t x = (x^r - 1) / r at r = 1 - t, from log x ≤ 0.

    Args:
        log_x: any shape.
        r: > 0, scalar, from `limit_at_zero`.

    Returns:
        Shaped like `log_x`; at least -1/r.
    """
    return torch.expm1(r * log_x) / r


def tempered_log_softmax(logits: Tensor, t: float | Tensor) -> Tensor:
    """Return log p, p_k = exp_t(z_k - λ) with λ such that Σ_k p_k = 1.

    λ is the root of 1 - (Σ_k exp_t(z_k - λ))^(1-t), which is concave and, for one distinct logit or at t = 1, linear in
    λ: Newton's method rises to it without overshooting from anything below, such as max z, or what λ would be if all
    logits were their mean, since exp_t is convex. λ moves with z as the escort distribution p^t / Σ p^t.

    Args:
        logits: z, float [N, K] or [N, K, H, W].
        t: ≥ 1, a number or scalar tensor; 1 is softmax.

    Returns:
        Shaped like the logits, in nats.

    Source: Amid et al. 2019, "Robust Bi-Tempered Logistic Loss", eq. 4; their algorithm 1 iterates to a fixed point.
    """
    log_p: Tensor = _TemperedLogSoftmax.apply(logits, limit_at_zero(t - 1, logits))
    return log_p


class _TemperedLogSoftmax(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, s: Tensor) -> Tensor:
        (log_p,) = in_parts(_log_p, logits, s)
        return log_p

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        s, log_p = ctx.saved_tensors
        (of_logits,) = in_parts(_of_logits, log_p, s, gradient)
        return of_logits, _of_s(log_p, s, gradient) if ctx.needs_input_grad[1] else None


def _log_p(logits: Tensor, s: Tensor) -> tuple[Tensor]:
    falls = s * (logits.amax(1, keepdim=True) - logits)  # s (max z - z) ≥ 0
    rise = torch.expm1(s * math.log(logits.shape[1])) - falls.mean(1, keepdim=True)  # s (λ - max z)
    rise = rise.clamp(min=0)
    near = torch.finfo(logits.dtype).eps ** 0.5  # of a step; what is left is a tenth of its square
    for _ in range(NEWTON_STEPS):
        step = _newton_step(falls, rise, s)
        rise = rise + step
        if surely((step.abs() < near * (1 + rise)).all()):
            break
    return ((falls + rise).log1p_().div_(-s),)


def _of_logits(log_p: Tensor, s: Tensor, gradient: Tensor) -> tuple[Tensor]:
    by_class = gradient * (s * log_p).exp_()  # at a given λ, d log p_k / d z_k = p_k^s
    escort = ((1 + s) * log_p).exp_()
    moves = by_class.sum(1, keepdim=True) / escort.sum(1, keepdim=True)
    return (by_class - escort * moves,)


def _of_s(log_p: Tensor, s: Tensor, gradient: Tensor) -> Tensor:
    by_s = (torch.expm1(s * log_p) / s - log_p) / s  # d log p_k / ds at a given λ
    slope = (s * log_p).exp()
    probs = log_p.exp()
    move = (probs * by_s).sum(1, keepdim=True) / (probs * slope).sum(1, keepdim=True)
    return (gradient * (by_s - slope * move)).sum()


def _newton_step(falls: Tensor, rise: Tensor, s: Tensor) -> Tensor:
    growth = falls + rise
    terms = growth.log1p().div_(-s).exp_()  # exp_t(z - λ)
    log_total = terms.sum(1, keepdim=True).log()
    slope = terms.div_(growth.add_(1)).sum(1, keepdim=True)  # Σ exp_t^t
    return -torch.expm1(-s * log_total) * ((1 + s) * log_total).exp() / slope
