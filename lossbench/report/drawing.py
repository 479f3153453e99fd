"""From a figure to bytes of an .svg, .pdf, .png or Vega-Lite .json, as wide as a column or a page of a paper."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vl_convert

from lossbench.errors import ConfigError
from lossbench.report.figures import Figure
from lossbench.report.theme import theme

INCH = 72  # points
WIDTHS = {"column": 3.25 * INCH, "page": 6.75 * INCH}
PNG_DPI = 300
ENDINGS = (".svg", ".pdf", ".png", ".json")


def check_ending(path: Path) -> None:
    """Hold the name of a file against what can be written.

    Raises:
        ConfigError: if its ending is another.
    """
    if path.suffix not in ENDINGS:
        raise ConfigError(f"a figure ends in {', '.join(ENDINGS)}; got {path.name}")


def specification(figure: Figure, width: str, title: str | None = None) -> dict[str, Any]:
    """Return a figure as a Vega-Lite specification, laid out so that it is as wide as the paper.

    How much room axes and legends take is known when they are drawn, so it is drawn, measured and laid out again.

    Args:
        figure: what to draw.
        width: `column` or `page`.
        title: words above it; None for none, since in a paper they stand in the caption.
    """
    rows = -(-figure.plots // figure.columns.get(width, 1))
    columns = -(-figure.plots // rows)  # 3 and 2 rather than 4 and 1
    options = {"columns": columns} if figure.columns and (figure.plots > 1) else {}
    plot = (WIDTHS[width] - 40) / columns - 10
    for _ in range(4):
        chart = figure.chart(width=round(plot, 1), **options)
        spec = {**shared_data(chart.to_dict()), "config": theme()}
        if title is not None:
            spec["title"] = title
        excess = _drawn_width(spec) - WIDTHS[width]
        if abs(excess) < 1:
            break
        plot = max(30.0, plot - excess / columns)
    return spec


def shared_data(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a specification with the rows of each name once, as `datasets`, and not in every layer that draws them."""
    datasets: dict[str, Any] = {}

    def without_rows(part: Any) -> Any:
        if isinstance(part, list):
            return [without_rows(item) for item in part]
        if not isinstance(part, Mapping):
            return part
        if "name" in part and "values" in part:
            datasets[part["name"]] = part["values"]
            return {"name": part["name"]}
        return {key: without_rows(item) for key, item in part.items()}

    return {**without_rows(spec), "datasets": datasets}


def draw(spec: dict[str, Any], ending: str) -> bytes:
    """Return a specification as a file of one of ENDINGS. One unit is a point; a .png has 300 to the inch."""
    if ending == ".svg":  # in which a number without a unit is a ninety-sixth of an inch
        picture = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
        return re.sub(
            r'(<svg[^>]*) width="([\d.]+)" height="([\d.]+)"', r'\1 width="\2pt" height="\3pt"', picture
        ).encode()
    if ending == ".pdf":
        return vl_convert.vegalite_to_pdf(spec, allowed_base_urls=[])
    if ending == ".png":
        return vl_convert.vegalite_to_png(spec, ppi=PNG_DPI, allowed_base_urls=[])
    return (json.dumps(spec, indent=1, ensure_ascii=False) + "\n").encode()


def _drawn_width(spec: dict[str, Any]) -> float:
    match = re.search(r'<svg[^>]* width="([\d.]+)"', vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))
    assert match is not None
    return float(match[1])
