"""The tempered logarithm log_t x = (x^(1-t) - 1) / (1 - t), and the softmax made of its inverse.

Both have a limit at t = 1, the logarithm and the softmax, where the formula is 0/0. With s = |1 - t| at least 1e-19
the formula itself gives the limit to the last digit: expm1(s x)/s and log1p(s x)/s round to x.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-19  # its square is still above float32's least normal number
NEWTON_STEPS = 4  # without gradient, before the one with: to 1e-9 for t ≤ 2, to 1e-7 at t = 4


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
    λ: Newton's method from λ = max z rises to it without overshooting. The steps carry no gradient but the last, whose
    derivative at the root is that of λ, the escort distribution p^t / Σ p^t.

    Args:
        logits: z, float [N, K] or [N, K, H, W].
        t: ≥ 1, a number or scalar tensor; 1 is softmax.

    Returns:
        Shaped like the logits, in nats.

    Source: Amid et al. 2019, "Robust Bi-Tempered Logistic Loss", eq. 4; their algorithm 1 iterates to a fixed point.
    """
    s = limit_at_zero(t - 1, logits)
    falls = s * (logits.detach().amax(1, keepdim=True) - logits)  # s (max z - z) ≥ 0
    rise = torch.zeros_like(falls[:, :1])  # s (λ - max z)
    for _ in range(NEWTON_STEPS):
        rise = _newton_step(falls.detach(), rise, s)
    return -torch.log1p(_newton_step(falls, rise, s) + falls) / s


def _newton_step(falls: Tensor, rise: Tensor, s: Tensor) -> Tensor:
    growth = rise + falls
    terms = (torch.log1p(growth) * (-1 / s)).exp()  # exp_t(z - λ)
    log_total = terms.sum(1, keepdim=True).log()
    slope = (terms / (1 + growth)).sum(1, keepdim=True)  # Σ exp_t^t
    return rise - torch.expm1(-s * log_total) * ((1 + s) * log_total).exp() / slope
