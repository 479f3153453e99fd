"""A user's own images: one folder per split, one folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from lossbench.data.dataset import Source
from lossbench.data.images import SUFFIXES, Labelled, labelled_paths, read_images
from lossbench.domains import AT_LEAST_ONE
from lossbench.errors import DataError


def image_folder(
    *,
    folder: str,
    size: Annotated[int | None, AT_LEAST_ONE] = None,
    grey: bool = False,
    streaming: bool | None = None,
) -> Source:
    """Images as `folder/train/<class>/*.png`, with `val` and `test` beside `train` where there are any.

    Args:
        folder: the folder.
        size: every image is resized to this height and width in pixels, its proportions not kept; None: as they
            are, and then all must share one size.
        grey: one channel in place of RGB.
        streaming: whether images are read as they are needed; None: where they would take too much memory.

    Returns:
        Examples, uint8 [N, 3, H, W] or [N, 1, H, W]; classes in the order of their names, images likewise.

    Raises:
        DataError: if a folder is missing or empty, `train` has fewer than two classes, `val` or `test` has one that
            `train` has not, an image is unreadable or of another size, or all of them would not fit in memory.
    """
    place = Path(folder).expanduser()
    if not (place / "train").is_dir():
        raise DataError(f"dataset.folder={folder} should hold train/<class>/*.png; there is no {place / 'train'}")
    class_names = tuple(path.name for path in _subfolders(place / "train"))
    if len(class_names) < 2:
        raise DataError(
            f"{place / 'train'} should hold at least two folders, one per class; got {', '.join(class_names) or 'none'}"
        )
    listed = {
        split: _labelled(place / split, class_names) for split in ("train", "val", "test") if (place / split).is_dir()
    }
    splits = read_images(listed, size, grey, streaming)
    return Source(splits["train"], class_names, val=splits.get("val"), test=splits.get("test"))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _labelled(folder: Path, class_names: tuple[str, ...]) -> Labelled:
    files: list[tuple[Path, int]] = []
    for subfolder in _subfolders(folder):
        if subfolder.name not in class_names:
            raise DataError(f"{subfolder} is no class of train: {', '.join(class_names)}")
        images = sorted(path for path in subfolder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not images:
            raise DataError(f"{subfolder} holds no images ({' '.join(sorted(SUFFIXES))})")
        files += [(path, class_names.index(subfolder.name)) for path in images]
    if not files:
        raise DataError(f"{folder} should hold a folder of images per class; it holds none")
    return labelled_paths(files)
