"""What the shown metrics were measured with: one table, one way of measuring."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from lossbench import metrics as library
from lossbench.errors import RequestError
from lossbench.report.selection import order, value, written
from lossbench.report.table import CALIBRATED, MetricColumn, metric_name

PREFIX = "metrics."  # of a frame's columns


def measured_with(frame: pd.DataFrame, metrics: Iterable[str]) -> dict[str, float]:
    """Return the options of metrics that all rows of a frame were measured with.

    Args:
        frame: a row per run × split × calibration; `metrics.n_bins` is missing where a run is older than options,
            which had the defaults then.
        metrics: whose options count.

    Raises:
        RequestError: if two rows differ in one.
    """
    found = {}
    for option in dict.fromkeys(option for metric in metrics for option in _declared(metric)):
        key, default = PREFIX + option, library.OPTIONS[option]
        there = {value(cell) for cell in frame[key].unique()} if key in frame else {None}
        values = sorted({default if item is None else item for item in there}, key=order)
        if len(values) > 1:
            raise RequestError(
                f"these runs were measured with {option} {' and '.join(map(written, values))}, which one table cannot "
                f"hold: `lossbench evaluate --{option.replace('_', '-')} {written(default)}` measures them alike"
            )
        found[option] = values[0]
    return found  # type: ignore[return-value]


def definitions(shown: Sequence[MetricColumn], options: Mapping[str, float]) -> list[str]:
    """Return a sentence for each option and each calibration that the shown columns depend on."""
    by_kind: dict[str, list[str]] = {}
    for metric in dict.fromkeys(column.metric for column in shown):
        for option in _declared(metric):
            number = written(options[option])
            mass = "mass" if metric == "adaptive_ece" else "width"
            kinds = {"n_bins": f"{number} bins of equal {mass}", "threshold": f"at a confidence above {number}"}
            by_kind.setdefault(kinds.get(option, f"{option} {number}"), []).append(metric_name(metric))
    sentences = [f"{', '.join(names)}: {kind}." for kind, names in by_kind.items()]
    used = {column.calibration for column in shown}
    return sentences + [
        f"{label[0].upper()}{label[1:]}: {meaning}" for name, (label, meaning) in CALIBRATED.items() if name in used
    ]


def _declared(metric: str) -> list[str]:
    known = inspect.signature(library.ALL[metric]).parameters if metric in library.ALL else {}
    return [option for option in known if option in library.OPTIONS]
