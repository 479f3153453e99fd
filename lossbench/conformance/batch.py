"""Generated batches, and the two numbers that properties look at: the value of a loss and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

N = 6  # examples in a batch: enough for every property, few enough for finite differences


@dataclass(frozen=True, eq=False)
class Batch:
    """What a loss is given.

    Attributes:
        logits: float [N, K] or [N, K, H, W].
        targets: class indices, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        extras: those of `teacher_logits` (shaped like the logits) and `sample_weights` ([N]) that the loss declares.
    """

    logits: Tensor
    targets: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def at(self, examples: Tensor | Sequence[int]) -> Batch:
        """Return the examples at some indices, in that order."""
        index = torch.as_tensor(examples)
        return self.each(lambda tensor: tensor[index])

    def to(self, dtype: torch.dtype) -> Batch:
        """Return the same numbers in another floating-point type; class indices stay."""
        return self.each(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Change all tensors alike."""
        extras = {name: change(extra) for name, extra in self.extras.items()}
        return Batch(change(self.logits), change(self.targets), extras)

    def weighted(self, sample_weights: Sequence[float] | None) -> Batch:
        """Return the batch with these sample weights, [N], or with none."""
        extras = {name: extra for name, extra in self.extras.items() if name != "sample_weights"}
        if sample_weights is not None:
            extras["sample_weights"] = torch.tensor(sample_weights, dtype=self.logits.dtype)
        return replace(self, extras=extras)

    def flattened(self) -> Batch:
        """Return each pixel of [N, K, H, W] as an example of its own, [N·H·W, K]."""
        extras = dict(self.extras)
        if "teacher_logits" in extras:
            extras["teacher_logits"] = flattened(extras["teacher_logits"])
        if "sample_weights" in extras:
            extras["sample_weights"] = extras["sample_weights"].repeat_interleave(self.targets[0].numel())
        return Batch(flattened(self.logits), self.targets.flatten(), extras)


def generate(num_classes: int, pixels: tuple[int, ...], extras: Sequence[str], dtype: torch.dtype) -> Batch:
    """Draw a batch, always the same one.

    Args:
        num_classes: K.
        pixels: () for [N, K], (H, W) for [N, K, H, W].
        extras: the names of what the loss declares; what is not drawn here, such as the epoch, has a default.
        dtype: of the logits and extras.

    Returns:
        Logits of standard deviation 2, uniform labels, a teacher that is mostly right, log-normal weights.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (N, num_classes, *pixels)
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    targets = torch.randint(num_classes, (N, *pixels), generator=generator)
    drawn = {
        "teacher_logits": teacher_logits(logits, targets, generator),
        "sample_weights": torch.randn(N, generator=generator, dtype=torch.float64).exp(),
    }
    return Batch(logits, targets, {name: drawn[name] for name in extras if name in drawn}).to(dtype)


def teacher_logits(logits: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the logits of a teacher that is mostly right, shaped like the student's."""
    noise = torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
    return noise + 4 * one_hot(targets, logits)


def one_hot(targets: Tensor, logits: Tensor) -> Tensor:
    """Write class indices as probabilities shaped like the logits."""
    return torch.zeros_like(logits).scatter_(1, targets.unsqueeze(1), 1.0)


def flattened(logits: Tensor) -> Tensor:
    """Return [N, K, H, W] as [N·H·W, K]."""
    return logits.movedim(1, -1).reshape(-1, logits.shape[1])


def value(loss: Callable[..., Tensor], batch: Batch) -> Tensor:
    """Call the loss."""
    return loss(batch.logits, batch.targets, **batch.extras)


def value_and_gradient(loss: Callable[..., Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
    """Call the loss and differentiate it with respect to the logits."""
    logits = batch.logits.detach().requires_grad_()
    result = value(loss, replace(batch, logits=logits))
    (gradient,) = torch.autograd.grad(result, logits)
    return result.detach(), gradient


def differs(got: Tensor, expected: Tensor, rtol: float = 1e-6) -> bool:
    """Whether two results are further apart than rounding explains."""
    return not torch.allclose(got, expected, rtol=rtol, atol=1e-9)


def disagreement(got: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], rtol: float = 1e-6) -> str:
    """Describe how two pairs of value and gradient differ; empty where they do not."""
    if differs(got[0], expected[0], rtol):
        return f"{got[0].item():.6g} instead of {expected[0].item():.6g}"
    if differs(got[1], expected[1], rtol):
        return f"same value, but the gradient differs by up to {(got[1] - expected[1]).abs().max().item():.3g}"
    return ""
