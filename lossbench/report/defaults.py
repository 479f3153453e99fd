"""What a run's settings are where nobody says otherwise, read from the configs that ship with lossbench."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lossbench.catalogue import conf_dir
from lossbench.report.selection import Value
from lossbench.settings import flat

GROUPS = ("dataset", "model", "optimizer", "schedule")
VALUES = ("epochs", "batch_size", "keep")
# Settings of every data set that came after the first runs were stored. Their defaults are off, so a run that lacks one
# did what the default does; not so for others, whose default may be something that old runs did not do.
ADDED = ("mixup", "cutmix", "old_classes", "learn")


def other_than_default(config: Mapping[str, Value]) -> dict[str, Value]:
    """Return the settings of data set, model, optimizer, schedule and training that somebody chose.

    Args:
        config: a row's, with dotted keys. A choice that no yaml of ours names has no defaults to compare with.
    """
    defaults = {key: value for key, value in _flat(_read(conf_dir() / "config.yaml")) if key in VALUES}
    for group in GROUPS:
        path = conf_dir() / group / f"{config.get(f'{group}.name')}.yaml"
        shared = _flat(_read(path.with_name("_split.yaml")), f"{group}.") if group == "dataset" else ()
        defaults.update({**dict(shared), **dict(_flat(_read(path), f"{group}."))} if path.is_file() else {})
    return {
        key: value
        for key, value in config.items()
        if key in defaults and value is not None and value != defaults[key] and not key.endswith("_target_")
    }


def with_added(frame: pd.DataFrame, keys: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Give runs that are older than a setting its default, so that they and newer ones are seeds of one row.

    An older run goes where a newer one of the same settings and seed is there too: one seed counts once.

    Args:
        frame: a row per run × split × calibration. A data set that no yaml of ours names is left as it is.
        keys: the settings that tell experiments apart.

    Returns:
        The frame, and a note if runs were left out.
    """
    defaults = dict(_flat(_read(conf_dir() / "dataset" / "_split.yaml")))
    ours = frame["dataset.name"].isin([path.stem for path in (conf_dir() / "dataset").glob("[!_]*.yaml")])
    older = pd.Series(False, index=frame.index)
    new = {}
    for prefix, marker in (("dataset.", "dataset.name"), ("teacher.dataset.", "teacher.dataset.label_noise")):
        for name in ADDED:
            key = prefix + name
            # Where no run has it there is nothing to be told apart from.
            if key in frame and marker in frame:
                missing = frame[key].isna() & frame[marker].notna() & ours
                older |= missing
                new[key] = frame[key].astype(object).where(~missing, defaults[name]).infer_objects()
    if not older.any():
        return frame, []
    frame = frame.assign(**new)
    runs = frame.assign(newer=~older).drop_duplicates("run")
    same = [key for key in (*keys, "seed") if runs[key].nunique(dropna=False) > 1]
    groups = runs.groupby(same, dropna=False) if same else runs.groupby(lambda _: 0)
    again = runs["run"][~runs["newer"] & groups["newer"].transform("any")]
    if again.empty:
        return frame, []
    count = f"{len(again)} run" + "s" * (len(again) > 1)
    note = f"Left out: {count} of an older version whose settings and seed newer ones have."
    return frame[~frame["run"].isin(again)], [note]


@functools.cache
def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    """The settings of a yaml, but for those that another setting says."""
    return ((key, value) for key, value in flat(config, prefix) if not (isinstance(value, str) and "${" in value))
