"""A user's own arrays, from a file as `numpy.savez` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossbench.data.dataset import IGNORE_INDEX, Examples, Source
from lossbench.data.listed import numbered
from lossbench.errors import DataError, counted, did_you_mean
from lossbench.record import read_npz

PREFIXES = {"train": "", "val": "val_", "test": "test_"}  # of a split's arrays
KNOWN = (*(f"{prefix}{name}" for prefix in PREFIXES.values() for name in ("inputs", "targets")), "class_names")


def arrays(*, file: str) -> Source:
    """Inputs and targets as `numpy.savez(file, inputs=…, targets=…)` writes them.

    The file holds `inputs` and `targets`; `val_inputs` and `val_targets`, `test_inputs` and `test_targets` where those
    splits are given and not to be cut; and `class_names`, K words, else the classes are called by their numbers.
    Targets [N] may be words: the classes are then those of `class_names`, or the different ones in their order.

    Args:
        file: a `.npz` file.

    Returns:
        Examples: uint8 inputs as they are, any other numbers as float32, [N, D], [N, C, H, W], and grey images
        [N, H, W] as [N, 1, H, W]; targets int64, [N], or [N, H, W] with -100 where a pixel has no label; of booleans,
        True is class 1.

    Raises:
        DataError: if the file cannot be read, lacks an array or has one too many or an empty one, shapes disagree,
            inputs are not finite in float32, targets are not the whole numbers 0..K-1, each at least once among
            `targets` where classes have no names, or a word is not among the names of classes.
    """
    place = Path(file).expanduser()
    if not place.is_file():
        raise DataError(f"dataset.file={file}: no such file")
    return from_arrays(read_npz(place), place)


def from_arrays(content: Mapping[str, NDArray[Any]], place: Path | str) -> Source:
    """Return the arrays of such a file as examples, or a caller's own.

    Args:
        content: by name.
        place: where they are from, for messages.

    Raises:
        DataError: as `arrays` does.
    """
    for name in content:
        if name not in KNOWN:
            raise DataError(f"{place} has an array '{name}'{did_you_mean(name, KNOWN)}")
    content = _numbered(place, content)
    splits = {split: _examples(place, content, split) for split in PREFIXES.values()}
    train = splits[""]
    if train is None:
        raise DataError(f"{place} should hold inputs and targets; it holds {', '.join(content) or 'nothing'}")
    for split, examples in splits.items():
        if examples is not None and examples.inputs.shape[1:] != train.inputs.shape[1:]:
            raise DataError(
                f"{place}: {split}inputs are of shape {list(examples.inputs.shape[1:])}, "
                f"inputs of {list(train.inputs.shape[1:])}"
            )
    class_names = _class_names(place, content, train)
    for split, examples in splits.items():
        if examples is not None:
            _check_range(place, f"{split}targets", examples, len(class_names), named="class_names" in content)
    return Source(train, class_names, val=splits["val_"], test=splits["test_"])


def _examples(place: Path | str, content: Mapping[str, NDArray[Any]], split: str) -> Examples | None:
    inputs, targets = content.get(f"{split}inputs"), content.get(f"{split}targets")
    if inputs is None and targets is None:
        return None
    if inputs is None or targets is None:
        missing = "inputs" if inputs is None else "targets"
        raise DataError(f"{place} lacks {split}{missing}")
    if inputs.dtype.kind not in "buif" or inputs.ndim not in (2, 3, 4):
        raise DataError(
            f"{place}: {split}inputs should be numbers [N, D], [N, H, W] or [N, C, H, W]; "
            f"got {inputs.dtype} {list(inputs.shape)}"
        )
    if inputs.ndim == 4 and inputs.shape[3] in (1, 3) and inputs.shape[1] not in (1, 3):
        raise DataError(
            f"{place}: {split}inputs {list(inputs.shape)} look like [N, H, W, C]; lossbench wants [N, C, H, W]: "
            "inputs.transpose(0, 3, 1, 2)"
        )
    if not inputs.size:
        raise DataError(f"{place}: {split}inputs {list(inputs.shape)} are empty")
    if inputs.dtype != np.uint8:
        with np.errstate(over="ignore"):  # what is too large becomes infinite
            inputs = inputs.astype(np.float32)
        wrong = ~np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)
        if wrong.any():
            raise DataError(f"{place}: {split}inputs[{int(wrong.argmax())}] is not finite in float32")
    if targets.dtype.kind not in "bui" or targets.shape not in (inputs.shape[:1], inputs.shape[:1] + inputs.shape[-2:]):
        raise DataError(
            f"{place}: {split}targets should be whole numbers, one for each of the {len(inputs)} inputs or for each of "
            f"their pixels; got {targets.dtype} {list(targets.shape)}"
        )
    if (largest := int(targets.max())) > np.iinfo(np.int64).max:
        raise DataError(f"{place}: {split}targets should be 0..K-1; got {largest}")
    if inputs.ndim == 3:
        inputs = inputs[:, None]
    return Examples(torch.from_numpy(np.ascontiguousarray(inputs)), torch.from_numpy(targets.astype(np.int64)))


def _numbered(place: Path | str, content: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """Number the classes where targets are words."""
    targets = {
        split: content[f"{prefix}targets"] for split, prefix in PREFIXES.items() if f"{prefix}targets" in content
    }
    if "train" not in targets or targets["train"].dtype.kind != "U":
        return content
    for split, array in targets.items():
        if array.dtype.kind != "U" or array.ndim != 1:
            raise DataError(
                f"{place}: {PREFIXES[split]}targets should be words, one for each input; "
                f"got {array.dtype} {list(array.shape)}"
            )
    words = {split: array.tolist() for split, array in targets.items()}
    if "class_names" in content:
        names = content["class_names"].tolist()
        for split, found in words.items():
            if unknown := sorted(set(found).difference(names)):
                raise DataError(
                    f"{place}: {PREFIXES[split]}targets has '{unknown[0]}', which class_names has not"
                    f"{did_you_mean(unknown[0], map(str, names))}"
                )
        number = {name: place for place, name in reversed([*enumerate(names)])}  # the first of equal names
        numbers = {split: [number[word] for word in found] for split, found in words.items()}
    else:
        names, numbers = numbered(place, "targets", words)
    new = {f"{PREFIXES[split]}targets": np.array(found, dtype=np.int64) for split, found in numbers.items()}
    return {**content, **new, "class_names": np.array(names)}


def _class_names(place: Path | str, content: Mapping[str, NDArray[Any]], train: Examples) -> tuple[str, ...]:
    there = torch.unique(train.targets[train.targets != IGNORE_INDEX]).tolist()
    names = content.get("class_names")
    if names is None:
        if there != list(range(len(there))):
            # Names can stand for classes that no example is of, but not move the first one.
            advice = "number the classes from 0" + (", or add class_names" if there[0] == 0 else "")
            raise DataError(
                f"{place}: targets should be 0..K-1, each class at least once; got {there[0]}..{there[-1]}, "
                f"{len(there)} different ones: {advice}"
            )
        return tuple(map(str, there))
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(f"{place}: class_names should be K words; got {names.dtype} {list(names.shape)}")
    return tuple(map(str, names))


def _check_range(place: Path | str, array: str, examples: Examples, num_classes: int, *, named: bool) -> None:
    targets = examples.targets.reshape(len(examples), -1)
    labelled = targets != IGNORE_INDEX if examples.masks else torch.full_like(targets, True, dtype=torch.bool)
    wrong = labelled & ((targets < 0) | (targets >= num_classes))
    if not wrong.any():
        return
    row = int(wrong.any(dim=1).nonzero()[0])
    reason = f"class_names has {counted(num_classes, 'name')}" if named else "the classes of targets"
    there = targets[labelled]
    if named and (int(there.min()), int(there.max())) == (1, num_classes):
        reason += ": number the classes from 0"
    got = int(targets[row][wrong[row]][0])
    raise DataError(f"{place}: {array}[{row}] should lie in 0..{num_classes - 1}, {reason}; got {got}")
