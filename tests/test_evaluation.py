"""What is measured of predictions, and what measuring a finished run again changes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from support import compose, read_json

from lossbench import evaluation, metrics, run
from lossbench.calibration import CALIBRATIONS
from lossbench.errors import ConfigError, DataError, StoreError
from lossbench.evaluation import measure, measure_again
from lossbench.store import Store

MARGIN = np.array([[2 * math.log(3), 0.0]] * 4)


def drawn(num_examples: int = 300, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    predictions = {}
    for split in ("val", "test"):
        logits = 2 * rng.normal(size=(num_examples, 3))
        predictions[f"{split}_logits"] = logits
        predictions[f"{split}_targets"] = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return predictions


def trained(tmp_path: Path, *overrides: str) -> tuple[Store, str]:
    config = compose(
        "dataset=wine", "model=linear", "epochs=2", "device=cpu", f"results_dir={tmp_path / 'results'}", *overrides
    )
    return Store(tmp_path / "results"), run.execute(config).run_id


def test_the_temperature_is_fitted_on_validation_alone() -> None:
    # Three of four right at a margin of 2 log 3: the best T makes the confidence 3/4, so 2 log 3 / T = log 3.
    val, test = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])  # on test a smaller T would be better and better
    predictions = {"val_logits": MARGIN, "val_targets": val, "test_logits": MARGIN, "test_targets": test}
    measured = measure(predictions, {"name": "softmax"})
    assert measured["temperature"] == pytest.approx(2.0, rel=1e-4)
    assert measured["test"]["temperature_scaled"]["mean_confidence"] == pytest.approx(0.75, abs=1e-4)
    assert measured["test"]["raw"]["mean_confidence"] == pytest.approx(0.9)


def test_what_was_trained_through_a_sigmoid_is_measured_through_it() -> None:
    # σ(log 3) = 3/4 and σ(0) = 1/2, together 5/4: confidence 3/5. Softmax would say 3/4.
    predictions = {"test_logits": np.array([[math.log(3), 0.0]]), "test_targets": np.array([0])}
    measured = measure(predictions, {"name": "sigmoid"})
    assert measured["test"]["raw"]["mean_confidence"] == pytest.approx(0.6)


def test_both_splits_have_every_metric_under_every_calibration() -> None:
    measured = measure(drawn(), {"name": "softmax"})
    for split in ("val", "test"):
        assert list(measured[split]) == list(CALIBRATIONS)
        assert all(set(values) == set(metrics.ALL) for values in measured[split].values())


def test_no_calibration_of_validation_shows_on_test_without_validation() -> None:
    test_alone = {name: array for name, array in drawn().items() if name.startswith("test")}
    measured = measure(test_alone, {"name": "softmax"}, names=["nll"])
    assert measured["test"] == {"raw": {"nll": metrics.nll(test_alone["test_logits"], test_alone["test_targets"])}}
    assert not {"val", "temperature"} & set(measured)


def test_calibrations_change_with_the_validation_split_and_never_with_the_test_split() -> None:
    one, other = drawn(seed=0), drawn(seed=1)
    mixed = {**one, "test_targets": other["test_targets"]}
    pair = [measure(predictions, {"name": "softmax"}, names=["mean_confidence"]) for predictions in (one, mixed)]
    assert pair[0]["test"] == pair[1]["test"]  # confidence does not depend on targets, unless a fit has seen them
    refitted = measure({**one, "val_targets": other["val_targets"]}, {"name": "softmax"}, names=["mean_confidence"])
    for name in CALIBRATIONS[1:]:
        assert refitted["test"][name] != pair[0]["test"][name]


def test_options_reach_the_metrics_and_are_recorded() -> None:
    predictions = drawn()
    measured = measure(predictions, {"name": "softmax"}, {"n_bins": 3})
    assert measured["options"] == {"n_bins": 3, "threshold": 0.9}
    assert measured["test"]["raw"]["ece"] == metrics.ece(
        predictions["test_logits"], predictions["test_targets"], n_bins=3
    )


def test_the_defaults_of_the_config_are_those_of_the_metrics() -> None:
    assert compose()["metrics"] == metrics.OPTIONS


def test_a_run_measured_again_changes_in_nothing(tmp_path: Path) -> None:
    change = measure_again(*trained(tmp_path), {})
    assert not change


def test_other_options_move_what_declares_them_and_nothing_else(tmp_path: Path) -> None:
    store, name = trained(tmp_path)
    change = measure_again(store, name, {"n_bins": 2})
    assert change.options == {"n_bins": (15, 2)}
    assert {moved.split()[2] for moved in change.moved} <= {
        name for name, metric in metrics.ALL.items() if "n_bins" in metrics.parameters(metric)
    }
    before, after = change.moved["test raw mce"]
    assert before == store.metrics(name)["test"]["raw"]["mce"]
    assert after == change.content["test"]["raw"]["mce"]


def test_measuring_again_keeps_the_options_of_the_last_time(tmp_path: Path) -> None:
    store, name = trained(tmp_path, "metrics.n_bins=4")
    assert not measure_again(store, name, {})
    store.save_metrics(name, measure_again(store, name, {"n_bins": 7}).content)
    assert measure_again(store, name, {}).content["options"]["n_bins"] == 7


def test_a_run_older_than_a_metric_and_the_calibrations_gets_them(tmp_path: Path) -> None:
    store, name = trained(tmp_path)
    old = store.metrics(name)
    kept = {key: value for key, value in old.items() if key != "options"}
    for split in ("val", "test"):
        kept[split] = {
            "raw": {"accuracy": old[split]["raw"]["accuracy"], "forgotten": 1.0},
            "temperature_scaled": {"accuracy": old[split]["raw"]["accuracy"]},
        }
    store.save_metrics(name, {**kept, "beside": {"teacher_ece": 0.1}})
    change = measure_again(store, name, {})
    assert not change.moved
    assert "test raw smooth_ece" in change.new
    assert "val isotonic nll" in change.new
    assert change.gone == ["test raw forgotten", "val raw forgotten"]
    store.save_metrics(name, change.content)
    assert store.metrics(name) == {**old, "beside": {"teacher_ece": 0.1}}


def test_new_metrics_are_written_whole_and_leave_the_runs_age(tmp_path: Path) -> None:
    store, name = trained(tmp_path)
    files = sorted(path.name for path in store.path(name).iterdir())
    age = store.path(name).stat().st_mtime_ns
    store.save_metrics(name, measure_again(store, name, {"n_bins": 2}).content)
    assert sorted(path.name for path in store.path(name).iterdir()) == files
    assert store.path(name).stat().st_mtime_ns == age
    assert read_json(store.path(name) / "metrics.json")["schema"] == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"link": None}, "does not say which link"),
        ({"link": {"name": "os"}}, "no link named 'os'; known: normalized"),
        ({"link": {"name": "softmax", "heat": 2}}, "softmax cannot be given"),
    ],
)
def test_damaged_metrics_are_named(tmp_path: Path, damage: dict[str, object], message: str) -> None:
    store, name = trained(tmp_path)
    store.save_metrics(name, {**store.metrics(name), **damage})
    with pytest.raises((StoreError, DataError), match=message):
        measure_again(store, name, {})


def test_runs_are_chosen_by_name_and_filter(tmp_path: Path) -> None:
    store, one = trained(tmp_path, "seed=0")
    _, other = trained(tmp_path, "seed=1")
    assert evaluation.select(store, [], []) == sorted([one, other])
    assert evaluation.select(store, [other[-8:], other], []) == [other]
    assert evaluation.select(store, [], ["seed=1"]) == [other]
    with pytest.raises(ConfigError, match="none of the runs named has seed=1"):
        evaluation.select(store, [one], ["seed=1"])
    with pytest.raises(StoreError, match="no finished runs"):
        evaluation.select(Store(tmp_path / "nowhere"), [], [])


@pytest.mark.parametrize("text", ["1:2", "1:2:3:4", "a:2:3", "1:2:x", "0:2:3", "1:inf:3", "-1:2:3", "1:2:0"])
def test_temperatures_that_are_no_range_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--temperatures must"):
        evaluation.temperatures(text)


def test_temperatures_are_evenly_spaced_in_their_logarithm() -> None:
    np.testing.assert_allclose(evaluation.temperatures("0.25:4:5"), [0.25, 0.5, 1, 2, 4])


def test_a_temperature_curve_marks_the_raw_the_fitted_and_the_optimal_point() -> None:
    predictions = drawn()
    curve = evaluation.curve("temperature", predictions, {"name": "softmax"}, temperatures=np.array([0.5, 2.0]))
    points = dict(zip(curve["point"].tolist(), curve["temperature"].tolist(), strict=True))
    assert points["raw"] == 1.0
    assert points["fitted"] == metrics.optimal_temperature(predictions["val_logits"], predictions["val_targets"])
    optimum = metrics.optimal_temperature(predictions["test_logits"], predictions["test_targets"])
    assert points["optimum"] == pytest.approx(optimum, rel=1e-9)
    assert len(curve["temperature"]) == 5
    assert curve["nll"].argmin() == curve["point"].tolist().index("optimum")


def test_a_curve_is_of_the_split_and_after_the_calibration_asked_for() -> None:
    predictions = drawn()
    measured = measure(predictions, {"name": "softmax"}, names=["ece", "accuracy"])
    for split in ("val", "test"):
        for name in CALIBRATIONS:
            curve = evaluation.curve("reliability", predictions, {"name": "softmax"}, split=split, calibrated=name)
            gap = (curve["n"] * np.abs(curve["accuracy"] - curve["confidence"])).sum() / 300
            assert gap == pytest.approx(measured[split][name]["ece"], rel=1e-9)
    risk = evaluation.curve("risk_coverage", predictions, {"name": "softmax"})["risk"]
    assert 1 - risk[-1] == pytest.approx(measured["test"]["raw"]["accuracy"])


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("temperature", {"equal_mass": True}, "--equal-mass is for reliability"),
        ("reliability", {"temperatures": np.ones(2)}, "--temperatures for temperature"),
        ("reliability", {"calibrated": "isotonc"}, "did you mean isotonic"),
        ("reliability", {"n_bins": 0}, r"n_bins must lie in \[1, 10000\]"),
    ],
)
def test_settings_that_a_curve_has_not_are_refused(kind: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluation.curve(kind, drawn(), {"name": "softmax"}, **settings)  # type: ignore[arg-type]


def test_a_curve_needs_the_validation_split_that_it_shows_or_is_fitted_on() -> None:
    test_alone = {name: array for name, array in drawn().items() if name.startswith("test")}
    for settings in ({"split": "val"}, {"calibrated": "isotonic"}):
        with pytest.raises(DataError, match="no validation part"):
            evaluation.curve("reliability", test_alone, {"name": "softmax"}, **settings)  # type: ignore[arg-type]
    assert len(evaluation.curve("temperature", test_alone, {"name": "softmax"})["nll"]) == 202  # 200, raw, optimum


def commit(store: Store, name: str, metrics_json: dict[str, object], predictions: dict[str, np.ndarray]) -> None:
    folder = store.path(name)
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics_json))
    np.savez(folder / "predictions.npz", **predictions)  # type: ignore[arg-type]


def test_reliability_is_that_of_the_curve_and_sums_to_the_ece() -> None:
    predictions = drawn()
    measured = measure(predictions, {"name": "softmax"}, {"n_bins": 7})
    assert list(measured["reliability"]) == ["val", "test"]
    for split, by_calibration in measured["reliability"].items():
        assert list(by_calibration) == list(CALIBRATIONS)
        for name, columns in by_calibration.items():
            curve = evaluation.curve(
                "reliability", predictions, {"name": "softmax"}, split=split, calibrated=name, n_bins=7
            )
            assert columns == {column: numbers.tolist() for column, numbers in curve.items()}
            gaps = [
                n * abs(a - c) for n, a, c in zip(*(columns[k] for k in ("n", "accuracy", "confidence")), strict=True)
            ]
            assert sum(gaps) / 300 == pytest.approx(measured[split][name]["ece"], rel=1e-9)
    assert "reliability" not in measure(predictions, {"name": "softmax"}, names=["ece"])


@pytest.mark.parametrize("split", ["val", "test"])
def test_stored_reliability_is_that_which_an_older_run_is_measured_again_for(tmp_path: Path, split: str) -> None:
    store, predictions = Store(tmp_path), drawn()
    measured = measure(predictions, {"name": "softmax"}, {"n_bins": 5})
    commit(store, "new", measured, {})
    commit(store, "old", {key: value for key, value in measured.items() if key != "reliability"}, predictions)
    stored, again = (evaluation.reliability_of(store, name, split) for name in ("new", "old"))
    assert list(stored) == list(again) == list(CALIBRATIONS)
    for name in CALIBRATIONS:
        for column in ("lo", "hi", "n", "confidence", "accuracy"):
            np.testing.assert_array_equal(stored[name][column], again[name][column])


def test_reliability_fits_no_calibration_that_nobody_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, predictions = Store(tmp_path), drawn()
    measured = measure(predictions, {"name": "softmax"})
    old = {key: value for key, value in measured.items() if key != "reliability"}
    commit(store, "old", old, predictions)
    commit(store, "new", measured, {})
    monkeypatch.setattr(evaluation.calibration, "FITS", {})
    for name in ("old", "new"):
        found = evaluation.reliability_of(store, name, names=["raw"])
        assert list(found) == ["raw"]
        assert found["raw"]["n"].tolist() == measured["reliability"]["test"]["raw"]["n"]
    with pytest.raises(KeyError):
        evaluation.reliability_of(store, "old", names=["isotonic"])


@pytest.mark.parametrize(
    "damage",
    [
        None,
        [],
        {"test": None},
        {"test": {"raw": [1]}},
        {"test": {"raw": {"lo": [0.0]}}},
        {"test": {"raw": {"lo": [0.0], "hi": [1.0], "n": [3], "confidence": [0.5], "accuracy": []}}},
        {"test": {"raw": {"lo": [0.0], "hi": [1.0], "n": [3], "confidence": ["x"], "accuracy": [0.5]}}},
        {"test": {"raw": {"lo": [0.0], "hi": [1.0], "n": [3], "confidence": [None], "accuracy": [0.5]}}},
        {"test": {"raw": {"lo": [0.0], "hi": [1.0], "n": [3], "confidence": [math.nan], "accuracy": [0.5]}}},
        {"test": {"raw": {"lo": [0.0], "hi": [1.0], "n": [10**400], "confidence": [0.5], "accuracy": [0.5]}}},
    ],
)
def test_damaged_reliability_is_not_believed(tmp_path: Path, damage: object) -> None:
    store, predictions = Store(tmp_path), drawn()
    measured = measure(predictions, {"name": "softmax"})
    commit(store, "run", {**measured, "reliability": damage}, predictions)
    assert evaluation.reliability_of(store, "run")["raw"]["n"].tolist() == measured["reliability"]["test"]["raw"]["n"]
    assert evaluation.measure_again(store, "run", {}).new == ["reliability"]


def test_reliability_of_a_run_that_has_no_validation_is_raw_and_says_what_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    test_alone = {name: array for name, array in drawn().items() if name.startswith("test")}
    commit(store, "run", {"link": {"name": "softmax"}}, test_alone)
    assert list(evaluation.reliability_of(store, "run")) == ["raw"]
    with pytest.raises(DataError, match="run has no predictions on val"):
        evaluation.reliability_of(store, "run", "val")
    commit(store, "odd", {"link": {"name": "softmax"}, "options": {"n_bins": 0}}, test_alone)
    with pytest.raises(StoreError, match="is damaged: its options"):
        evaluation.reliability_of(store, "odd")


def test_reliability_of_masks_is_over_the_pixels_that_are_labelled() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(3, size=(4, 5, 6))
    targets[:, 0] = -100  # of 4·5·6 pixels 4·6 are not labelled
    predictions = {}
    for split in ("val", "test"):
        predictions |= {f"{split}_logits": rng.normal(size=(4, 3, 5, 6)), f"{split}_targets": targets}
    bins = measure(predictions, {"name": "softmax"})["reliability"]["test"]["raw"]
    assert sum(bins["n"]) == 4 * 5 * 6 - 4 * 6
