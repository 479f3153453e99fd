"""One metric against another: a plot for each data set and model, whose points are named beside them or in a legend."""

from __future__ import annotations

import json
from typing import Any

import altair as alt

from lossbench.report.charts import GAP, Chart, Layers, Rows, above, data, edges, series_of
from lossbench.report.labels import FREE, LETTER, Bounds, placed, wrapped
from lossbench.report.theme import SHAPES

AXIS = 35  # points between plots, with the numbers of an axis
SYMBOL = 24  # points that a legend's symbol takes beside a name, with the room between columns


def scatter(
    points: Rows,
    *,
    x_title: str,
    y_title: str,
    x_bounds: Bounds = FREE,
    y_bounds: Bounds = FREE,
    width: float = 190,
    columns: int = 1,
) -> Chart:
    """One metric against another, with the 95 % intervals of both; each plot has axes of its own.

    Args:
        points: data `points`: a row per plot × series: `plot`, which stands above it where there are several; `series`;
            `x`, `x_low`, `x_high`, `y`, `y_low`, `y_high`, the ends None where there is no interval.
        x_title: of the horizontal axis.
        y_title: of the vertical axis.
        x_bounds: what the metric's values lie between; the axis goes no further.
        y_bounds: likewise.
        width: of one plot, points.
        columns: plots side by side.
    """
    names = list(dict.fromkeys(str(row["plot"]) for row in points))
    height = width * 0.85
    found = [
        placed([row for row in points if row["plot"] == name], width, height, x_bounds, y_bounds) for name in names
    ]
    beside = len(names) == 1 and all(row["clear"] for row in found[0][0])
    rows = [row for rows, _ in found for row in rows] if beside else points
    code = _look(series_of(points), columns * (width + AXIS) - AXIS, legend=not beside)
    axis = alt.Axis(tickCount=5 if width > 110 else 3, labelOverlap="greedy", labelSeparation=3, labelFlush=False)
    plots = []
    for i, (name, (_, domains)) in enumerate(zip(names, found, strict=True)):
        first, last = edges(i, columns, len(names))
        x, y = (
            {"scale": alt.Scale(domain=domain, nice=False), "axis": axis, "title": title}
            for domain, title in zip(domains, (x_title if last else None, y_title if first else None), strict=True)
        )
        plot = _plot(alt.Chart(data(rows, "points")).transform_filter(alt.datum.plot == name), x, y, code, beside)
        title = {"title": above(name, width)} if len(names) > 1 else {}
        plots.append(plot.properties(width=width, height=height, **title))
    return alt.ConcatChart(concat=plots, columns=columns, spacing=GAP)


def _plot(rows: alt.Chart, x: dict[str, Any], y: dict[str, Any], code: tuple[Any, Any], beside: bool) -> Layers:
    colour, shape = code
    layers = [
        rows.mark_rule(opacity=0.8).encode(alt.X("x_low:Q", **x), alt.Y("y:Q", **y), colour, alt.X2("x_high")),
        rows.mark_rule(opacity=0.8).encode(alt.X("x:Q", **x), alt.Y("y_low:Q", **y), colour, alt.Y2("y_high")),
        rows.mark_point(size=26).encode(alt.X("x:Q", **x), alt.Y("y:Q", **y), colour, shape),
    ]
    for align in ("left", "right") if beside else ():
        text = rows.transform_filter(alt.datum.align == align).mark_text(align=align, baseline="middle", style="note")
        layers.append(text.encode(alt.X("label_x:Q", **x), alt.Y("label_y:Q", **y), text="series:N"))
    return alt.LayerChart(layer=layers)


def _look(series: list[str], width: float, *, legend: bool) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape, with one legend for both, whose names are broken where they are wider than the plots."""
    longest = max(map(len, series)) * LETTER + SYMBOL
    lines = {name: wrapped(name, width - SYMBOL) for name in series}
    box = alt.Legend(
        columns=max(1, min(len(series), int(width // longest))),
        labelLimit=0,
        labelExpr=f"({json.dumps(lines)})[datum.label]",
        symbolOpacity=1,
    )
    common: dict[str, Any] = {"type": "nominal", "title": None, "sort": None, "legend": box if legend else None}
    return (
        alt.Color("series", scale=alt.Scale(domain=series), **common),
        alt.Shape("series", scale=alt.Scale(domain=series, range=list(SHAPES)), **common),
    )
