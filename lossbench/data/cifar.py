"""CIFAR-10 and CIFAR-100, from their Python batches.

The batches are pickles, and a pickle can run any code. Ours are read by an unpickler that knows NumPy arrays and
nothing else; torchvision only downloads them.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lossbench.data.dataset import Examples, Source
from lossbench.data.digests import check_published, saying_where
from lossbench.data.places import Collection, find
from lossbench.errors import DataError


@dataclass(frozen=True)
class _Batches:
    """The names in one of the two archives."""

    collection: str
    folder: str
    archive: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels: bytes
    label_names: bytes

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test, self.meta)

    @property
    def needs(self) -> str:
        return f"{self.archive} or, unpacked, {self.folder}/ with {', '.join(self.files)}"

    def unpacked(self, folder: Path) -> bool:
        return all((folder / name).is_file() for name in self.files)

    def within(self, folder: Path) -> bool:
        return self.unpacked(folder) or (folder / self.archive).is_file()


_CIFAR10 = _Batches(
    collection="cifar10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test="test_batch",
    meta="batches.meta",
    labels=b"labels",
    label_names=b"label_names",
)
_CIFAR100 = _Batches(
    collection="cifar100",
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    train=("train",),
    test="test",
    meta="meta",
    labels=b"fine_labels",
    label_names=b"fine_label_names",
)


def cifar10(*, root: str | None = None) -> Source:
    """Photographs: 50,000 and 10,000 colour images of 32×32 pixels, 10 classes.

    Args:
        root: folder with the archive or what it unpacks to; None looks in the usual places and then downloads.

    Returns:
        Training and test examples, uint8 [N, 3, 32, 32].

    Raises:
        DataError: if the files cannot be had or do not hold what was published.

    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """

    def download(folder: Path) -> object:
        from torchvision.datasets import CIFAR10  # takes a second to import, and only a download needs it

        return CIFAR10(folder, download=True)

    collection = Collection("cifar10", _CIFAR10.needs, _CIFAR10.within, download, (".", _CIFAR10.folder))
    folder = find(collection, root)
    with saying_where("cifar10"):
        return read_batches(folder, _CIFAR10)


def cifar100(*, root: str | None = None) -> Source:
    """Photographs: 50,000 and 10,000 colour images of 32×32 pixels, 100 classes (the fine labels).

    Args:
        root: folder with the archive or what it unpacks to; None looks in the usual places and then downloads.

    Returns:
        Training and test examples, uint8 [N, 3, 32, 32].

    Raises:
        DataError: if the files cannot be had or do not hold what was published.

    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """

    def download(folder: Path) -> object:
        from torchvision.datasets import CIFAR100

        return CIFAR100(folder, download=True)

    collection = Collection("cifar100", _CIFAR100.needs, _CIFAR100.within, download, (".", _CIFAR100.folder))
    folder = find(collection, root)
    with saying_where("cifar100"):
        return read_batches(folder, _CIFAR100)


def read_batches(folder: Path, batches: _Batches) -> Source:
    """Read the batches of a folder, or of the archive in it where they are not unpacked.

    Args:
        folder: holds either.
        batches: the names.

    Returns:
        Training and test examples, uint8 [N, 3, 32, 32].

    Raises:
        DataError: naming the file that is missing or damaged.
    """
    if batches.unpacked(folder):
        place, contents = folder, {name: (folder / name).read_bytes() for name in batches.files}
    else:  # no need to unpack it
        place = folder / batches.archive
        contents = _read_archive(place, batches.files)
    entries = {name: read_pickle(contents[name], place / name) for name in batches.files}
    for name, content in contents.items():
        check_published(batches.collection, name, content, place / name)
    names = entries[batches.meta].get(batches.label_names)
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise DataError(f"{place / batches.meta} should list the class names under {batches.label_names.decode()!r}")
    parts = [_examples(entries[name], batches.labels, place / name) for name in batches.train]
    train = Examples(torch.cat([part.resident for part in parts]), torch.cat([part.targets for part in parts]))
    test = _examples(entries[batches.test], batches.labels, place / batches.test)
    return Source(train, tuple(name.decode(errors="replace") for name in names), test=test)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that can build a NumPy array and call nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        array_parts = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            # The function behind every array's pickle, under the name of before and after NumPy 2.
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        }
        if (module, name) not in array_parts:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR batch does")
        return array_parts[module, name]


def read_pickle(content: bytes, path: Path) -> dict[Any, Any]:
    """Read a pickled dictionary of arrays, lists, numbers and byte strings; nothing in it is run.

    Args:
        content: the pickle. Python 2's strings come out as bytes.
        path: for the message.

    Returns:
        The dictionary.

    Raises:
        DataError: naming the path, if it holds anything else.
    """
    try:
        entry = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # damaged pickles raise nearly anything, as the pickle module's manual says
        raise DataError(f"{path} cannot be read as a CIFAR batch: {error}") from error
    if not isinstance(entry, dict):
        raise DataError(f"{path} should hold a dictionary; it holds a {type(entry).__name__}")
    return entry


def _examples(entry: dict[Any, Any], labels_key: bytes, path: Path) -> Examples:
    data, labels = entry.get(b"data"), entry.get(labels_key)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise DataError(f"{path} should hold uint8 images of 3 × 32 × 32 = 3072 values under 'data'")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(isinstance(y, int) for y in labels):
        raise DataError(f"{path} should hold {len(data)} whole numbers under {labels_key.decode()!r}")
    images = torch.from_numpy(np.array(data)).reshape(-1, 3, 32, 32)
    return Examples(images, torch.tensor(labels, dtype=torch.int64))


def _read_archive(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    # In one pass: going back in a compressed archive means decompressing it again.
    contents = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in names and (file := archive.extractfile(member)):
                    contents[name] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if missing := sorted(set(names) - set(contents)):
        raise DataError(f"{path} lacks {', '.join(missing)}")
    return contents
