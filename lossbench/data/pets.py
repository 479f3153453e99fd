"""Cats and dogs with masks, from the files of the Oxford-IIIT Pet data set; torchvision only downloads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image

from lossbench.data.dataset import IGNORE_INDEX, Examples, Source
from lossbench.data.places import Collection, find
from lossbench.domains import Interval
from lossbench.errors import DataError

SIZES = Interval(16.0, 512.0)
# Trimap values are 1 pet, 2 background, 3 not classified: the outline of the pet. 0 does not occur.
CLASS_OF_TRIMAP = np.array([-1, 1, 0, IGNORE_INDEX])
LISTS = {"train": "trainval.txt", "test": "test.txt"}


def oxford_pet(*, root: str | None = None, size: Annotated[int, SIZES] = 96) -> Source:
    """Photographs of cats and dogs: 3,680 and 3,669 colour images, pet or background for each pixel.

    The outline that the data set calls "not classified" has no label.

    Args:
        root: folder with `images/` and `annotations/`; None looks in the usual places and then downloads.
        size: every image and mask is resized to this height and width in pixels, its proportions not kept. All are
            held in memory, 11 bytes a pixel: 0.75 GB at 96.

    Returns:
        Training and test images, uint8 [N, 3, size, size], with masks, int64 [N, size, size].

    Raises:
        DataError: if the files cannot be had or are damaged: an image that cannot be read to its end is named. What
            was published are digests of the two archives, which torchvision holds its download against; of the
            unpacked files here there are none.

    Source: Parkhi et al. 2012, "Cats and Dogs".
    """

    def download(folder: Path) -> object:
        from torchvision.datasets import OxfordIIITPet  # takes a second to import, and only a download needs it

        return OxfordIIITPet(str(folder), target_types="segmentation", download=True)

    collection = Collection(
        "oxford_pet",
        "images/*.jpg and annotations/ with trimaps/*.png, trainval.txt and test.txt",
        lambda folder: (
            (folder / "images").is_dir() and all((folder / "annotations" / f).is_file() for f in LISTS.values())
        ),
        download,
        (".", "oxford-iiit-pet"),
    )
    folder = find(collection, root)
    splits = {split: _load(folder, name, size) for split, name in LISTS.items()}
    return Source(splits["train"], ("background", "pet"), test=splits["test"])


def _load(folder: Path, list_name: str, size: int) -> Examples:
    path = folder / "annotations" / list_name
    # A line is `Abyssinian_100 1 1 1`: the image, then labels that are not for us.
    names = [line.split()[0] for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    if not names:
        raise DataError(f"{path} should name an image in each line; it names none")
    inputs = np.empty((len(names), 3, size, size), dtype=np.uint8)
    targets = np.empty((len(names), size, size), dtype=np.int64)
    for i, name in enumerate(names):
        photograph = folder / "images" / f"{name}.jpg"
        inputs[i] = _read(photograph, "RGB", size, Image.Resampling.BILINEAR).transpose(2, 0, 1)
        trimap = folder / "annotations" / "trimaps" / f"{name}.png"
        values = _read(trimap, "L", size, Image.Resampling.NEAREST)
        if values.min() < 1 or values.max() > 3:
            raise DataError(f"{trimap} should hold 1 (pet), 2 (background) and 3 (not classified) alone")
        targets[i] = CLASS_OF_TRIMAP[values]
    return Examples(torch.from_numpy(inputs), torch.from_numpy(targets))


def _read(path: Path, mode: str, size: int, resampling: Image.Resampling) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode).resize((size, size), resampling))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
