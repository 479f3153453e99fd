"""Figures of what a model says example by example; `lossbench.report.charts` has those that compare."""

from __future__ import annotations

from collections.abc import Callable

import altair as alt

from lossbench.report.charts import GAP, Chart, Layers, Rows, above, data, edges, series_of
from lossbench.report.labels import LINE, wrapped
from lossbench.report.theme import COLOURS

NUMBER_NEEDS, HUNDRED_NEEDS = 9, 13  # points of a matrix's cell that a percentage fits into
NAME_NEEDS = 8  # points of a row that its class's name fits into
RIGHT, WRONG = COLOURS[0], COLOURS[4]
MANY_CLASSES = 10  # names along a side of a matrix that has no room for all


def confidence(bins: Rows, *, width: float = 190, columns: int = 1) -> Chart:
    """Histograms of the confidence of right and of wrong predictions, each in shares of its own; dashes are the means.

    Args:
        bins: data `bins`: a row per series × outcome × bin: `series`; `outcome`, right or wrong; `lo`, `hi`, the bin's
            edges; `share` of the outcome's examples; `mean`, the outcome's mean confidence.
        width: of one plot, points.
        columns: plots side by side, one for each series.
    """
    largest = max(row["share"] for row in bins)

    def histogram(rows: alt.Chart, first: bool, last: bool) -> Layers:
        # Filled and hollow, so that they differ without their colours.
        fill, stroke = (
            channel("outcome:N", title=None, scale=alt.Scale(domain=["right", "wrong"], range=colours))
            for channel, colours in ((alt.Fill, [RIGHT, "transparent"]), (alt.Stroke, [RIGHT, WRONG]))
        )
        axis = alt.Axis(tickCount=5, labelFlush=False)
        x = alt.X("lo:Q", title="confidence" if last else None, scale=alt.Scale(domain=[0, 1]), axis=axis)
        y = alt.Y("share:Q", title="share" if first else None, scale=alt.Scale(domain=[0, largest]))
        bars = rows.mark_rect(strokeWidth=1, fillOpacity=0.5).encode(x, y, fill, stroke, x2="hi", y2=alt.Y2Datum(0))
        means = rows.transform_aggregate(mean="min(mean)", groupby=["outcome"])
        marks = means.mark_rule(strokeDash=[3, 2], strokeWidth=1.2).encode(x="mean:Q", stroke=stroke)
        return alt.LayerChart(layer=[bars, marks], height=width * 0.62)

    return _a_plot_each(bins, "bins", histogram, width, columns)


def confusion(cells: Rows, *, width: float = 190, columns: int = 1) -> Chart:
    """A matrix of what examples are and what they are taken for, in per cent of what they are.

    Colour goes with the square root of the share, so that a few errors in a hundred are seen. No number stands below
    half a per cent, nor for 100 where it would not fit: the darkest cells.

    Args:
        cells: data `cells`: a row per series × class × predicted class: `series`; `target`, `predicted`, class names;
            `share` of the target's examples, None where there are none; `n`.
        width: of one plot, points.
        columns: plots side by side, one for each series.
    """
    names = list(dict.fromkeys(row["target"] for row in cells))
    side = width / len(names)
    shown = names[:: 1 if side >= NAME_NEEDS else -(-len(names) // MANY_CLASSES)]

    def matrix(rows: alt.Chart, first: bool, last: bool) -> Layers:
        turned = 0 if max(map(len, names)) * 4 < side else -45
        down, across = (
            alt.Axis(values=shown, grid=False, ticks=False, labelOverlap=False, labelAngle=angle)
            for angle in (0, turned)
        )
        x = alt.X("predicted:N", sort=names, title="predicted" if last else None, axis=across)
        y = alt.Y("target:N", sort=names, title="class" if first else None, axis=down)
        bar = alt.Legend(
            title="share of the class",
            gradientLength=100,
            gradientThickness=6,
            values=[0, 0.05, 0.25, 1],
            format="~%",
            labelSeparation=2,
        )
        scale = alt.Scale(type="sqrt", domain=[0, 1], interpolate="rgb")
        share = alt.Color("share:Q", scale=scale, legend=bar)
        layers = [rows.mark_rect().encode(x, y, share)]
        if side >= NUMBER_NEEDS:
            fits = "" if side >= HUNDRED_NEEDS else " && datum.share < 0.995"
            numbers = rows.transform_filter(f"datum.share >= 0.005{fits}").mark_text(fontSize=7)
            numbers = numbers.transform_calculate(percent="format(100 * datum.share, '.0f')")
            ink = alt.condition("datum.share > 0.3", alt.value("white"), alt.value("black"))
            layers.append(numbers.encode(x, y, text="percent:N", color=ink))
        return alt.LayerChart(layer=layers, height=width)

    return _a_plot_each(cells, "cells", matrix, width, columns)


def features(points: Rows, *, width: float = 190, columns: int = 1) -> Chart:
    """Penultimate features of three classes in the plane through the classes' templates.

    All axes are to one scale, so that clusters can be compared.

    Args:
        points: data `points`: a row per series × example: `series`; `label`, its class; `x`, `y`, in the plane.
        width: of one plot, points.
        columns: plots side by side, one for each series.

    Source: Müller et al. 2019, "When Does Label Smoothing Help?", section 2.
    """
    spans: dict[str, list[tuple[float, float]]] = {}
    for name in series_of(points):
        mine = [row for row in points if row["series"] == name]
        spans[name] = [(min(row[axis] for row in mine), max(row[axis] for row in mine)) for axis in "xy"]
    half = 0.53 * max(high - low for ends in spans.values() for low, high in ends)

    def cloud(rows: alt.Chart, first: bool, last: bool, name: str) -> Layers:
        x, y = (
            channel(
                f"{axis}:Q",
                title=title,
                scale=alt.Scale(domain=[(low + high) / 2 - half, (low + high) / 2 + half], nice=False),
                axis=alt.Axis(tickCount=4, labelFlush=False),
            )
            for channel, axis, (low, high), title in zip(
                (alt.X, alt.Y),
                "xy",
                spans[name],
                ("1st direction" if last else None, "2nd direction" if first else None),
                strict=True,
            )
        )
        label = (channel("label:N", sort=None, title=None) for channel in (alt.Color, alt.Shape))
        return alt.LayerChart(layer=[rows.mark_point(size=7, opacity=0.6).encode(x, y, *label)], height=width)

    return _a_plot_each(points, "points", cloud, width, columns, named=True)


def panels(pictures: Rows, classes: Rows, *, width: float = 190, aspect: float = 1.0) -> Chart:
    """Pictures in a grid: images, their masks, what models say of them and how sure they are.

    Args:
        pictures: data `pictures`: a row per picture: `row`, from 0; `column`, its heading; `url`, a data: one.
        classes: data `classes`: `label` and `colour` of each class in the masks.
        width: of the grid, points.
        aspect: height of a picture over its width.
    """
    names = list(dict.fromkeys(row["column"] for row in pictures))
    rows = len({row["row"] for row in pictures})
    side = width / len(names)
    lines = {name: wrapped(name, side) for name in names}
    height = max(map(len, lines.values()))
    blank = "\u200b"  # of no width; lines that are empty, or of spaces, would take no height
    headings = {name: "\n".join([*[blank] * (height - len(of)), *of]) for name, of in lines.items()}
    x = alt.X(
        "heading:N",
        sort=list(headings.values()),
        title=None,
        scale=alt.Scale(padding=0),
        axis=alt.Axis(
            orient="top",
            labelAngle=0,
            labelExpr="split(datum.label, '\\n')",
            labelLimit=0,
            labelLineHeight=LINE,
            labelPadding=2 + (height - 1) * LINE,  # Vega sets the first line where one would stand
            ticks=False,
            grid=False,
        ),
    )
    y = alt.Y("row:O", title=None, scale=alt.Scale(padding=0), axis=None)
    shown = [{**row, "heading": headings[row["column"]]} for row in pictures]
    images = alt.Chart(data(shown, "pictures")).mark_image(
        width=side - 2, height=side * aspect - 2, align="center", baseline="middle"
    )
    colours = alt.Scale(domain=[row["label"] for row in classes], range=[row["colour"] for row in classes])
    legend = alt.Legend(symbolType="square", symbolOpacity=1, symbolSize=50)
    key = alt.Fill("label:N", title=None, scale=colours, legend=legend)
    layers = [
        images.encode(x, y, url="url:N", description="column:N"),
        alt.Chart(data(classes, "classes")).mark_point(opacity=0, strokeOpacity=0).encode(fill=key),
    ]
    if "confidence" in names:
        ramp = alt.Scale(domain=[0, 1], range=["black", "white"])
        bar = alt.Legend(
            title="confidence", gradientLength=60, gradientThickness=6, tickCount=2, gradientStrokeColor="grey"
        )
        ends = alt.Chart(data([{"confidence": 0}, {"confidence": 1}], "ends"))
        layers.append(
            ends.mark_point(opacity=0).encode(color=alt.Color("confidence:Q", title=None, scale=ramp, legend=bar))
        )
    return alt.LayerChart(layer=layers, width=width, height=rows * side * aspect, view=alt.ViewConfig(stroke=None))


def class_colour(k: int) -> str:
    """Return the colour of class k in masks; after the last they begin again."""
    return COLOURS[k % len(COLOURS)]


def _a_plot_each(
    rows: Rows, name: str, plot: Callable[..., Layers], width: float, columns: int, *, named: bool = False
) -> Chart:
    """A plot for each series, with its name above where there are several; axes are named on the left and below."""
    series = series_of(rows)
    plots = []
    for i, one in enumerate(series):
        mine = alt.Chart(data(rows, name)).transform_filter(alt.datum.series == one)
        at = edges(i, columns, len(series))
        chart = plot(mine, *at, one) if named else plot(mine, *at)
        plots.append(chart.properties(width=width, **({"title": above(one, width)} if len(series) > 1 else {})))
    return alt.concat(*plots, columns=columns, spacing=GAP)
