"""What a softmax is made of, for losses that write down their own derivative.

They are computed by `lossbench.losses.parts.sum_with_gradient`, some positions at a time, so that operations on a
number per position cost something, too. An exponential takes as long as five additions or more, so each is computed
once, to the base in which the processor is quickest; logarithms are in units of that base until they have been summed;
and what a sum is to divide is divided where it is multiplied by something else anyway.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.losses.inplace import add_at, at_least, minus, plus_product, raised, times
from lossbench.losses.powers import NATS, antilog


class Softmax:
    """Softmax(z / T) by its numerators and their sum.

    Attributes:
        logits: z, [N, K] or [N, K, H, W]; what is said of [N, 1] below holds of [N, 1, H, W].
        temperature: T > 0, a number or scalar tensor.
        without: the class of each position that is left out, int64 [N, 1]; None where none is.
        largest: max z, [N, 1].
        fall: (z - max z) / T in units of `NATS`, shaped like z. What all logits have in common goes first: it would
            round sums.
        powers: exp((z - max z) / T), shaped like z.
        total: Σ powers ≥ 1, [N, 1]: powers / total is the softmax.
        teacher: another softmax of as many classes, whose `fall` is not to be read again. Where there is one, `powers`
            lie where `fall` did.
        units_below: Σ_k powers_k of the teacher · (its fall_k - own fall_k), [N, 1]. Over the teacher's total it is
            KL(teacher ‖ self) in units, but for the logarithm of the quotient of the totals.
    """

    def __init__(
        self,
        logits: Tensor,
        temperature: float | Tensor = 1.0,
        *,
        without: Tensor | None = None,
        teacher: Softmax | None = None,
        largest: Tensor | None = None,
        keep_fall: bool = True,
    ) -> None:
        """Compute them; the arguments are as above, and whether `fall` is to be read: otherwise `powers` lie there."""
        self.logits, self.temperature, self.without = logits, temperature, without
        values = self._values()
        self.largest = values.amax(1, keepdim=True) if largest is None else largest
        self.fall = self._below_largest(values, 1 / temperature, may_be_infinite=not keep_fall)
        if teacher is None:
            self.powers = self._powers(self.fall, over=not keep_fall)
        else:
            # A class that is masked by minus infinity for both is 0 · (∞ - ∞).
            self.units_below = times(minus(teacher.fall, self.fall), teacher.powers).nansum(1, keepdim=True)
            self.powers = self._powers(self.fall, over=True)
        self.total = self.powers.sum(1, keepdim=True)

    def log_probs_of(self, targets: Tensor) -> Tensor:
        """Return Σ_k t_k log p_k of each position, [N, 1].

        Args:
            targets: class indices, int64 [N, 1], or probabilities t shaped like the logits.
        """
        if targets.is_floating_point():
            weight = targets.sum(1, keepdim=True)
            return NATS * (targets * self.fall).sum(1, keepdim=True) - weight * self.total.log()
        return NATS * self.fall.gather(1, targets) - self.total.log()

    def is_largest(self) -> Tensor:
        """Return 1 for the largest class, and for its equals, 0 elsewhere, shaped like z."""
        return self.powers.detach().floor()  # exp(0) = 1; a comparison takes five times as long

    def less_targets(self, targets: Tensor, amounts: Tensor) -> Tensor:
        """Return the derivative of -amounts · Σ_k t_k log p_k by z / T; `powers` are not to be read again.

        Args:
            targets: class indices, int64 [N, 1], or probabilities t shaped like the logits.
            amounts: [N, 1].
        """
        share = amounts * targets.sum(1, keepdim=True) if targets.is_floating_point() else amounts
        return minus_targets(times(self.powers, share / self.total), targets, amounts)

    def log_odds_against(self, label: Tensor) -> Tensor:
        """Return log (1 - p) / p of a class, [N, 1].

        Args:
            label: the logit of the class that is left out, [N, 1].
        """
        return (self.largest - label) / self.temperature + self.total.log()

    @property
    def is_unsoftened(self) -> bool:
        """Whether T is known to be 1."""
        return not isinstance(self.temperature, Tensor) and self.temperature == 1

    def unsoftened(self) -> Tensor:
        """Return exp(z - max z), shaped like z: where T is 1, 2 or 4 of `powers`, which are not to be read again."""
        if isinstance(self.temperature, Tensor) or self.temperature not in (1, 2, 4):
            return raised(self._below_largest(self._values(), 1.0, may_be_infinite=True))
        powers = self.powers
        for _ in range(int(self.temperature) // 2):
            powers = times(powers, powers)
        return powers

    def _powers(self, fall: Tensor, *, over: bool = False) -> Tensor:
        if isinstance(self.temperature, Tensor) or self.temperature >= 1:
            return raised(fall) if over else antilog(fall)
        # Where logits are spread out, much is next to nothing, with which some processors take a hundred times as long.
        nothing = 0.8 * math.log(torch.finfo(fall.dtype).tiny)
        powers = raised(fall.clamp(min=nothing / NATS))
        return F.threshold(powers, 2 * math.exp(nothing), 0.0, inplace=not torch.is_grad_enabled())

    def _values(self) -> Tensor:
        if self.without is None:
            return self.logits
        return self.logits.scatter(1, self.without, -1e30)  # not minus infinity, as 0 · ∞ would be nan

    def _below_largest(self, values: Tensor, scale: float | Tensor, *, may_be_infinite: bool = False) -> Tensor:
        fall = values - self.largest if values is self.logits else minus(values, self.largest)
        fall = times(fall, scale / NATS)
        if may_be_infinite or (not isinstance(scale, Tensor) and scale < NATS):
            return fall
        # What is masked by finfo.min, say, would fall to minus infinity, and that times 0 is nan.
        return at_least(fall, torch.finfo(fall.dtype).min)


def minus_targets(derivative: Tensor, targets: Tensor, amounts: Tensor) -> Tensor:
    """Return a derivative less amount · t, that of amount · Σ_k t_k z_k; the derivative is not to be read again.

    Args:
        derivative: [N, K] or [N, K, H, W].
        targets: class indices, int64 [N, 1] or [N, 1, H, W], or probabilities t shaped like the derivative.
        amounts: [N, 1] or [N, 1, H, W].
    """
    if targets.is_floating_point():
        return plus_product(derivative, targets, -amounts)
    return add_at(derivative, targets, -amounts)
