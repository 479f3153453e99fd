"""Where the words of a plot may stand without covering one another."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lossbench.report.theme import SMALL

LETTER, LINE = 3.9, 8.5  # points that a letter and a line of 7-point type take
NEAR = 5  # points from a point to its name
APART = 2.5  # points between the numbers below an axis

Box = tuple[float, float, float, float]  # left, top, right, bottom
Domain = list[float]
Bounds = tuple[float, float]
FREE: Bounds = (-math.inf, math.inf)


def placed(
    points: Sequence[Mapping[str, Any]], width: float, height: float, x_bounds: Bounds = FREE, y_bounds: Bounds = FREE
) -> tuple[list[dict[str, Any]], tuple[Domain, Domain]]:
    """Give each point a place for its name, near it, within the plot and on no other name, point or interval.

    Args:
        points: `series`, `x`, `y` and the intervals `x_low`, `x_high`, `y_low`, `y_high`, None where there is none.
        width: of the plot, points.
        height: of the plot, points.
        x_bounds: which the domain of x does not pass.
        y_bounds: likewise.

    Returns:
        The points with `label_x` and `label_y`, in data units, `align` (left or right of the name is there) and
        `clear`: whether the name is near enough to be taken for the point's, and covers nothing; and the domains of x
        and y.
    """
    domains = _domain(points, "x", x_bounds), _domain(points, "y", y_bounds)

    def across(value: float) -> float:
        return (value - domains[0][0]) / (domains[0][1] - domains[0][0]) * width

    def down(value: float) -> float:
        return (domains[1][1] - value) / (domains[1][1] - domains[1][0]) * height

    taken: list[Box] = []
    for point in points:
        x, y = across(point["x"]), down(point["y"])
        taken.append((x - 3, y - 3, x + 3, y + 3))
        if point["x_low"] is not None:
            taken.append((across(point["x_low"]), y - 1, across(point["x_high"]), y + 1))
        if point["y_low"] is not None:
            taken.append((x - 1, down(point["y_high"]), x + 1, down(point["y_low"])))
    result = []
    for point in points:
        x, y = across(point["x"]), down(point["y"])
        length = len(str(point["series"])) * LETTER
        spots = sorted(_spots(x, y), key=lambda spot: spot[3])
        costs = [_cost(_box(spot, length), taken, width, height) for spot in spots]
        best = min(range(len(spots)), key=lambda i: (round(costs[i]), i))
        left, middle, align, distance = spots[best]
        taken.append(_box(spots[best], length))
        result.append(
            {
                **point,
                "label_x": domains[0][0] + left / width * (domains[0][1] - domains[0][0]),
                "label_y": domains[1][1] - middle / height * (domains[1][1] - domains[1][0]),
                "align": align,
                "clear": distance <= 2.5 * NEAR and costs[best] < 1,
            }
        )
    return result, domains


def readable(values: Sequence[float], scale: str, width: float) -> list[float]:
    """Return those values whose numbers fit beside one another below an axis: both ends, then the shortest first.

    Args:
        values: rising.
        scale: `linear`, `log`, or `symlog` with the least positive value as its constant.
        width: from the first to the last, points.
    """
    constant = min((value for value in values if value > 0), default=1.0)

    def at(value: float) -> float:
        if scale == "linear":
            return value
        return math.log(value) if scale == "log" else math.copysign(math.log1p(abs(value) / constant), value)

    unit = width / ((at(values[-1]) - at(values[0])) or 1)
    kept: dict[float, float] = {}  # values and half of how wide they are
    for value in sorted(values, key=lambda value: (value not in (values[0], values[-1]), len(f"{value:g}"), value)):
        half = len(f"{value:g}") * LETTER / 2
        if all(abs(at(value) - at(other)) * unit >= half + room + APART for other, room in kept.items()):
            kept[value] = half
    return sorted(kept)


def wrapped(text: str, width: float, size: float = SMALL) -> list[str]:
    """Return a name in lines of at most that width: broken between words, one too long at underscores, or anywhere.

    Args:
        text: words are names and settings: `focal γ=2 class_weights=inverse`.
        width: points.
        size: of the type, points.
    """
    lines = [""]
    for word in re.findall(r"[^ ]+ ?| ", text):
        if lines[-1] and _length(lines[-1] + word.rstrip(), size) > width:
            lines.append("")
        for part in re.findall(r"[^_]+_?|_", word):
            if lines[-1] and _length(lines[-1] + part.rstrip(), size) > width:
                lines.append("")
            for character in part:
                if lines[-1] and _length(lines[-1] + character.strip(), size) > width:
                    lines.append("")
                lines[-1] += character
    return [line.strip() for line in lines]


def _length(text: str, size: float) -> float:
    """About how wide a text is in Helvetica, in points."""
    return size * sum(
        0.28 if c in "ijltf.,'| " else 0.83 if c in "mMW" else 0.7 if c == "w" or c.isupper() else 0.56 for c in text
    )


def _spots(x: float, y: float) -> list[tuple[float, float, str, float]]:
    """Where a name might begin or end: place, alignment and distance from its point."""
    spots = []
    for ring in (1, 1.8, 3, 4.5, 6.5, 9, 12):
        for turn in range(16):
            angle = math.pi * turn / 8
            across, down = NEAR * ring * math.cos(angle), NEAR * ring * math.sin(angle)
            align = "left" if across >= -1e-9 else "right"
            # Beside the point before above or below it.
            spots.append((x + across, y + down, align, NEAR * ring + abs(down) / 4))
    return spots


def _box(spot: tuple[float, float, str, float], length: float) -> Box:
    at, middle, align, _ = spot
    left = at if align == "left" else at - length
    return left, middle - LINE / 2, left + length, middle + LINE / 2


def _cost(box: Box, taken: Sequence[Box], width: float, height: float) -> float:
    """Square points covered, and ten for each square point outside the plot."""
    left, top, right, bottom = box
    inside = max(0.0, min(right, width) - max(left, 0)) * max(0.0, min(bottom, height) - max(top, 0))
    covered = sum(
        max(0.0, min(right, other[2]) - max(left, other[0])) * max(0.0, min(bottom, other[3]) - max(top, other[1]))
        for other in taken
    )
    return covered + 10 * ((right - left) * (bottom - top) - inside)


def _domain(points: Sequence[Mapping[str, Any]], axis: str, bounds: Bounds) -> Domain:
    ends = [point[key] for point in points for key in (axis, f"{axis}_low", f"{axis}_high") if point[key] is not None]
    low, high = min(ends), max(ends)
    margin = (high - low) * 0.1 or abs(high) * 0.05 or 1.0
    return [max(low - margin, bounds[0]), min(high + margin, bounds[1])]
