import io
import os
import pickle
import struct
import tarfile
from typing import ClassVar

import numpy as np
import pytest
import torch

from lossbench.data import cifar10, cifar100
from lossbench.data.prepare import prepare
from lossbench.errors import DataError

pytestmark = pytest.mark.usefixtures("nothing_published")


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote: every string, text or not, as its byte strings. CIFAR's batches are such pickles."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        content = value if isinstance(value, bytes) else value.encode("latin1")
        short = len(content) < 256
        size = bytes([len(content)]) if short else struct.pack("<i", len(content))
        self.write((pickle.SHORT_BINSTRING if short else pickle.BINSTRING) + size + content)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string


def python2_pickle(value):
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def batch(labels, labels_key="labels", first=0):
    """A batch in which every pixel of example i is first + i in red, one more in green, two more in blue."""
    colours = np.arange(len(labels))[:, None] + np.arange(3) + first
    data = np.repeat(colours, 1024, axis=1).astype(np.uint8)
    return {"batch_label": "a batch", labels_key: labels, "data": data, "filenames": ["x.png"] * len(labels)}


def cifar10_files(**replaced):
    names = [f"class {k}" for k in range(10)]
    entries = {f"data_batch_{i}": batch([i, 0], first=10 * i) for i in range(1, 6)}
    entries |= {"test_batch": batch([9]), "batches.meta": {"label_names": names, "num_vis": 3072}}
    return {name: python2_pickle(entry) for name, entry in entries.items()} | replaced


def write_archive(path, folder, files):
    with tarfile.open(path, "w:gz") as archive:
        directory = tarfile.TarInfo(folder)  # the archives hold their folder first, and a readme.html
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
        for name, content in {"readme.html": b"", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_folder(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def archive(tmp_path):
    write_archive(tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", cifar10_files())
    return tmp_path


def test_the_archive_is_read_as_it_is_downloaded(archive):
    source = cifar10(root=str(archive))
    assert source.train.inputs.shape == (10, 3, 32, 32)
    assert source.train.inputs.dtype == torch.uint8
    assert source.train.targets.tolist() == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
    # Example 1 of data_batch_3 is 31 in red, 32 in green, 33 in blue: the channel comes first in a row.
    assert [source.train.inputs[5, channel].unique().tolist() for channel in range(3)] == [[31], [32], [33]]
    assert source.test is not None
    assert source.test.targets.tolist() == [9]
    assert source.class_names[9] == "class 9"


def test_unpacked_batches_are_the_same_as_the_archive(archive, tmp_path):
    write_folder(tmp_path / "unpacked/cifar-10-batches-py", cifar10_files())
    packed, unpacked = cifar10(root=str(archive)), cifar10(root=str(tmp_path / "unpacked"))
    within = cifar10(root=str(tmp_path / "unpacked/cifar-10-batches-py"))
    for source in (unpacked, within):
        assert torch.equal(packed.train.inputs, source.train.inputs)
        assert torch.equal(packed.train.targets, source.train.targets)


def test_pixels_keep_their_place_in_the_image(tmp_path):
    # A row holds 1024 red values, 32 for each line of the image from the top.
    data = (np.arange(3072) % 251).astype(np.uint8)[None]
    write_folder(tmp_path, cifar10_files(test_batch=python2_pickle({"data": data, "labels": [0]})))
    source = cifar10(root=str(tmp_path))
    assert source.test is not None
    image = source.test.inputs[0]
    assert int(image[0, 1, 2]) == 34
    assert int(image[2, 31, 31]) == 3071 % 251


def test_cifar100_takes_the_fine_labels(tmp_path):
    names = [f"class {k}" for k in range(100)]
    entries = {
        "train": batch([99, 5], "fine_labels") | {"coarse_labels": [1, 2]},
        "test": batch([42], "fine_labels") | {"coarse_labels": [3]},
        "meta": {"fine_label_names": names, "coarse_label_names": ["a"]},
    }
    files = {name: python2_pickle(entry) for name, entry in entries.items()}
    write_archive(tmp_path / "cifar-100-python.tar.gz", "cifar-100-python", files)
    source = cifar100(root=str(tmp_path))
    assert source.train.targets.tolist() == [99, 5]
    assert len(source.class_names) == 100


def test_batches_can_be_trained_on(archive):
    data = prepare(cifar10(root=str(archive)), seed=0, shift=4, flip=True)
    # Class 0 has five examples, of which one is for validation; 1 to 5 have one each, which stays.
    assert data.class_counts.tolist() == [4, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    generator = torch.Generator().manual_seed(0)
    assert data.augment(data.train.inputs, data.train.targets, generator)[0].shape == (9, 3, 32, 32)


def test_batches_that_python_3_repacked_with_byte_keys_are_read(tmp_path):
    repacked = {key.encode(): value for key, value in batch([4]).items()}
    write_folder(tmp_path, cifar10_files(test_batch=pickle.dumps(repacked, protocol=3)))
    test = cifar10(root=str(tmp_path)).test
    assert test is not None
    assert test.targets.tolist() == [4]


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_hostile_pickle_is_not_run(tmp_path):
    target = tmp_path / "made by the pickle"
    write_folder(tmp_path, cifar10_files(test_batch=pickle.dumps(Hostile(target))))
    with pytest.raises(DataError, match=r"test_batch cannot be read .* asks for posix\.mkdir, which no CIFAR batch"):
        cifar10(root=str(tmp_path))
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # An empty file, one cut off, then pickles in order that are something else than a batch.
        (b"", "test_batch cannot be read"),
        (python2_pickle(batch([1]))[:-500], "test_batch cannot be read"),
        (python2_pickle([1, 2]), "should hold a dictionary; it holds a list"),
        (python2_pickle({"labels": [1]}), "3072 values under 'data'"),
        (python2_pickle({"labels": [1], "data": np.zeros((1, 3000), np.uint8)}), "3072 values under 'data'"),
        (python2_pickle({"labels": [1], "data": np.zeros((1, 3072))}), "3072 values under 'data'"),
        (python2_pickle({"data": np.zeros((1, 3072), np.uint8)}), "1 whole numbers under 'labels'"),
        (python2_pickle(batch([1]) | {"labels": [1, 2]}), "1 whole numbers under 'labels'"),
        (python2_pickle(batch([1]) | {"labels": ["cat"]}), "1 whole numbers under 'labels'"),
    ],
)
def test_a_damaged_batch_is_an_error_that_says_what_is_wrong(tmp_path, content, message):
    write_folder(tmp_path, cifar10_files(test_batch=content))
    with pytest.raises(DataError, match=message):
        cifar10(root=str(tmp_path))


@pytest.mark.parametrize("meta", [{}, {"label_names": [1, 2]}])
def test_class_names_that_are_missing_are_an_error(tmp_path, meta):
    write_folder(tmp_path, cifar10_files(**{"batches.meta": python2_pickle(meta)}))
    with pytest.raises(DataError, match=r"batches\.meta should list the class names under 'label_names'"):
        cifar10(root=str(tmp_path))


def test_an_archive_that_lacks_a_batch_is_an_error_that_names_it(tmp_path):
    files = cifar10_files()
    del files["data_batch_4"]
    write_archive(tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz lacks data_batch_4"):
        cifar10(root=str(tmp_path))


@pytest.mark.parametrize("keep", [0, 300])
def test_a_truncated_archive_is_an_error(archive, keep):
    path = archive / "cifar-10-python.tar.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz cannot be read"):
        cifar10(root=str(archive))
