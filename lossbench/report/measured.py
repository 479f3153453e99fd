"""The numbers of one set of predictions, and curves, as text."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from lossbench import metrics as library
from lossbench.calibration import CALIBRATIONS
from lossbench.evaluation import Change
from lossbench.report.notation import ARROWS
from lossbench.report.table import CALIBRATED

MOST = 4  # changed values, or classes, that a line names
SHOWN = ("raw", "temperature_scaled")


def numbers(measured: Mapping[str, Any], format: str, about: str = "") -> str:
    """Return what `lossbench.evaluation.measure` found as text that ends with a newline.

    Args:
        measured: of predictions with a test split, perhaps with validation.
        format: `table` or `markdown`, of the test split; `csv` or `json`, of everything.
        about: what the note of the former two says of the predictions; see `about`.
    """
    there = [split for split in ("val", "test") if split in measured]
    if format == "json":
        return json.dumps(_plain(measured), indent=2, allow_nan=False) + "\n"
    if format == "csv":
        rows = [
            (split, name, metric, value)
            for split in there
            for name, values in measured[split].items()
            for metric, value in values.items()
        ]
        return _csv(("split", "calibration", "metric", "value"), rows)
    names = [name for name in CALIBRATIONS if name in measured["test"]]
    lines = [["metric", *(CALIBRATED[name][0] if name in CALIBRATED else name for name in names)]]
    for metric in measured["test"]["raw"]:
        values = [measured["test"][name][metric] for name in names]
        lines.append([metric + ARROWS.get(library.ALL[metric].better or "", ""), *map(_number, values)])
    options = ", ".join(f"{option} {value:g}" for option, value in measured["options"].items())
    note = f"Test split{f': {about}' if about else ''}. Options: {options}."
    if "temperature" in measured:
        note += f" Calibrations are fitted on the validation split; T = {measured['temperature']:.4g}."
    return (_markdown(lines) if format == "markdown" else _aligned(lines)) + f"\n{textwrap.fill(note, 90)}\n"


def about(predictions: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> str:
    """Return `200 examples, 3 classes (cat, dog, emu)`: whoever reads it sees what was taken for a class."""
    logits = predictions["test_logits"]
    named = [*class_names[:MOST], *([f"… {class_names[-1]}"] if len(class_names) > MOST else [])]
    classes = f"{logits.shape[1]} classes" + (f" ({', '.join(named)})" if named else "")
    return f"{len(logits)} example{'s' if len(logits) != 1 else ''}, {classes}"


def columns(curve: Mapping[str, NDArray[Any]], format: str) -> str:
    """Return a curve as `csv`, a line per point, or `json`, a list per column; ends with a newline."""
    lists = {name: values.tolist() for name, values in curve.items()}
    if format == "json":
        return json.dumps(lists, indent=2, allow_nan=False) + "\n"
    return _csv(tuple(lists), list(zip(*lists.values(), strict=True)))


def change(change: Change, shown: Sequence[str] | None = None) -> str:
    """Return one line that says what measuring a run again changes.

    Args:
        change: as `lossbench.evaluation.measure_again` found it.
        shown: metrics to name, with the values on test of those that are as they were; none for what changes alone.
    """
    same = [
        f"test {calibrated} {metric} {_number(values[metric])}"
        for metric in shown or ()
        for calibrated, values in change.content["test"].items()
        if calibrated in SHOWN and metric in values and f"test {calibrated} {metric}" not in change.moved
    ]
    if not change:
        return ", ".join([f"{change.run_id}: unchanged", *same])
    parts = ["damaged, made again"] if change.mended else []
    parts += [f"{option} {before:g} → {after:g}" for option, (before, after) in change.options.items()]
    wanted = [name for name in change.moved if shown is None or name.rpartition(" ")[2] in shown]
    for name in wanted[: MOST if shown is None else None]:
        before, after = change.moved[name]
        parts.append(f"{name} {_number(before)} → {_number(after)}")
    left = len(change.moved) - min(len(wanted), MOST if shown is None else len(wanted))
    parts += [f"{left} more values changed"] if left else []
    new = _headings(change.new, change.content["test"])
    parts += (
        [f"new: {', '.join(new[:MOST])}" + (f" and {len(new) - MOST} more" if len(new) > MOST else "")] if new else []
    )
    parts += [f"{len(change.gone)} values gone"] if change.gone else []
    return f"{change.run_id}: {', '.join(parts + same)}"


def _headings(new: Sequence[str], test: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The calibrations that are new altogether, and the metrics that are."""
    calibrations = [name for name, values in test.items() if all(f"test {name} {metric}" in new for metric in values)]
    names = [*test["raw"], "reliability"]
    return [*calibrations, *(name for name in names if f"test raw {name}" in new or name in new)]


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"


def _csv(heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in rows)
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    """JSON knows neither nan nor infinity."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        + "\n"
        for line in lines
    )


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    return "".join("| " + " | ".join(line) + " |\n" for line in [lines[0], rule, *lines[1:]])
