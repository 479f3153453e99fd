"""What is kept of a stored model for figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support import Lossbench, compose
from torch import nn

from lossbench import pictures, run
from lossbench.errors import ConfigError, StoreError
from lossbench.evaluation import measure_again
from lossbench.metrics import class_tightness
from lossbench.store import Store
from lossbench.stored_model import load
from lossbench.training import forward
from lossbench.verification import verify_run

QUICK = ("epochs=1", "device=cpu", "device.threads=1")
MLP = ("model=mlp", "model.hidden=[8]")
MASKS = ("dataset=shapes", "dataset.n_train=60", "dataset.n_test=20", "model=unet", "model.width=4", "loss=dice")


def trained(folder: Path, *overrides: str) -> tuple[Store, str]:
    outcome = run.execute(compose(*QUICK, *overrides, f"results_dir={folder}"))
    assert outcome.status == "finished", outcome.message
    return Store(folder), outcome.run_id


@pytest.mark.parametrize("model", [MLP, ("model=cnn", "model.width=4"), ("model=linear",)], ids=lambda model: model[0])
def test_features_times_templates_are_the_stored_logits(tmp_path: Path, model: tuple[str, ...]) -> None:
    store, name = trained(tmp_path, *model, "dataset.shift=1")
    assert pictures.keep_all(store, [name]) == {}
    kept, predictions = store.arrays(name, "features"), store.predictions(name)
    assert len(kept["test_features"]) == len(predictions["test_targets"]) <= pictures.MAX_FEATURES
    np.testing.assert_array_equal(kept["test_targets"], predictions["test_targets"])
    # z = W f + b: what is left after W f is the same b for every example.
    stored = load(store, name)
    train = forward(stored.model, stored.dataset.train.inputs, stored.device).numpy()  # as they are, not moved
    for split, logits in (("test", predictions["test_logits"]), ("train", train)):
        bias = logits - kept[f"{split}_features"] @ kept["templates"].T
        np.testing.assert_allclose(bias, np.broadcast_to(bias[0], bias.shape), atol=1e-4)
    np.testing.assert_array_equal(kept["train_targets"], stored.dataset.train.targets)


def test_more_features_than_a_figure_needs_are_evenly_spaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, name = trained(tmp_path, *MLP)
    monkeypatch.setattr(pictures, "MAX_FEATURES", 3)
    targets = store.predictions(name)["test_targets"]
    pictures.keep_all(store, [name])
    last = len(targets) - 1
    kept = store.arrays(name, "features")
    np.testing.assert_array_equal(kept["test_targets"], targets[[0, round(last / 2), last]])
    targets = load(store, name).dataset.train.targets.numpy()
    last = len(targets) - 1
    np.testing.assert_array_equal(kept["train_targets"], targets[[0, round(last / 2), last]])


def test_class_tightness_stands_beside_the_metrics_and_stays_there(tmp_path: Path) -> None:
    store, name = trained(tmp_path, *MLP)
    before = store.metrics(name)
    assert pictures.keep_all(store, [name]) == {}
    kept, after = store.arrays(name, "features"), store.metrics(name)
    on_test, on_train = (class_tightness(kept[f"{of}_features"], kept[f"{of}_targets"]) for of in ("test", "train"))
    assert after == {**before, "beside": {"class_tightness": on_test, "train_class_tightness": on_train}}
    assert 0 < on_test < 1
    assert on_train != on_test
    assert verify_run(store, name).damaged == []
    frame, _ = store.frame(["test"], ["raw"])
    assert frame[["class_tightness", "train_class_tightness"]].values.tolist() == [[on_test, on_train]]
    change = measure_again(store, name, {"n_bins": 5})
    store.save_metrics(name, change.content, of=change.version)
    assert store.metrics(name)["beside"] == after["beside"]
    # Another training has other features: of it nothing is kept.
    run.execute(store.config(name), force=True)
    assert store.metrics(name)["beside"] == {}


def test_metrics_that_are_damaged_are_made_again_with_the_class_tightness(tmp_path: Path) -> None:
    store, name = trained(tmp_path, *MLP)
    pictures.keep_all(store, [name])
    path, right = store.path(name) / "metrics.json", store.metrics(name)
    for damage in (path.read_text()[:-9], path.read_text().replace('"class_tightness": 0.', '"class_tightness": 0.9')):
        path.write_text(damage)
        # What is damaged is given no new checksum.
        assert path.name in pictures.keep_all(store, [name])[name]
        assert path.read_text() == damage
        change = measure_again(store, name, {})
        store.save_metrics(name, change.content, of=change.version)
        assert store.metrics(name) == right


def test_features_that_lack_something_are_named_where_metrics_are_made_again(tmp_path: Path) -> None:
    store, name = trained(tmp_path, *MLP)
    store.save_arrays(name, "features", {"test_features": np.ones((2, 2))})
    (store.path(name) / "metrics.json").unlink()
    with pytest.raises(
        StoreError, match=r"features\.npz is damaged: .*test_targets.*; remove it, and lossbench evaluate"
    ):
        measure_again(store, name, {})


def test_an_example_whose_features_are_all_zeros_has_no_angle_and_its_split_no_tightness(tmp_path: Path) -> None:
    store, name = trained(tmp_path, *MLP)
    weights = store.weights(name)
    layers = [key for key, tensor in weights.items() if tensor.shape == (8, 64)]
    (first,) = layers
    weights[first].zero_()
    weights[first.replace("weight", "bias")].fill_(-1)  # a hidden layer that lets nothing pass
    save_file(weights, store.path(name) / "model.safetensors")
    (store.path(name) / "checksums.json").unlink()
    assert pictures.keep_all(store, [name]) == {}
    assert store.metrics(name)["beside"] == {"class_tightness": None, "train_class_tightness": None}
    assert not store.arrays(name, "features")["test_features"].any()


def test_a_report_names_the_command_that_keeps_class_tightness(tmp_path: Path, lossbench: Lossbench) -> None:
    trained(tmp_path / "results", *MLP)
    asked = ("report", "--metrics", "class_tightness,train_class_tightness", "--calibration", "raw")
    words = " ".join(lossbench(*asked).stdout.split())
    assert "– –" in words
    assert "class tightness: no value in 1 of 1 run" in words
    assert "left out of the mean; lossbench evaluate --pictures keeps it." in words
    assert lossbench("evaluate", "--pictures").returncode == 0
    words = " ".join(lossbench(*asked).stdout.split())
    assert "no value" not in words
    assert "train class tightness: the same as class_tightness on the training split, without augmentation." in words


def test_masks_are_kept_with_what_the_model_says_of_every_pixel(tmp_path: Path) -> None:
    store, name = trained(tmp_path, *MASKS)
    assert pictures.keep_all(store, [name]) == {}
    kept, test = store.arrays(name, "examples"), load(store, name).dataset.test
    assert {key: kept[key].dtype.name for key in kept} == {
        "images": "uint8",
        "targets": "int64",
        "predicted": "int64",
        "confidence": "float32",
    }
    assert len(kept["images"]) == min(pictures.MAX_IMAGES, len(test))
    for image, targets in zip(kept["images"], kept["targets"], strict=True):  # each an image of test with its own mask
        same = [i for i in range(len(test)) if np.array_equal(test.inputs[i].permute(1, 2, 0), image)]
        assert any(np.array_equal(test.targets[i], targets) for i in same)
    num_classes = store.predictions(name)["test_logits"].shape[1]
    assert ((1 / num_classes <= kept["confidence"]) & (kept["confidence"] <= 1)).all()
    # A mask that was turned, or another image's, would not be what the model says of the first image.
    (first,) = [i for i in range(len(test)) if np.array_equal(test.inputs[i].permute(1, 2, 0), kept["images"][0])]
    with torch.no_grad():
        predicted = load(store, name).model(test.inputs[first : first + 1]).argmax(1)[0]
    np.testing.assert_array_equal(kept["predicted"][0], predicted)


def test_a_model_that_does_not_end_in_a_linear_layer_has_no_features_to_keep(tmp_path: Path) -> None:
    store, name = trained(tmp_path, *MLP)
    stored = load(store, name)
    stored.model.network = nn.Sequential(stored.model.network, nn.Tanh())  # type: ignore[assignment, arg-type]
    with pytest.raises(ConfigError, match="model=mlp does not end in a linear layer"):
        pictures.features(stored)
    stored.model.network = nn.Flatten()
    with pytest.raises(ConfigError, match="model=mlp does not end in a linear layer"):
        pictures.features(stored)


def test_one_command_keeps_them_and_says_which_runs_it_could_not_look_at(tmp_path: Path, lossbench: Lossbench) -> None:
    store, good = trained(tmp_path / "results", *MLP)
    _, bad = trained(tmp_path / "results", *MLP, "seed=1")
    before = store.path(good).stat().st_mtime_ns
    (store.path(bad) / "model.safetensors").unlink()
    answer = lossbench("evaluate", "--pictures")
    assert answer.returncode == 1
    assert answer.stdout.startswith("kept with 1 of 2 runs")
    assert bad in answer.stderr
    assert "model.safetensors is missing" in answer.stderr
    assert store.path(good).stat().st_mtime_ns == before  # it was not trained again
    assert lossbench("evaluate", "--pictures", "--n-bins", "3").returncode == 2


def test_the_names_of_the_classes_are_kept_with_a_run(tmp_path: Path) -> None:
    store, name = trained(tmp_path, *MLP)
    assert store.environment(name)["class_names"] == [str(digit) for digit in range(10)]
