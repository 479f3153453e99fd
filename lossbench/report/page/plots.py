"""The figures of the page: Vega-Lite specifications without their rows, which the page puts in as rows are chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import altair as alt

from lossbench.errors import RequestError
from lossbench.report import charts, trends
from lossbench.report.notation import heading
from lossbench.report.page.rows import Line, first_block, settings_shown
from lossbench.report.series import QUANTITIES, numeric
from lossbench.report.table import CALIBRATED, Table
from lossbench.report.theme import theme

# What a screen adds to the theme, which is for paper: numbers to hover for.
SCREEN = {
    "point": {"tooltip": True},
    "bar": {"tooltip": True},
    "numberFormat": ".4~f",
    "legend": {"columns": 1},  # long names stand below one another
}
MOST_BLOCKS = 12  # that have a figure of their swept hyperparameter
LEAST, MOST_LINES = 3, 8  # points that make a line, and lines of that figure


def plots(table: Table, rows: Sequence[Line]) -> dict[str, Any]:
    """Return what the page draws.

    Args:
        table: what `tabulate` returns.
        rows: its rows, as `gather` returns them.

    Returns:
        `specs`, by name; `themes`, light and dark; `calibrations`, as a reader calls them; `axes`, the metric
        columns of the scatter plot; `sweeps`, by block; `blocks`, their names; `block`, the one to begin with;
        `chosen`, its rows to begin with.
    """
    specs: dict[str, Any] = {}
    calibrations = [
        name
        for name in dict.fromkeys(c.calibration for c in table.metrics)
        if any(name in r.data["bins"] for r in rows)
    ]
    if calibrations:
        some = [{"series": "", "lo": 0, "hi": 1, "n": 1, "confidence": 1, "accuracy": 1, "ece": 0}]
        specs["reliability"] = _bare(charts.reliability(some, width=220, swapped=True), ["bins"])
    quantities = [name for name in QUANTITIES.values() if any(name in row.data["epochs"] for row in rows)]
    if quantities:
        lines = [{"quantity": q, "series": "", "epoch": 1, "mean": 1, "low": None, "high": None} for q in quantities]
        specs["training"] = _bare(charts.training(lines, width=200, columns=len(quantities), swapped=True), ["epochs"])
    axes = _axes(table)
    if axes:
        x, y = (heading(table.metrics[i]) for i in axes)
        specs["scatter"] = _bare(_scatter(x, y), ["others", "chosen"])
    sweeps = {
        str(block): found for block in dict.fromkeys(row.block for row in table.rows) if (found := _sweep(table, block))
    }
    return {
        "specs": specs,
        "themes": {"light": theme() | {"background": "transparent"}, "dark": theme(dark=True)},
        "screen": SCREEN,
        "calibrations": [(name, CALIBRATED[name][0] if name in CALIBRATED else name) for name in calibrations],
        "quantities": quantities,
        "few": charts.FEW,
        "axes": axes,
        "scatter_label": " against ".join(heading(table.metrics[i]) for i in reversed(axes or [])),
        "sweeps": dict(list(sweeps.items())[:MOST_BLOCKS]),
        "blocks": list(dict.fromkeys((str(row.data["block"]), row.block) for row in rows)),
        "block": str(first_block(table)),
        "chosen": [i for i, row in enumerate(rows) if row.chosen],
    }


def _axes(table: Table) -> list[int] | None:
    """The columns of ECE, or else the second metric, and of accuracy, or else the first."""
    raw = [i for i, column in enumerate(table.metrics) if column.calibration == table.metrics[0].calibration]
    if len(raw) < 2:
        return None
    names = [table.metrics[i].metric for i in raw]
    y = raw[names.index("accuracy")] if "accuracy" in names else raw[0]
    x = raw[names.index("ece")] if "ece" in names else next(i for i in raw if i != y)
    return [x, y] if x != y else None


def _scatter(x_title: str, y_title: str) -> Any:
    """All rows in grey, those that are chosen in their colours; a click chooses.

    The scatter plot for paper has a plot for each data set and model, and names points; here the page does.
    """
    none: list[dict[str, Any]] = []
    others = alt.Chart(charts.data(none, "others"))
    chosen = alt.Chart(charts.data(none, "chosen"))
    x = alt.X("x:Q", title=x_title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    colour = alt.Color("series:N", sort=None, title=None, legend=None)
    shape = alt.Shape("series:N", sort=None, title=None, legend=None)
    names = [alt.Tooltip("series:N", title="row"), alt.Tooltip("x:Q", title=x_title), alt.Tooltip("y:Q", title=y_title)]
    layers = [
        others.mark_point(size=40, color="#8c8c8c", cursor="pointer").encode(x, y, tooltip=names),
        chosen.mark_rule(opacity=0.8).encode(alt.X("x_low:Q", title=x_title), y, colour, x2="x_high"),
        chosen.mark_rule(opacity=0.8).encode(x, alt.Y("y_low:Q", title=y_title), colour, y2="y_high"),
        chosen.mark_point(size=60, cursor="pointer").encode(x, y, colour, shape, tooltip=names),
    ]
    return alt.layer(*layers).properties(width=220, height=220)


def _sweep(table: Table, block: int) -> dict[str, Any] | None:
    """The metrics of one block against the setting that takes the most numbers in it; None where none takes three."""
    part = replace(table, rows=tuple(row for row in table.rows if row.block == block))
    counts = {c.key: len({v for row in part.rows if numeric(v := row.config[c.key])}) for c in settings_shown(table)}
    key = max(counts, key=counts.__getitem__, default="")
    if counts.get(key, 0) < LEAST:
        return None
    try:
        found = trends.sweep(part, key, table.baseline.split(" ") if table.baseline else [])
    except RequestError:  # no baseline in this block
        found = trends.sweep(part, key, [])
    # Rows that share a value of the setting by chance, such as the ε = 0 of other losses, make no line.
    times = Counter((point["metric"], point["series"]) for point in found.points)
    points = [point for point in found.points if times[point["metric"], point["series"]] >= LEAST]
    if not points or len({point["series"] for point in points}) > MOST_LINES:
        return None
    columns = min(2, len({point["metric"] for point in points}))
    chart = charts.sweep(points, found.baselines, x_title=found.x_title, scale=found.scale, width=200, columns=columns)
    return {"spec": _bare(chart, ()), "of": found.x_title}


def _bare(chart: Any, live: Sequence[str]) -> dict[str, Any]:
    """A specification whose `live` data, by name, the page puts in; its theme does, too."""
    spec: dict[str, Any] = chart.to_dict(validate=False)  # which takes longer than all the rest
    del spec["config"]
    parts = [spec]
    while parts:
        part = parts.pop()
        if "data" in part and part["data"].get("name") in live:
            part["data"] = {"name": part["data"]["name"]}
        if live == ["epochs"] and part.get("mark", {}).get("type") == "line":  # something to hover over at each epoch
            part["mark"]["point"] = {"opacity": 0, "size": 80, "tooltip": True}
        parts += [inner for kind in ("layer", "vconcat", "hconcat", "concat") for inner in part.get(kind, [])]
    return spec
