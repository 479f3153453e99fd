import numpy as np
import pytest
import torch
from PIL import Image

from lossbench.data import image_folder
from lossbench.data.prepare import prepare
from lossbench.errors import DataError


def write(path, colour=(10, 20, 30), size=(5, 4), mode="RGB"):
    """An image of one colour; size is width, height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train/cat/2.png", (2, 0, 0))
    write(tmp_path / "train/cat/1.png", (1, 0, 0))
    write(tmp_path / "train/dog/3.PNG", (3, 0, 0))
    (tmp_path / "train/dog/notes.txt").write_text("not an image")
    write(tmp_path / "train/.hidden/1.png")
    return tmp_path


def test_images_are_labelled_by_their_folder_in_the_order_of_names(folder):
    source = image_folder(folder=str(folder))
    assert source.class_names == ("cat", "dog")
    assert source.train.inputs.dtype == torch.uint8
    assert source.train.inputs.shape == (3, 3, 4, 5)
    assert source.train.inputs[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert source.train.targets.tolist() == [0, 0, 1]
    assert source.val is None
    assert source.test is None


def test_pixels_keep_their_place_in_the_image(folder):
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(pixels).save(folder / "train/cat/1.png")
    first = image_folder(folder=str(folder)).train.inputs[0]
    assert torch.equal(first, torch.from_numpy(pixels).permute(2, 0, 1))


def test_validation_and_test_folders_are_used_where_they_are(folder):
    write(folder / "val/dog/1.png")
    write(folder / "test/cat/1.png")
    source = image_folder(folder=str(folder))
    assert source.val is not None
    assert source.test is not None
    assert source.val.targets.tolist() == [1]
    assert source.test.targets.tolist() == [0]


def test_a_size_makes_all_images_square(folder):
    write(folder / "train/dog/4.jpg", size=(50, 30))
    assert image_folder(folder=str(folder), size=8).train.inputs.shape == (4, 3, 8, 8)


def test_images_of_different_sizes_need_a_size(folder):
    write(folder / "train/dog/4.png", size=(6, 4))
    with pytest.raises(DataError, match=r"dog/4\.png has 4×6 pixels and .*cat/1\.png 4×5: set dataset\.size"):
        image_folder(folder=str(folder))


def test_grey_images_have_one_channel_of_luminance(folder):
    # ITU-R 601: 0.299 of red 100 is 29.9.
    write(folder / "train/cat/1.png", (100, 0, 0))
    grey = image_folder(folder=str(folder), grey=True).train.inputs
    assert grey.shape == (3, 1, 4, 5)
    assert grey[0].unique().tolist() == [30]


def test_grey_and_transparent_files_become_rgb(folder):
    write(folder / "train/cat/1.png", 7, mode="L")
    write(folder / "train/cat/2.png", (7, 8, 9, 0), mode="RGBA")
    inputs = image_folder(folder=str(folder)).train.inputs
    assert inputs[0, :, 0, 0].tolist() == [7, 7, 7]
    assert inputs[1, :, 0, 0].tolist() == [7, 8, 9]


def test_sixteen_bit_images_are_refused_rather_than_clipped(folder):
    write(folder / "train/cat/1.png", 40_000, mode="I;16")
    with pytest.raises(DataError, match=r"cat/1\.png cannot be read as an image: .*more than 8 bits"):
        image_folder(folder=str(folder))


@pytest.mark.parametrize("keep", [0, 50])
def test_an_unreadable_image_is_an_error_that_names_it(folder, keep):
    path = folder / "train/dog/3.PNG"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"dog/3\.PNG cannot be read as an image"):
        image_folder(folder=str(folder))


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"should hold train/<class>/\*\.png; there is no .*nowhere/train"):
        image_folder(folder=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(("names", "got"), [((), "none"), (("cat",), "cat")])
def test_fewer_than_two_classes_are_an_error(tmp_path, names, got):
    (tmp_path / "train").mkdir()
    for name in names:
        write(tmp_path / f"train/{name}/1.png")
    with pytest.raises(DataError, match=f"at least two folders, one per class; got {got}"):
        image_folder(folder=str(tmp_path))


def test_a_class_without_images_is_an_error_that_names_it(folder):
    (folder / "train/fox").mkdir()
    (folder / "train/fox/notes.txt").write_text("none yet")
    with pytest.raises(DataError, match="train/fox holds no images"):
        image_folder(folder=str(folder))


def test_a_test_class_that_training_does_not_know_is_an_error(folder):
    write(folder / "test/fox/1.png")
    with pytest.raises(DataError, match="test/fox is no class of train: cat, dog"):
        image_folder(folder=str(folder))


def test_an_empty_test_folder_is_an_error(folder):
    (folder / "test").mkdir()
    with pytest.raises(DataError, match="test should hold a folder of images per class; it holds none"):
        image_folder(folder=str(folder))


def test_images_held_in_memory_that_would_take_more_than_half_of_it_are_an_error(folder, monkeypatch):
    # Three images of 3·4·5 = 60 bytes are 180 bytes: 360 bytes of free memory are just enough.
    monkeypatch.setattr("lossbench.data.streaming.free_memory", lambda: 360)
    assert len(image_folder(folder=str(folder), streaming=False).train) == 3
    monkeypatch.setattr("lossbench.data.streaming.free_memory", lambda: 359)
    with pytest.raises(DataError, match=r"3 images of 3×4×5 bytes .* more than half of .* free memory.*streaming=true"):
        image_folder(folder=str(folder), streaming=False)


def test_a_folder_without_test_images_is_split(tmp_path):
    for name in ("cat", "dog"):
        for i in range(10):
            write(tmp_path / f"train/{name}/{i}.png", (i, 0, 0))
    data = prepare(image_folder(folder=str(tmp_path)), seed=0)
    # Of ten each: two for test, then 0.8 → one for validation.
    assert [len(split) for split in (data.train, data.val, data.test)] == [14, 2, 4]
