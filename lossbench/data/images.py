"""Image files, read into memory or as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from lossbench.data.dataset import Examples
from lossbench.data.streaming import Pixels, Streamed, why_streamed
from lossbench.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # by content; EPS would be run by Ghostscript


class File(NamedTuple):
    """An encoded image."""

    name: str  # for messages
    content: Path | BytesIO


class Labelled(NamedTuple):
    """The images of a split with their class indices, in order."""

    file: Callable[[int], File]  # by its number
    targets: Sequence[int]


def labelled_paths(files: Sequence[tuple[Path, int]]) -> Labelled:
    """Return files as `read_images` takes them, given their paths and class indices."""
    paths = [path for path, _ in files]
    return Labelled(lambda number: File(str(paths[number]), paths[number]), [target for _, target in files])


def read_images(
    listed: Mapping[str, Labelled], size: int | None, grey: bool, streaming: bool | None
) -> dict[str, Examples]:
    """Read images into memory, or look at them where they are to be read as they are needed.

    Args:
        listed: each split; `train` is one of them and has images.
        size: every image is resized to this height and width in pixels, its proportions not kept; None: as they
            are, and then all must share one size.
        grey: one channel in place of RGB.
        streaming: whether they are read as they are needed; None: where they would take too much memory.

    Returns:
        Examples by split, uint8 [N, 3, H, W] or [N, 1, H, W].

    Raises:
        DataError: if an image is unreadable or of another size, now or, if it is read later, then; or all of them would
            not fit in memory where they must.
    """
    first = listed["train"].file(0)
    channels, height, width = shape = _pixels(first, size, grey).shape
    why = why_streamed(sum(len(split.targets) for split in listed.values()), shape, streaming)

    def examples(split: Labelled) -> Examples:
        def read(number: int) -> Pixels:
            file = split.file(number)
            pixels = _pixels(file, size, grey)
            if pixels.shape != shape:
                raise DataError(
                    f"{file.name} has {pixels.shape[1]}×{pixels.shape[2]} pixels and {first.name} {height}×{width}: "
                    "set dataset.size, and all images are resized to it"
                )
            return pixels

        images = Streamed(read, torch.arange(len(split.targets)), (channels, height, width), why)
        return Examples(images if why else images[:], torch.tensor(split.targets, dtype=torch.int64))

    return {name: examples(split) for name, split in listed.items()}


def _pixels(file: File, size: int | None, grey: bool) -> Pixels:
    """Return an image's pixels, uint8 [3, H, W] or [1, H, W]."""
    try:
        with Image.open(file.content, formats=FORMATS) as image:
            if image.mode[0] in "IF":  # 16 and 32 bits; Pillow would clip them to white without a word
                raise ValueError("it has more than 8 bits per channel; convert it first")
            pixels = image.convert("L" if grey else "RGB")
            if size:
                pixels = pixels.resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # SyntaxError: broken PNG
        raise DataError(f"{file.name} cannot be read as an image: {error}") from error
    return np.asarray(pixels).reshape(pixels.height, pixels.width, -1).transpose(2, 0, 1)
