"""A user's own images: one folder per split, one folder per class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image

from lossbench.data.dataset import Examples, Source
from lossbench.domains import AT_LEAST_ONE
from lossbench.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}

Labelled = list[tuple[Path, int]]


def image_folder(*, folder: str, size: Annotated[int | None, AT_LEAST_ONE] = None, grey: bool = False) -> Source:
    """Images as `folder/train/<class>/*.png`, with `val` and `test` beside `train` where there are any.

    Args:
        folder: the folder.
        size: every image is resized to this height and width in pixels, its proportions not kept; None: as they
            are, and then all must share one size.
        grey: one channel in place of RGB.

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
    splits = read_images(listed, size, grey)
    return Source(splits["train"], class_names, val=splits.get("val"), test=splits.get("test"))


def read_images(listed: Mapping[str, Labelled], size: int | None, grey: bool) -> dict[str, Examples]:
    """Read images into memory.

    Args:
        listed: the files of each split with their class indices; `train` is one of the splits and has files.
        size: as in `image_folder`.
        grey: as in `image_folder`.

    Returns:
        Examples by split, uint8 [N, 3, H, W] or [N, 1, H, W].

    Raises:
        DataError: if an image is unreadable or of another size, or all of them would not fit in memory.
    """
    first = listed["train"][0][0]
    height, width = (size, size) if size else _read(first, None, grey).shape[:2]
    channels = 1 if grey else 3
    _check_memory(sum(map(len, listed.values())), channels * height * width)

    def load(files: Labelled) -> Examples:
        inputs = np.empty((len(files), channels, height, width), dtype=np.uint8)
        for image, (path, _) in zip(inputs, files, strict=True):
            pixels = _read(path, size, grey)
            if pixels.shape[:2] != (height, width):
                raise DataError(
                    f"{path} has {pixels.shape[0]}×{pixels.shape[1]} pixels and {first} {height}×{width}: "
                    "set dataset.size, and all images are resized to it"
                )
            image[:] = pixels.transpose(2, 0, 1)
        return Examples(torch.from_numpy(inputs), torch.tensor([target for _, target in files], dtype=torch.int64))

    return {split: load(files) for split, files in listed.items()}


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _labelled(folder: Path, class_names: tuple[str, ...]) -> Labelled:
    files: Labelled = []
    for subfolder in _subfolders(folder):
        if subfolder.name not in class_names:
            raise DataError(f"{subfolder} is no class of train: {', '.join(class_names)}")
        images = sorted(path for path in subfolder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not images:
            raise DataError(f"{subfolder} holds no images ({' '.join(sorted(SUFFIXES))})")
        files += [(path, class_names.index(subfolder.name)) for path in images]
    if not files:
        raise DataError(f"{folder} should hold a folder of images per class; it holds none")
    return files


def _read(path: Path, size: int | None, grey: bool) -> np.ndarray:
    """Return an image's pixels, uint8 [H, W, 3] or [H, W, 1]."""
    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # 16 and 32 bits; Pillow would clip them to white without a word
                raise ValueError("it has more than 8 bits per channel; convert it first")
            pixels = image.convert("L" if grey else "RGB")
            if size:
                pixels = pixels.resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # SyntaxError: broken PNG
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    return np.asarray(pixels).reshape(pixels.height, pixels.width, -1)


def _check_memory(count: int, bytes_each: int) -> None:
    free = _free_memory()
    if free is not None and count * bytes_each > free / 2:
        raise DataError(
            f"{count} images of {bytes_each} bytes are {count * bytes_each / 2**30:.1f} GiB, more than half of the "
            f"{free / 2**30:.1f} GiB of free memory: set a smaller dataset.size"
        )


def _free_memory() -> int | None:
    """Return the bytes that can be had without swapping, or None where the system does not tell (other than Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    available = next(line for line in lines if line.startswith("MemAvailable:"))
    return int(available.split()[1]) * 1024
