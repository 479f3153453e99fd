"""Numbers beside the metrics: groups of classes by their training examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import Lossbench, compose

from lossbench import beside, evaluation, run
from lossbench.build import build_dataset
from lossbench.checksums import check
from lossbench.errors import StoreError
from lossbench.store import Store

TAIL = ("dataset.imbalance_factor=100", "model=linear", "epochs=1", "device=cpu", "device.threads=1")
SHOTS = ("many_shot_accuracy", "medium_shot_accuracy", "few_shot_accuracy")


def trained(folder: Path, *overrides: str) -> tuple[Store, str]:
    outcome = run.execute(compose(*TAIL, *overrides, f"results_dir={folder}"))
    assert outcome.status == "finished", outcome.message
    return Store(folder), outcome.run_id


def predicting(classes: list[int], num_classes: int) -> np.ndarray:
    return np.eye(num_classes, dtype=np.float32)[classes]


def test_classes_are_grouped_at_more_than_100_and_fewer_than_20_training_examples() -> None:
    # Classes 0 to 5 have 101, 100, 20, 19, 1 and 0 training examples, and one test example each; 0, 2 and 4 are right.
    logits = predicting([0, 0, 2, 2, 4, 4], 6)
    shots = beside.by_shots(logits, np.arange(6), [101, 100, 20, 19, 1, 0])
    assert shots == {"many_shot_accuracy": 1.0, "medium_shot_accuracy": 0.5, "few_shot_accuracy": 0.5}


def test_each_class_of_a_group_counts_alike() -> None:
    # Two classes of the head: of the first all three test examples are right, of the second none of one. 3 of 4
    # examples are right; the mean of 1 and 0 is ½.
    targets = np.array([0, 0, 0, 1])
    assert beside.by_shots(predicting([0, 0, 0, 0], 2), targets, [500, 300]) == {"many_shot_accuracy": 0.5}


def test_a_group_that_no_test_example_is_of_has_no_number() -> None:
    assert beside.by_shots(predicting([1], 3), np.array([1]), [200, 50, 3]) == {"medium_shot_accuracy": 1.0}


def test_a_long_tailed_run_keeps_the_accuracy_of_its_head_and_of_its_tail(tmp_path: Path) -> None:
    # The largest class of digits leaves 131 of 183 examples to train on, so that class c keeps ⌊131 · 100^(-c/9)⌋:
    # 131, of which class 0 has 128, 78, 47, 28, 16, 10, 6, 3, 2, 1. The head is one class, the middle three.
    store, name = trained(tmp_path)
    counts = build_dataset(store.config(name)).class_counts.tolist()
    assert counts == [128, 78, 47, 28, 16, 10, 6, 3, 2, 1]
    kept, predictions = store.metrics(name)["beside"], store.predictions(name)
    right, targets = predictions["test_logits"].argmax(1) == predictions["test_targets"], predictions["test_targets"]
    recalls = [right[targets == k].mean() for k in range(10)]
    groups = recalls[:1], recalls[1:4], recalls[4:]
    assert kept == {shot: pytest.approx(np.mean(group)) for shot, group in zip(SHOTS, groups, strict=True)}


def test_examples_are_counted_by_the_labels_that_were_trained_on(tmp_path: Path) -> None:
    # Every label is replaced by another one: what was the head of 128 is spread over the nine others.
    store, name = trained(tmp_path, "dataset.label_noise=1")
    counts = build_dataset(store.config(name)).class_counts
    assert counts[0] < 100
    assert "many_shot_accuracy" not in store.metrics(name)["beside"]


def test_a_run_without_a_long_tail_has_none_of_the_numbers(tmp_path: Path) -> None:
    store, name = trained(tmp_path, "dataset.imbalance_factor=1")
    assert store.metrics(name)["beside"] == {}


def test_measuring_again_keeps_them_and_never_makes_metrics_again_without_them(tmp_path: Path) -> None:
    store, name = trained(tmp_path)
    kept = store.metrics(name)["beside"]
    change = evaluation.measure_again(store, name, {"n_bins": 5})
    store.save_metrics(name, change.content, of=change.version)
    assert store.metrics(name)["beside"] == kept
    path = store.path(name) / "metrics.json"
    check(path)
    for damage in ("{", path.read_text().replace('"many_shot', '"no_shot')):
        path.write_text(damage)
        with pytest.raises(StoreError, match="the predictions do not tell all that it held"):
            evaluation.measure_again(store, name, {})


def test_tightness_is_of_each_split_whose_features_were_kept() -> None:
    # On test two classes at a right angle, whatever the lengths: 1. On train class 0 has one example along each axis
    # and class 1 one along the first: within ½ and 0, overall 1 - |(¾, ¼)|² = ⅜; R² = 1 - ¼ / ⅜.
    test = {"test_features": np.array([[1.0, 0], [5, 0], [0, 2]]), "test_targets": np.array([0, 0, 1])}
    train = {"train_features": np.array([[1.0, 0], [0, 1], [1, 0]]), "train_targets": np.array([0, 0, 1])}
    both = beside.tightness({**test, **train})
    assert both == {"class_tightness": 1.0, "train_class_tightness": pytest.approx(1 / 3)}
    assert beside.tightness(test) == {"class_tightness": 1.0}


def test_a_report_shows_them_and_says_what_they_are(lossbench: Lossbench) -> None:
    assert lossbench("train", *TAIL, "loss=cross_entropy,balanced_softmax", "-q").returncode == 0
    report = lossbench("report", "--metrics", "accuracy,few_shot_accuracy", "--calibration", "raw")
    assert report.returncode == 0, report.stderr
    words = " ".join(report.stdout.split())
    assert "few shot accuracy: the mean recall on test of classes with 1 to 19 training examples" in words
    assert "few_shot_accuracy" in lossbench("show").stdout
