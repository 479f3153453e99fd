"""The Oxford-IIIT Pet data set cannot be had here: a few files in its layout, as its README describes it."""

import numpy as np
import pytest
import torch
from PIL import Image

from lossbench.data import oxford_pet
from lossbench.errors import DataError

# A trimap of 2 rows: pet, outline, background; the image says by its colour which pixel is which.
TRIMAP = np.array([[1, 3, 2], [1, 3, 2]], dtype=np.uint8)
COLOURS = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0], [0, 0, 200]], dtype=np.uint8)


@pytest.fixture
def pets(tmp_path):
    """Two cats to learn from and a dog to test on, in `oxford-iiit-pet/`, as torchvision unpacks it."""
    folder = tmp_path / "oxford-iiit-pet"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations/trimaps").mkdir(parents=True)
    for i, name in enumerate(("Abyssinian_1", "Bengal_2", "boxer_3")):
        trimap = np.kron(np.roll(TRIMAP, i, axis=1), np.ones((24, 16), dtype=np.uint8))  # 48×48
        Image.fromarray(trimap).save(folder / "annotations/trimaps" / f"{name}.png")
        Image.fromarray(COLOURS[trimap]).save(folder / "images" / f"{name}.jpg", quality=95)
    (folder / "annotations/trainval.txt").write_text("Abyssinian_1 1 1 1\nBengal_2 2 1 2\n")
    (folder / "annotations/test.txt").write_text("#Image CLASS-ID SPECIES BREED ID\nboxer_3 3 2 1\n")
    return folder


def test_pet_is_one_background_zero_and_the_outline_has_no_label(pets):
    source = oxford_pet(root=str(pets), size=48)
    assert source.class_names == ("background", "pet")
    assert source.train.targets[0, 0, [0, 16, 32]].tolist() == [1, -100, 0]
    assert source.train.targets[1, 0, [0, 16, 32]].tolist() == [0, 1, -100]  # rolled by one: 2 1 3
    assert source.test is not None
    assert source.test.targets[0, 0, [0, 16, 32]].tolist() == [-100, 0, 1]


def test_images_are_colour_in_the_order_of_the_lists(pets):
    source = oxford_pet(root=str(pets), size=48)
    assert source.train.inputs.shape == (2, 3, 48, 48)
    assert source.train.inputs.dtype == torch.uint8
    # The pet is red: of the first image on the left, of the second in the middle. JPEG blurs a little.
    assert source.train.inputs[0, :, 24, 8].tolist() == pytest.approx([200, 0, 0], abs=10)
    assert source.train.inputs[1, :, 24, 24].tolist() == pytest.approx([200, 0, 0], abs=10)


def test_image_and_mask_are_resized_alike_and_no_class_is_made_up(pets):
    source = oxford_pet(root=str(pets), size=24)
    assert source.train.inputs.shape == (2, 3, 24, 24)
    assert source.train.targets[0, 12].tolist() == [1] * 8 + [-100] * 8 + [0] * 8


def test_the_folder_may_be_the_one_above_as_torchvision_leaves_it(pets):
    assert len(oxford_pet(root=str(pets.parent)).train) == 2


def test_the_shared_folder_is_found_without_being_told(lonely, pets, tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSBENCH_DATA", str(tmp_path))
    pets.rename(tmp_path / "oxford_pet")
    assert len(oxford_pet().train) == 2


def test_torchvision_is_asked_to_download_the_masks(lonely, monkeypatch):
    asked = {}

    def download(folder, **options):
        asked.update(options)
        raise RuntimeError("stop here")

    monkeypatch.setattr("torchvision.datasets.OxfordIIITPet", download)
    with pytest.raises(DataError, match=r"oxford_pet is not on this machine and could not be downloaded \(stop here\)"):
        oxford_pet()
    assert asked == {"target_types": "segmentation", "download": True}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images/Bengal_2.jpg", b"no image", r"Bengal_2\.jpg cannot be read as an image"),
        ("annotations/trimaps/boxer_3.png", b"", r"boxer_3\.png cannot be read as an image"),
        ("annotations/trainval.txt", b"# nothing\n", r"trainval\.txt should name an image in each line; it names none"),
        ("annotations/test.txt", b"boxer_4 3 2 1\n", r"boxer_4\.jpg cannot be read as an image: .*No such file"),
    ],
)
def test_a_damaged_file_is_named(pets, name, content, message):
    (pets / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        oxford_pet(root=str(pets))


def test_a_trimap_of_other_values_is_refused(pets):
    Image.fromarray(np.full((48, 48), 4, dtype=np.uint8)).save(pets / "annotations/trimaps/Bengal_2.png")
    with pytest.raises(DataError, match=r"Bengal_2\.png should hold 1 \(pet\), 2 \(background\) and 3"):
        oxford_pet(root=str(pets))
