"""The tempered logarithm log_t x = (x^(1-t) - 1) / (1 - t), and the softmax made of its inverse.

Both have a limit at t = 1, the logarithm and the softmax, where the formula is 0/0. With s = |1 - t| at least 1e-19
the formula itself gives the limit to the last digit: expm1(s x)/s and log1p(s x)/s round to x.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lossbench.losses.inplace import add_at, at_most, divided, plus, plus_product, power, raised, reciprocal, times
from lossbench.losses.parts import in_parts, surely
from lossbench.losses.powers import NATS

SMALLEST = 1e-19  # its square is still above float32's least normal number
MOST_FACTORS = 16  # of a power: of more, the last digits would be lost
STEPS = 10  # of Halley's method, at most; mostly one or two


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
    λ. Halley's method finds it, from what λ would be if the distances of the logits from their mean were small. λ moves
    with z as the escort distribution p^t / Σ p^t.

    Args:
        logits: z, float [N, K] or [N, K, H, W].
        t: ≥ 1, a number or scalar tensor; 1 is softmax.

    Returns:
        Shaped like the logits, in nats.

    Source: Amid et al. 2019, "Robust Bi-Tempered Logistic Loss", eq. 4; their algorithm 1 iterates to a fixed point.
    """
    log_p: Tensor = _TemperedLogSoftmax.apply(logits, limit_at_zero(t - 1, logits), _whole(t, t - 1))
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
        label = log_p.gather(1, labels)
        derivative, total = _derivative(_powers(log_p, r, s), ((r + s) * label).exp(), labels, weights)
    else:
        whole = _whole(2 - t1, t2 - 1)
        equation = _Equation(s, None if whole is None else _whole(t2, t2 - 1), logits.shape[1])
        derivative, total, label = in_parts(_divergence, logits, weights, labels, equation, r, whole)
    return weights * ((total - 1) / (1 + r) - tempered_log(label, r)), derivative


def _divergence(
    logits: Tensor, weights: Tensor, labels: Tensor, equation: _Equation, r: Tensor, whole: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivative by z, Σ_k p_k^(1+r) and log p_y; (1 + r) / s is the small whole number, if any."""
    above, rise, largest = equation.solve(logits)
    label = equation.log_p(largest - logits.gather(1, labels), rise)
    if equation.whole is None or whole is None:
        powers = _powers(above.log1p().div(-equation.s), r, equation.s)
    else:
        escort = _inverse_power(above, equation.whole)
        of_all = escort if whole == equation.whole else _inverse_power(above, whole)
        powers = reciprocal(above), escort, of_all
    return *_derivative(powers, ((r + equation.s) * label).exp(), labels, weights), label


def _powers(log_p: Tensor, r: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    units = log_p * (1 / NATS)
    return raised(s * units), raised((1 + s) * units), raised((1 + r) * units)


def _derivative(
    powers: tuple[Tensor, Tensor, Tensor], of_label: Tensor, labels: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the derivative of Σ_k p_k^(1+r) / (1+r) - log_t1 p_y by z, times the weights, and Σ_k p_k^(1+r).

    Args:
        powers: p^s, by which log p moves with z at a given λ, p^(1+s), as which λ moves with z, and p^(1+r).
        of_label: p_y^(r+s), [N, 1] or [N, 1, H, W].
        labels: y, int64, likewise.
        weights: likewise.
    """
    slope, escort, powers_of_all = powers
    total = powers_of_all.sum(1, keepdim=True)
    by_class = times(slope, powers_of_all)
    moves = (of_label - by_class.sum(1, keepdim=True)) / escort.sum(1, keepdim=True)
    derivative = times(plus_product(by_class, escort, moves), weights)
    return add_at(derivative, labels, -of_label * weights), total


class _TemperedLogSoftmax(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, s: Tensor, whole: int | None) -> Tensor:
        (log_p,) = in_parts(_log_p, logits, _Equation(s, whole, logits.shape[1]))
        return log_p

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        s, log_p = ctx.saved_tensors
        (of_logits,) = in_parts(_of_logits, log_p, s, gradient)
        return of_logits, _of_s(log_p, s, gradient) if ctx.needs_input_grad[1] else None, None


def _log_p(logits: Tensor, equation: _Equation) -> tuple[Tensor]:
    _, rise, largest = equation.solve(logits)
    return (equation.log_p(largest - logits, rise),)


class _Equation:
    """Σ_k a_k^(-1/s) = 1 of a = 1 + s (λ - z), whose numbers are the same for all positions.

    They are tensors, also where it is as easy to write a number: that takes an operation on a number per position three
    times as long.

    Attributes:
        s: > 0, scalar.
        whole: 1 + 1/s where it is a small whole number, else None.
    """

    def __init__(self, s: Tensor, whole: int | None, classes: int) -> None:
        """Take the exponent and K."""
        self.s, self.whole = s, whole
        self._base = torch.full_like(s, 0 if whole is None else 1)  # near t = 1, a is 1 but for its last digits
        self._most = torch.expm1(s * math.log(classes))  # s (λ - max z) where all logits are the same
        # The mean of a^(-1/s) is (that of a, less (1 + 1/s) / 2 of its variance by its mean, and so on)^(-1/s).
        self._by_variance = (1 + 1 / s) / (2 * (1 + self._most))
        self._by_square = self._by_variance / classes
        self._curve = (1 + 1 / s) / 2
        self._one, self._infinity = torch.ones_like(s), torch.full_like(s, math.inf)
        self._near = torch.full_like(s, torch.finfo(s.dtype).eps ** (2 / 3))

    def solve(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find λ.

        Returns:
            a, or a - 1 where 1 + 1/s is no small whole number, shaped like z; s (λ - max z) ≥ 0, and max z, [N, 1] or
            [N, 1, H, W].
        """
        largest = logits.amax(1, keepdim=True)
        falls = times(largest - logits, self.s)
        mean, norm = falls.mean(1, keepdim=True), torch.linalg.vector_norm(falls, dim=1, keepdim=True)
        rise = self._most - mean - self._by_variance * (mean * mean) + self._by_square * (norm * norm)
        is_finite = surely((rise < self._infinity).all())
        rise = (rise if is_finite else self._most - mean).clamp(min=0).minimum(self._most)
        for _ in range(STEPS):
            if not is_finite:  # what is masked has p = 0, and not ∞ · 0
                falls = at_most(falls, torch.finfo(falls.dtype).max / 2)
            above = plus(falls, rise + self._base)
            excess, step = self._step(above)
            risen = (rise + step).clamp(min=0).minimum(self._most)
            above, rise = plus(above, risen - rise), risen
            if surely((excess * excess < self._near).all()):  # what is left is less than the cube of it
                break
            falls = times(largest - logits, self.s)  # a large step would leave the digits of what it started from
        return above, rise, largest

    def log_p(self, falls: Tensor, rise: Tensor) -> Tensor:
        """Return log p by max z - z, which is not to be read again, and s (λ - max z)."""
        return plus(times(falls, self.s), rise).log1p().div(-self.s)

    def _step(self, above: Tensor) -> tuple[Tensor, Tensor]:
        """Return (Σ_k p_k)^s - 1, which is to be 0, and Halley's step, [N, 1] or [N, 1, H, W]."""
        if self.whole is None:
            escort, above = raised(times(above.log1p(), -2 * self._curve / NATS)), above + self._one
        else:
            escort = _inverse_power(above, self.whole)  # p^(1+s)
        first = escort.sum(1, keepdim=True)
        lower = divided(escort, above)  # p^(1+2s)
        second = lower.sum(1, keepdim=True)
        total = times(times(lower, above), above).sum(1, keepdim=True)
        excess = torch.expm1(self.s * total.log())
        newton = total / first * excess
        slower = self._curve * newton * (first / total - second / first)
        return excess, newton / (self._one + slower).clamp(min=0.5)


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


def _inverse_power(base: Tensor, number: int) -> Tensor:
    """Return base^-n of n ≥ 1."""
    return _power(base.reciprocal(), number) if number % 2 else _power(base.pow(-2), number // 2)


def _power(base: Tensor, number: int) -> Tensor:
    """Return base^n of n ≥ 1; the base is not to be read again."""
    while number > 1:  # squares and cubes are a pass over memory each
        factors = next((few for few in (3, 2) if number % few == 0), None)
        if factors is None:
            return times(_power(base * base, number // 2), base)
        base, number = power(base, factors), number // factors
    return base


def _whole(numerator: float | Tensor, denominator: float | Tensor) -> int | None:
    """Return the quotient where it is a small whole number, as t / (t - 1) is for t = 1.2; None where it is not."""
    if isinstance(numerator, Tensor) or isinstance(denominator, Tensor) or denominator <= 0:
        return None
    nearest = round(numerator / denominator) if numerator / denominator < MOST_FACTORS + 1 else 0
    # 1.2 - 1 is not quite 0.2.
    is_whole = abs(numerator / denominator - nearest) < 1e-12 * nearest
    return nearest if is_whole and 1 <= nearest <= MOST_FACTORS else None
