"""Class weights and priors from the training split's class counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lossbench.errors import ConfigError, DataError

EFFECTIVE_BETA = 0.999  # Cui et al. 2019 choose among 0.9, 0.99, 0.999 and 0.9999


def class_weights(kind: Literal["inverse", "effective"], counts: Tensor, class_names: Sequence[str] = ()) -> Tensor:
    """Weigh rare classes up.

        inverse:   w_c = N / (K n_c)                so that the weighted mean over the examples is 1
        effective: w_c ∝ (1 - β) / (1 - β^n_c)      with mean 1 over the classes, β = 0.999

    Args:
        kind: which of the two.
        counts: n_c, examples (or pixels) per class, [K].
        class_names: K names for the message; the indices where there are none.

    Returns:
        float32 [K].

    Raises:
        DataError: if a class is empty.

    Source: Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", eq. 2.
    """
    empty = [class_names[c] if class_names else str(c) for c in torch.nonzero(counts == 0).flatten().tolist()]
    if empty:
        raise DataError(
            f"class_weights={kind} needs an example of every class in the training split; "
            f"there is none of {', '.join(empty)}"
        )
    n = counts.double()  # β^n in float32 would round 1 - β^n for small n
    if kind == "inverse":
        return (n.sum() / (len(n) * n)).float()
    weights = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA**n)
    return (weights / weights.mean()).float()


def class_frequencies(counts: Tensor) -> Tensor:
    """Divide the counts by their sum.

    Args:
        counts: examples (or pixels) per class, [K].

    Returns:
        float32 [K], sums to 1; an empty class has frequency 0.

    Raises:
        DataError: if there is no example at all.
    """
    if counts.sum() == 0:
        raise DataError("class frequencies need at least one example in the training split; there is none")
    return (counts.double() / counts.sum()).float()


def check_class_weights(weights: Tensor | Sequence[float], num_classes: int) -> None:
    """Raise unless the numbers can weigh the classes.

    Args:
        weights: one number per class.
        num_classes: K.

    Raises:
        ConfigError: if there are not K of them, one is negative or not finite, or all are zero.
    """
    values = _numbers("class_weights", weights, num_classes)
    if values.sum() == 0:
        raise ConfigError("class_weights must not all be zero: there would be nothing to learn from")


def check_prior(prior: Tensor | Sequence[float], num_classes: int) -> None:
    """Raise unless the numbers are a distribution over the classes.

    Args:
        prior: one probability per class.
        num_classes: K.

    Raises:
        ConfigError: if there are not K of them, one is negative or not finite, or their sum is not 1 to 1e-4.
    """
    total = _numbers("prior", prior, num_classes).sum().item()
    if abs(total - 1) > 1e-4:
        raise ConfigError(f"prior must sum to 1; got a sum of {total:g}")


def _numbers(name: str, values: Tensor | Sequence[float], num_classes: int) -> Tensor:
    numbers = torch.as_tensor(values, dtype=torch.float64)
    if numbers.shape != (num_classes,):
        raise ConfigError(f"{name} must have one entry per class ({num_classes}); got {numbers.numel()}")
    for c, number in enumerate(numbers.tolist()):
        if not 0 <= number < float("inf"):
            raise ConfigError(f"{name} must be finite and not negative; got {number:g} for class {c}")
    return numbers
