"""Street View House Numbers, from its MATLAB files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from lossbench.data.dataset import Examples, Source
from lossbench.data.digests import check_published, saying_where
from lossbench.data.places import Collection, find
from lossbench.errors import DataError

_FILES = ("train_32x32.mat", "test_32x32.mat")


def svhn(*, root: str | None = None) -> Source:
    """Digits of house numbers: 73,257 and 26,032 colour images of 32×32 pixels, 10 classes.

    Args:
        root: folder with train_32x32.mat and test_32x32.mat; None looks in the usual places and then downloads.

    Returns:
        Training and test examples, uint8 [N, 3, 32, 32]; the digit 0, stored as 10, is class 0.

    Raises:
        DataError: if the files cannot be had or do not hold what was published.

    Source: Netzer et al. 2011, "Reading Digits in Natural Images with Unsupervised Feature Learning".
    """
    folder = find(Collection("svhn", " and ".join(_FILES), _has_files, _download), root)
    with saying_where("svhn"):
        train, test = (_read(folder / name) for name in _FILES)
    return Source(train, tuple("0123456789"), test=test)


def _read(path: Path) -> Examples:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read as a MATLAB file: {error}") from error
    examples = read_mat(content, path)  # of a damaged file, its message says more
    check_published("svhn", path.name, content, path)
    return examples


def read_mat(content: bytes, path: Path) -> Examples:
    """Read one of the two files: `X`, uint8 [32, 32, 3, N], and `y`, [N, 1], from 1 to 10.

    Args:
        content: of the file.
        path: of the file, for the message.

    Returns:
        Examples, uint8 [N, 3, 32, 32].

    Raises:
        DataError: naming the file, if it is none or does not hold these.
    """
    from scipy.io import loadmat  # half a second that only this data set needs

    try:
        found = loadmat(io.BytesIO(content), variable_names=["X", "y"])  # type: ignore[arg-type]
    except Exception as error:  # damaged files raise anything from zlib's errors to TypeError
        raise DataError(f"{path} cannot be read as a MATLAB file: {error}") from error
    nothing = np.empty(0)
    images, labels = found.get("X", nothing), found.get("y", nothing)
    numbers = images.dtype == np.uint8 and labels.dtype.kind in "iuf"
    if not numbers or images.shape != (32, 32, 3, labels.size):
        raise DataError(f"{path} should hold X, uint8 [32, 32, 3, N], and y with N labels")
    inputs = torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1)))
    targets = torch.from_numpy(labels.astype(np.int64).reshape(-1))
    return Examples(inputs, torch.where(targets == 10, 0, targets))


def _has_files(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _FILES)


def _download(folder: Path) -> None:
    from torchvision.datasets import SVHN  # takes a second to import, and only a download needs it

    for split in ("train", "test"):
        SVHN(folder, split=split, download=True)
