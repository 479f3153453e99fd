"""Corrupted images and unknown data as tables, and as one line for each number."""

import csv
import io
import json

import pytest

from lossbench.report import shifted


def corruption(name, level, raw, scaled):
    """What one level gave: an ECE raw and after the temperature; the accuracy is 1 - ECE."""
    return [
        {"corruption": name, "level": level, "calibration": calibration, "ece": ece, "accuracy": 1 - ece}
        for calibration, ece in (("raw", raw), ("temperature_scaled", scaled))
    ]


def shift(clean, first, last):
    blur = corruption("gaussian_blur", 1, first, 0.5) + corruption("gaussian_blur", 2, last, 0.5)
    return {"corruptions": {"measured": corruption("clean", 0, clean, 0.5) + blur}}


def unknown(auroc):
    """One data set told apart by one score."""
    measured = [
        {"score": "confidence", "calibration": calibration, "auroc": auroc, "fpr95": 1 - auroc}
        for calibration in ("raw", "temperature_scaled")
    ]
    return {"ood": {"svhn": {"measured": measured}}}


@pytest.fixture
def corrupted(run, frame):
    """Two seeds of each of two losses."""
    runs = [run(loss, seed) for loss in ("cross_entropy", "focal") for seed in range(2)]
    levels = [shift(0.1, 0.2, 0.4), shift(0.3, 0.6, 1.0), shift(0.1, 0.1, 0.1), shift(0.1, 0.1, 0.1)]
    return shifted.corrupted(frame(*runs), {f"run-{number}": levels[number] for number in range(4)})


def test_every_number_has_a_line_with_its_run_loss_seed_corruption_and_level(corrupted):
    lines = list(csv.DictReader(io.StringIO(shifted.render([corrupted], "csv"))))
    assert len(lines) == 4 * 3 * 2 * 2  # runs, levels with the clean one, calibrations, metrics
    assert ",".join(lines[0]) == (
        "run,dataset.name,model.name,loss.name,seed,corruption,level,calibration,metric,value"
    )
    wanted = {"run": "run-1", "corruption": "gaussian_blur", "level": "2", "calibration": "raw", "metric": "ece"}
    (line,) = (line for line in lines if wanted.items() <= line.items())
    assert (line["loss.name"], line["seed"], line["value"]) == ("cross_entropy", "1", "1.0")


def test_json_holds_what_csv_does(corrupted):
    lines = list(csv.DictReader(io.StringIO(shifted.render([corrupted], "csv"))))
    records = json.loads(shifted.render([corrupted], "json"))
    assert [{key: str(value) for key, value in record.items() if key != "value"} for record in records] == [
        {key: value for key, value in line.items() if key != "value"} for line in lines
    ]
    assert [record["value"] for record in records] == [float(line["value"]) for line in lines]


def test_the_table_has_a_row_per_loss_and_corruption_with_means_over_levels_and_seeds(corrupted):
    table = shifted._corruption_table(corrupted)
    shown = [(column.metric, column.calibration) for column in table.metrics]
    means = {
        (row.config["dataset.corruption"], row.config["loss.name"]): row.cells[shown.index(("ece", "raw"))].mean
        for row in table.rows
    }
    # Levels 0.2, 0.4 of one seed and 0.6, 1.0 of the other: 0.3 and 0.8, whose mean is 0.55.
    assert means == pytest.approx(
        {
            ("clean", "cross_entropy"): 0.2,
            ("clean", "focal"): 0.1,
            ("gaussian_blur", "cross_entropy"): 0.55,
            ("gaussian_blur", "focal"): 0.1,
        }
    )
    assert "Corruptions: mean over their five levels; csv and json have each." in table.notes


def test_the_best_is_marked_for_each_corruption(corrupted):
    table = shifted._corruption_table(corrupted)
    ece = [(column.metric, column.calibration) for column in table.metrics].index(("ece", "raw"))
    best = {(row.config["dataset.corruption"], row.config["loss.name"]) for row in table.rows if row.cells[ece].best}
    assert best == {("clean", "focal"), ("gaussian_blur", "focal")}


def test_settings_that_tell_runs_apart_have_a_column_of_their_own(run, frame):
    runs = frame(run("focal", loss__gamma=2.0), run("focal", loss__gamma=3.0))
    both = {f"run-{number}": shift(0.1, 0.2, 0.3) for number in range(2)}
    lines = list(csv.DictReader(io.StringIO(shifted.render([shifted.corrupted(runs, both)], "csv"))))
    assert {(line["run"], line["loss.gamma"]) for line in lines} == {("run-0", "2"), ("run-1", "3")}


def test_unknown_data_are_named_above_their_table_and_tell_which_way_is_better(run, frame):
    runs = frame(run("cross_entropy"), run("focal"))
    told = shifted.unknown(runs, {"run-0": unknown(0.75), "run-1": unknown(0.875)}, ["svhn"])
    text = shifted.render([told], "table")
    assert "digits · mlp · unknown svhn · test split" in text
    assert "AUROC ↑" in text
    assert "FPR95 ↓" in text
    assert "0.8750*" in text
    assert "AUROC: how often a test example scores higher than an unknown one" in " ".join(text.split())


def test_corruptions_and_unknown_data_are_two_tables_and_one_csv(run, frame, corrupted):
    told = shifted.unknown(frame(run("cross_entropy")), {"run-0": unknown(0.75)}, ["svhn"])
    assert shifted.render([corrupted, told], "markdown").count("**digits · mlp") == 2
    lines = list(csv.DictReader(io.StringIO(shifted.render([corrupted, told], "csv"))))
    assert {line["metric"] for line in lines} == {"accuracy", "ece", "auroc", "fpr95"}
    assert all(bool(line["corruption"]) != bool(line["unknown"]) for line in lines)
