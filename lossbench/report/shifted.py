"""What runs say of other data than they were made for, as frames that `tabulate` takes, and as one long table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from lossbench import metrics as library
from lossbench import report
from lossbench.report.grouping import compared, tabulate
from lossbench.report.records import cell_text
from lossbench.report.table import BESIDE, NAMES, UNKNOWN, Table, short_name

# What tells the rows of one run apart: settings of its data set, as it were, so that the best is marked for each.
CORRUPTION = ("dataset.corruption", "dataset.level")
KNOWLEDGE = ("dataset.unknown", "dataset.score")


def corrupted(frame: pd.DataFrame, shifts: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row per run × corruption × level × calibration, with the metrics on the test split so corrupted.

    Args:
        frame: a row per run × split × calibration.
        shifts: run id → the content of its shift.json, in the order that rows are wanted in.
    """
    measured = {run: shift["corruptions"]["measured"] for run, shift in shifts.items()}
    return _rows(frame, measured, CORRUPTION)


def unknown(frame: pd.DataFrame, shifts: Mapping[str, Mapping[str, Any]], requests: Sequence[str]) -> pd.DataFrame:
    """Return a row per run × unknown data × score × calibration, with `auroc` and `fpr95`.

    Args:
        frame: a row per run × split × calibration.
        shifts: run id → the content of its shift.json.
        requests: the unknown data, by the words they were asked for in.
    """
    measured = {
        run: [{"unknown": request, **record} for request in requests for record in shift["ood"][request]["measured"]]
        for run, shift in shifts.items()
    }
    return _rows(frame, measured, KNOWLEDGE)


def _rows(
    frame: pd.DataFrame, measured: Mapping[str, Sequence[Mapping[str, Any]]], keys: Sequence[str]
) -> pd.DataFrame:
    test = frame[frame["split"] == "test"].drop(columns=[*library.ALL, *BESIDE], errors="ignore")
    runs = {(row["run"], row["calibration"]): row for row in test.to_dict("records")}
    renamed = {key.removeprefix("dataset."): key for key in keys}
    return pd.DataFrame(
        [
            {**runs[run, record["calibration"]], **{renamed.get(key, key): cell for key, cell in record.items()}}
            for run, records in measured.items()
            for record in records
            if (run, record["calibration"]) in runs
        ]
    )


def render(frames: Sequence[pd.DataFrame], format: str, width: int | None = None, *, color: bool = False) -> str:
    """Return a table of means over seeds for each frame; every number of every run as csv and json.

    Args:
        frames: what `corrupted` and `unknown` return.
        format: as in `lossbench.report.render`.
        width: likewise.
        color: likewise.
    """
    if format == "csv":
        numbers = every_number(frames).map(lambda cell: cell_text(cell) if isinstance(cell, str) else cell)
        return numbers.to_csv(index=False, lineterminator="\n")
    if format == "json":
        return every_number(frames).to_json(orient="records", indent=2, double_precision=15, force_ascii=False) + "\n"
    tables = [_unknown_table(frame) if "auroc" in frame else _corruption_table(frame) for frame in frames]
    return "\n".join(report.render(table, format, width, color=color) for table in tables)


def _corruption_table(frame: pd.DataFrame) -> Table:
    """A line for each level would be too many to read."""
    corruption, level = CORRUPTION
    measured = [name for name in library.ALL if name in frame]
    means = frame.groupby(["run", "calibration", corruption], sort=False)[measured].transform("mean")
    once = frame.assign(**means).drop_duplicates(["run", "calibration", corruption]).drop(columns=level)
    table = tabulate(once, metrics=["accuracy", "ece", "confidence_gap", "nll"])
    return replace(table, notes=(*table.notes, "Corruptions: mean over their five levels; csv and json have each."))


def _unknown_table(frame: pd.DataFrame) -> Table:
    table = tabulate(frame, metrics=[*UNKNOWN])
    requests = list(frame["dataset.unknown"].unique())
    return replace(table, title=(*table.title, f"unknown {requests[0]}")) if len(requests) == 1 else table


def every_number(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return a row per run × what it was shown × calibration × metric, for a program.

    Its columns: `run`; the names of data set, model and loss, the seed and whatever else tells the runs apart;
    `corruption` and `level`, or `unknown` and `score`; `calibration`, `metric`, `value`.

    Args:
        frames: what `corrupted` and `unknown` return.
    """
    rows = pd.concat(frames, ignore_index=True)
    shown = [key for key in (*CORRUPTION, *KNOWLEDGE) if key in rows]
    settings = [
        key
        for key in rows
        if compared(str(key)) and not str(key).endswith(("_target_", "sources")) and rows[key].nunique(dropna=False) > 1
    ]
    keys = list(dict.fromkeys(["run", *NAMES, "seed", *settings, *shown, "calibration"]))
    measured = [name for name in (*library.ALL, *UNKNOWN) if name in rows]
    melted = rows.melt(keys, measured, "metric").dropna(subset="value").sort_values(["run", *shown], kind="stable")
    return melted.rename(columns={key: short_name(key) for key in shown}).convert_dtypes()
