"""Logits and targets from a finished run or from anyone's file: read, checked, under the names that runs use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lossbench.errors import DataError, ShapeError, StoreError
from lossbench.metrics.inputs import read
from lossbench.store import Store, read_npz

Arrays: TypeAlias = dict[str, NDArray[Any]]  # test_logits, test_targets and mostly val_logits, val_targets
SPLITS = ("val", "test")
SOFTMAX = {"name": "softmax"}  # the link of a file, which does not say
IGNORE_INDEX = -100


def is_file(source: str) -> bool:
    """Whether what a user names is a file and not a run."""
    return Path(source).suffix in (".npz", ".csv")


def of_either(store: Store, source: str) -> tuple[Arrays, dict[str, Any]]:
    """Read a file, or a run by its id or the start or end of it, the newest for an empty one; and the link."""
    if is_file(source):
        return of_file(Path(source)), SOFTMAX
    return of_run(store, store.find(source) if source else store.newest())


def of_run(store: Store, run_id: str) -> tuple[Arrays, dict[str, Any]]:
    """Read what a finished run predicted, and the link that its logits go through.

    Raises:
        StoreError: if the run has no predictions or no link, or they cannot be read.
        DataError: if they are damaged: a logit that is not finite, a target that is no class.
    """
    link = store.metrics(run_id).get("link")
    if not isinstance(link, dict):
        raise StoreError(f"{store.path(run_id) / 'metrics.json'} does not say which link its logits go through")
    return _checked(store.predictions(run_id), str(store.path(run_id) / "predictions.npz")), link


def of_file(path: Path) -> Arrays:
    """Read anyone's logits and targets. They are taken to go through a softmax; log-probabilities are logits, too.

    Args:
        path: an `.npz` with the arrays `logits` [N, K] and `targets` [N], or with `val_logits`, `val_targets`,
            `test_logits`, `test_targets`; or a `.csv` with a heading, where the column `target` is the class, from 0,
            the column `split`, if there is one, says val or test, and all others are logits, in the order of the
            classes.

    Raises:
        DataError: if that is not what the file holds; the message names the file, and the row that is at fault.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there")
    arrays = _of_csv(path) if path.suffix == ".csv" else _of_npz(path)
    for split in SPLITS:
        targets = arrays.get(f"{split}_targets", np.zeros(0))
        below = np.flatnonzero(targets < 0)
        if len(below):  # among our own runs -100 marks what is ignored; in a file it would be left out in silence
            raise DataError(f"{path}: {split}_targets row {below[0]} is {targets[below[0]]}; a class is 0 or more")
    return arrays


def _of_npz(path: Path) -> Arrays:
    arrays = read_npz(path)
    plain = {"logits", "targets"} <= set(arrays)
    if plain == ({"test_logits", "test_targets"} <= set(arrays)):
        raise DataError(
            f"{path} must hold either logits and targets, or test_logits and test_targets, perhaps with val_logits and "
            f"val_targets; got {', '.join(arrays) or 'nothing'}"
        )
    if plain:
        arrays |= {f"test_{name}": arrays[name] for name in ("logits", "targets")}
    return _checked(arrays, str(path))


def _of_csv(path: Path) -> Arrays:
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except ValueError as error:  # what pandas raises are ValueErrors, too
        raise DataError(f"{path} is no table: {' '.join(str(error).split())}") from error
    names = [str(name) for name in table.columns]
    unnamed = [number for number, name in enumerate(names, 1) if name.startswith("Unnamed: ")]
    if unnamed or not isinstance(table.index, pd.RangeIndex):
        number = unnamed[0] if unnamed else 1
        raise DataError(f"{path}: column {number} has no name; one that numbers the rows must be left out")
    if "target" not in names:
        raise DataError(f"{path} has no column named target; got {', '.join(names[:8])}")
    classes = [name for name in names if name not in ("target", "split")]
    numbers = table[[*classes, "target"]].apply(pd.to_numeric, errors="coerce")  # what is none becomes nan
    for fault, what in (
        (numbers["target"].mod(1) != 0, "target"),
        (~table["split"].isin(SPLITS) if "split" in names else pd.Series(False, table.index), "split"),
    ):
        if fault.any():
            row = int(fault.to_numpy().argmax())
            wanted = "a whole number, the class from 0" if what == "target" else "val or test"
            raise DataError(f"{path} line {row + 2}: {what} must be {wanted}; got {table[what][row]}")
    logits, targets = numbers[classes].to_numpy(dtype=np.float64), numbers["target"].to_numpy(dtype=np.int64)
    arrays = _checked({"test_logits": logits, "test_targets": targets}, f"{path} (row 0 is line 2)")
    if "split" not in names:
        return arrays
    rows = {split: (table["split"] == split).to_numpy() for split in SPLITS}
    parts = {split: chosen for split, chosen in rows.items() if chosen.any()}
    arrays = {f"{split}_logits": logits[chosen] for split, chosen in parts.items()}
    return _checked(arrays | {f"{split}_targets": targets[chosen] for split, chosen in parts.items()}, str(path))


def _checked(arrays: Mapping[str, NDArray[Any]], source: str) -> Arrays:
    """Keep what belongs to a split, and hold it against what metrics read: the first fault is named."""
    known = [name for split in SPLITS for name in (f"{split}_logits", f"{split}_targets")]
    there = [name for name in known if name in arrays]
    pairs = {name.partition("_")[0] for name in there}
    missing = [name for name in known if name.partition("_")[0] in pairs | {"test"} and name not in arrays]
    if missing:
        raise DataError(f"{source} lacks {' and '.join(missing)}; got {', '.join(arrays) or 'nothing'}")
    for split in pairs:
        try:
            read(arrays[f"{split}_logits"], arrays[f"{split}_targets"], IGNORE_INDEX)
        except (DataError, ShapeError) as error:
            raise DataError(f"{source}: {split} {error}") from error
    if "val" in pairs and arrays["val_logits"].shape[1] != arrays["test_logits"].shape[1]:
        raise DataError(
            f"{source}: val has {arrays['val_logits'].shape[1]} classes, test {arrays['test_logits'].shape[1]}"
        )
    return {name: arrays[name] for name in there}
