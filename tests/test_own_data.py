"""What is wrong with one's own data or model is one line before any training: exit code 2, and nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support import Lossbench, files_below

FAST = ("model=linear", "epochs=1", "device=cpu")


def picture(path: Path, side: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (9, 9, 9)).save(path)


def one_class(folder: Path) -> None:
    for number in range(4):
        picture(folder / f"pets/train/cat/{number}.png")


def pets(folder: Path) -> None:
    for number in range(20):
        picture(folder / f"pets/train/{('cat', 'dog')[number % 2]}/{number}.png")


def no_image(folder: Path) -> None:
    pets(folder)
    (folder / "pets/train/dog/1.png").write_text("a letter")


def empty_class(folder: Path) -> None:
    pets(folder)
    (folder / "pets/train/fox").mkdir()


def csv(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        picture(folder / "a.png")
        (folder / "list.csv").write_text(text)

    return write


def arrays(targets: Any, **more: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        np.savez(folder / "mine.npz", inputs=np.zeros((len(targets), 3)), targets=np.array(targets), **more)

    return write


def other_weights(folder: Path) -> None:
    pets(folder)
    torch.save({"conv.weight": torch.zeros(1)}, folder / "other.pth")


def nothing(folder: Path) -> None: ...


FOLDER = ("dataset=image_folder", "dataset.folder=pets")
CSV = ("dataset=image_csv", "dataset.file=list.csv")
ARRAYS = ("dataset=arrays", "dataset.file=mine.npz")
REQUESTS: dict[str, tuple[Callable[[Path], None], tuple[str, ...], str]] = {
    "folder-of-one-class": (one_class, FOLDER, "at least two folders, one per class; got cat"),
    "folder-that-is-not-there": (nothing, FOLDER, "there is no pets/train"),
    "folder-with-an-empty-class": (empty_class, FOLDER, "train/fox holds no images"),
    "folder-with-no-image": (no_image, FOLDER, "dog/1.png cannot be read as an image"),
    "csv-of-one-class": (csv("path,label\na.png,x\na.png,x\n"), CSV, "at least two classes; got x"),
    "csv-with-no-image": (csv("path,label\na.png,x\nlist.csv,y\n"), CSV, "list.csv cannot be read as an image"),
    "arrays-of-one-class": (arrays([0, 0, 0, 0]), ARRAYS, "at least two classes; got ['0']"),
    "arrays-of-one-class-and-two-names": (
        arrays([0] * 40, class_names=["a", "b"]), ARRAYS, "should be of at least two classes; all 29 are of 'a'",
    ),
    "arrays-that-start-at-one": (arrays([1, 2, 1, 2]), ARRAYS, "number the classes from 0"),
    "arrays-that-skip-a-class": (arrays([0, 2, 0, 2]), ARRAYS, "number the classes from 0"),
    "timm-misspelt": (pets, (*FOLDER, "model=timm", "model.name=resnet81"), "no classifier named 'resnet81'; did you"),
    "torchvision-misspelt": (
        pets, (*FOLDER, "model=torchvision", "model.name=resnet81"), "no classifier named 'resnet81'; did you mean",
    ),
    "smp-misspelt": (nothing, ("dataset=shapes", "model=smp", "model.encoder=resnet81"), "resnet81"),
    "weights-not-there": (
        pets, (*FOLDER, "model=torchvision", "model.name=squeezenet1_1", "model.weights=gone.pth", "dataset.size=32"),
        "model.weights=gone.pth cannot be read",
    ),
    "weights-of-another": (
        other_weights,
        (*FOLDER, "model=torchvision", "model.name=squeezenet1_1", "model.weights=other.pth", "dataset.size=32"),
        "model.weights=other.pth are of another architecture",
    ),
    "layer-misspelt": (nothing, ("optimizer.layer_learning_rates={haed: 0.1}",), "no layer named 'haed'; did you mean"),
}  # fmt: skip


@pytest.mark.parametrize("case", REQUESTS)
def test_it_is_one_line_exit_2_and_nothing_is_written(lossbench: Lossbench, tmp_path: Path, case: str) -> None:
    write, overrides, message = REQUESTS[case]
    write(tmp_path)
    before = files_below(tmp_path)
    answer = lossbench("train", *FAST, *overrides)
    assert answer.returncode == 2, answer.stderr
    (line,) = answer.stderr.splitlines()
    assert message in line
    assert files_below(tmp_path) == before
