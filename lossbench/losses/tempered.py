"""The tempered logarithm log_t x = (x^(1-t) - 1) / (1 - t), and the softmax made of its inverse.

Both have a limit at t = 1, the logarithm and the softmax, where the formula is 0/0. With s = |1 - t| at least 1e-19
the formula itself gives the limit to the last digit: expm1(s x)/s and log1p(s x)/s round to x.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from lossbench.losses.inplace import add_at, plus, plus_product, reciprocal, times
from lossbench.losses.parts import in_parts, surely
from lossbench.losses.softmax import BIT

SMALLEST = 1e-19  # its square is still above float32's least normal number
MOST_FACTORS = 16  # of a power: of more, the last digits would be lost
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
    log_p: Tensor = _TemperedLogSoftmax.apply(logits, limit_at_zero(t - 1, logits), _whole(1, t - 1))
    return log_p


def tempered_divergence(
    logits: Tensor, weights: Tensor, labels: Tensor, t1: float | Tensor, t2: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Compute (Σ_k p_k^(2-t1) - 1) / (2-t1) - log_t1 p_y, for `lossbench.losses.parts.sum_with_gradient`.

    Args:
        logits: z, float [N, K] or [N, K, H, W]; p as in `tempered_log_softmax` at t2.
        weights: of the positions, [N, 1] or [N, 1, H, W].
        labels: y, int64, likewise.
        t1: in [0, 1], a number or scalar tensor.
        t2: ≥ 1, a number or scalar tensor.

    Returns:
        A number per position times its weight, [N, 1] or [N, 1, H, W], and its derivative by z, shaped like the logits.
    """
    r, s = limit_at_zero(1 - t1, logits), limit_at_zero(t2 - 1, logits)
    if torch.is_grad_enabled():
        log_p = tempered_log_softmax(logits, t2)
        label, slope, probs, powers = log_p.gather(1, labels), (s * log_p).exp(), log_p.exp(), ((1 + r) * log_p).exp()
    else:
        falls, rise = _falls_and_rise(logits, s, _whole(1, t2 - 1))
        label = -(falls.gather(1, labels) + rise).log1p() / s
        wholes = _whole(1, t2 - 1), _whole(2 - t1, t2 - 1)
        slope, probs, powers = _inverse_powers(falls, rise, (1 / s, (1 + r) / s), wholes)
    values = (powers.sum(1, keepdim=True) - 1) / (1 + r) - tempered_log(label, r)
    # At a given λ, d log p_k / d z_k = p_k^s; λ itself moves with z as the escort distribution.
    label_power = (r * label).exp() * slope.gather(1, labels)
    by_class, escort = times(powers, slope), times(probs, slope)
    moves = (by_class.sum(1, keepdim=True) - label_power) / escort.sum(1, keepdim=True)
    derivative = times(plus_product(by_class, escort, -moves), weights)
    return weights * values, add_at(derivative, labels, -label_power * weights)


class _TemperedLogSoftmax(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, s: Tensor, whole: int | None) -> Tensor:
        (log_p,) = in_parts(_log_p, logits, s, whole)
        return log_p

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        s, log_p = ctx.saved_tensors
        (of_logits,) = in_parts(_of_logits, log_p, s, gradient)
        return of_logits, _of_s(log_p, s, gradient) if ctx.needs_input_grad[1] else None, None


def _log_p(logits: Tensor, s: Tensor, whole: int | None) -> tuple[Tensor]:
    falls, rise = _falls_and_rise(logits, s, whole)
    return (plus(falls, rise).log1p_().div_(-s),)


def _falls_and_rise(logits: Tensor, s: Tensor, whole: int | None) -> tuple[Tensor, Tensor]:
    """Return s (max z - z) ≥ 0, shaped like z, and s (λ - max z) ≥ 0: p = (1 + both)^(-1/s)."""
    falls = times(logits.amax(1, keepdim=True) - logits, s)
    rise = torch.expm1(s * math.log(logits.shape[1])) - falls.mean(1, keepdim=True)
    rise = rise.clamp(min=0)
    near = torch.finfo(logits.dtype).eps ** 0.5  # of a step; what is left is a tenth of its square
    for _ in range(NEWTON_STEPS):
        step = _newton_step(falls, rise, s, whole)
        rise = rise + step
        if surely((step < near * (1 + rise)).all()):
            break
    return falls, rise


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


def _newton_step(falls: Tensor, rise: Tensor, s: Tensor, whole: int | None) -> Tensor:
    inverse, probs = _inverse_powers(falls, rise, (1 / s,), (whole,))  # exp_t(z - λ)
    total = probs.sum(1, keepdim=True)
    slope = times(inverse, probs).sum(1, keepdim=True)  # Σ exp_t^t
    return total * torch.expm1(s * total.log()) / slope


def _inverse_powers(
    falls: Tensor, rise: Tensor, exponents: tuple[Tensor, ...], wholes: tuple[int | None, ...]
) -> tuple[Tensor, ...]:
    """Return 1 / (1 + x) and (1 + x)^-e of each exponent e, by products where all are known to be whole numbers.

    Args:
        falls: x = falls + rise.
        rise: [N, 1] or [N, 1, H, W].
        exponents: e.
        wholes: the exponents that are small whole numbers, None for others.
    """
    numbers = [whole for whole in wholes if whole is not None]
    if len(numbers) < len(exponents):
        above = falls + rise
        bits = times(above.log1p(), -1 / BIT)
        return (above + 1).reciprocal(), *((bits * exponent).exp2() for exponent in exponents)
    inverse = reciprocal(falls + (rise + 1))
    powers = [_power(inverse, numbers[0])]
    for less, more in itertools.pairwise(numbers):  # that of 2 - t1 is not less
        powers.append(powers[-1] * _power(inverse, more - less) if more > less else powers[-1].clone())
    return inverse, *powers


def _power(base: Tensor, number: int) -> Tensor:
    """Return base^n of n ≥ 1, which may be written over."""
    power = base
    for bit in f"{number:b}"[1:]:
        power = base * base if power is base else times(power, power)
        power = times(power, base) if bit == "1" else power
    return base.clone() if power is base else power


def _whole(numerator: float | Tensor, denominator: float | Tensor) -> int | None:
    """Return the quotient where it is a small whole number, as 1 / (t - 1) is for t = 1.2; None where it is not."""
    if isinstance(numerator, Tensor) or isinstance(denominator, Tensor) or denominator <= 0:
        return None
    nearest = round(numerator / denominator) if numerator / denominator < MOST_FACTORS + 1 else 0
    # 1.2 - 1 is not quite 0.2.
    is_whole = abs(numerator / denominator - nearest) < 1e-12 * nearest
    return nearest if is_whole and 1 <= nearest <= MOST_FACTORS else None
