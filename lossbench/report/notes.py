"""What must stand below a table for its numbers to mean something."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from lossbench import metrics as library
from lossbench.beside import TIGHTNESS
from lossbench.errors import counted
from lossbench.report.defaults import other_than_default
from lossbench.report.options import definitions
from lossbench.report.resampling import N_RESAMPLES, SEED
from lossbench.report.selection import Value, written
from lossbench.report.table import BESIDE, DIFFERS, NAMES, PICKED, TIED, UNKNOWN, MetricColumn, Row, Table, metric_name
from lossbench.statistics import MIN_PAIRS, SIGNIFICANCE

UNTESTED = {
    "pairs": f"which share fewer than {MIN_PAIRS} runs with the best",
    "finite": "which are infinite in some run{where}",
    "spread": "whose differences from the best{where} have no spread to be judged by",
}


def notes(
    rows: Sequence[Row],
    keys: Sequence[str],
    shown: Sequence[MetricColumn],
    options: Mapping[str, float],
    *,
    spread: str,
    tests: Sequence[str],
    said: Container[str] = (),
) -> list[str]:
    """Return one sentence for each thing a reader must know to read the numbers.

    Args:
        rows: the table's rows.
        keys: the config keys that have a column.
        shown: the metric columns.
        options: what the metrics were measured with.
        spread: what follows ±, `interval` or `sd`.
        tests: what `comparisons` returns.
        said: config keys that another note says.
    """
    first = [*_spread(rows, shown, spread), *tests, *_of_metrics(rows, shown, options)]
    there = {key for key in rows[0].config if key in keys or key in said}
    of_some = _settings_of_a_name(rows, there)
    return first + _loss_settings(rows, keys, there) + _other_settings(rows, keys) + of_some


def without_metrics(table: Table, kept: Sequence[int]) -> list[str]:
    """Return the notes of a table that shows some of its metrics alone, by position: none on the others."""
    shown = [table.metrics[i] for i in kept]
    rows = [replace(row, cells=tuple(row.cells[i] for i in kept)) for row in table.rows]
    pairs = [
        (_spread(table.rows, table.metrics, table.spread), _spread(rows, shown, table.spread)),
        (_of_metrics(table.rows, table.metrics, table.options), _of_metrics(rows, shown, table.options)),
    ]
    instead = {note: few if i == 0 else [] for every, few in pairs for i, note in enumerate(every)}
    return [text for note in table.notes for text in instead.get(note, [note])]


def _of_metrics(rows: Sequence[Row], shown: Sequence[MetricColumn], options: Mapping[str, float]) -> list[str]:
    """Say what the metrics shown are, and what they lack."""
    of = {column.metric for column in shown}
    notes = definitions(shown, options)
    if any(column.metric == "confidence_gap" for column in shown):
        notes.append("Confidence gap: mean confidence − accuracy; above 0 is overconfident.")
    notes += [
        f"{metric_name(c.metric)}: {BESIDE[c.metric][0].lower()}{BESIDE[c.metric][1:]}"
        for c in shown
        if c.metric in BESIDE
    ]
    fitted = any(column.calibration != "raw" and column.metric in library.ALL for column in shown)
    if fitted and any(row.config.get("dataset.learn") == "new" for row in rows):
        notes.append("With dataset.learn=new validation has the new classes alone, and so has what was fitted on it.")
    unknown = {name: definition for name, (_, definition) in UNKNOWN.items() if name in of}
    notes += [f"{metric_name(name)}: {text[0].lower()}{text[1:]}" for name, text in unknown.items()]
    for i, column in enumerate(shown):
        total = sum(row.n for row in rows)
        left_out = total - sum(row.cells[i].n for row in rows)
        if left_out:
            name = metric_name(column.metric, column.calibration)
            how = "; lossbench evaluate --pictures keeps it" if column.metric in TIGHTNESS else ""
            notes.append(f"{name}: no value in {left_out} of {counted(total, 'run')}, left out of the mean{how}.")
    return notes


def comparisons(rows: Sequence[Row], shown: Sequence[MetricColumn], tested: bool, baseline: str) -> list[str]:
    """Return what the marks of tests mean, or why there is no test.

    Args:
        rows: the table's rows.
        shown: its columns of results.
        tested: whether any row was held against the best of its block.
        baseline: what the differences are from, if there are any.
    """
    notes = []
    if tested:
        notes.append(
            f"{TIED}: cannot be told from the best (paired t, Holm over all pairs of rows, p ≥ {SIGNIFICANCE})."
        )
    lacking = {why: sum(any(cell.untested == why for cell in row.cells) for row in rows) for why in UNTESTED}
    of = counted(len(rows), "row")
    if lacking["pairs"] and not (tested or lacking["spread"] or lacking["finite"]):
        notes.append(f"Not tested: that takes {MIN_PAIRS} paired runs.")
    else:
        for why in filter(lacking.get, lacking):
            columns = [c for i, c in enumerate(shown) if any(row.cells[i].untested == why for row in rows)]
            names = ", ".join(metric_name(column.metric, column.calibration) for column in columns)
            where = f" in {names}" if len(columns) < len(shown) else ""
            notes.append(f"Not tested: {lacking[why]} of {of}, {UNTESTED[why].format(where=where)}.")
    if count := sum(any(cell.better_where_shared for cell in row.cells) for row in rows):
        notes.append(
            f"Not marked: {count} of {of}, significantly better than the best mean on the runs that both have. That "
            "mean is over others too: compare rows of the same seeds."
        )
    of_blocks: dict[int, set[frozenset[Value]]] = {}
    for row in rows:
        of_blocks.setdefault(row.block, set()).add(frozenset(run.seed for run in row.runs))
    if any(len(seeds) > 1 for seeds in of_blocks.values()):
        notes.append("Rows are over different seeds: a mean over easier ones is better by that alone.")
    differences = [cell.difference for row in rows for cell in row.cells if cell.difference is not None]
    if any(difference.significant for difference in differences):
        notes.append(f"{DIFFERS}: differs from {baseline} (paired t, Holm over the table, p < {SIGNIFICANCE}).")
    elif not all(math.isnan(difference.p) for difference in differences):
        notes.append(f"None differs from {baseline} significantly (paired t, Holm over the table).")
    return notes


def _spread(rows: Sequence[Row], shown: Sequence[MetricColumn], spread: str) -> list[str]:
    notes = []
    counts = {row.n for row in rows}
    if max(counts) > 1:
        what = "standard deviation" if spread == "sd" else "half the 95 % interval (Student t)"
        seeds = f"{max(counts)} seeds" if len(counts) == 1 else "n seeds"
        notes.append(f"Mean ± {what} over {seeds}.")
    resampled = [c for i, c in enumerate(shown) if any(row.cells[i].resampled for row in rows)]
    if resampled and spread != "sd":
        names = ", ".join(metric_name(column.metric, column.calibration) for column in resampled)
        notes.append(
            f"One seed: ± half the 95 % bootstrap interval over examples ({N_RESAMPLES:,} resamples, seed {SEED}) of "
            f"{names}; it does not say what another training would give."
        )
    elif max(counts) == 1:
        notes.append("One seed each: no spread to show.")
    return notes


def _other_settings(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """Say what all rows share beside the loss that is not lossbench's default, and has no column."""
    chosen = [other_than_default(row.config) for row in rows]
    shared = {key: v for key, v in chosen[0].items() if key not in keys and all(c.get(key) == v for c in chosen)}
    if not shared:
        return []
    return [f"Other than the defaults: {', '.join(f'{key}={written(v)}' for key, v in sorted(shared.items()))}."]


def _settings_of_a_name(rows: Sequence[Row], said: Container[str]) -> list[str]:
    """Say for each data set and each model what all of its rows share, and other rows do not have.

    Args:
        rows: the table's rows.
        said: config keys that have a column, or another note.
    """
    chosen = [other_than_default(row.config) for row in rows]
    settings: dict[str, list[str]] = {}
    for section in ("dataset", "model"):
        for name in dict.fromkeys(row.config[f"{section}.name"] for row in rows):
            its = [of for row, of in zip(rows, chosen, strict=True) if row.config[f"{section}.name"] == name]
            for key, v in sorted(its[0].items()):
                shared = all(of.get(key) == v for of in its)
                by_all = all(of.get(key) == v for of in chosen)  # which `_other_settings` says
                if key.startswith(f"{section}.") and shared and not by_all and key not in said and v != PICKED:
                    setting = f"{key.removeprefix(f'{section}.')}={written(v)}"
                    settings.setdefault(written(name), []).append(setting)
    return [f"{name}: {', '.join(texts)}." for name, texts in settings.items()]


def _loss_settings(rows: Sequence[Row], keys: Sequence[str], said: Container[str]) -> list[str]:
    """Say what a loss was set to where no column does, and no other note."""
    taught = ("teacher.model.name", "teacher.loss.name")
    hidden = [k for k in rows[0].config if (k.startswith("loss.") or k in taught) and k not in NAMES and k not in said]
    hidden = [key for key in hidden if not key.endswith(("_target_", ".ignore_index"))]
    if any(key.startswith("loss.") and key not in NAMES for key in keys):
        # The columns tell the losses apart; a value that all of them share adds nothing to that.
        hidden = [key for key in hidden if len({row.config[key] for row in rows}) > 1]
    untaught = {row.config["loss.name"] for row in rows if row.config.get(taught[0]) is None}
    settings: dict[str, dict[str, None]] = {}
    for row in rows:
        loss = row.config["loss.name"]
        for key in hidden:
            if row.config[key] is not None:
                setting = f"{key.removeprefix('loss.').removesuffix('.name')}={written(row.config[key])}"
                # Of two rows of one loss, the one that goes on from a teacher is the one that learns new classes.
                learn = f" with learn={written(row.config.get('dataset.learn'))}"
                which = learn if key in taught and loss in untaught else ""
                settings.setdefault(f"{written(loss)}{which}", {})[setting] = None
    return [f"{loss}: {', '.join(values)}." for loss, values in settings.items()]
