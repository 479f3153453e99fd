"""A figure of each kind, from what a user asks for: rows gathered, a chart to draw at any width, a caption."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from lossbench import predictions
from lossbench.errors import ConfigError, RequestError, StoreError, check_names
from lossbench.report import charts, example_charts, pictures, series, trends
from lossbench.report.grouping import DEFAULT_CALIBRATIONS, meeting, tabulate
from lossbench.report.notation import heading, title
from lossbench.report.scatter_chart import scatter
from lossbench.report.series import Series
from lossbench.report.table import Table
from lossbench.store import Store

TOGETHER = 3  # series that one reliability diagram holds; more have one each
MOST = 10  # series in a figure
MOST_NAMES = 20  # in the legend of a scatter plot
MOST_PLOTS = 9  # of a scatter plot, one for each data set and model
OF_FILES = ("reliability", "risk_coverage", "confidence", "confusion")  # kinds that logits alone are enough for
ONE_EACH = {"column": 2, "page": 4}  # plots side by side, where each series has its own
INTERVALS = "mean and 95 % interval over seeds"


@dataclass(frozen=True)
class Request:
    """What a user asks for; None or empty where nothing was said."""

    kind: str
    sources: Sequence[str] = ()  # run ids, or files of logits
    where: Sequence[str] = ()
    baseline: Sequence[str] = ()
    metrics: Sequence[str] | None = None
    calibration: Sequence[str] | None = None
    split: str | None = None
    x: str | None = None
    classes: Sequence[str] | None = None
    select: str | None = None


@dataclass(frozen=True)
class Figure:
    """What `lossbench.report.drawing` draws."""

    chart: Callable[..., charts.Chart]  # of the `width` of a plot and, where there are several, `columns`
    caption: str
    plots: int = 1
    columns: Mapping[str, int] = field(default_factory=dict)  # at most, by the width of the paper; else 1


Answer: TypeAlias = tuple[Figure, list[str]]


# Files that a report does without; of the other kinds it reads what they need.
DRAWN_FROM = {
    "training": "history.csv",
    **dict.fromkeys(("risk_coverage", "confidence", "confusion"), "predictions.npz"),
}


def check(request: Request) -> None:
    """Hold what is asked for against what there is to draw, before runs are read.

    Raises:
        ConfigError: for another kind, or an option that the kind has no use for.
    """
    check_names("no figure named", [request.kind], KINDS)
    _, known = KINDS[request.kind]
    # Predictions are kept of test and validation, features of test and train.
    if request.split == ("val" if request.kind == "features" else "train") and "split" in known:
        other = "train" if request.kind == "features" else "val"
        raise ConfigError(f"--split of {request.kind} must be test or {other}; got {request.split}")
    for option in ("baseline", "metrics", "calibration", "split", "x", "classes", "select"):
        if getattr(request, option) and option not in known:
            takers = [kind for kind, (_, options) in KINDS.items() if option in options]
            raise ConfigError(f"--{option} is for {', '.join(takers)}; {request.kind} has no use for it")


def figure(request: Request, store: Store) -> Answer:
    """Gather what a figure shows.

    Args:
        request: what to draw.
        store: where the runs are.

    Returns:
        The figure, and a line for each run or row that it had to leave out.

    Raises:
        ConfigError: for what `check` refuses.
        RequestError: if there is nothing to draw, or too much.
    """
    check(request)
    file = next((source for source in request.sources if predictions.is_file(source)), None)
    if file is not None and request.kind not in OF_FILES:
        raise ConfigError(f"{request.kind} is drawn of runs, by id; files such as {file} are for {', '.join(OF_FILES)}")
    return KINDS[request.kind][0](request, store)


def _table(
    request: Request, store: Store, metrics: Sequence[str] | None, calibrations: Sequence[str]
) -> tuple[Table, list[str]]:
    """The runs asked for, grouped over seeds as in the table of the report; and what was left out."""
    splits = [request.split or "test", *(["val"] if request.select else [])]
    frame, left_out = store.frame(splits, ["raw", "temperature_scaled", *calibrations])
    if frame.empty:
        store.newest()  # says that there are none, and where
    if request.sources:
        frame = frame[frame["run"].isin([store.find(source) for source in request.sources])]
    else:
        frame, unread = _readable(frame, request, store)
        left_out = [*left_out, *unread]
    table = tabulate(
        frame,
        where=request.where,
        metrics=metrics,
        calibrations=calibrations,
        split=request.split or "test",
        select=request.select,
    )
    return table, list(left_out)


def _readable(frame: pd.DataFrame, request: Request, store: Store) -> tuple[pd.DataFrame, list[str]]:
    """Leave out those of the runs asked for that lack the file which the figure is drawn from, unless all do."""
    if request.kind not in DRAWN_FROM or frame.empty:
        return frame, []
    lacking: dict[str, str] = {}
    asked = meeting(frame, request.where)
    for run_id in sorted(asked):
        try:
            store.check_there(run_id, DRAWN_FROM[request.kind])
        except StoreError as error:
            lacking[run_id] = f"skipped {error}"
    if len(lacking) == len(asked):
        return frame, []
    return frame[~frame["run"].isin([*lacking])], [*lacking.values()]


def _calibrations(request: Request) -> list[str]:
    return list(dict.fromkeys(request.calibration or ("raw",)))


def _series(request: Request, store: Store) -> tuple[list[Series], str, list[str]]:
    """A series for each row of the table, or each file, and each calibration; a caption; what could not be read."""
    calibrations = _calibrations(request)
    files = [Path(source) for source in request.sources if predictions.is_file(source)]
    if files and (len(files) < len(request.sources) or request.where or request.select):
        raise ConfigError("files of logits go without runs, --where and --select")
    if files:
        split = request.split or "test"
        found = series.series_of_files(files, store, split, calibrations)
        return _at_most(MOST, found), f"{split} split", []
    # Bins of different numbers cannot be pooled, which the table refuses for its ECE; the other kinds take any.
    table, skipped = _table(request, store, ["ece" if request.kind == "reliability" else "accuracy"], calibrations)
    return _at_most(MOST, series.series_of_runs(table, store, calibrations)), _caption(table), skipped


def _at_most(most: int, found: list[Any], what: str = "rows") -> list[Any]:
    if len(found) > most:
        raise RequestError(
            f"{len(found)} {what} are too many for one figure, which holds {most}; choose some with --where KEY=VALUE, "
            "such as --where loss=cross_entropy,label_smoothing"
        )
    return found


def _caption(table: Table) -> str:
    """What all rows share, how many seeds they are over, and whether these chose hyperparameters."""
    counts = sorted({row.n for row in table.rows})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    picked = ", hyperparameters picked on validation" * any(row.picked for row in table.rows)
    return f"{title(table)} · {seeds} seed{'s' if counts[-1] > 1 else ''}{picked}"


def _over_seeds(table: Table) -> str:
    """What the bands and bars are, where there are any."""
    return f"; {INTERVALS}" if any(row.n > 1 for row in table.rows) else ""


def _several_seeds(found: Sequence[Series]) -> bool:
    return any(len(one.sources) > 1 for one in found)


def _pooled(found: Sequence[Series], more: str = "") -> str:
    return f"; examples of all seeds pooled{more}" if _several_seeds(found) else ""


def _in_order(found: Sequence[Series]) -> bool:
    """Whether the series differ in one number alone, so that they run along it."""
    heads = {one.label.rpartition("=")[0] for one in found}
    numbers = [one.label.rpartition("=")[2] for one in found]
    return len(found) > 2 and len(heads) == 1 and "" not in heads and all(map(_is_number, numbers))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reliability(request: Request, store: Store) -> Answer:
    found, caption, skipped = _series(request, store)
    rows = series.reliability_bins(found)
    chart = partial(charts.reliability, rows, ordered=_in_order(found))
    caption += _pooled(found, ", ECE: their mean")
    caption += f"; hollow: fewer than {charts.FEW} examples" * any(row["n"] < charts.FEW for row in rows)
    together = len(found) <= TOGETHER
    return Figure(chart, caption) if together else Figure(chart, caption, len(found), ONE_EACH), skipped


def _training(request: Request, store: Store) -> Answer:
    found, caption, skipped = _series(request, store)
    rows = series.epochs(found)
    if not rows:
        raise RequestError("none of these runs has kept its epochs (history.csv)")
    plots = len({row["quantity"] for row in rows})
    chart = partial(charts.training, rows, ordered=_in_order(found))
    return Figure(
        chart, f"{caption.replace(' · test split', '')}" + f"; {INTERVALS}" * _several_seeds(found), plots, {"page": 3}
    ), skipped


def _risk_coverage(request: Request, store: Store) -> Answer:
    found, caption, skipped = _series(request, store)
    chart = partial(charts.risk_coverage, series.risk_points(found), ordered=_in_order(found))
    return Figure(chart, f"{caption}; {INTERVALS}" if _several_seeds(found) else caption), skipped


def _confidence(request: Request, store: Store) -> Answer:
    found, caption, skipped = _series(request, store)
    chart = partial(example_charts.confidence, series.confidence_bins(found))
    caption += f"; shares of the right and of the wrong predictions, dashed their means{_pooled(found)}"
    return Figure(chart, caption, len(found), ONE_EACH), skipped


def _confusion(request: Request, store: Store) -> Answer:
    found, caption, skipped = _series(request, store)
    cells = series.confusion_cells(found)
    chart = partial(example_charts.confusion, cells)
    full = " or, dark, for 100" * any((row["share"] or 0) >= 0.995 for row in cells)
    caption += f"; per cent of each class, blank below 0.5{full}{_pooled(found)}"
    return Figure(chart, caption, len(found), ONE_EACH), skipped


def _features(request: Request, store: Store) -> Answer:
    split = request.split or "test"
    found, caption, skipped = _series(replace(request, split=None), store)  # of the runs, measured on test
    rows, tightness = pictures.projections(found, request.classes, split, _keep(request, store))
    caption = f"{caption.rpartition(' · ')[0].removesuffix('test split')}{split} split · first seed"
    caption += "; features in the plane of the classes' templates" + ", all to one scale" * (len(found) > 1)
    chart = partial(example_charts.features, rows)
    return Figure(chart, f"{caption}; {_tightness(found, tightness)}", len(found), ONE_EACH), skipped


def _tightness(found: Sequence[Series], values: Sequence[Mapping[str, float]]) -> str:
    """`class tightness ε=0 0.712 (train 0.743), ε=0.1 0.846 (train 0.881)`; of one series without its name."""
    words = []
    for one, of in zip(found, values, strict=True):
        train = f" (train {_share(of['train_class_tightness'])})" if "train_class_tightness" in of else ""
        words.append(f"{one.label} " * (len(found) > 1) + _share(of["class_tightness"]) + train)
    return f"class tightness {', '.join(words)}"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _panels(request: Request, store: Store) -> Answer:
    found, caption, skipped = _series(request, store)
    grid, classes, aspect = pictures.grid(found, _keep(request, store))
    chart = partial(example_charts.panels, grid, classes, aspect=aspect)
    more = "; predictions side by side, their confidence where a row stands alone" if len(found) > 1 else ""
    return Figure(chart, f"{caption.rpartition(' · ')[0]} · first seed{more}"), skipped


def _keep(request: Request, store: Store) -> str:
    """The command that keeps what features and panels draw, of the runs that were asked for."""
    filters = [part for condition in request.where for part in ("--where", shlex.quote(condition))]
    return " ".join(["lossbench evaluate --pictures", *request.sources, *filters]) + store.option


def _scatter(request: Request, store: Store) -> Answer:
    names = list(dict.fromkeys(request.metrics or ("accuracy", "ece")))
    if len(names) != 2:
        raise ConfigError(f"--metrics of a scatter plot are two, such as accuracy,ece; got {','.join(names)}")
    table, skipped = _table(request, store, names, _calibrations(request))
    rows, left_out = trends.scatter(table, _calibrations(request))
    if not rows:
        raise RequestError(f"no run has both {' and '.join(names)}; lossbench evaluate adds metrics that came since")
    plots = _at_most(MOST_PLOTS, list(dict.fromkeys(row["plot"] for row in rows)), "plots")
    _at_most(MOST_NAMES, list(dict.fromkeys(row["series"] for row in rows)))
    y, x = (heading(next(column for column in table.metrics if column.metric == name)) for name in names)
    y_bounds, x_bounds = map(trends.bounds, names)
    chart = partial(scatter, rows, x_title=x, y_title=y, x_bounds=x_bounds, y_bounds=y_bounds)
    caption = f"{_caption(table)}{_over_seeds(table)}{'; each plot has axes of its own' if len(plots) > 1 else ''}"
    return Figure(chart, caption, len(plots), {"column": 2, "page": 3}), skipped + left_out


def _sweep(request: Request, store: Store) -> Answer:
    calibrations = list(dict.fromkeys(request.calibration or DEFAULT_CALIBRATIONS))
    table, skipped = _table(request, store, request.metrics, calibrations)
    swept = trends.sweep(table, request.x, request.baseline)
    _at_most(MOST, list(dict.fromkeys(row["series"] for row in [*swept.points, *swept.baselines])))
    chart = partial(charts.sweep, swept.points, swept.baselines, x_title=swept.x_title, scale=swept.scale)
    plots = len({row["metric"] for row in swept.points})
    if not plots:
        raise RequestError("none of these runs has these metrics; lossbench evaluate adds metrics that came since")
    return Figure(
        chart, f"{_caption(table)}{_over_seeds(table)}", plots, {"column": 2, "page": 4}
    ), skipped + swept.left_out


# What draws each kind, and the options that it takes beside the runs and --where.
KINDS: dict[str, tuple[Callable[[Request, Store], Answer], tuple[str, ...]]] = {
    "reliability": (_reliability, ("calibration", "split", "select")),
    "sweep": (_sweep, ("baseline", "metrics", "calibration", "split", "x")),
    "training": (_training, ("select",)),
    "risk_coverage": (_risk_coverage, ("calibration", "split", "select")),
    "confidence": (_confidence, ("calibration", "split", "select")),
    "scatter": (_scatter, ("metrics", "calibration", "split", "select")),
    "confusion": (_confusion, ("calibration", "split", "select")),
    "features": (_features, ("split", "classes", "select")),
    "panels": (_panels, ("select",)),
}
