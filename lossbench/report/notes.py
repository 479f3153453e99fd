"""What must stand below a table for its numbers to mean something."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from lossbench import metrics as library
from lossbench.report.selection import written
from lossbench.report.table import BESIDE, NAMES, MetricColumn, Row, metric_name


def notes(rows: Sequence[Row], keys: Sequence[str], shown: Sequence[MetricColumn]) -> list[str]:
    """Return one sentence for each thing a reader must know to read the numbers.

    Args:
        rows: the table's rows.
        keys: the config keys that have a column.
        shown: the metric columns.
    """
    notes = []
    counts = {row.n for row in rows}
    if max(counts) == 1:
        notes.append("One seed each: no spread to show.")
    else:
        seeds = f"{counts.pop()} seeds" if len(counts) == 1 else "n seeds"
        notes.append(f"Mean ± standard deviation over {seeds}.")
    bins: dict[int, list[str]] = {}
    for name in dict.fromkeys(column.metric for column in shown):
        metric = library.ALL.get(name)
        option = inspect.signature(metric).parameters.get("n_bins") if metric else None
        if option is not None:
            bins.setdefault(option.default, []).append(metric_name(name))
    notes += [f"{', '.join(names)}: {count} bins of equal width." for count, names in bins.items()]
    if any(column.calibration == "temperature_scaled" for column in shown):
        notes.append("T-scaled: after one temperature fitted on the validation split.")
    if any(column.metric == "confidence_gap" for column in shown):
        notes.append("Confidence gap: mean confidence − accuracy; above 0 is overconfident.")
    notes += [
        f"{metric_name(c.metric)}: {BESIDE[c.metric][0].lower()}{BESIDE[c.metric][1:]}"
        for c in shown
        if c.metric in BESIDE
    ]
    for i, column in enumerate(shown):
        total = sum(row.n for row in rows)
        left_out = total - sum(row.cells[i].n for row in rows)
        if left_out:
            name = metric_name(column.metric, column.calibration)
            notes.append(f"{name}: no value in {left_out} of {total} runs, left out of the mean.")
    return notes + _loss_settings(rows, keys)


def _loss_settings(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """Say what a loss was set to where no column does."""
    taught = ("teacher.model.name", "teacher.loss.name")
    hidden = [k for k in rows[0].config if (k.startswith("loss.") or k in taught) and k not in {*NAMES, *keys}]
    hidden = [key for key in hidden if not key.endswith(("_target_", ".ignore_index"))]
    if any(key.startswith("loss.") and key not in NAMES for key in keys):
        # The columns tell the losses apart; a value that all of them share adds nothing to that.
        hidden = [key for key in hidden if len({row.config[key] for row in rows}) > 1]
    settings: dict[str, dict[str, None]] = {}
    for row in rows:
        for key in hidden:
            if row.config[key] is not None:
                setting = f"{key.removeprefix('loss.').removesuffix('.name')}={written(row.config[key])}"
                settings.setdefault(written(row.config["loss.name"]), {})[setting] = None
    return [f"{loss}: {', '.join(values)}." for loss, values in settings.items()]
