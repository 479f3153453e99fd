"""Images that are read as they are needed are, to the bit, the images that are held in memory."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support import Lossbench, compose, read_json, tree

from lossbench import device, run
from lossbench.build import build
from lossbench.data import image_folder
from lossbench.data.dataset import Examples, Source
from lossbench.data.prepare import prepare
from lossbench.data.streaming import AHEAD, Streamed, why_streamed
from lossbench.errors import ConfigError, DataError
from lossbench.progress import Silent
from lossbench.store import Store
from lossbench.training import State, Trained, train

PIXELS = torch.arange(20 * 3 * 2 * 2).reshape(20, 3, 2, 2).remainder(251).to(torch.uint8)
FAST = ("model=linear", "epochs=2", "batch_size=8", "device=cpu", "device.threads=1")


def streamed(read: Any = None) -> Streamed:
    return Streamed(read or (lambda number: PIXELS[number].numpy()), torch.arange(20), (3, 2, 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty images of two classes and noise, of which ten are for test."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 10)):
        for number in range(count):
            name = ("dark", "light")[number % 2]
            path = tmp_path / "pets" / split / name / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            low = 80 * (number % 2)
            Image.fromarray(rng.integers(low, low + 120, (6, 5, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pets"


def test_they_look_like_the_tensor_they_stand_for() -> None:
    images = streamed()
    assert (images.shape, images.ndim, images.dtype, len(images)) == (PIXELS.shape, 4, PIXELS.dtype, 20)
    assert torch.equal(images[:2], PIXELS[:2])
    assert torch.equal(images[:], PIXELS)
    assert [len(part) for part in images.split(8)] == [8, 8, 4]
    assert torch.equal(torch.cat(list(images.split(8))), PIXELS)
    assert torch.equal(images.pick(torch.tensor([3, 0]))[:], PIXELS[[3, 0]])
    odd = torch.arange(20) % 2 == 1
    assert torch.equal(images.pick(odd).pick(torch.tensor([0, -1]))[:], PIXELS[[1, 19]])


def test_batches_come_in_the_order_asked_for() -> None:
    chosen = [torch.tensor([5, 1, 5]), torch.tensor([19]), torch.tensor([0, 2])]
    labelled = Examples(streamed(), torch.arange(20))
    for (inputs, targets), batch in zip(labelled.batches(chosen), chosen, strict=True):
        assert torch.equal(inputs, PIXELS[batch])
        assert torch.equal(targets, batch)
    held = Examples(PIXELS, torch.arange(20))
    for one, other in zip(labelled.batches(chosen), held.batches(chosen), strict=True):
        assert all(map(torch.equal, one, other))


def test_runs_side_by_side_share_the_threads_that_read(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: set[int] = set()

    def read(number: int) -> Any:
        readers.add(threading.get_ident())
        time.sleep(0.002)
        return PIXELS[number].numpy()

    monkeypatch.setattr(device, "CPUS", 4)
    monkeypatch.setattr(device, "_share", device.Share(workers=4))
    images = torch.cat(list(streamed(read).split(10)))
    assert torch.equal(images, PIXELS)
    assert len(readers) == 1


def test_no_more_is_read_than_the_batch_in_use_and_the_next_two() -> None:
    seen: list[int] = []

    def read(number: int) -> Any:
        seen.append(number)
        return PIXELS[number].numpy()

    parts = streamed(read).split(2)
    next(parts)
    parts.close()  # waits for what is being read
    assert {0, 1} <= set(seen) <= set(range(2 * (1 + AHEAD)))


def test_an_image_that_cannot_be_read_is_an_error_at_its_batch_and_not_before() -> None:
    def read(number: int) -> Any:
        if number == 5:
            raise DataError("image 5 is gone")
        return PIXELS[number].numpy()

    parts = streamed(read).split(2)
    assert torch.equal(next(parts), PIXELS[:2])
    assert torch.equal(next(parts), PIXELS[2:4])
    with pytest.raises(DataError, match="image 5 is gone"):
        next(parts)


def test_size_decides_unless_the_user_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # 100 images of 3·4·5 = 60 bytes are 6,000: an eighth of 48,000.
    monkeypatch.setattr("lossbench.data.streaming.free_memory", lambda: 48_000)
    assert why_streamed(100, (3, 4, 5), None) == ""
    assert why_streamed(100, (3, 4, 5), True) == "100 images are read as they are needed (dataset.streaming=true)"
    monkeypatch.setattr("lossbench.data.streaming.free_memory", lambda: 47_999)
    assert "100 images of 3×4×5 bytes are read as they are needed" in why_streamed(100, (3, 4, 5), None)
    assert why_streamed(100, (3, 4, 5), False) == ""


def test_what_takes_all_inputs_at_once_says_how_to_have_them() -> None:
    with pytest.raises(ConfigError, match=r"set dataset\.streaming=false"):
        _ = Examples(streamed(), torch.zeros(20, dtype=torch.int64)).resident


@pytest.mark.parametrize("settings", [{}, {"normalization": "unit", "shift": 1, "label_noise": 0.5},
                                      {"train_fraction": 0.5, "imbalance_factor": 2.0}])  # fmt: skip
def test_prepared_they_have_the_moments_and_fingerprints_of_the_resident(settings: Any) -> None:
    targets = torch.arange(20) % 2
    one, other = (
        prepare(Source(Examples(inputs, targets), ("a", "b")), seed=1, **settings) for inputs in (PIXELS, streamed())
    )
    assert torch.equal(one.mean, other.mean)
    assert torch.equal(one.scale, other.scale)
    assert one.fingerprints == other.fingerprints
    assert (one.streams, other.streams) == (False, True)
    for split in ("train", "val", "test"):
        held, read = getattr(one, split), getattr(other, split)
        assert torch.equal(held.inputs, read.inputs[:])
        assert torch.equal(held.targets, read.targets)


@pytest.mark.parametrize(
    "settings",
    [
        ("model=cnn", "model.width=2", "dataset.size=8", "dataset.shift=1", "dataset.flip=true", "dataset.mixup=0.3"),
        ("loss=distillation", "dataset.grey=true"),  # whose teacher looks at each split once
        ("loss=distillation", "dataset.cutmix=0.5"),  # and here at each batch
    ],
    ids=["augmented", "distilled", "distilled-mixed"],
)
def test_a_run_ends_in_the_same_bits_and_has_the_same_id(
    folder: Path, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    files = []
    for streaming in (True, False):
        results = tmp_path / str(streaming)
        data = ("dataset=image_folder", f"dataset.folder={folder}", f"dataset.streaming={str(streaming).lower()}")
        outcome = run.execute(compose(*data, *FAST, *settings, f"results_dir={results}"))
        assert outcome.status == "finished", outcome.message
        stored = tree(results)
        environment = read_json(Store(results).path(outcome.run_id) / "environment.json")
        assert environment.get("streamed", False) is streaming
        files.append({name: stored[name] for name in stored if name.endswith((".npz", ".safetensors", "metrics.json"))})
    assert len(files[0]) >= 3
    assert files[0] == files[1]


class StopAfterOneStep:
    """Saves a training after its first step, and ends it."""

    def __init__(self) -> None:
        self.state = State()

    def due(self) -> bool:
        return True

    def save(self, state: State) -> None:
        self.state = copy.deepcopy(state)
        raise KeyboardInterrupt


def test_a_training_that_stopped_in_an_epoch_goes_on_to_the_same_bits(folder: Path) -> None:
    settings = compose("dataset=image_folder", f"dataset.folder={folder}", "dataset.streaming=true", *FAST)

    def trained(**options: Any) -> Trained:
        return train(build(settings), epochs=2, batch_size=8, seed=0, **options)

    whole, stopped = trained(), StopAfterOneStep()
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoints=stopped)
    assert stopped.state.losses is not None
    rest = trained(state=stopped.state)
    assert whole.fingerprints == rest.fingerprints
    assert torch.equal(whole.test_logits, rest.test_logits)
    assert all(torch.equal(tensor, rest.weights[name]) for name, tensor in whole.weights.items())


def test_the_command_line_says_why_and_everything_after_it_works(
    lossbench: Lossbench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ("dataset=image_folder", f"dataset.folder={folder}")
    # 30 images of 3·6·5 = 90 bytes are 2,700, more than an eighth of 20,000.
    monkeypatch.setattr("lossbench.data.streaming.free_memory", lambda: 20_000)
    answer = lossbench("train", *data, *FAST, "seed=0,1")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("30 images of 3×6×5 bytes are read as they are needed: they would take 0.0 GiB") == 1
    assert lossbench("evaluate", "--corruptions").returncode == 0
    assert lossbench("evaluate", "--pictures").returncode == 0
    assert lossbench("verify").returncode == 0
    # The same runs, held in memory: finished already.
    held = lossbench("train", *data, *FAST, "seed=0,1", "dataset.streaming=false")
    assert held.stderr.count("skipped") == 2


def test_they_are_not_stacked_and_it_says_so(lossbench: Lossbench, folder: Path) -> None:
    data = ("dataset=image_folder", f"dataset.folder={folder}", "dataset.streaming=true")
    answer = lossbench("train", *data, *FAST, "seed=range(4)", "hydra/launcher=stacked")
    assert answer.returncode == 0, answer.stderr
    assert "one after another, 4 runs: images that are read as they are needed are not stacked" in answer.stderr


def test_an_image_that_is_none_stops_a_streamed_run_before_it_begins(lossbench: Lossbench, folder: Path) -> None:
    (folder / "train/light/19.png").write_text("no image")
    answer = lossbench("train", "dataset=image_folder", f"dataset.folder={folder}", "dataset.streaming=true", *FAST)
    assert answer.returncode == 2
    assert "light/19.png cannot be read as an image" in answer.stderr
    assert not (folder.parent / "results").exists()


def test_an_image_that_goes_while_a_run_trains_is_named_and_the_run_fails(folder: Path, tmp_path: Path) -> None:
    class Unlinking(Silent):
        def epoch(self, row: Mapping[str, float], epochs: int) -> None:
            (folder / "train/light/19.png").unlink()

    data = ("dataset=image_folder", f"dataset.folder={folder}", "dataset.streaming=true")
    outcome = run.execute(compose(*data, *FAST, f"results_dir={tmp_path / 'results'}"), display=Unlinking())
    assert outcome.status == "failed"
    assert "light/19.png cannot be read as an image" in outcome.message


def test_a_folder_cannot_run_postscript(folder: Path) -> None:
    (folder / "train/light/19.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n%%EOF\n")
    with pytest.raises(DataError, match=r"light/19\.png cannot be read as an image"):
        image_folder(folder=str(folder))


@pytest.mark.slow
def test_streamed_a_training_takes_less_memory_than_held_by_more_than_the_images(tmp_path: Path) -> None:
    # Held are the source and its splits, 2 · 94 MiB; streamed, three batches. The script compares the logits itself.
    script = Path(__file__).parents[2] / "scripts/bench/streaming.py"
    size = ("--images", "8000", "--rounds", "1", "--model", "linear", "--folder", str(tmp_path))
    printed = subprocess.run([sys.executable, script, *size], check=True, capture_output=True, text=True).stdout
    _, _few, held, streamed, *_ = (cell.strip() for cell in printed.splitlines()[-1].strip("|").split("|"))
    assert int(held) - int(streamed) > 8000 * 64 * 64 * 3 / 2**20
