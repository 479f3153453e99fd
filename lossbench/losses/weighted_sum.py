"""Two losses added."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

from torch import Tensor

from lossbench.domains import NON_NEGATIVE
from lossbench.errors import ConfigError
from lossbench.losses.claims import claim
from lossbench.losses.cross_entropy import cross_entropy
from lossbench.losses.overlap import dice


@claim(shift_invariant=True, soft_targets=True, mean_of_examples=True)  # as far as both losses claim it
def weighted_sum(
    logits: Tensor,
    targets: Tensor,
    *,
    first: Callable[..., Tensor] = cross_entropy,
    second: Callable[..., Tensor] = dice,
    first_weight: Annotated[float | Tensor, NON_NEGATIVE] = 1.0,
    second_weight: Annotated[float | Tensor, NON_NEGATIVE] = 1.0,
    **extras: Any,
) -> Tensor:
    """Add two losses; either may itself be such a sum.

        loss = a · first(z, y) + b · second(z, y)

    Args:
        logits: what both losses take.
        targets: what both losses take.
        first: a loss, `first(logits, targets)`.
        second: a loss, `second(logits, targets)`.
        first_weight: a ≥ 0.
        second_weight: b ≥ 0.
        **extras: what the losses declare beside, such as `teacher_logits`; each is handed what it declares.

    Returns:
        Weighted sum, scalar.

    Raises:
        ShapeError: as the two losses do.
        ConfigError: as the two losses do, and if both weights are the number 0.

    Source: Isensee et al. 2021, "nnU-Net", for the default pair.
    """
    if all(not isinstance(weight, Tensor) and weight == 0 for weight in (first_weight, second_weight)):
        raise ConfigError("first_weight and second_weight are both 0: nothing would be learned")
    return first_weight * first(logits, targets, **declared_by(first, extras)) + second_weight * second(
        logits, targets, **declared_by(second, extras)
    )


def declared_by(loss: Callable[..., Tensor], extras: dict[str, Any]) -> dict[str, Any]:
    """Keep the extras that a loss has a parameter for, all of them if it takes any."""
    parameters = inspect.signature(loss).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return {name: extra for name, extra in extras.items() if takes_any or name in parameters}
