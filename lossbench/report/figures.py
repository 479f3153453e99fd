"""A figure of each kind, from what a user asks for: rows gathered, a chart to draw at any width, a caption."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from lossbench import predictions
from lossbench.errors import ConfigError, RequestError, did_you_mean
from lossbench.report import charts, example_charts, pictures, series, trends
from lossbench.report.grouping import DEFAULT_CALIBRATIONS, tabulate
from lossbench.report.notation import heading, title
from lossbench.report.series import Series
from lossbench.report.table import Table
from lossbench.store import Store

TOGETHER = 3  # series that one reliability diagram holds; more have one each
MOST = 10  # series in a figure
MOST_POINTS = 40  # of a scatter plot
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


@dataclass(frozen=True)
class Figure:
    """What `lossbench.report.drawing` draws."""

    chart: Callable[..., charts.Chart]  # of the `width` of a plot and, where there are several, `columns`
    caption: str
    plots: int = 1
    columns: Mapping[str, int] = field(default_factory=dict)  # at most, by the width of the paper; else 1


Answer: TypeAlias = tuple[Figure, list[str]]


def figure(request: Request, store: Store) -> Answer:
    """Gather what a figure shows.

    Args:
        request: what to draw.
        store: where the runs are.

    Returns:
        The figure, and a line for each run or row that it had to leave out.

    Raises:
        ConfigError: for another kind, or an option that the kind has no use for.
        RequestError: if there is nothing to draw, or too much.
    """
    if request.kind not in KINDS:
        raise ConfigError(f"no figure named {request.kind!r}{did_you_mean(request.kind, KINDS)}")
    make, known = KINDS[request.kind]
    for option in ("baseline", "metrics", "calibration", "split", "x", "classes"):
        if getattr(request, option) and option not in known:
            takers = [kind for kind, (_, options) in KINDS.items() if option in options]
            raise ConfigError(f"--{option} is for {', '.join(takers)}; {request.kind} has no use for it")
    return make(request, store)


def _table(
    request: Request, store: Store, metrics: Sequence[str] | None, calibrations: Sequence[str]
) -> tuple[Table, list[str]]:
    """The runs asked for, grouped over seeds as in the table of the report; and what was left out."""
    frame, left_out = store.frame([request.split or "test"], ["raw", "temperature_scaled", *calibrations])
    if frame.empty:
        store.newest()  # says that there are none, and where
    if request.sources:
        frame = frame[frame["run"].isin([store.find(source) for source in request.sources])]
    table = tabulate(
        frame,
        where=request.where,
        metrics=metrics,
        calibrations=calibrations,
        split=request.split or "test",
    )
    return table, list(left_out)


def _calibrations(request: Request) -> list[str]:
    return list(dict.fromkeys(request.calibration or ("raw",)))


def _series(request: Request, store: Store) -> tuple[list[Series], str, list[str]]:
    """A series for each row of the table, or each file, and each calibration; a caption; what could not be read."""
    calibrations = _calibrations(request)
    files = [Path(source) for source in request.sources if predictions.is_file(source)]
    if files and (
        len(files) < len(request.sources) or request.where or request.kind in ("training", "features", "panels")
    ):
        raise ConfigError(
            "files of logits go without runs and --where, and hold nothing for training, features, panels"
        )
    if files:
        split = request.split or "test"
        found = series.series_of_files(files, store, split, calibrations)
        return _at_most(MOST, found), f"{split} split", []
    # Bins of different numbers cannot be pooled, which the table refuses for its ECE; the other kinds take any.
    table, skipped = _table(request, store, ["ece" if request.kind == "reliability" else "accuracy"], calibrations)
    return _at_most(MOST, series.series_of_runs(table, store, calibrations)), _caption(table), skipped


def _at_most(most: int, found: list[Any]) -> list[Any]:
    if len(found) > most:
        raise RequestError(
            f"{len(found)} rows are too many for one figure, which holds {most}; choose some with --where KEY=VALUE, "
            "such as --where loss=cross_entropy,label_smoothing"
        )
    return found


def _caption(table: Table) -> str:
    """What all rows share, and how many seeds they are over."""
    counts = sorted({row.n for row in table.rows})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{title(table)} · {seeds} seed{'s' if counts[-1] > 1 else ''}"


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
    chart = partial(charts.reliability, series.reliability_bins(found), ordered=_in_order(found))
    caption += _pooled(found, ", ECE: their mean")
    together = len(found) <= TOGETHER
    return Figure(chart, caption) if together else Figure(chart, caption, len(found), ONE_EACH), skipped


def _training(request: Request, store: Store) -> Answer:
    found, caption, skipped = _series(request, store)
    rows = series.epochs(found)
    if not rows:
        raise RequestError("none of these runs has kept its epochs (history.csv)")
    plots = len({row["quantity"] for row in rows})
    chart = partial(charts.training, rows, ordered=_in_order(found))
    return Figure(chart, f"{caption.replace(' · test split', '')}; {INTERVALS}", plots, {"page": 3}), skipped


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
    chart = partial(example_charts.confusion, series.confusion_cells(found))
    return Figure(chart, f"{caption}; shares of each class{_pooled(found)}", len(found), ONE_EACH), skipped


def _features(request: Request, store: Store) -> Answer:
    found, caption, skipped = _series(request, store)
    chart = partial(example_charts.features, pictures.projections(found, request.classes))
    return Figure(chart, f"{caption.rpartition(' · ')[0]} · first seed", len(found), ONE_EACH), skipped


def _panels(request: Request, store: Store) -> Answer:
    found, caption, skipped = _series(request, store)
    grid, classes, aspect = pictures.grid(found)
    chart = partial(example_charts.panels, grid, classes, aspect=aspect)
    return Figure(chart, f"{caption.rpartition(' · ')[0]} · first seed"), skipped


def _scatter(request: Request, store: Store) -> Answer:
    names = list(dict.fromkeys(request.metrics or ("accuracy", "ece")))
    if len(names) != 2:
        raise ConfigError(f"--metrics of a scatter plot are two, such as accuracy,ece; got {','.join(names)}")
    table, skipped = _table(request, store, names, _calibrations(request))
    rows, left_out = trends.scatter(table, _calibrations(request))
    if not rows:
        raise RequestError(f"no run has both {' and '.join(names)}; lossbench evaluate adds metrics that came since")
    y, x = (heading(next(column for column in table.metrics if column.metric == name)) for name in names)
    chart = partial(charts.scatter, _at_most(MOST_POINTS, rows), x_title=x, y_title=y)
    return Figure(chart, f"{_caption(table)}; {INTERVALS}"), skipped + left_out


def _sweep(request: Request, store: Store) -> Answer:
    calibrations = list(dict.fromkeys(request.calibration or DEFAULT_CALIBRATIONS))
    table, skipped = _table(request, store, request.metrics, calibrations)
    swept = trends.sweep(table, request.x, request.baseline)
    _at_most(MOST, list(dict.fromkeys(row["series"] for row in [*swept.points, *swept.baselines])))
    chart = partial(charts.sweep, swept.points, swept.baselines, x_title=swept.x_title, scale=swept.scale)
    plots = len({row["metric"] for row in swept.points})
    if not plots:
        raise RequestError("none of these runs has these metrics; lossbench evaluate adds metrics that came since")
    return Figure(chart, f"{_caption(table)}; {INTERVALS}", plots, {"column": 2, "page": 4}), skipped + swept.left_out


# What draws each kind, and the options that it takes beside the runs and --where.
KINDS: dict[str, tuple[Callable[[Request, Store], Answer], tuple[str, ...]]] = {
    "reliability": (_reliability, ("calibration", "split")),
    "sweep": (_sweep, ("baseline", "metrics", "calibration", "split", "x")),
    "training": (_training, ()),
    "risk_coverage": (_risk_coverage, ("calibration", "split")),
    "confidence": (_confidence, ("calibration", "split")),
    "scatter": (_scatter, ("metrics", "calibration", "split")),
    "confusion": (_confusion, ("calibration", "split")),
    "features": (_features, ("classes",)),
    "panels": (_panels, ()),
}
