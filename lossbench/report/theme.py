"""How figures look: colours that the colour-blind tell apart, lines for paper, text of at least 7 points."""

from __future__ import annotations

from typing import Any

# Okabe & Ito 2008, "Color Universal Design", without the yellow, which paper swallows, and with grey for the black. In
# an order in which neighbours also differ in lightness, for grey prints.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#555555")
ON_DARK = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#BBBBBB")
# Fewer than colours, so that an eighth series is like none before it.
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
DASHES = ((1, 0), (5, 2), (1.5, 1.5), (7, 2, 1.5, 2), (3, 1.5), (9, 2))
FONT = "Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"  # vl-convert brings Liberation Sans, Arial's twin
SMALL, NORMAL = 7, 8  # points


def theme(dark: bool = False) -> dict[str, Any]:
    """Return the Vega-Lite configuration that charts of `lossbench.report.charts` are drawn with.

    Args:
        dark: for a dark page; the background is the page's own then.
    """
    ink, line, grid, shade = (
        ("#E8E8E8", "#999999", "#3A3A3A", "#FFFFFF") if dark else ("#111111", "#555555", "#E4E4E4", "#000000")
    )
    return {
        "background": "transparent" if dark else "white",
        "font": FONT,
        "padding": 3,
        "view": {"stroke": line, "strokeWidth": 0.5},
        "axis": {
            "labelColor": ink,
            "labelFontSize": SMALL,
            "titleColor": ink,
            "titleFontSize": NORMAL,
            "titleFontWeight": "normal",
            "titlePadding": 4,
            "labelPadding": 2,
            "domain": False,
            "tickColor": line,
            "tickSize": 3,
            "tickWidth": 0.5,
            "gridColor": grid,
            "gridWidth": 0.5,
        },
        "legend": {
            "orient": "bottom",
            "labelColor": ink,
            "labelFontSize": SMALL,
            "titleColor": ink,
            "titleFontSize": SMALL,
            "titleFontWeight": "normal",
            "symbolStrokeWidth": 1.4,
            "symbolSize": 30,
            "rowPadding": 2,
            "columnPadding": 8,
            "offset": 6,
        },
        "title": {
            "color": ink,
            "subtitleColor": ink,
            "fontSize": NORMAL,
            "fontWeight": "normal",
            "subtitleFontSize": SMALL,
            "offset": 4,
            "anchor": "middle",
            "frame": "group",
        },
        "line": {"strokeWidth": 1.3},
        "point": {"size": 16, "filled": True, "opacity": 1},
        "rule": {"strokeWidth": 0.8},
        "range": {
            "category": list(ON_DARK if dark else COLOURS),
            # Neither end of viridis, where it meets the background.
            "ordinal": {"scheme": "viridis", "extent": [0.2, 1] if dark else [0, 0.85]},
            "heatmap": ["#FFFFFF", "#C6DBEF", "#6BAED6", "#2171B5", "#08306B"],
            "symbol": list(SHAPES),
        },
        # What no series owns: the diagonal, the shaded half, words in a plot.
        "style": {
            "guide": {"color": line, "strokeWidth": 0.8, "strokeDash": [3, 2]},
            "shade": {"color": shade, "opacity": 0.07},
            "note": {"color": ink, "fontSize": SMALL},
        },
    }
