"""Figures as Altair charts: tidy rows in, one chart out. Each has its rows under a name, so that a page may swap them.

No chart names a colour: those are `lossbench.report.theme`'s, as configuration. Series stand in the order in which the
rows bring them.
Widths are those of one plot in points, without its axes; `columns` is how many plots stand side by side. `ordered`
says that the series run along one setting (ε rising): their colours then do so, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt

from lossbench.report.labels import readable, wrapped
from lossbench.report.theme import DASHES, NORMAL, SHAPES

Rows: TypeAlias = Sequence[Mapping[str, Any]]
Chart: TypeAlias = alt.TopLevelMixin
Layers: TypeAlias = alt.LayerChart

GAP = 8  # between plots, points
OVERHANG = 10  # points that a title may be wider than its plot, as the numbers of an axis are
WHOLE = "datum.value == floor(datum.value) ? format(datum.value, 'd') : ''"  # of an axis: no epoch is 1.5
FEW = 10  # examples in a bin; an accuracy over fewer says little: its point is hollow and on no line


def reliability(
    bins: Rows, *, width: float = 190, columns: int | None = None, ordered: bool = False, swapped: bool = False
) -> Chart:
    """Accuracy against confidence, above how many examples each bin has; overconfidence is the shaded half.

    Points of fewer than `FEW` examples are hollow, and the line leaves them out.

    Args:
        bins: data `bins`: a row per series × bin that is not empty: `series`; `lo`, `hi`, the bin's edges; `n`, its
            examples; `confidence`, `accuracy`, their means; `ece`, of the series, the same in each of its rows.
        width: of one plot, points.
        columns: a plot for each series, that many side by side; None for all series in one.
        ordered: whether the series run along one setting.
        swapped: whether other rows, of other series, will take the place of these.
    """
    series = series_of(bins)
    together = columns is None
    words = [f"{row['series']} (ECE {row['ece']:.3f})" for row in bins] if together else []
    labels = list(dict.fromkeys(words)) or series
    code = _Coding(labels, ordered, width, "label", legend=together)
    if swapped:  # the series, and what stands behind them, are then looked up in the rows that are there
        row = "data('bins')[indexof(pluck(data('bins'), 'series'), datum.value)]"
        text = f"datum.label + ' (ECE ' + format({row}.ece, '.3f') + ')'"
        code = _Coding(labels, ordered, width, swapped="bins", words=text)
    largest = None if swapped else max(row["n"] for row in bins)

    def diagram(name: str | None, first: bool, last: bool) -> alt.VConcatChart:
        rows = alt.Chart(data(bins, "bins"))
        if name is None:
            label = "datum.series + ' (ECE ' + format(datum.ece, '.3f') + ')'"
            rows = rows.transform_calculate(label=label)
        else:
            rows = rows.transform_calculate(label="datum.series").transform_filter(alt.datum.series == name)
        x, y = _across("confidence", None), _upwards("accuracy", "accuracy" if first else None)
        layers = [
            *_diagonal(),
            rows.mark_point(filled=False, strokeWidth=0.8).encode(x, y, code.colour, code.shape),
            rows.transform_filter(alt.datum.n >= FEW).mark_line(clip=True).encode(x, y, code.colour),
            rows.transform_filter(alt.datum.n >= FEW).mark_point().encode(x, y, code.colour, code.shape),
        ]
        if name is not None:
            ece = rows.transform_aggregate(ece="min(ece)").transform_calculate(text="'ECE ' + format(datum.ece, '.3f')")
            text = ece.mark_text(align="left", baseline="top", style="note")
            layers.append(text.encode(x=alt.value(4), y=alt.value(4), text="text:N"))
        title = alt.Undefined if name is None else above(name, width)
        top = alt.LayerChart(layer=layers, title=title, width=width, height=width)
        counts = _counts(rows, code.colour, largest, first, last).properties(width=width, height=max(36, width / 5))
        return alt.VConcatChart(vconcat=[top, counts], spacing=4)

    if columns is None:
        return diagram(None, first=True, last=True)
    diagrams = [diagram(name, *edges(i, columns, len(series))) for i, name in enumerate(series)]
    return alt.ConcatChart(concat=diagrams, columns=columns, spacing=GAP)


def _diagonal() -> list[alt.Chart]:
    """Where confidence is accuracy, and the half in which it is more."""
    ends = alt.Chart(alt.InlineData(values=[{"x": 0, "y": 0}, {"x": 1, "y": 1}], name="diagonal"))
    corner = alt.Chart(alt.InlineData(values=[{"x": 0.98, "y": 0.03, "text": "overconfident"}], name="corner"))
    return [
        ends.mark_area(style="shade", line=False).encode(x="x:Q", y="y:Q"),
        ends.mark_line(style="guide").encode(x="x:Q", y="y:Q"),
        corner.mark_text(align="right", baseline="bottom", style="note").encode(x="x:Q", y="y:Q", text="text:N"),
    ]


def _counts(rows: alt.Chart, colour: alt.Color, largest: float | None, first: bool, last: bool) -> alt.Chart:
    """Bars of how many examples each bin has; several series share a bin's width."""
    bars = (
        rows.transform_window(row="row_number()")
        .transform_joinaggregate(first="min(row)", groupby=["series"])
        .transform_window(place="dense_rank()", sort=[alt.SortField("first")])
        .transform_joinaggregate(places="max(place)")
        .transform_calculate(
            left="datum.lo + (datum.hi - datum.lo) * (0.05 + 0.9 * (datum.place - 1) / datum.places)",
            right="datum.lo + (datum.hi - datum.lo) * (0.05 + 0.9 * datum.place / datum.places)",
        )
    )
    scale = alt.Scale(domain=[0, largest]) if largest is not None else alt.Scale(zero=True)
    axis = alt.Axis(tickCount=2, tickMinStep=1, labelExpr="format(datum.value, '~s')")  # 20k, and 0 rather than 0k
    counts: alt.Chart = bars.mark_rect().encode(
        _across("left", "confidence" if last else None),
        alt.X2("right"),
        alt.Y("n:Q", title="examples" if first else None, scale=scale, axis=axis),
        alt.Y2Datum(0),
        colour,
    )
    return counts


def training(
    epochs: Rows, *, width: float = 190, columns: int = 1, ordered: bool = False, swapped: bool = False
) -> Chart:
    """Curves over epochs: a plot for each quantity; the band is the 95 % interval over seeds.

    Args:
        epochs: data `epochs`: a row per quantity × series × epoch: `quantity`, which stands above the plot; `series`;
            `epoch`, from 1; `mean`; `low` and `high`, its interval, None where there is none.
        width: of one plot, points.
        columns: plots side by side.
        ordered: whether the series run along one setting.
        swapped: whether other rows, of other series, will take the place of these.
    """
    code = _Coding(series_of(epochs), ordered, width * columns, lines=True, swapped="epochs" if swapped else "")
    quantities = list(dict.fromkeys(row["quantity"] for row in epochs))
    plots = []
    for i, quantity in enumerate(quantities):
        rows = alt.Chart(data(epochs, "epochs")).transform_filter(alt.datum.quantity == quantity)
        axis = alt.Axis(tickMinStep=1, tickCount=5, labelExpr=WHOLE, grid=False, labelFlush=False)
        title = "epoch" if edges(i, columns, len(quantities))[1] else None
        x = alt.X("epoch:Q", title=title, axis=axis, scale=alt.Scale(nice=False))
        domain = alt.Undefined if swapped else _seen([row for row in epochs if row["quantity"] == quantity])
        layers = _lines_with_bands(rows, x, None, code, alt.Scale(zero=False, domain=domain, nice=False))
        plots.append(alt.LayerChart(layer=layers, title=above(quantity, width), width=width, height=_height(width)))
    return alt.ConcatChart(concat=plots, columns=columns, spacing=GAP)


def sweep(
    points: Rows, baselines: Rows = (), *, x_title: str, scale: str = "linear", width: float = 190, columns: int = 1
) -> Chart:
    """Metrics against a hyperparameter: a plot for each metric; bands are 95 % intervals, the baseline's is level.

    Args:
        points: data `points`: a row per metric × series × value: `metric`, which stands above the plot; `series`; `x`,
            the hyperparameter; `mean`; `low`, `high`, None where there is no interval.
        baselines: data `baselines`: a row per metric × baseline: `metric`, `series`, `mean`, `low`, `high`.
        x_title: of the hyperparameter.
        scale: of x: `linear`, `log`, or `symlog` for values spread geometrically beside 0.
        width: of one plot, points.
        columns: plots side by side.
    """
    values = sorted({row["x"] for row in points})
    unit = {"constant": min((value for value in values if value > 0), default=1)} if scale == "symlog" else {}
    spread = alt.Scale(type=scale, nice=False, padding=6, **unit)  # type: ignore[arg-type]
    words = readable(values, scale, width - 12)
    named = f"indexof({words}, datum.value) < 0 ? '' : format(datum.value, '~g')"
    axis = alt.Axis(values=values, grid=False, labelOverlap=False, labelFlush=False, labelExpr=named)
    y = alt.Scale(zero=False, nice=4)  # so that the ends are at a number, and there are at least four
    code = _Coding(series_of([*points, *baselines]), False, width * columns)
    metrics = list(dict.fromkeys(row["metric"] for row in points))
    plots = []
    for i, metric in enumerate(metrics):
        level = alt.Chart(data(baselines, "baselines")).transform_filter(alt.datum.metric == metric)
        rows = alt.Chart(data(points, "points")).transform_filter(alt.datum.metric == metric)
        x = alt.X("x:Q", title=x_title if edges(i, columns, len(metrics))[1] else None, scale=spread, axis=axis)
        mean, low = (alt.Y(f"{end}:Q", title=None, scale=y) for end in ("mean", "low"))
        layers = [
            level.mark_rect(opacity=0.18).encode(low, alt.Y2("high"), code.colour),
            level.mark_rule(strokeDash=[4, 2]).encode(mean, code.colour),
            level.mark_point(x=width).encode(mean, code.colour, code.shape),  # at the edge, for the legend to name
            *_lines_with_bands(rows, x, None, code, y, ticks=4, dashed=False),
            rows.mark_rule(opacity=0.7).encode(x, low, alt.Y2("high"), code.colour),
            rows.mark_point().encode(x, mean, code.colour, code.shape),
        ]
        # The layers of no baseline would have a row of no metric in the domain of y.
        shown = layers if baselines else layers[3:]
        plots.append(alt.LayerChart(layer=shown, title=above(metric, width), width=width, height=_height(width)))
    return alt.ConcatChart(concat=plots, columns=columns, spacing=GAP)


def risk_coverage(points: Rows, *, width: float = 190, ordered: bool = False) -> Chart:
    """The share of errors among the most confident examples, against how many those are.

    Args:
        points: data `points`: a row per series × coverage: `series`; `coverage` in (0, 1]; `mean`, the risk over
            seeds; `low`, `high`, None where there is no interval.
        width: of the plot, points.
        ordered: whether the series run along one setting.
    """
    code = _Coding(series_of(points), ordered, width, lines=True)
    x = _across("coverage", "coverage")
    layers = _lines_with_bands(
        alt.Chart(data(points, "points")), x, "risk (share of errors)", code, alt.Scale(domainMin=0)
    )
    return alt.LayerChart(layer=layers, width=width, height=width * 0.75)


def _lines_with_bands(
    rows: alt.Chart,
    x: alt.X,
    title: str | None,
    code: _Coding,
    scale: alt.Scale,
    *,
    ticks: int = 5,
    dashed: bool = True,
) -> list[alt.Chart]:
    """Lines of `mean` in the band from `low` to `high`."""
    axis = alt.Axis(tickCount=ticks)  # by itself a low plot has one or two
    mean, low = (alt.Y(f"{end}:Q", title=title, scale=scale, axis=axis) for end in ("mean", "low"))
    band = rows.transform_filter("isValid(datum.low)").mark_area(opacity=0.18, line=False, clip=True)
    line = rows.mark_line(clip=True).encode(x, mean, code.colour)
    return [band.encode(x, low, alt.Y2("high"), code.colour), line.encode(code.dash) if dashed else line]


def _seen(rows: Rows) -> list[float]:
    """The range of the means and half as much beside it: an interval over two or three seeds may reach far beyond."""
    means = [row["mean"] for row in rows]
    margin = (max(means) - min(means)) / 2 or abs(means[0]) / 10 or 1.0
    ends = [row[end] for row in rows for end in ("mean", "low", "high") if row[end] is not None]
    edge = margin / 10
    return [max(min(ends) - edge, min(means) - margin), min(max(ends) + edge, max(means) + margin)]


def data(rows: Rows, name: str) -> alt.InlineData:
    """Return rows as data that `view.data(name, rows)` may replace."""
    return alt.InlineData(values=[dict(row) for row in rows], name=name)


def series_of(rows: Rows) -> list[str]:
    """Return the series in the order in which the rows bring them."""
    return list(dict.fromkeys(str(row["series"]) for row in rows))


def edges(i: int, columns: int, n: int) -> tuple[bool, bool]:
    """Whether plot i of n in a grid names its axis on the left, and the one below.

    With a place free in the last row all name the one below: a few alone would part their row from the next.
    """
    ragged = n > columns and n % columns > 0
    return i % columns == 0, ragged or i + columns >= n


def above(name: str, width: float) -> list[str]:
    """Return the title of a plot in lines about as wide as it: a longer one would widen the figure, not the plot."""
    return wrapped(name, width + OVERHANG, NORMAL)


def _height(width: float) -> float:
    return max(width * 0.62, min(width, 75))  # a narrow plot is no flat one


def _across(field: str, title: str | None) -> alt.X:
    """A share from 0 to 1; without words or numbers where the plot below has them."""
    axis = alt.Axis(tickCount=5, labels=title is not None, labelFlush=False)
    return alt.X(f"{field}:Q", title=title, scale=alt.Scale(domain=[0, 1], nice=False), axis=axis)


def _upwards(field: str, title: str | None) -> alt.Y:
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(domain=[0, 1], nice=False), axis=alt.Axis(tickCount=5))


class _Coding:
    """Which colour a series has, and which dash (lines alone) or shape (of points), with one legend for both."""

    def __init__(
        self,
        series: Sequence[str],
        ordered: bool,
        width: float,
        field: str = "series",
        *,
        lines: bool = False,
        legend: bool = True,
        swapped: str = "",
        words: str | None = None,
    ) -> None:
        """Lay the legend out: as many columns as fit into the width, points.

        Two channels make one legend only where their domains are one, word for word. So where rows will be swapped
        these are not left to Vega-Lite, which takes each channel's from the layers that have it, but looked up.

        Args:
            series: what is told apart.
            ordered: whether they run along one setting.
            width: of the legend.
            field: that holds them.
            lines: whether the legend shows lines rather than points.
            legend: whether there is one.
            swapped: the name of the data whose rows will be swapped, if they will.
            words: a Vega expression for the legend's words; None for the series.
        """
        longest = max(map(len, series), default=0) * 4 + 32  # points, at 7 point type
        columns = alt.Undefined if swapped else max(1, min(len(series), int((width + 30) // longest)))
        look: dict[str, Any] = {"symbolType": "stroke", "symbolSize": 260} if lines else {"symbolSize": 30}
        look |= {"labelExpr": words} if words else {}
        box = alt.Legend(columns=columns, labelLimit=width + 10, symbolOpacity=1, **look) if legend else None
        domain = alt.ExprRef(f"pluck(data('{swapped}'), '{field}')") if swapped else list(series)
        common: dict[str, Any] = {"type": "ordinal" if ordered else "nominal", "title": None, "sort": None}
        dashes = alt.Scale(domain=domain, range=list(map(list, DASHES)))
        shapes = alt.Scale(domain=domain, range=list(SHAPES))
        self.colour = alt.Color(field, scale=alt.Scale(domain=domain), legend=box, **common)
        self.dash = alt.StrokeDash(field, scale=dashes, legend=box, **common)
        self.shape = alt.Shape(field, scale=shapes, legend=box, **common)
