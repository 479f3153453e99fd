"""Text of a given width: columns, sparklines, bars. Readable without colour."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = "▁▂▃▄▅▆▇█"
DIAGONAL = "│"


def width() -> int:
    """Return how many columns there are: the terminal's, those that COLUMNS says, or else 80."""
    return shutil.get_terminal_size((80, 24)).columns


def aligned(rows: Sequence[Sequence[str]], *, left: int = 1, gap: str = "  ") -> list[str]:
    """Align rows of cells: the first `left` columns to the left, the others to the right."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        gap.join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def folded(text: str, columns: int, indent: str = "") -> list[str]:
    """Break text into lines; a word that is longer than a line is broken too."""
    return textwrap.wrap(
        text, max(columns, 20), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def sparkline(values: Sequence[float], columns: int) -> str:
    """Draw values between their least and their largest; `·` where they are not finite.

    Args:
        values: one or more.
        columns: at most as many characters; of more values, each character is the mean of its share.
    """
    parts = np.array_split(np.asarray(values, dtype=np.float64), min(columns, len(values)))
    means = [float(part[np.isfinite(part)].mean()) if np.isfinite(part).any() else math.nan for part in parts]
    there = [mean for mean in means if not math.isnan(mean)]
    low, high = (min(there), max(there)) if there else (0.0, 0.0)
    steps = (high - low) / (len(LEVELS) - 1) or 1.0
    return "".join("·" if math.isnan(mean) else LEVELS[round((mean - low) / steps)] for mean in means)


def bar(length: float, mark: float, columns: int) -> str:
    """Draw a bar of a length in [0, 1], and where a mark in [0, 1] stands: `████▌   │ `."""
    eighths = round(length * columns * 8)
    cells = list("█" * (eighths // 8) + EIGHTHS[eighths % 8] * (eighths % 8 > 0))
    cells += " " * (columns + 1 - len(cells))
    cells[min(round(mark * columns), columns)] = DIAGONAL
    return "".join(cells).rstrip()


def reliability(curve: dict[str, NDArray[Any]], columns: int) -> list[str]:
    """Draw a reliability diagram on its side, a line for each bin.

    Args:
        curve: as `lossbench.curves.reliability` returns it.
        columns: the width of it all.
    """
    heading = ["confidence", "n", "", "accuracy", "gap"]
    others = 10 + len(str(int(max(curve["n"])))) + 8 + 5 + 4 * 2  # the other columns, and what is between them
    length = max(columns - others - 1, 10)
    rows = [
        [
            f"{low:.2f}–{high:.2f}",
            str(int(n)),
            bar(accuracy, confidence, length).ljust(length + 1),
            f"{accuracy:.2f}",
            f"{confidence - accuracy:+.2f}",
        ]
        for low, high, n, confidence, accuracy in zip(
            *(curve[name] for name in ("lo", "hi", "n", "confidence", "accuracy")), strict=True
        )
    ]
    return aligned([heading, *rows])
