"""One loss for R runs: what differs between their hyperparameters, as tensors with an axis of runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def differing(functions: Sequence[Callable[..., Tensor]], device: str) -> dict[str, Tensor]:
    """Stack the hyperparameters that are not the same for all runs.

    Args:
        functions: R losses as `lossbench.build` binds them: one function, with numbers and tensors of each run's own.
        device: where to put them.

    Returns:
        Dotted name → [R] or [R, K]: `epsilon`, or `first.gamma` of a loss inside another.
    """
    values = [_leaves(function) for function in functions]
    stacked = {}
    for name, first in values[0].items():
        of_runs = [of_run[name] for of_run in values]
        if isinstance(first, Tensor):
            if not all(torch.equal(first, other) for other in of_runs):
                stacked[name] = torch.stack(of_runs).to(device)
        elif any(first != other for other in of_runs):
            stacked[name] = torch.tensor(of_runs, dtype=torch.float32, device=device)
    return stacked


def bind(function: Callable[..., Tensor], values: Mapping[str, Tensor]) -> Callable[..., Tensor]:
    """Return a loss with other values in the place of its own, by the names that `differing` gives them."""
    if not values:
        return function
    assert isinstance(function, functools.partial)
    own: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for key in {name.partition(".")[0] for name in values if "." in name}:
        inner = {name.removeprefix(f"{key}."): value for name, value in values.items() if name.startswith(f"{key}.")}
        own[key] = bind(function.keywords[key], inner)
    return functools.partial(function, **own)


def _leaves(function: Callable[..., Tensor], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    if isinstance(function, functools.partial):
        for name, value in function.keywords.items():
            if isinstance(value, functools.partial):
                leaves |= _leaves(value, f"{prefix}{name}.")
            else:
                leaves[prefix + name] = value
    return leaves
