import gzip
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import torch

from lossbench.data import fashion_mnist, mnist
from lossbench.data.idx import read_idx, unpacked
from lossbench.errors import DataError

pytestmark = pytest.mark.usefixtures("nothing_published")

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(sizes, values):
    return bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + bytes(values)


def write_set(folder, compressed=True):
    """Three training images of 2×2 pixels, 0 to 11, with the labels 9, 0, 3, and one test image."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = (idx((3, 2, 2), range(12)), idx((3,), [9, 0, 3]), idx((1, 2, 2), [7] * 4), idx((1,), [1]))
    for name, content in zip(NAMES, contents, strict=True):
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("function", [mnist, fashion_mnist])
def test_the_four_files_are_read_with_and_without_compression(tmp_path, function, compressed):
    source = function(root=str(write_set(tmp_path, compressed)))
    assert source.train.inputs.dtype == torch.uint8
    assert source.train.inputs.tolist() == [[[[0, 1], [2, 3]]], [[[4, 5], [6, 7]]], [[[8, 9], [10, 11]]]]
    assert source.train.targets.tolist() == [9, 0, 3]
    assert source.test is not None
    assert source.test.targets.tolist() == [1]
    assert source.val is None
    assert len(source.class_names) == 10


def test_torchvisions_own_folders_are_read(tmp_path):
    write_set(tmp_path / "FashionMNIST/raw", compressed=False)
    assert fashion_mnist(root=str(tmp_path)).class_names[9] == "Ankle boot"


def test_a_truncated_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(idx((3, 2, 2), range(11)))
    with pytest.raises(DataError, match=r"images should hold 3×2×2 = 12 bytes of values; it holds 11"):
        read_idx(unpacked(path), path, 3)


def test_a_file_that_is_too_long_is_an_error(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(idx((2,), range(3)))
    with pytest.raises(DataError, match="should hold 2 = 2 bytes of values; it holds 3"):
        read_idx(unpacked(path), path, 1)


def test_a_file_cut_within_its_header_is_an_error(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(idx((3, 2, 2), [])[:10])
    with pytest.raises(DataError, match="ends within its header"):
        read_idx(unpacked(path), path, 3)


def test_a_truncated_gzip_is_an_error(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx((3, 2, 2), range(12)))[:-9])
    with pytest.raises(DataError, match=r"images\.gz cannot be read"):
        read_idx(unpacked(path), path, 3)


def test_a_file_that_is_no_gzip_is_an_error(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"images\.gz cannot be read: Not a gzipped file"):
        read_idx(unpacked(path), path, 3)


@pytest.mark.parametrize(("content", "got"), [(b"PK\x03\x04", "50 4b 03 04"), (b"", "nothing")])
def test_a_wrong_magic_number_is_an_error_that_shows_it(tmp_path, content, got):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"expected it to start with 00 00 08 03; got {got}"):
        read_idx(unpacked(path), path, 3)


def test_labels_in_place_of_images_are_an_error(tmp_path):
    write_set(tmp_path)
    shutil.copy(tmp_path / f"{NAMES[1]}.gz", tmp_path / f"{NAMES[0]}.gz")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz .* in 3 dimension\(s\).*got 00 00 08 01"):
        mnist(root=str(tmp_path))


def test_the_labels_of_the_other_split_are_an_error(tmp_path):
    write_set(tmp_path)
    shutil.copy(tmp_path / f"{NAMES[3]}.gz", tmp_path / f"{NAMES[1]}.gz")
    with pytest.raises(DataError, match="train-images-idx3-ubyte holds 3 images and train-labels-idx1-ubyte 1 labels"):
        mnist(root=str(tmp_path))


def test_a_label_above_nine_is_an_error(tmp_path):
    write_set(tmp_path)
    (tmp_path / f"{NAMES[1]}.gz").write_bytes(gzip.compress(idx((3,), [9, 0, 10])))
    with pytest.raises(DataError, match=r"the train labels must lie in 0\.\.9; got 10"):
        mnist(root=str(tmp_path))


def test_an_empty_file_of_no_images_is_read_as_none(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(idx((0, 28, 28), []))
    assert read_idx(unpacked(path), path, 3).shape == (0, 28, 28)


def installed_fashion_mnist():
    try:
        listing = subprocess.run(["dpkg", "-L", "dataset-fashion-mnist"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    files = [Path(line) for line in listing.stdout.split("\n") if line.endswith(f"{NAMES[0]}.gz")]
    return files[0].parent if files else None


@pytest.mark.skipif(installed_fashion_mnist() is None, reason="Debian's package dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist_is_found_without_being_told(lonely, monkeypatch):
    folder = installed_fashion_mnist()
    monkeypatch.undo()  # of `lonely`'s stand-in for dpkg; the empty home folder is set again below
    monkeypatch.setenv("HOME", str(lonely))
    monkeypatch.delenv("LOSSBENCH_DATA", raising=False)
    source = fashion_mnist()
    # The paper: 60,000 and 10,000 images, as many of each class; the first training image is an ankle boot.
    assert source.test is not None
    assert source.train.inputs.shape == (60_000, 1, 28, 28)
    assert source.test.inputs.shape == (10_000, 1, 28, 28)
    assert torch.bincount(source.train.targets).tolist() == [6000] * 10
    assert torch.bincount(source.test.targets).tolist() == [1000] * 10
    assert source.class_names[int(source.train.targets[0])] == "Ankle boot"
    # The mean and deviation that everyone's transforms use, 0.2860 and 0.3530.
    pixels = source.train.inputs.double() / 255
    assert float(pixels.mean()) == pytest.approx(0.2860, abs=5e-5)
    assert float(pixels.std()) == pytest.approx(0.3530, abs=5e-5)
    assert torch.equal(source.train.inputs, fashion_mnist(root=str(folder)).train.inputs)
