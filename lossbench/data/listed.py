"""A user's own images, listed with their labels in a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from lossbench.data.dataset import Source
from lossbench.data.images import labelled_paths, read_images
from lossbench.domains import AT_LEAST_ONE
from lossbench.errors import DataError, did_you_mean

SPLITS = ("train", "val", "test")


def image_csv(
    *,
    file: str,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str | None = None,
    size: Annotated[int | None, AT_LEAST_ONE] = None,
    grey: bool = False,
    streaming: bool | None = None,
) -> Source:
    """Images that a CSV file lists, one to a line, with their labels.

    Args:
        file: the CSV file, UTF-8, its first line the names of its columns.
        path_column: where the images lie, from the folder of the file.
        label_column: their classes, any words or numbers.
        split_column: `train`, `val` or `test`; None: all are training examples, which are split as any others are.
        size: every image is resized to this height and width in pixels, its proportions not kept; None: as they
            are, and then all must share one size.
        grey: one channel in place of RGB.
        streaming: whether images are read as they are needed; None: where they would take too much memory.

    Returns:
        Examples, uint8 [N, 3, H, W] or [N, 1, H, W], in the order of the lines; classes in the order of their names,
        whole numbers in theirs.

    Raises:
        DataError: if the file cannot be read or lacks a column or a value, there are fewer than two classes, `val` or
            `test` has one that `train` has not, or an image is unreadable or of another size.
    """
    place = Path(file).expanduser()
    rows = _rows(place, [path_column, label_column, *([split_column] if split_column else [])])
    by_split: dict[str, list[tuple[Path, str]]] = {}
    for line, row in rows:
        split = row[split_column] if split_column else "train"
        if split not in SPLITS:
            raise DataError(f"{place}, line {line}: {split_column} must be one of {', '.join(SPLITS)}; got '{split}'")
        by_split.setdefault(split, []).append((place.parent / row[path_column], row[label_column]))
    if "train" not in by_split:
        raise DataError(f"{place} lists no training example")
    labels = {split: [label for _, label in examples] for split, examples in by_split.items()}
    class_names, numbers = numbered(place, label_column, labels)
    listed = {
        split: labelled_paths([(path, number) for (path, _), number in zip(examples, numbers[split], strict=True)])
        for split, examples in by_split.items()
    }
    splits = read_images(listed, size, grey, streaming)
    return Source(splits["train"], class_names, val=splits.get("val"), test=splits.get("test"))


def _rows(place: Path, columns: list[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the lines that are not empty, each with its number."""
    try:
        with place.open(newline="", encoding="utf-8-sig") as lines:  # spreadsheets put a byte order mark first
            reader = csv.DictReader(lines)
            known = reader.fieldnames or []
            for column in columns:
                if known.count(column) != 1:
                    raise DataError(
                        f"{place} should have one column '{column}'{did_you_mean(column, known)}"
                        " (dataset.path_column, label_column and split_column name them)"
                    )
            rows = []
            for row in reader:
                for column in columns:
                    if not row[column]:
                        raise DataError(f"{place}, line {reader.line_num}: {column} is empty")
                rows.append((reader.line_num, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"dataset.file={place} cannot be read as a CSV file: {error}") from error
    if not rows:
        raise DataError(f"{place} lists no image")
    return rows


def numbered(
    place: Path | str, column: str, labels: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], dict[str, list[int]]]:
    """Number the classes of the training examples, from 0.

    Args:
        place: the file or folder, for messages.
        column: where the labels stand in it, likewise.
        labels: of each split.

    Returns:
        The names of the classes in their order, and the class index of each example of each split.

    Raises:
        DataError: if they are fewer than two, or a split has one that `train` has not.
    """
    class_names = ordered(set(labels["train"]))
    if len(class_names) < 2:
        raise DataError(f"{place}: {column} should have at least two classes; got {', '.join(class_names)}")
    numbers = {name: number for number, name in enumerate(class_names)}
    for split, found in labels.items():
        unknown = ordered(set(found) - set(class_names))
        if unknown:
            raise DataError(
                f"{place}: class '{unknown[0]}' of {split} is no class of train{did_you_mean(unknown[0], class_names)}"
            )
    return class_names, {split: [numbers[label] for label in found] for split, found in labels.items()}


def ordered(names: set[str]) -> tuple[str, ...]:
    """Words by the alphabet; where all are whole numbers, by size."""
    try:
        return tuple(sorted(names, key=lambda name: (int(name), name)))  # 1 and 01 are two names of one size
    except ValueError:
        return tuple(sorted(names))
