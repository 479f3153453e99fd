"""Metrics: one pure function each, `metric(logits, targets, *, options…) -> float`.

To add one, write a function under `@metric(better=…)` in a file of this folder. It is then
`lossbench.metrics.<name>`, a member of `ALL`, and part of what `evaluate` returns.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from lossbench.metrics.metric import Metric


def _find_metrics(package: str, folders: Iterable[str]) -> dict[str, Metric]:
    modules = [importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(folders)]
    return {
        name: function
        for module in modules
        for name, function in vars(module).items()
        # a metric that one file borrows from another is found where it was written
        if hasattr(function, "better") and function.__module__ == module.__name__
    }


ALL: dict[str, Metric] = _find_metrics(__name__, __path__)
globals().update(ALL)
__all__ = ["ALL", "Metric", "evaluate", *ALL]


def evaluate(logits: ArrayLike, targets: ArrayLike, *, ignore_index: int = -100) -> dict[str, float]:
    """Compute every metric, each with its default options.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.

    Returns:
        Metric name → value.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.
    """
    return {name: metric(logits, targets, ignore_index=ignore_index) for name, metric in ALL.items()}


if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable[..., float]: ...
