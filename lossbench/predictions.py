"""Logits and targets from a finished run or from anyone's file: read, checked, under the names that runs use."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lossbench.errors import DataError, ShapeError, StoreError
from lossbench.links import LARGEST
from lossbench.metrics.inputs import read
from lossbench.record import SPLITS, read_npz
from lossbench.store import Store

if TYPE_CHECKING:
    import pandas as pd

Arrays: TypeAlias = dict[str, NDArray[Any]]  # test_logits, test_targets and mostly val_logits, val_targets
SOFTMAX = {"name": "softmax"}  # the link of a file, which does not say
IGNORE_INDEX = -100
TARGET, SPLIT = "target", "split"  # columns of a table; all others are logits
OFF = 0.005  # by how much probabilities of many digits, in half precision say, may add up to another sum than 1
FEW_DIGITS = (1, 2, 3, 4)  # of probabilities that were rounded, with which the sum is off by more
NUMBERING = ("id", "idx", "index", "row")  # what a column is called that numbers the rows


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
    return of_content(store.path(run_id), store.metrics(run_id), lambda: store.predictions(run_id))


def of_content(folder: Path, metrics: Mapping[str, Any], arrays: Callable[[], Arrays]) -> tuple[Arrays, dict[str, Any]]:
    """Return what `of_run` does, of a run's metrics.json and predictions that are read elsewhere."""
    link = link_of(folder, metrics)
    return _checked(arrays(), str(folder / "predictions.npz")), link


def link_of(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the link that the logits of a finished run go through, as its metrics.json says: name and numbers.

    Raises:
        StoreError: if the run does not say.
    """
    link = metrics.get("link")
    numbers = isinstance(link, dict) and all(type(link[key]) in (int, float) for key in link if key != "name")
    if not isinstance(link, dict) or not numbers or "name" not in link:
        raise StoreError(f"{folder / 'metrics.json'} does not say which link its logits go through")
    return link


def of_file(path: Path) -> Arrays:
    """Read anyone's logits and targets. They are taken to go through a softmax; log-probabilities are logits, too.

    Args:
        path: an `.npz` with the arrays `logits` [N, K] and `targets` [N], or with `val_logits`, `val_targets`,
            `test_logits`, `test_targets`; or a `.csv` with a heading, where the column `target` is the class, from 0,
            the column `split`, if there is one, says val or test, and all others are logits, in the order of the
            classes.

    Raises:
        DataError: if that is not what the file holds; the message names the file, and the row that is at fault. What
            seem to be probabilities are refused: as logits they would be those of a model that is sure of nothing.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there")
    arrays = _of_csv(path) if path.suffix == ".csv" else _of_npz(path)
    for split in SPLITS:
        targets = arrays.get(f"{split}_targets", np.zeros(0))
        below = np.flatnonzero(targets < 0)
        if len(below):  # among our own runs -100 marks what is ignored; in a file it would be left out in silence
            raise DataError(f"{path}: {split}_targets row {below[0]} is {targets[below[0]]}; a class is 0 or more")
        logits = arrays.get(f"{split}_logits", np.zeros((0, 2)))
        if whole := _whole_of_shares(logits):
            raise DataError(
                f"{path}: {split} has probabilities, for rows sum to {whole} and none is negative; give logits, or the "
                "logarithms of the probabilities"
            )
    return arrays


def _whole_of_shares(logits: NDArray[Any]) -> int:
    """Return 1 of what seem to be probabilities, 100 of per cent, else 0. They may be rounded, and a row be odd."""
    for whole in (1, 100) if len(logits) else ():
        shares = logits / whole
        off = np.abs(shares.sum(axis=1) - 1)
        if np.mean((shares >= 0).all(axis=1) & (off <= _rounding_of_sums(shares))) > 0.5:
            return whole
    return 0


def _rounding_of_sums(shares: NDArray[Any]) -> float:
    """Return by how much a sum of shares may be off 1, for as many digits as they have."""
    for digits in FEW_DIGITS:
        places = shares * 10**digits
        if np.mean(np.abs(places - np.round(places)) < 0.01) > 0.9:
            return float(np.clip(shares.shape[1] * 0.5 / 10**digits, OFF, 0.5))  # all in the same direction
    return OFF


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


def class_names(path: Path) -> list[str]:
    """Return the columns of a `.csv` that are taken for logits, in their order. An `.npz` has no names."""
    return [name for name in _heading(path) if name not in (TARGET, SPLIT)] if path.suffix == ".csv" else []


def _of_csv(path: Path) -> Arrays:
    import pandas as pd

    names = _heading(path)
    classes = class_names(path)
    if len(classes) < 2:
        raise DataError(
            f"{path} must have a column of logits for each class, at least two; got {', '.join(classes) or 'none'}. "
            "For one score of the second of two classes, give 0 and that score"
        )
    try:
        table = pd.read_csv(path, dtype={SPLIT: str}, skipinitialspace=True)
    except ValueError as error:  # what pandas raises are ValueErrors, too
        raise DataError(f"{path} is no table: {' '.join(str(error).split())}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError(f"{path}: column 1 has no name; one that numbers the rows must be left out")
    table.columns = pd.Index(names)
    if table.empty:
        raise DataError(f"{path} has a heading and no rows")
    # Where there is a fault, the file is read again for the line it is in, which pandas does not keep.
    if any(table[name].dtype.kind not in "iuf" for name in (*classes, TARGET)):
        _raise_fault(path, names, classes)
    logits, targets = table[classes].to_numpy(dtype=np.float64), table[TARGET].to_numpy()
    good = [np.abs(logits) <= LARGEST, targets % 1 == 0, targets >= 0, targets < len(classes)]
    good += [table[SPLIT].isin(SPLITS).to_numpy()] if SPLIT in names else []
    if not all(part.all() for part in good):
        _raise_fault(path, names, classes)
    for name in classes:
        _check_no_row_numbers(path, name, table[name])
    targets = targets.astype(np.int64)
    if SPLIT not in names:
        return _checked({"test_logits": logits, "test_targets": targets}, str(path))
    rows = {split: (table[SPLIT] == split).to_numpy() for split in SPLITS}
    parts = {split: chosen for split, chosen in rows.items() if chosen.any()}
    if "test" not in parts:
        raise DataError(f"{path}: no row has test in its column split")
    arrays = {f"{split}_logits": logits[chosen] for split, chosen in parts.items()}
    return _checked(arrays | {f"{split}_targets": targets[chosen] for split, chosen in parts.items()}, str(path))


def _heading(path: Path) -> list[str]:
    """The names of the columns: one of them is target, none is there twice or empty."""
    _, names = next(_lines(path), (0, []))
    if not names:
        raise DataError(f"{path} is no table: it is empty")
    if "" in names:
        number = names.index("") + 1
        raise DataError(f"{path}: column {number} has no name; one that numbers the rows must be left out")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} has {names.count(twice)} columns named {twice}")
    if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), "")):
        raise DataError(f"{path}: columns are separated by commas, and decimals by points; got {other!r} between them")
    if TARGET not in names:
        raise DataError(f"{path} has no column named target; got {', '.join(names[:8])}")
    return names


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table with the line of the file that each ends on, from 1. Blank lines are none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            for cells in reader:
                if len(cells) > 1 or any(map(str.strip, cells)):
                    yield reader.line_num, [cell.strip() for cell in cells]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no table: {error}") from error


def _raise_fault(path: Path, names: Sequence[str], classes: Sequence[str]) -> NoReturn:
    """Name the first cell that is not what its column holds: its line, its column, what stands there."""
    for line, cells in itertools.islice(_lines(path), 1, None):
        for name, cell in itertools.zip_longest(names, cells, fillvalue=""):
            number = _number(cell)
            if name == SPLIT:
                wanted = "" if cell in SPLITS else "val or test"
            elif name == TARGET:
                is_class = number.is_integer() and 0 <= number < len(classes)
                wanted = "" if is_class else f"a class, 0 to {len(classes) - 1}"
            else:
                wanted = "" if abs(number) <= LARGEST else f"a number, at most {LARGEST:g} in size"
            if wanted:
                raise DataError(f"{path} line {line}, column {name}: must be {wanted}; got {cell or 'nothing'}")
    raise DataError(f"{path} holds whole numbers of more than 64 bits")  # the one thing that pandas reads as no number


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _check_no_row_numbers(path: Path, name: str, values: pd.Series[Any]) -> None:
    """A column that numbers the rows would be one more class, and nobody would see it."""
    counted = values.dtype.kind in "iu" and len(values) > 3 and bool((values.diff()[1:] == 1).all())
    if counted or name.lower() in NUMBERING:
        raise DataError(f"{path}: column {name} seems to number the rows; leave it out, or it would be a class")


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
