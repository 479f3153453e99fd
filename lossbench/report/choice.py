"""Hyperparameters chosen on validation: of all runs of a loss, the one to report for each seed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lossbench.errors import ConfigError, RequestError
from lossbench.report.comparison import badness
from lossbench.report.selection import Value, order, value, written
from lossbench.report.table import NAMES, metric_name
from lossbench.settings import short_names

GIVEN = ("loss.name", "sources", "device.precision")  # beside the dataset and the model: what no one tunes


@dataclass(frozen=True)
class Choice:
    """The runs that validation chose, each with the settings there was a choice of, and a sentence for each loss."""

    picked: Mapping[str, Mapping[str, Value]]
    notes: tuple[str, ...]


def choose(frame: pd.DataFrame, metric: str, better: str | None, calibration: str, keys: Sequence[str]) -> Choice:
    """Choose for every dataset × model, loss name and seed the run with the best validation metric.

    Args:
        frame: a row per run × split × calibration.
        metric: what decides.
        better: which way.
        calibration: of the metric. Vector scaling and isotonic regression are fitted on validation with many
            parameters, which would judge them there in-sample: after one temperature counts in their place.
        keys: the config keys that tell experiments apart; those that are not of the dataset or the model are chosen.

    Raises:
        ConfigError: if the metric does not say which of its values are better.
        RequestError: if it has no value in any run of a loss and seed.
    """
    if better is None:
        raise ConfigError(f"{metric} does not say which of its values are better; select by another, such as nll")
    judged_by = "temperature_scaled" if calibration in ("vector_scaled", "isotonic") else calibration
    given = [key for key in keys if key.startswith(("dataset.", "model.")) or key in GIVEN]
    groups: dict[tuple[Value, ...], list[dict[Hashable, Any]]] = {}
    for record in frame[(frame["split"] == "val") & (frame["calibration"] == judged_by)].to_dict("records"):
        groups.setdefault(tuple(value(record[key]) for key in given), []).append(record)
    picked: dict[str, dict[str, Value]] = {}
    notes = []
    for group, records in groups.items():
        swept = [key for key in keys if key not in given and len({value(record[key]) for record in records}) > 1]
        names = short_names(key for key in swept if not key.endswith("_target_")) or short_names(swept)
        by_seed: dict[Value, list[dict[Hashable, Any]]] = {}
        for record in sorted(records, key=lambda record: [order(value(record[key])) for key in swept]):
            by_seed.setdefault(value(record["seed"]), []).append(record)
        seeds: dict[str, list[str]] = {}
        tied = []
        for seed, candidates in sorted(by_seed.items(), key=lambda item: order(item[0])):
            judged = [record for record in candidates if not pd.isna(record[metric])]
            if not judged:
                name = dict(zip(given, group, strict=True))["loss.name"]
                raise RequestError(f"{metric} has no value on validation for {name}, seed {seed}; select by another")
            best = min(judged, key=lambda record: badness(record[metric], better))  # the first of equals
            settings = {key: value(best[key]) for key in swept}
            picked[str(best["run"])] = settings
            if sum(record[metric] == best[metric] for record in judged) > 1:
                tied.append(written(seed))
            text = ", ".join(f"{names[key]}={written(settings[key])}" for key in names if settings[key] is not None)
            seeds.setdefault(text, []).append(written(seed))
        if swept:
            counts = sorted({len(candidates) for candidates in by_seed.values()})
            of = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            choices = ", ".join(f"{text} (seed{'s'[: len(of) > 1]} {', '.join(of)})" for text, of in seeds.items())
            if tied:
                choices += f"; equals on validation for seed{'s'[: len(tied) > 1]} {', '.join(tied)}: the first of them"
            notes.append((group, f"of {of} settings: {choices}"))
    return Choice(picked, (_note(metric_name(metric, judged_by), given, notes, groups),) if notes else ())


def _note(
    metric: str, given: Sequence[str], notes: Sequence[tuple[tuple[Value, ...], str]], groups: Mapping[Any, Any]
) -> str:
    # A dataset, a model or a loss is named where there is more than one.
    named = [i for i, key in enumerate(given) if key in NAMES and len({group[i] for group in groups}) > 1]
    lines = [" ".join([*(written(group[i]) for i in named), text]) for group, text in notes]
    return f"Picked for each seed by {metric} on validation: {'; '.join(lines)}."
