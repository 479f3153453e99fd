"""What a softmax is made of, for losses that write down their own derivative.

They are computed by `lossbench.losses.parts.with_gradient`. An exponential takes as long as five to ten additions, so
each is computed once; and what a sum is to divide is divided where it is multiplied by something else anyway.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossbench.losses.targets import add_at


class Softmax:
    """Softmax(z / T) by its numerators and their sum.

    Attributes:
        logits: z, [N, K] or [N, K, H, W]; what is said of [N, 1] below holds of [N, 1, H, W].
        temperature: T > 0, a number or scalar tensor.
        largest: max z, [N, 1].
        fall: (z - max z) / T, shaped like z. What all logits have in common goes first: it would round sums.
        powers: exp(fall), shaped like z.
        total: Σ exp(fall) ≥ 1, [N, 1]: powers / total is the softmax.
    """

    def __init__(self, logits: Tensor, temperature: float | Tensor = 1.0) -> None:
        """Compute them; the arguments are as above."""
        self.logits, self.temperature = logits, temperature
        self.largest = logits.amax(1, keepdim=True)
        self.fall = self._below_largest(1 / temperature)
        self.powers = self.fall.exp()
        self.total = self.powers.sum(1, keepdim=True)

    def log_probs_of(self, targets: Tensor) -> Tensor:
        """Return Σ_k t_k log p_k of each position, [N, 1].

        Args:
            targets: class indices, int64 [N] or [N, H, W], or probabilities t shaped like the logits.
        """
        if targets.is_floating_point():
            weight = targets.sum(1, keepdim=True)
            return (targets * self.fall).sum(1, keepdim=True) - weight * self.total.log()
        return self.fall.gather(1, targets.unsqueeze(1)) - self.total.log()

    def divergence_from(self, teacher: Softmax) -> Tensor:
        """Return KL(teacher ‖ self) of each position, [N, 1].

        Args:
            teacher: another softmax of as many classes.
        """
        weighted = ((teacher.fall - self.fall) * teacher.powers).sum(1, keepdim=True)
        return weighted / teacher.total + (self.total / teacher.total).log()

    def unsoftened(self) -> Tensor:
        """Return exp(z - max z), shaped like z: where T is 1, 2 or 4 without another exponential."""
        if isinstance(self.temperature, Tensor) or self.temperature not in (1, 2, 4):
            return self._below_largest(1.0).exp()
        powers = self.powers
        for _ in range(int(self.temperature) // 2):
            powers = powers * powers
        return powers

    def _below_largest(self, scale: float | Tensor) -> Tensor:
        if isinstance(scale, Tensor) or math.frexp(scale)[0] != 0.5:
            return (self.logits - self.largest) * scale
        # Nothing but the difference is rounded where the scale is a power of 2: one pass does it, and the largest is 0.
        return torch.add(self.largest * -scale, self.logits, alpha=scale)


def minus_targets(derivative: Tensor, targets: Tensor, amount: float | Tensor = 1.0) -> Tensor:
    """Return a derivative less amount · t, that of amount · Σ_k t_k z_k; it may be written to.

    Args:
        derivative: fresh, [N, K] or [N, K, H, W].
        targets: class indices, int64 [N] or [N, H, W], or probabilities t shaped like the derivative.
        amount: a number, or a tensor that can be spread over [N, 1] or [N, 1, H, W].
    """
    if targets.is_floating_point():
        return derivative - amount * targets
    taken = torch.as_tensor(-amount, dtype=derivative.dtype, device=derivative.device)
    return add_at(derivative, targets.unsqueeze(1), taken)
