"""From a frame of runs to a table of means over seeds, before any formatting."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lossbench import metrics as library
from lossbench.calibration import CALIBRATIONS
from lossbench.errors import ConfigError, RequestError, check_names, counted
from lossbench.identity import HELD
from lossbench.metrics.temperature import MAX_TEMPERATURE, MIN_TEMPERATURE
from lossbench.report import notes, selection
from lossbench.report.arrangement import (
    arrange,
    going_with,
    in_order,
    look_alikes,
    more_than_the_loss,
    of_what_goes_across,
)
from lossbench.report.arrangement import sort as sorted_by
from lossbench.report.choice import Choice, choose
from lossbench.report.comparison import mark_best, with_differences
from lossbench.report.defaults import with_added
from lossbench.report.families import with_families
from lossbench.report.options import PREFIX, measured_with
from lossbench.report.ranking import rank
from lossbench.report.resampling import with_resampled_intervals
from lossbench.report.selection import Value, parse, rows_of, value, written
from lossbench.report.table import (
    BESIDE,
    NAMES,
    PICKED,
    SAME_AFTER_TEMPERATURE,
    UNKNOWN,
    Cell,
    MetricColumn,
    Row,
    Run,
    Table,
    short_name,
)
from lossbench.statistics import t_interval
from lossbench.store import Store

DEFAULT_CALIBRATIONS = ("raw", "temperature_scaled")
SPREADS = ("interval", "sd")
FINGERPRINT = "fingerprint."
DEFAULT_METRICS = ("accuracy", "nll", "ece", "confidence_gap")
# What separates two runs without making them different experiments: seeds, and what cannot change the numbers.
# A teacher's id repeats its settings, which are compared one by one, and its seed, which is its student's.
NOT_COMPARED = {"run", "split", "calibration", "seed", "teacher.id", *BESIDE, *UNKNOWN}
NOT_COMPARED |= {"results_dir", *(f"dataset.{key}" for key in HELD)}


def tabulate(
    frame: pd.DataFrame,
    *,
    where: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    calibrations: Sequence[str] = DEFAULT_CALIBRATIONS,
    split: str = "test",
    baseline: Sequence[str] = (),
    select: str | None = None,
    ranks: str | None = None,
    spread: str = "interval",
    rows: Sequence[str] | None = None,
    across: Sequence[str] = (),
    sort: str | None = None,
    store: Store | None = None,
) -> Table:
    """Group runs over seeds, mark the best of each dataset × model and what cannot be told from it.

    Args:
        frame: a row per run × split × calibration; config keys with dots, one column per metric.
        where: filters, `key=value` each; see `select`.
        metrics: names from `lossbench.metrics`, in the order to show; none for the usual five columns.
        calibrations: of `lossbench.calibration.CALIBRATIONS`, in the order to show.
        split: `val` or `test`.
        baseline: `key=value` each, for the rows that the others of their dataset × model are compared with.
        select: a metric: one row per loss, for each seed the run that is best by it on validation.
        ranks: a metric to rank the losses by over all datasets and models.
        spread: what follows ±: half the 95 % `interval`, or the `sd`.
        rows: the settings that make rows, as headings name them or dotted, in the order of their columns; none for all
            that tell rows apart.
        across: settings whose values stand above the metrics.
        sort: a setting, `setting:desc`, or a metric, best first: the order of the rows of a block.
        store: where the predictions are: rows of one seed have intervals over test examples then.

    Raises:
        ConfigError: if a filter, a metric, a calibration or a setting is not known.
        RequestError: if no run is left, or those left were measured with different options.
    """
    if frame.empty:
        raise RequestError(_no_runs(store))
    check_names("no spread named", [spread], SPREADS)
    shown = _metric_columns(metrics, calibrations, ranks, frame.columns)
    keys = _compared_keys(frame)
    frame, left_out = with_added(frame, keys)
    filterable = _filterable(frame)
    chosen = with_families(selection.select(frame, where, filterable))
    if select is not None:
        measured_with(chosen, [select])  # before it chooses among them
    choice = _choice(chosen, select, shown[0].calibration, keys, split)
    if choice is not None:
        chosen = chosen[chosen["run"].isin(list(choice.picked))]
    chosen = chosen[chosen["split"] == split]
    if chosen.empty:
        raise RequestError(f"no run has the split {split!r}; there are: {', '.join(sorted(set(frame['split'])))}")

    options = measured_with(chosen, [column.metric for column in shown])
    # Missing for all of them is missing: an older store may lack a metric that was added since.
    chosen = chosen.reindex(columns=[*chosen.columns, *({c.metric for c in shown} - set(chosen.columns))])
    groups: dict[tuple[Value, ...], list[dict[str, Any]]] = {}
    prints = [key for key in map(str, chosen.columns) if key.startswith(FINGERPRINT)]
    of_runs = ["run", "calibration", "seed", *prints]
    for record in rows_of(chosen, [*keys, *of_runs], list(dict.fromkeys(column.metric for column in shown))):
        swept = choice.picked[record["run"]] if choice else {}
        groups.setdefault(tuple(PICKED if key in swept else record[key] for key in keys), []).append(record)
    configs = [dict(zip(keys, group, strict=True)) for group in groups]

    columns, above = arrange(keys, configs, rows, across)
    both = (*columns, *above)
    lines = [_row(config, records, shown, choice) for config, records in zip(configs, groups.values(), strict=True)]
    lines = _blocks(in_order(lines, both))
    lines, tested, unlike = mark_best(sorted_by(lines, columns, shown, sort, above) if sort else lines, shown)
    remarks: list[str] = []
    if baseline:
        lines, remarks = with_differences(lines, shown, baseline)
    if store is not None:
        lines, missing = with_resampled_intervals(lines, shown, split, store)
        remarks += missing
    counts = {row.n for row in lines}
    of_tests = notes.comparisons(lines, shown, tested, " ".join(baseline))
    return Table(
        title=_title(chosen, lines, [parse(condition, filterable)[0] for condition in where]),
        split=split,
        columns=columns,
        metrics=shown,
        rows=tuple(lines),
        n=counts.pop() if len(counts) == 1 else None,
        notes=(
            *notes.notes(
                lines,
                [column.key for column in both],
                shown,
                options,
                spread=spread,
                tests=of_tests,
                said=going_with(lines, columns, above),
            ),
            *_at_the_bound(chosen, shown),
            *(choice.notes if choice else ()),
            *more_than_the_loss(lines),
            *unlike,
            *remarks,
            *left_out,
            *of_what_goes_across(lines, columns, above),
            *look_alikes(lines, both),
        ),
        spread=spread,
        baseline=" ".join(baseline),
        ranks=rank(lines, both, shown, ranks, picked=select is not None) if ranks else None,
        across=above,
        options=options,
        asked=frozenset(name for name, given in (("metrics", metrics), ("rows", rows)) if given),
    )


def _at_the_bound(chosen: pd.DataFrame, shown: Sequence[MetricColumn]) -> list[str]:
    """A note on runs whose fitted temperature is where the search ends and not where the likelihood is best."""
    if all(column.calibration == "raw" or column.metric in BESIDE for column in shown) or "temperature" not in chosen:
        return []
    fitted = chosen.drop_duplicates("run")["temperature"].dropna()
    of = counted(len(fitted), "run")
    ends = {
        "the lower end of the search, as every validation example is right": int((fitted <= MIN_TEMPERATURE).sum()),
        "the upper end of the search, as hardly more validation examples are right than by chance": int(
            (fitted >= MAX_TEMPERATURE).sum()
        ),
    }
    return [
        f"In {count} of {of} the temperature is {end}: what was fitted on validation says little."
        for end, count in ends.items()
        if count
    ]


def meeting(frame: pd.DataFrame, where: Sequence[str]) -> set[str]:
    """Return the runs that `tabulate` would tabulate.

    Args:
        frame: a row per run × split × calibration.
        where: `key=value` each.

    Raises:
        ConfigError: if a filter is not known.
        RequestError: if no run is left.
    """
    frame, _ = with_added(frame, _compared_keys(frame))
    return set(selection.select(frame, where, _filterable(frame))["run"])


def _compared_keys(frame: pd.DataFrame) -> list[str]:
    return [key for key in map(str, frame.columns) if compared(key)]


def _filterable(frame: pd.DataFrame) -> list[str]:
    return [*_compared_keys(frame), "seed", "run", *(key for key in map(str, frame.columns) if key.startswith(PREFIX))]


def compared(key: str) -> bool:
    """Whether a column of a frame is a setting that makes two runs different experiments."""
    of_the_device = key.startswith("device.") and key != "device.precision"
    return (
        not of_the_device
        and not key.startswith((FINGERPRINT, PREFIX))
        and key not in NOT_COMPARED
        and key not in library.ALL
    )


def _no_runs(store: Store | None) -> str:
    """That there are none, and where: in a folder of results, which may not be there."""
    where = ""
    if store is not None:
        results = store.runs.parent
        where = f" in {store.runs}" if results.is_dir() else f" in {results}, which is not there"
    train = "lossbench train loss=label_smoothing loss.epsilon=0,0.1 'seed=range(3)'"
    return f"no finished runs{where}; train some first: {train}"


def _choice(
    frame: pd.DataFrame, metric: str | None, calibration: str, keys: Sequence[str], split: str
) -> Choice | None:
    if metric is None:
        return None
    check_names("no metric named", [metric], library.ALL)
    if split != "test":
        raise ConfigError(f"--select chooses on validation, so only --split test can judge what it chose; got {split}")
    return choose(
        frame.reindex(columns=[*frame.columns, *({metric} - set(frame.columns))]),
        metric,
        library.ALL[metric].better,
        calibration,
        keys,
    )


def _metric_columns(
    metrics: Sequence[str] | None, calibrations: Sequence[str], ranks: str | None, measured: Container[str]
) -> tuple[MetricColumn, ...]:
    calibrations = list(dict.fromkeys(calibrations)) or DEFAULT_CALIBRATIONS
    known_metrics = {**{name: metric.better for name, metric in library.ALL.items()}, **dict.fromkeys(BESIDE)}
    known_metrics |= {name: better for name, (better, _) in UNKNOWN.items() if name in measured}
    check_names("no calibration named", calibrations, CALIBRATIONS)
    check_names("no metric named", [*(metrics or ()), *([ranks] if ranks else [])], known_metrics)
    first, *rest = calibrations
    if not metrics:
        pairs = [(name, first) for name in DEFAULT_METRICS] + [("ece", calibration) for calibration in rest]
    else:
        pairs = [
            (name, calibration)
            for name in dict.fromkeys(metrics)
            for calibration in ([first] if name in BESIDE else calibrations)
            if not (calibration in rest and calibration == "temperature_scaled" and name in SAME_AFTER_TEMPERATURE)
        ]
    if ranks and ranks not in [name for name, _ in pairs]:
        pairs.append((ranks, first))
    return tuple(MetricColumn(name, calibration, known_metrics[name]) for name, calibration in pairs)


def _row(
    config: Mapping[str, Value],
    records: list[dict[str, Any]],
    shown: Sequence[MetricColumn],
    choice: Choice | None,
) -> Row:
    runs: dict[str, Run] = {}
    values: dict[tuple[str, str], dict[str, float]] = {}  # metric, calibration → run → value
    for record in records:
        if record["run"] not in runs:
            of = {key.removeprefix(FINGERPRINT): v for key, v in record.items() if key.startswith(FINGERPRINT)}
            of = {key: v for key, v in of.items() if v is not None}
            runs[record["run"]] = Run(record["run"], record["seed"], of)
        for column in shown:
            if record["calibration"] == column.calibration:
                values.setdefault((column.metric, column.calibration), {})[record["run"]] = record[column.metric]
    cells = []
    for column in shown:
        given = values.get((column.metric, column.calibration), {})
        cells.append(_cell(tuple(given.get(run, math.nan) for run in runs)))
    picked = {run: choice.picked[run] for run in runs} if choice else {}
    return Row(config, tuple(runs.values()), 0, tuple(cells), picked if any(picked.values()) else {})


def _cell(values: tuple[float, ...]) -> Cell:
    there = np.array([number for number in values if not math.isnan(number)])
    if not len(there):
        return Cell(math.nan, None, 0, values)
    # An infinite nll has a mean, ∞, but no deviation from it.
    spread = len(there) > 1 and bool(np.isfinite(there).all())
    sd = float(there.std(ddof=1)) if spread else None
    return Cell(float(there.mean()), sd, len(there), values, *t_interval(there))


def _blocks(rows: list[Row]) -> list[Row]:
    def dataset_and_model(row: Row) -> tuple[Value, ...]:
        # With all their settings: two levels of label noise are two problems, each with its own best loss.
        return tuple(v for key, v in row.config.items() if key.startswith(("dataset.", "model.")))

    blocks = list(dict.fromkeys(map(dataset_and_model, rows)))
    return [replace(row, block=blocks.index(dataset_and_model(row))) for row in rows]


def _title(chosen: pd.DataFrame, rows: Sequence[Row], filtered: Sequence[str]) -> tuple[str, ...]:
    title = []
    for key in dict.fromkeys([*NAMES, *filtered]):
        values = {value(cell) for cell in chosen[key].unique()} if key in chosen else set()
        if len(values) == 1:
            (only,) = values
            title.append(written(only) if key in NAMES else f"{short_name(key)} {written(only)}")
    return tuple(title)
