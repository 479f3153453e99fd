"""Data sets of Hugging Face's `datasets`, from this machine's disk alone."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from lossbench.data.arrays import PREFIXES, from_arrays
from lossbench.data.dataset import Source
from lossbench.data.images import File, Labelled, read_images
from lossbench.data.listed import numbered
from lossbench.domains import AT_LEAST_ONE
from lossbench.errors import DataError, did_you_mean, one_line

# What their splits are called → ours. Others, such as `unsupervised`, are left alone.
SPLITS = {"train": "train", "validation": "val", "valid": "val", "val": "val", "dev": "val", "test": "test"}


def hugging_face(
    *,
    path: str,
    inputs: str | list[str] = "image",
    labels: str = "label",
    size: Annotated[int | None, AT_LEAST_ONE] = None,
    grey: bool = False,
    streaming: bool | None = None,
) -> Source:
    """A data set as `datasets` has saved it: `save_to_disk`, parquet or arrow.

    Nothing is downloaded and no code of the data set's is run. Splits are `train`, `validation` (or valid, val, dev)
    and `test` where those names are there, of folders and files (`test-00000-of-00002.parquet`); what has no names is
    train. Parquet is unpacked into the cache of `datasets` first, so that single rows can be read.

    Args:
        path: what `save_to_disk` was given, a .parquet or .arrow file, or a folder of .parquet files.
        inputs: a column of images or of arrays, all of one shape; or several columns of numbers, each a feature.
        labels: a column of classes: ClassLabel, words, whole numbers or booleans.
        size: every image is resized to this height and width in pixels, its proportions not kept; None: as they
            are, and then all must share one size.
        grey: one channel in place of RGB.
        streaming: whether images are read as they are needed; None: where they would take too much memory.

    Returns:
        Examples as of `image_folder` or `arrays`; classes in the order of ClassLabel, else of their names, whole
        numbers in theirs.

    Raises:
        DataError: if the package is not installed, the data cannot be read or lack a column or a value, or as
            `image_folder` and `arrays` do.
    """
    place = Path(path).expanduser()
    splits = _load(place)
    for column in [*([inputs] if isinstance(inputs, str) else inputs), labels]:
        for name, split in splits.items():
            if column not in split.features:
                raise DataError(
                    f"{place} has no column '{column}' in {name}{did_you_mean(column, split.features)} "
                    "(dataset.inputs and dataset.labels name them)"
                )
    images = isinstance(inputs, str) and _are_images(splits["train"].features[inputs])
    for name, split in splits.items():
        _check_types(place, name, split.features, inputs, labels, images)
    class_names, targets = _classes(place, splits, labels)
    if isinstance(inputs, str) and images:
        listed = {name: _listed(place, name, split, inputs, targets[name]) for name, split in splits.items()}
        examples = read_images(listed, size, grey, streaming)
        return Source(examples["train"], class_names, val=examples.get("val"), test=examples.get("test"))
    arrays: dict[str, NDArray[Any]] = {"class_names": np.array(class_names)}
    for name, split in splits.items():
        prefix = PREFIXES[name]
        arrays |= {f"{prefix}inputs": _array(place, name, split, inputs), f"{prefix}targets": np.array(targets[name])}
    return from_arrays(arrays, place)


def _package() -> Any:
    return importlib.import_module("datasets")


def _load(place: Path) -> dict[str, Any]:
    """Open each split; rows stay on the disk."""
    try:
        datasets = _package()
    except ImportError as error:
        raise DataError(
            f"dataset hugging_face needs datasets ({one_line(str(error))}): pip install 'lossbench[hf]'"
        ) from error
    if not place.exists():
        raise DataError(f"dataset.path={place} is not on this machine; nothing is downloaded")
    with _reading(place):
        if place.is_dir() and not (files := sorted(place.rglob("*.parquet"))):
            loaded = datasets.load_from_disk(str(place))
            named = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
        elif place.suffix == ".arrow":
            named = {"train": datasets.Dataset.from_file(str(place))}
        else:
            by_split: dict[str, list[str]] = {}
            for file in files if place.is_dir() else [place]:
                by_split.setdefault(_split_of(file, place) if place.is_dir() else "train", []).append(str(file))
            named = {name: datasets.Dataset.from_parquet(paths) for name, paths in by_split.items()}
    splits: dict[str, Any] = {}
    for name, split in named.items():
        ours = SPLITS.get(name)
        if ours in splits:
            raise DataError(f"{place} has two splits for {ours}: {', '.join(named)}")
        if ours:
            splits[ours] = split.with_format(None)  # as plain values, whatever format it was saved in
    if not len(splits.get("train", ())):
        raise DataError(f"{place} should have a split train with rows; it has {', '.join(named) or 'none'}")
    return splits


def _split_of(file: Path, place: Path) -> str:
    """Say `train` of `train-00000-of-00002.parquet`, `train.parquet` and `train/0000.parquet`, and of a mere number."""
    word = file.stem.split("-")[0]
    if not word.isdigit():
        return word
    return "train" if file.parent == place else file.parent.name


@contextmanager
def _reading(place: Path) -> Iterator[None]:
    """Without the package's own progress bars and log, and with one line for what it cannot read."""
    datasets = _package()
    shown, verbosity = not datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # it logs an error that it then raises
    try:
        yield
    except Exception as error:  # pyarrow, json and the package itself have no error in common
        said = one_line(str(error)) or type(error).__name__
        raise DataError(f"{place} cannot be read as a data set of Hugging Face's: {said}") from error
    finally:
        datasets.logging.set_verbosity(verbosity)
        if shown:
            datasets.enable_progress_bars()


def _check_types(place: Path, name: str, features: Any, inputs: str | list[str], labels: str, images: bool) -> None:
    """Refuse what the package would decode as it is read: it opens any path or address that a row holds."""
    wanted = [inputs] if isinstance(inputs, str) else inputs
    if not _is_class(features[labels]):
        wrong, kind = [labels], "a class in each row, a word or a whole number"
    elif images:
        wrong, kind = [column for column in wanted if not _are_images(features[column])], "images, as train does"
    else:
        wrong = [column for column in wanted if not _are_numbers(features[column])]
        kind = "a number in each row" if len(wanted) > 1 else "numbers, arrays of one shape, or images"
    if wrong:
        raise DataError(f"{place}: '{wrong[0]}' of {name} should hold {kind}; it holds {features[wrong[0]]}"[:500])


def _is_class(feature: Any) -> bool:
    kind = type(feature).__name__
    return kind == "ClassLabel" or (
        kind == "Value" and feature.dtype.startswith(("bool", "int", "uint", "string", "large_string"))
    )


def _are_images(feature: Any) -> bool:
    kind = type(feature).__name__
    return kind == "Image" or (kind == "Value" and feature.dtype in ("binary", "large_binary"))


def _are_numbers(feature: Any) -> bool:
    """Whether each row is a number or an array of them, however deep."""
    element = _element(feature)
    kind = type(element).__name__
    return kind in ("Value", "ClassLabel", "Array2D", "Array3D", "Array4D", "Array5D") and element.dtype.startswith(
        ("bool", "int", "uint", "float")
    )


def _element(feature: Any) -> Any:
    while type(feature).__name__ in ("List", "LargeList", "Sequence"):
        feature = feature.feature
    return feature


def _classes(place: Path, splits: Mapping[str, Any], column: str) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """Return the class names, and the class index of each row of each split."""
    with _reading(place):
        found = {name: split.select_columns([column])[:][column] for name, split in splits.items()}
    for name, values in found.items():
        wrong = next((row for row, value in enumerate(values) if not isinstance(value, int | str)), None)
        if wrong is not None:
            raise DataError(
                f"{place}: row {wrong} of {name} should have a class in '{column}', a word or a whole number; "
                f"got {values[wrong]!r}"[:500]
            )
    names = getattr(splits["train"].features[column], "names", None)
    if names is not None:
        for name, split in splits.items():
            if getattr(split.features[column], "names", None) != names:
                raise DataError(f"{place}: the classes of {name} are not those of train")
            values = found[name]
            wrong = next((row for row, value in enumerate(values) if not 0 <= value < len(names)), None)
            if wrong is not None:  # ClassLabel takes -1, for a label that nobody knows
                raise DataError(
                    f"{place}: row {wrong} of {name} should have one of the {len(names)} classes in '{column}'; "
                    f"got {values[wrong]}"
                )
        return tuple(names), found
    return numbered(place, column, {name: [str(value) for value in values] for name, values in found.items()})


def _listed(place: Path, name: str, split: Any, column: str, targets: Sequence[int]) -> Labelled:
    feature = split.features[column]
    if type(feature).__name__ == "Image":
        # Encoded as they are: the package would open any path or address that a row holds in place of an image.
        split = split.cast_column(column, type(feature)(decode=False))
    rows = split.select_columns([column])

    def file(number: int) -> File:
        value = rows[number][column]
        content = value.get("bytes") if isinstance(value, Mapping) else value
        if not isinstance(content, bytes):
            raise DataError(
                f"{place}: row {number} of {name} holds no image in '{column}', but the path of one or nothing"
            )
        return File(f"{place}, row {number} of {name},", BytesIO(content))

    return Labelled(file, targets)


def _array(place: Path, name: str, split: Any, columns: str | Sequence[str]) -> NDArray[Any]:
    """Return a column of arrays, [N, ...], or columns of numbers side by side, [N, D]."""
    wanted = [columns] if isinstance(columns, str) else list(columns)
    with _reading(place):
        values = split.select_columns(wanted).with_format("numpy")[:]
    parts = []
    for column in wanted:
        part, feature = np.asarray(values[column]), split.features[column]
        if part.dtype.kind not in "buif" or (part.ndim > 1 and not isinstance(columns, str)):
            kind = "a number in each row" if len(wanted) > 1 else "numbers, arrays of one shape, or images"
            raise DataError(f"{place}: '{column}' of {name} should hold {kind}; it holds {feature}")
        # Whole numbers come as int64: bytes are told by what they are stored as.
        parts.append(part.astype(np.uint8) if _element(feature).dtype == "uint8" else part)
    return np.stack(parts, axis=1) if parts[0].ndim == 1 else parts[0]
