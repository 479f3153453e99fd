"""From stored predictions to the rows of figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lossbench.errors import ConfigError, RequestError
from lossbench.report import pictures, series
from lossbench.report.series import Series
from lossbench.store import Store

# Four examples of two classes. Confidence of the first class 0.8, 0.8, 0.8 and 0.6; the second and the last are wrong.
PROBS = np.array([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])
TARGETS = np.array([0, 1, 0, 1])


@pytest.fixture
def of_a_file(tmp_path: Path) -> Series:
    np.savez(tmp_path / "mine.npz", logits=np.log(PROBS), targets=TARGETS)
    (found,) = series.series_of_files([tmp_path / "mine.npz"], Store(tmp_path), "test", ["raw"])
    return found


def test_reliability_is_of_bins_and_their_error(of_a_file: Series) -> None:
    """Of 15 bins, 0.6 and 0.8 lie in different ones; ECE 3/4·|2/3 − 0.8| + 1/4·|0 − 0.6|."""
    low, high = series.reliability_bins([of_a_file])
    assert (low["series"], low["n"], low["accuracy"]) == ("mine", 1, 0)
    assert (high["n"], high["accuracy"]) == (3, pytest.approx(2 / 3))
    assert high["confidence"] == pytest.approx(0.8)
    assert high["ece"] == low["ece"] == pytest.approx(0.75 * (0.8 - 2 / 3) + 0.25 * 0.6)


def test_seeds_are_pooled_and_their_errors_averaged(tmp_path: Path, of_a_file: Series) -> None:
    """The other seed is right everywhere at 0.8: eight examples in all, its ECE 0.2."""
    np.savez(tmp_path / "other.npz", logits=np.log(np.tile([0.8, 0.2], (4, 1))), targets=np.zeros(4, dtype=np.int64))
    both = Series("both", "raw", "test", (*of_a_file.sources, tmp_path / "other.npz"), of_a_file.store)
    low, high = series.reliability_bins([both])
    assert (low["n"], high["n"]) == (1, 7)
    assert high["accuracy"] == pytest.approx(6 / 7)
    assert high["ece"] == pytest.approx((0.25 + 0.2) / 2)


def test_right_and_wrong_predictions_have_histograms_of_their_own(of_a_file: Series) -> None:
    rows = series.confidence_bins([of_a_file])
    assert [(row["outcome"], row["share"]) for row in rows] == [("right", 1.0), ("wrong", 0.5), ("wrong", 0.5)]
    assert rows[0]["mean"] == pytest.approx(0.8)
    assert rows[1]["mean"] == pytest.approx(0.7)


def test_a_matrix_has_shares_of_each_class(of_a_file: Series) -> None:
    """Both of the first class are known, both of the second taken for the first."""
    cells = {(row["target"], row["predicted"]): row["share"] for row in series.confusion_cells([of_a_file])}
    assert cells == {("0", "0"): 1.0, ("0", "1"): 0.0, ("1", "0"): 1.0, ("1", "1"): 0.0}


def test_a_class_without_examples_has_no_shares(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=np.log(PROBS), targets=np.zeros(4, dtype=np.int64))
    found = series.series_of_files([tmp_path / "a.npz"], Store(tmp_path), "test", ["raw"])
    assert [row["share"] for row in series.confusion_cells(found)][2:] == [None, None]


def test_risk_ends_at_the_share_of_errors(of_a_file: Series) -> None:
    rows = series.risk_points([of_a_file])
    assert rows[-1] == {"series": "mine", "coverage": 1.0, "mean": 0.5, "low": None, "high": None}
    assert len(rows) == 100


def kept(tmp_path: Path, name: str, **arrays: np.ndarray) -> Series:
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.json").write_text('{"class_names": ["cat", "dog", "owl"]}')
    np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    return Series("one", "raw", "test", ("one",), Store(tmp_path))


def test_features_are_projected_onto_the_plane_of_three_templates(tmp_path: Path) -> None:
    """Templates at the unit points: a feature's part across their plane, along (1, 1, 1), is not seen.

    In the plane two templates are √2 apart, and so are their projections.
    """
    templates = np.eye(3)
    features = np.concatenate([templates, templates + 5])
    one = kept(tmp_path, "features", test_features=features, test_targets=np.array([0, 1, 2] * 2), templates=templates)
    rows, _ = pictures.projections([one])
    places = {(row["label"], round(row["x"], 9) + 0.0, round(row["y"], 9) + 0.0) for row in rows}
    assert len(rows) == 6
    assert len(places) == 3
    by_label = {label: np.array([x, y]) for label, x, y in places}
    assert np.linalg.norm(by_label["cat"] - by_label["dog"]) == pytest.approx(2**0.5)
    assert np.linalg.norm(by_label["owl"] - by_label["dog"]) == pytest.approx(2**0.5)
    rows, _ = pictures.projections([one], ["owl", "0", "dog"])
    assert {row["label"] for row in rows} == {"cat", "dog", "owl"}
    for wrong in (["cat", "dog"], ["cat", "dog", "cow"], ["cat", "0", "dog"]):
        with pytest.raises(ConfigError, match="must be three of cat, dog, owl, or their numbers from 0"):
            pictures.projections([one], wrong)


def test_features_of_either_split_are_drawn_with_the_tightness_of_both(tmp_path: Path) -> None:
    """Three classes along three axes are as tight as can be; where two classes swap an example they are not.

    On train class 0 has the directions 1 and 2, class 1 both as well, class 2 direction 3. Within: ½, ½ and 0, 1/3 on
    average. The means of the classes are (½, ½, 0) twice and (0, 0, 1), and theirs (1/3, 1/3, 1/3), of squared length
    1/3: 2/3 overall. R² = 1 - (1/3) / (2/3).
    """
    arrays = {
        "templates": np.eye(3),
        "test_features": 2 * np.eye(3),
        "test_targets": np.arange(3),
        "train_features": np.eye(3)[[0, 1, 0, 1, 2]],
        "train_targets": np.array([0, 0, 1, 1, 2]),
    }
    one = kept(tmp_path, "features", **arrays)
    expected = [{"class_tightness": pytest.approx(1), "train_class_tightness": pytest.approx(0.5)}]
    for split, count in (("test", 3), ("train", 5)):
        rows, tightness = pictures.projections([one], split=split)
        assert (len(rows), tightness) == (count, expected)


def test_features_kept_without_the_training_split_name_the_command_that_keeps_it(tmp_path: Path) -> None:
    arrays = {"templates": np.eye(3), "test_features": np.eye(3), "test_targets": np.arange(3)}
    one = kept(tmp_path, "features", **arrays)
    assert pictures.projections([one])[1] == [{"class_tightness": pytest.approx(1)}]
    command = f"lossbench evaluate --pictures one --results-dir {tmp_path}"
    message = f"one has no features of train to draw; {command} makes them"
    with pytest.raises(RequestError, match=message):
        pictures.projections([one], split="train")
    with pytest.raises(RequestError, match="2 of 2 rows have no features of train to draw; the command makes them"):
        pictures.projections([one, one], split="train", keep="the command")


def test_no_example_of_the_classes_is_said(tmp_path: Path) -> None:
    one = kept(tmp_path, "features", test_features=np.eye(3), test_targets=np.full(3, 7), templates=np.eye(3))
    with pytest.raises(RequestError, match="none of the examples"):
        pictures.projections([one])


def examples(seed: int = 0, dtype: type = np.uint8) -> dict[str, np.ndarray]:
    image = np.random.default_rng(seed).integers(0, 255, (2, 4, 6, 3))
    masks = np.zeros((2, 4, 6), dtype=np.int64)
    masks[0, 0, 0] = -100
    return {
        "images": image.astype(dtype),
        "targets": masks,
        "predicted": np.ones_like(masks),
        "confidence": masks * 0.5,
    }


def test_pictures_of_one_series_have_its_confidence_and_of_several_their_predictions(tmp_path: Path) -> None:
    one = kept(tmp_path, "examples", **examples())
    rows, classes, aspect = pictures.grid([one])
    assert [row["column"] for row in rows[::2]] == ["image", "truth", "prediction", "confidence"]
    assert all(row["url"].startswith("data:image/png;base64,") for row in rows)
    assert ([row["label"] for row in classes], aspect) == (["cat", "dog", "owl"], 4 / 6)
    other = Series("other", "raw", "test", ("one",), one.store)
    rows, _, _ = pictures.grid([one, other])
    assert [row["column"] for row in rows[::2]] == ["image", "truth", "one", "other"]


def test_pixels_without_a_label_are_white_and_classes_have_their_colours() -> None:
    """#0072B2 is the first colour."""
    mask = pictures._mask(np.array([[-100, 0]]))
    assert mask.tolist() == [[[255, 255, 255], [0, 114, 178]]]


def test_images_of_other_numbers_and_channels_are_stretched_to_grey() -> None:
    """-1 is the least and 1 the most of two pixels with one channel."""
    assert pictures._picture(np.array([[[-1.0], [1.0]]])).tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_runs_of_different_images_are_not_laid_side_by_side(tmp_path: Path) -> None:
    one = kept(tmp_path / "a", "examples", **examples())
    other = kept(tmp_path / "b", "examples", **examples(1))
    with pytest.raises(RequestError, match="of different images"):
        pictures.grid([one, other])


@pytest.mark.parametrize(("environment", "name"), [("{}", "features"), ('{"pixels": {}}', "examples")])
def test_a_run_without_pictures_says_how_to_keep_them(tmp_path: Path, environment: str, name: str) -> None:
    one = kept(tmp_path, "predictions", test_logits=np.zeros((6, 3)), test_targets=np.zeros(6))  # pixels are flat
    (one.store.path("one") / "environment.json").write_text(environment)
    draw = pictures.projections if name == "features" else pictures.grid
    with pytest.raises(RequestError, match=f"one has no {name} to draw; lossbench evaluate --pictures one --res"):
        draw([one])
    with pytest.raises(RequestError, match=f"2 of 2 rows have no {name} to draw; the command makes them"):
        draw([one, one], keep="the command")


def test_masks_have_no_features_and_classes_no_panels(tmp_path: Path) -> None:
    masks = kept(tmp_path / "a", "examples", **examples())
    classes = kept(tmp_path / "b", "features", test_features=np.eye(3), test_targets=np.arange(3), templates=np.eye(3))
    for one, name in ((masks, "shapes"), (classes, "digits")):
        (one.store.path("one") / "config.yaml").write_text(f"dataset: {{name: {name}}}")
    with pytest.raises(
        RequestError, match="features are of classes, and shapes has masks, which lossbench plot panels"
    ):
        pictures.projections([masks])
    with pytest.raises(RequestError, match="panels are of masks, and digits has none; lossbench plot features"):
        pictures.grid([classes])
