"""Metrics: one pure function each, `metric(logits, targets, *, options…) -> float`.

To add one, write a function under `@metric(better=…)` in a file of this folder. It is then
`lossbench.metrics.<name>`, a member of `ALL`, and part of what `evaluate` returns.

`class_tightness` looks at features instead of logits, and is none of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from lossbench.errors import ConfigError, did_you_mean
from lossbench.metrics.features import class_tightness
from lossbench.metrics.inputs import Predictions, read
from lossbench.metrics.metric import Metric
from lossbench.signature import check, parameters

SHARED = {"logits", "targets", "ignore_index"}  # what every metric takes


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
# What can be set, and what it is where nobody does: one option means the same to every metric that declares it.
OPTIONS: dict[str, float] = {
    option: parameter.default
    for metric in ALL.values()
    for option, parameter in parameters(metric).items()
    if option not in SHARED
}
__all__ = ["ALL", "OPTIONS", "Metric", "check_options", "class_tightness", "evaluate", "of_predictions", *ALL]


def evaluate(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    ignore_index: int = -100,
    metrics: Iterable[str] | None = None,
    **options: float,
) -> dict[str, float]:
    """Compute every metric, or those named. They share one softmax, and whatever else several of them need.

    Args:
        logits: [N, K] or [N, K, H, W]; log-probabilities are valid logits.
        targets: class indices in 0..K-1, integer [N] or [N, H, W].
        ignore_index: targets of this value are left out.
        metrics: names of those to compute; none for all.
        options: values for options of metrics, such as `n_bins=10` or `threshold=0.8`. Each goes to the metrics that
            declare it; the others keep their defaults.

    Returns:
        Metric name → value.

    Raises:
        ConfigError: if no metric has such a name or such an option, or the value is outside the option's domain.
        ShapeError: if the two do not fit together.
        DataError: if a logit is not finite or a target is no class.
    """
    names = list(ALL if metrics is None else metrics)
    for name in names:
        if name not in ALL:
            raise ConfigError(f"no metric named '{name}'{did_you_mean(name, ALL)} (lossbench list metrics)")
    check_options(options)
    return of_predictions(read(logits, targets, ignore_index), names, options)


def of_predictions(predictions: Predictions, names: Iterable[str], options: Mapping[str, float]) -> dict[str, float]:
    """Compute metrics as `evaluate` does, where predictions, names and options are checked already."""
    return {
        name: ALL[name](
            predictions,
            predictions.classes,
            ignore_index=-100,  # of which nothing is left
            **{option: value for option, value in options.items() if option in parameters(ALL[name])},
        )
        for name in names
    }


def check_options(options: Mapping[str, float]) -> None:
    """Hold options of metrics against the metrics that declare them.

    Args:
        options: by name.

    Raises:
        ConfigError: if no metric has such an option, or the value is outside the option's domain.
    """
    for option, value in options.items():
        if option not in OPTIONS:
            raise ConfigError(f"no metric has an option '{option}'{did_you_mean(option, OPTIONS)}")
        for metric in ALL.values():
            if option in parameters(metric):
                check(metric, {option: value}, "metrics", SHARED)


if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable[..., float]: ...
