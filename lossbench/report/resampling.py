"""Intervals for rows of one seed, by a bootstrap over the stored predictions.

For metrics that are a mean over examples: those are quick to resample. Binned calibration errors are not offered: a
resample's is biased upwards, for it adds the noise of the resampling to the gap of each bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lossbench import links
from lossbench.errors import RequestError
from lossbench.report.table import MetricColumn, Row
from lossbench.statistics import Array, bootstrap_interval
from lossbench.store import Store

MOST_ROWS = 30  # that are resampled: each has its predictions read, and takes about a tenth of a second
N_RESAMPLES = 1000
SEED = 0
AT_ONCE = 64  # columns of per-example values that are resampled together: as quick as one, and 64·N numbers


def with_resampled_intervals(
    rows: Sequence[Row], shown: Sequence[MetricColumn], split: str, store: Store
) -> tuple[list[Row], list[str]]:
    """Give the cells of rows with one seed an interval over examples.

    Args:
        rows: the table's.
        shown: the metric columns.
        split: whose examples.
        store: where the predictions are.

    Returns:
        The rows, and a note on what has no interval for want of predictions, or because there are too many rows.
    """
    single = sum(row.n == 1 for row in rows)
    if single > MOST_ROWS:
        # As if nobody had asked: a report reads its numbers and not the predictions of a thousand runs.
        note = f"No bootstrap interval for {single:,} rows of one seed; up to {MOST_ROWS} have one (--where)."
        return list(rows), [note]
    cells = [list(row.cells) for row in rows]
    waiting: dict[int, list[tuple[int, int, Array]]] = {}  # number of examples → row, column, value per example
    missing: list[str] = []
    for i, row in enumerate(rows):
        if row.n > 1:
            continue
        try:
            values = _of_the_run(store, row.runs[0].id, split)
        except (RequestError, AttributeError, LookupError, TypeError, ValueError):
            missing.append(row.runs[0].id)
            continue
        for j, column in enumerate(shown):
            if (per_example := values.get((column.metric, column.calibration))) is not None:
                waiting.setdefault(len(per_example), []).append((i, j, per_example))
    for entries in waiting.values():
        for start in range(0, len(entries), AT_ONCE):
            batch = entries[start : start + AT_ONCE]
            table = np.stack([per_example for _, _, per_example in batch], axis=1)
            lows, highs = bootstrap_interval(table, n_resamples=N_RESAMPLES, seed=SEED)
            for (i, j, _), low, high in zip(batch, lows, highs, strict=True):
                cells[i][j] = replace(cells[i][j], low=float(low), high=float(high), resampled=True)
    notes = [f"No interval for want of readable predictions: {', '.join(missing)}."] if missing else []
    return [replace(row, cells=tuple(new)) for row, new in zip(rows, cells, strict=True)], notes


def per_example(log_probs: Array, targets: Array) -> dict[str, Array]:
    """Return what the metrics that are means over examples are means of.

    Args:
        log_probs: [N, K], nats.
        targets: class indices, [N].

    Returns:
        Metric → [N].
    """
    at = np.arange(len(targets)), targets
    probs = np.exp(log_probs)
    confidence, correct = probs.max(axis=1), (log_probs.argmax(axis=1) == targets).astype(np.float64)
    return {
        "accuracy": correct,
        "nll": -log_probs[at],
        "brier_score": (probs**2).sum(axis=1) - 2 * probs[at] + 1,
        "mean_confidence": confidence,
        "confidence_gap": confidence - correct,
    }


def _of_the_run(store: Store, run_id: str, split: str) -> dict[tuple[str, str], Array]:
    """Metric, calibration → [N]; nothing for masks, whose pixels are no independent examples."""
    if "pixels" in store.environment(run_id):
        return {}
    predictions, metrics = store.predictions(run_id), store.metrics(run_id)
    targets = predictions[f"{split}_targets"]
    both = links.raw_and_scaled(metrics["link"], predictions[f"{split}_logits"], metrics["temperature"])
    return {
        (metric, calibration): values
        for calibration, through in both.items()
        for metric, values in per_example(through, targets).items()
    }
