"""Data sets as Hugging Face's `datasets` saves them, written by that package and read without a network."""

from __future__ import annotations

import json
import logging
import pickle
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from PIL import Image
from support import Lossbench

from lossbench.data import hugging_face
from lossbench.data.dataset import Source
from lossbench.errors import DataError


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, and no network."""

    def no_network(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("socket.socket.connect", no_network)


def images(numbers: Sequence[int], size: tuple[int, int] = (5, 4)) -> Any:
    """Images whose red value is their number, even ones of class cat and odd ones of class dog."""
    features = Features({"image": datasets.Image(), "label": ClassLabel(names=["cat", "dog"])})
    rows = {
        "image": [Image.new("RGB", size, (number, 0, 0)) for number in numbers],
        "label": [number % 2 for number in numbers],
    }
    return Dataset.from_dict(rows, features=features)


def reds(examples: Any) -> list[int]:
    values: list[int] = examples.inputs[:][:, 0, 0, 0].tolist()
    return values


def saved(data: Any, place: Path) -> str:
    data.save_to_disk(str(place))
    return str(place)


def check_splits(source: Source) -> None:
    assert source.class_names == ("cat", "dog")
    assert source.val is not None
    assert source.test is not None
    assert reds(source.train) == [2, 1, 4]
    assert source.train.targets.tolist() == [0, 1, 0]
    assert (reds(source.val), source.val.targets.tolist()) == ([7], [1])
    assert (reds(source.test), source.test.targets.tolist()) == ([8], [0])
    assert source.train.inputs.shape == (3, 3, 4, 5)


@pytest.fixture
def splits() -> Any:
    named = {"train": images([2, 1, 4]), "validation": images([7]), "test": images([8]), "unsupervised": images([9])}
    return DatasetDict(named)


@pytest.mark.parametrize("streaming", [True, False])
def test_what_save_to_disk_wrote_has_its_splits_by_their_names(splits: Any, tmp_path: Path, streaming: bool) -> None:
    check_splits(hugging_face(path=saved(splits, tmp_path / "pets"), streaming=streaming))


@pytest.mark.parametrize("name", ["{}-00000-of-00001.parquet", "data/{}.parquet", "{}/0000.parquet"])
def test_parquet_files_are_of_the_split_in_their_name_or_folder(splits: Any, tmp_path: Path, name: str) -> None:
    for split in splits:
        path = tmp_path / "pets" / name.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        splits[split].to_parquet(str(path))
    check_splits(hugging_face(path=str(tmp_path / "pets")))


def test_one_file_or_one_split_is_all_train(tmp_path: Path) -> None:
    one = images([2, 1, 4])
    one.to_parquet(str(tmp_path / "pets.parquet"))
    folder = saved(one, tmp_path / "pets")
    (arrow,) = (tmp_path / "pets").glob("*.arrow")
    for path in (str(tmp_path / "pets.parquet"), folder, str(arrow)):
        source = hugging_face(path=path)
        assert reds(source.train) == [2, 1, 4]
        assert source.val is source.test is None


def test_a_selection_of_rows_is_what_was_saved_of_it(tmp_path: Path) -> None:
    chosen = images([2, 1, 4]).select([2, 1])
    assert reds(hugging_face(path=saved(chosen, tmp_path / "pets")).train) == [4, 1]


def test_size_and_grey_are_those_of_image_folder(tmp_path: Path) -> None:
    source = hugging_face(path=saved(images([0, 100]), tmp_path / "pets"), size=8, grey=True)
    # ITU-R 601: 0.299 of red 100 is 29.9.
    assert source.train.inputs[:].flatten(1).unique(dim=1).tolist() == [[0], [30]]
    assert source.train.inputs.shape == (2, 1, 8, 8)


def test_columns_of_numbers_are_features_in_the_order_named(tmp_path: Path) -> None:
    rows = {"a": [1.0, 2.0], "b": [3, 4], "kind": ["low", "high"]}
    source = hugging_face(path=saved(Dataset.from_dict(rows), tmp_path / "table"), inputs=["b", "a"], labels="kind")
    assert source.class_names == ("high", "low")
    assert source.train.targets.tolist() == [1, 0]
    assert torch.equal(source.train.resident, torch.tensor([[3.0, 1.0], [4.0, 2.0]]))


def test_numbers_as_labels_are_classes_in_the_order_of_size_wherever_they_start(tmp_path: Path) -> None:
    rows = {"x": [[1.0], [2.0], [3.0]], "label": [10, 9, 10]}
    source = hugging_face(path=saved(Dataset.from_dict(rows), tmp_path / "table"), inputs="x")
    assert source.class_names == ("9", "10")
    assert source.train.targets.tolist() == [1, 0, 1]


@pytest.mark.parametrize(("kind", "dtype"), [("uint8", torch.uint8), ("int32", torch.float32)])
def test_a_column_of_arrays_keeps_its_shape_and_bytes_stay_bytes(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    pixels = np.arange(24).reshape(2, 3, 4)
    features = Features({"x": datasets.Array2D((3, 4), kind), "label": Value("bool")})
    rows = Dataset.from_dict({"x": pixels.tolist(), "label": [True, False]}, features=features)
    source = hugging_face(path=saved(rows, tmp_path / "arrays"), inputs="x")
    assert source.class_names == ("False", "True")
    assert torch.equal(source.train.resident, torch.from_numpy(pixels[:, None]).to(dtype))


def table(**columns: Any) -> Any:
    return Dataset.from_dict({"x": [1.0, 2.0], "label": ["a", "b"], **columns})


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (table(), {}, "no column 'image' in train; known: label, x"),
        (table(), {"inputs": "x", "labels": "labels"}, "no column 'labels' in train; did you mean label"),
        (table(label=["a", "a"]), {"inputs": "x"}, "label should have at least two classes; got a"),
        (table(label=["a", None]), {"inputs": "x"}, "row 1 of train should have a class in 'label', .*; got None"),
        (
            table(label=[0.5, 1.5]),
            {"inputs": "x"},
            "'label' of train should hold a class in each row, .*; it holds Value",
        ),
        (table(x=["p", "q"]), {"inputs": "x"}, "'x' of train should hold numbers"),
        (table(x=[[1.0], [1.0, 2.0]]), {"inputs": "x"}, "'x' of train should hold numbers, arrays of one shape"),
        (table(y=[[1.0], [2.0]]), {"inputs": ["x", "y"]}, "'y' of train should hold a number in each row"),
        (table(x=[1.0, None]), {"inputs": "x"}, r"inputs\[1\] is not finite"),
        (table(image=[b"no image", b""]), {}, "row 0 of train, cannot be read as an image"),
        (table(image=[None, None]).cast_column("image", datasets.Image()), {}, "row 0 of train holds no image"),
        (DatasetDict({"test": table()}), {"inputs": "x"}, "should have a split train with rows; it has test"),
        (
            DatasetDict({"train": table(), "validation": table(), "dev": table()}),
            {"inputs": "x"},
            "has two splits for val: train, validation, dev",
        ),
        (
            DatasetDict({"train": table(), "test": table(label=["a", "bb"])}),
            {"inputs": "x"},
            "class 'bb' of test is no class of train; did you mean b",
        ),
    ],
    ids=range(14),
)
def test_what_does_not_fit_is_said(tmp_path: Path, data: Any, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        hugging_face(path=saved(data, tmp_path / "data"), **options)


def test_rows_without_a_label_are_refused_as_hugging_face_marks_them(tmp_path: Path) -> None:
    unlabelled = images([8]).map(lambda row: {"label": -1})
    path = saved(DatasetDict({"train": images([2, 1]), "test": unlabelled}), tmp_path / "pets")
    with pytest.raises(DataError, match=r"row 0 of test should have one of the 2 classes in 'label'; got -1"):
        hugging_face(path=path)


def test_a_class_list_of_its_own_in_a_split_is_refused(tmp_path: Path) -> None:
    other = images([8]).cast_column("label", ClassLabel(names=["dog", "cat"]))
    path = saved(DatasetDict({"train": images([2, 1]), "test": other}), tmp_path / "pets")
    with pytest.raises(DataError, match="the classes of test are not those of train"):
        hugging_face(path=path)


@pytest.mark.parametrize("place", ["/etc/hostname", "http://127.0.0.1:1/pets.png"])
def test_a_path_in_place_of_an_image_is_not_opened(tmp_path: Path, place: str) -> None:
    rows = {"image": [{"bytes": None, "path": place}] * 2, "label": ["a", "b"]}
    features = Features({"image": {"bytes": Value("binary"), "path": Value("string")}, "label": Value("string")})
    plain = saved(Dataset.from_dict(rows, features=features), tmp_path / "pets")
    info = tmp_path / "pets/dataset_info.json"  # as a stranger may write it: the same rows, called images
    described = json.loads(info.read_text())
    described["features"]["image"] = {"_type": "Image"}
    info.write_text(json.dumps(described))
    with pytest.raises(DataError, match="row 0 of train holds no image in 'image', but the path of one or nothing"):
        hugging_face(path=plain)


IMAGE = datasets.Image()


@pytest.mark.parametrize(
    ("column", "feature", "inputs"),
    [
        ("label", IMAGE, "x"),
        ("label", datasets.List(IMAGE), "x"),
        ("image", datasets.List(IMAGE), "image"),
        ("image", datasets.LargeList(datasets.List(IMAGE)), "image"),
        ("image", datasets.Audio(), "image"),
        ("image", {"one": IMAGE}, "image"),
        ("image", IMAGE, ["x", "image"]),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("place", ["/etc/hostname", "http://127.0.0.1:1/pets.png"])
def test_a_column_that_would_be_decoded_as_it_is_read_is_refused_by_its_type(
    tmp_path: Path, place: str, column: str, feature: Any, inputs: Any
) -> None:
    value: Any = {"bytes": None, "path": place}
    element = feature
    while isinstance(element, datasets.List | datasets.LargeList):
        element, value = element.feature, [value]
    value = {"one": value} if isinstance(element, dict) else value
    features = Features({"x": Value("float32"), "label": Value("string"), column: feature})
    rows = pa.table({"x": [1.0, 2.0], "label": ["a", "b"]} | {column: [value] * 2}, schema=features.arrow_schema)
    pq.write_table(rows, tmp_path / "pets.parquet")  # the package would fetch the images as it writes them
    with pytest.raises(DataError, match=rf"'{column}' of train should hold .*; it holds .*(Image|Audio)\("):
        hugging_face(path=str(tmp_path / "pets.parquet"), inputs=inputs)


def test_a_column_of_another_type_in_the_test_split_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pets"
    images([2, 1]).to_parquet(str(path / "train.parquet"))
    of_lists = Features({"image": datasets.List(datasets.Image()), "label": ClassLabel(names=["cat", "dog"])})
    rows = {"image": [["/etc/hostname"]], "label": [0]}
    Dataset.from_dict(rows, features=of_lists).to_parquet(str(path / "test.parquet"))
    with pytest.raises(DataError, match=r"'image' of test should hold images, as train does; it holds List\(Image"):
        hugging_face(path=str(path))


def test_rows_of_one_class_are_refused_whatever_classes_have_names(lossbench: Lossbench, tmp_path: Path) -> None:
    images(range(0, 40, 2)).to_parquet(str(tmp_path / "cats.parquet"))
    answer = lossbench("train", "dataset=hugging_face", "dataset.path=cats.parquet", "model=linear", "device=cpu")
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert "should be of at least two classes; all 14 are of 'cat'" in line
    assert not (tmp_path / "results").exists()


def test_the_package_logs_nothing_of_a_file_that_it_cannot_read(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("datasets")
    monkeypatch.setattr(log, "handlers", [logging.StreamHandler(said := StringIO())])
    (tmp_path / "list.csv").write_text("path,label\na.png,cat\n")
    before = log.level
    answer = lossbench("train", "dataset=hugging_face", "dataset.path=list.csv")
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert "list.csv cannot be read as a data set of Hugging Face's" in line
    assert (said.getvalue(), log.level) == ("", before)


def test_words_that_cannot_be_read_are_an_error_of_the_data(tmp_path: Path) -> None:
    words = pa.array([b"a", b"\xff"]).view(pa.string())
    broken = Dataset(pa.table({"x": [1.0, 2.0], "label": words}))
    with pytest.raises(DataError, match=r"cannot be read as a data set of Hugging Face's: .*utf-8"):
        hugging_face(path=saved(broken, tmp_path / "table"), inputs="x")


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_format_that_data_were_saved_in_changes_nothing(tmp_path: Path, kind: str) -> None:
    rows = Dataset.from_dict({"x": [[1.0], [2.0]], "label": [4, 3]}).with_format(kind)
    source = hugging_face(path=saved(rows, tmp_path / "table"), inputs="x")
    assert source.class_names == ("3", "4")
    assert torch.equal(source.train.resident, torch.tensor([[1.0], [2.0]]))


def test_a_folder_with_a_script_and_pickles_runs_neither(lossbench: Lossbench, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.mkdir, (tmp_path / "mark",)

    folder = tmp_path / "pets"
    folder.mkdir()
    (folder / "pets.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'mark')!r}).mkdir()\n")
    for name in ("state.json", "dataset_info.json", "data-00000-of-00001.arrow", "test.parquet"):
        (folder / name).write_bytes(pickle.dumps(Evil()))
    requests = [folder, folder / "data-00000-of-00001.arrow", folder / "test.parquet"]
    (folder / "test.parquet").rename(tmp_path / "test.parquet")
    requests[2] = tmp_path / "test.parquet"
    for path in requests:
        answer = lossbench("train", "dataset=hugging_face", f"dataset.path={path}")
        assert answer.returncode == 2
        (line,) = answer.stderr.splitlines()
        assert "cannot be read as a data set of Hugging Face's" in line
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "results").exists()
    pickle.loads((folder / "state.json").read_bytes())  # whoever unpickles one makes the mark
    assert (tmp_path / "mark").is_dir()


def test_a_path_that_is_not_there_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not on this machine; nothing is downloaded"):
        hugging_face(path="stanfordnlp/imdb")


def test_the_package_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"needs datasets .*pip install 'lossbench\[hf\]'"):
        hugging_face(path="pets")


def test_a_run_trains_on_it_and_does_not_show_the_packages_own_bars(lossbench: Lossbench, tmp_path: Path) -> None:
    images(range(40)).to_parquet(str(tmp_path / "pets.parquet"))
    quick = ("model=linear", "epochs=2", "device=cpu", "device.threads=1")
    answer = lossbench("train", "dataset=hugging_face", "dataset.path=pets.parquet", *quick)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("hugging_face-linear-cross_entropy-s0-")
    assert "Generating" not in answer.stderr
