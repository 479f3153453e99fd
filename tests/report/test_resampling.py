"""Rows of one seed: a bootstrap over the stored predictions."""

import json
import shutil

import numpy as np
import pytest

from lossbench import links, metrics
from lossbench.report import render, resampling, tabulate
from lossbench.report.resampling import per_example
from lossbench.store import Store


@pytest.fixture
def store(tmp_path):
    """One run of 400 examples, 300 of them right with p = 0.8 and 100 wrong: accuracy ¾, confidence gap 0.05."""
    logits = np.log(np.tile([[0.8, 0.2]], (400, 1)))
    targets = np.repeat([0, 1], [300, 100])
    for name in ("run-0", "run-1"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        np.savez(folder / "predictions.npz", test_logits=logits, test_targets=targets)
        (folder / "environment.json").write_text("{}")
        content = {"link": {"name": "softmax", "temperature": 1.0}, "temperature": 2.0}
        (folder / "metrics.json").write_text(json.dumps(content))
    return Store(tmp_path)


def test_what_is_resampled_is_what_the_metric_is_a_mean_of():
    generator = np.random.default_rng(0)
    log_probs, targets = links.softmax(generator.normal(size=(50, 4))), generator.integers(4, size=50)
    for name, values in per_example(log_probs, targets).items():
        assert values.mean() == pytest.approx(getattr(metrics, name)(log_probs, targets), rel=1e-12), name


def test_a_row_of_one_seed_has_the_interval_of_its_examples(run, frame, store):
    table = tabulate(frame(run(accuracy=0.75)), store=store)
    accuracy, nll, ece, gap, _ = table.rows[0].cells
    # ¾ ± 1.96·√(¾·¼/400) = ¾ ± 0.0424, in steps of 1/400; the gap is a constant less the accuracy.
    assert (accuracy.low, accuracy.high) == pytest.approx((0.7076, 0.7924), abs=0.005)
    assert (gap.low, gap.high) == pytest.approx((0.8 - accuracy.high, 0.8 - accuracy.low), abs=1e-9)
    # log p is log 0.8 or log 0.2: the nll is -log 0.8 + (1 - accuracy)·log 4.
    assert nll.low == pytest.approx(-np.log(0.8) + (1 - accuracy.high) * np.log(4), abs=1e-9)
    assert ece.low != ece.low  # a resample's is biased upwards
    assert (accuracy.resampled, ece.resampled) == (True, False)


def test_more_rows_of_one_seed_than_are_quickly_read_have_no_interval_and_that_is_said(run, frame, store, monkeypatch):
    runs = frame(run(), run("dice"))
    assert all(row.cells[0].resampled for row in tabulate(runs, store=store).rows)
    monkeypatch.setattr(resampling, "MOST_ROWS", 1)
    table = tabulate(runs, store=store)
    assert not any(row.cells[0].resampled for row in table.rows)
    assert "No bootstrap interval for 2 rows of one seed; up to 1 have one (--where)." in table.notes


def test_the_interval_is_marked_as_one_over_examples(run, frame, store):
    table = tabulate(frame(run(accuracy=0.75)), metrics=["accuracy", "ece"], calibrations=["raw"], store=store)
    assert (
        "One seed: ± half the 95 % bootstrap interval over examples (1,000 resamples, seed 0) of accuracy; "
        "it does not say what another training would give."
    ) in table.notes
    assert "| 0.7500 ± 0.0" in render(table, "markdown")
    cells = json.loads(render(table, "json"))["rows"][0]["metrics"]
    assert (cells["accuracy"]["raw"]["interval"], cells["ece"]["raw"]["interval"]) == ("bootstrap", None)
    assert tabulate(frame(run()), store=store, spread="sd").notes[0] == "One seed each: no spread to show."


def test_after_temperature_the_interval_is_that_of_the_scaled_probabilities(run, frame, store):
    raw, scaled = tabulate(frame(run()), metrics=["nll"], store=store).rows[0].cells
    # At T = 2 the odds of 4 become 2: p is 2/3 or 1/3, and the interval is log 2 / log 4 = half as wide.
    assert scaled.high - scaled.low == pytest.approx((raw.high - raw.low) / 2, rel=1e-9)
    assert scaled.low > raw.low


def test_rows_of_several_seeds_keep_the_interval_over_seeds(run, frame, store):
    table = tabulate(frame(run("a", 0, accuracy=0.7), run("a", 1, accuracy=0.8)), store=store)
    cell = table.rows[0].cells[0]
    assert not cell.resampled
    assert cell.high - cell.low > 1  # t with one degree of freedom


@pytest.mark.parametrize("broken", ["missing", "unreadable", "without the split", "without a link"])
def test_runs_without_readable_predictions_have_no_interval_and_are_named(run, frame, store, broken):
    folder = store.path("run-0")
    if broken == "missing":
        (folder / "predictions.npz").unlink()
    elif broken == "unreadable":
        (folder / "predictions.npz").write_bytes(b"PK no archive")
    elif broken == "without the split":
        np.savez(folder / "predictions.npz", val_logits=np.zeros((2, 2)))
    else:
        (folder / "metrics.json").write_text('{"link": {"name": "nothing"}, "temperature": 1}')
    table = tabulate(frame(run("a"), run("b")), metrics=["accuracy"], store=store)
    assert [row.cells[0].resampled for row in table.rows] == [False, True]
    assert "No interval for want of readable predictions: run-0." in table.notes


def test_pixels_are_no_independent_examples(run, frame, store):
    (store.path("run-0") / "environment.json").write_text('{"pixels": {"test": {"stored": 400}}}')
    table = tabulate(frame(run()), metrics=["accuracy"], store=store)
    assert not table.rows[0].cells[0].resampled
    assert table.notes[0] == "One seed each: no spread to show."


def test_nothing_of_a_run_that_is_not_there_is_no_crash(run, frame, store):
    shutil.rmtree(store.runs)
    assert "No interval for want of readable predictions: run-0." in tabulate(frame(run()), store=store).notes
