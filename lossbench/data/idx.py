"""MNIST and its drop-in replacements, in the idx format.

Read by ourselves, not by torchvision: Debian compresses the files again, so torchvision's checksums reject them, and
its reader opens no `.gz`.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from lossbench.data.dataset import Examples, Source
from lossbench.data.digests import check_published, is_published, saying_where
from lossbench.data.places import Collection, find
from lossbench.errors import DataError

_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_NEEDS = f"{', '.join(_FILES)} (each plain or .gz)"
_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def mnist(*, root: str | None = None) -> Source:
    """Handwritten digits: 60,000 and 10,000 grey images of 28×28 pixels, 10 classes.

    Args:
        root: folder with the four idx files; None looks in the usual places and then downloads.

    Returns:
        Training and test examples, uint8 [N, 1, 28, 28].

    Raises:
        DataError: if the files cannot be had, are damaged or are those of another data set.

    Source: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition".
    """

    def download(folder: Path) -> object:
        from torchvision.datasets import MNIST  # takes a second to import, and only a download needs it

        return MNIST(folder, download=True)

    collection = Collection("mnist", _NEEDS, _has_files, download, (".", "MNIST/raw"))
    return read_idx_folder(find(collection, root), "mnist", tuple("0123456789"))


def fashion_mnist(*, root: str | None = None) -> Source:
    """Articles of clothing: 60,000 and 10,000 grey images of 28×28 pixels, 10 classes.

    Args:
        root: folder with the four idx files; None looks in the usual places (Debian's package
            `dataset-fashion-mnist` among them) and then downloads.

    Returns:
        Training and test examples, uint8 [N, 1, 28, 28].

    Raises:
        DataError: if the files cannot be had, are damaged or are those of another data set.

    Source: Xiao et al. 2017, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms".
    """

    def download(folder: Path) -> object:
        from torchvision.datasets import FashionMNIST

        return FashionMNIST(folder, download=True)

    layouts, package = (".", "FashionMNIST/raw"), "dataset-fashion-mnist"
    collection = Collection("fashion_mnist", _NEEDS, _has_files, download, layouts, package)
    return read_idx_folder(find(collection, root), "fashion_mnist", _FASHION)


def read_idx_folder(folder: Path, collection: str, class_names: tuple[str, ...]) -> Source:
    """Read the four idx files of a folder, each plain or gzip-compressed.

    Args:
        folder: holds the files under MNIST's names.
        collection: the data set that they are; what they hold must be what was published of it.
        class_names: K names.

    Returns:
        Training and test examples, uint8 [N, 1, H, W].

    Raises:
        DataError: naming the file, if one is damaged, holds something else or images and labels do not match.
    """
    splits = []
    for images_name, labels_name in (_FILES[:2], _FILES[2:]):
        images, labels = _read(folder, images_name, 3, collection), _read(folder, labels_name, 1, collection)
        if len(images) != len(labels):
            raise DataError(
                f"{folder}: {images_name} holds {len(images)} images and {labels_name} {len(labels)} labels; "
                "expected as many of one as of the other"
            )
        splits.append(Examples(images[:, None], labels.long()))
    return Source(splits[0], class_names, test=splits[1])


def _read(folder: Path, name: str, dimensions: int, collection: str) -> Tensor:
    path = _path(folder, name)
    with saying_where(collection):
        content = unpacked(path)
        right = is_published(collection, name, content, path)
        values = read_idx(content, path, dimensions)  # of a file that is cut short, its message says more
        if not right:
            check_published(collection, name, content, path)
    return values


def unpacked(path: Path) -> bytes:
    """Return the content of a file, decompressed where it is a `.gz`.

    Raises:
        DataError: naming the file, if it cannot be read.
    """
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def read_idx(content: bytes, path: Path, dimensions: int) -> Tensor:
    """Read an idx file of unsigned bytes.

    The format: two zero bytes, 8 for unsigned bytes, the number of dimensions; each size as a big-endian 32-bit
    integer; the values, last dimension fastest.

    Args:
        content: of the file.
        path: of the file, for the message.
        dimensions: how many are expected: 3 for images, 1 for labels.

    Returns:
        The values, uint8.

    Raises:
        DataError: naming the file, if it is not exactly such a file.
    """
    magic, expected_magic = content[:4], bytes([0, 0, 8, dimensions])
    if magic != expected_magic:
        raise DataError(
            f"{path} is not an idx file of bytes in {dimensions} dimension(s): "
            f"expected it to start with {expected_magic.hex(' ')}; got {magic.hex(' ') or 'nothing'}"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path} ends within its header")
    sizes = struct.unpack(f">{dimensions}I", content[4:start])
    expected = 1
    for size in sizes:
        expected *= size
    if len(content) - start != expected:
        shape = "×".join(map(str, sizes))
        raise DataError(f"{path} should hold {shape} = {expected} bytes of values; it holds {len(content) - start}")
    if expected == 0:
        return torch.empty(sizes, dtype=torch.uint8)
    # A bytearray, since PyTorch warns of memory it may not write to.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(sizes)


def _path(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def _has_files(folder: Path) -> bool:
    return all(_path(folder, name).is_file() for name in _FILES)
