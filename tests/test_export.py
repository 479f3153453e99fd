"""`lossbench export`: finished runs in trackers and as one table, read back by their own readers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import Lossbench, read_json, tree
from test_trackers import curve_in_mlflow, curve_in_tensorboard, history_of, mlflow_runs, run_folders

from lossbench import evaluation, tracking
from lossbench.store import Store
from lossbench.trackers import Run
from lossbench.trackers.tensorboard import TensorBoard

QUICK = ("dataset=wine", "model=linear", "epochs=2", "device=cpu", "device.threads=1", "--quiet")


@pytest.mark.slow
def test_an_export_shows_what_the_tracker_would_have_shown_and_a_second_one_nothing_twice(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    assert lossbench("train", *QUICK, "seed=0,1").returncode == 0
    database, answer = tmp_path / "results/mlflow.db", lossbench("export", "--to", "mlflow")
    assert (answer.returncode, answer.stdout) == (0, "mlflow shows 2 of 2 finished runs\n")
    first = mlflow_runs(database)
    assert lossbench("export", "--to", "mlflow").returncode == 0
    second = mlflow_runs(database)
    for folder in run_folders(tmp_path):
        run = second[folder.name]
        assert run.info.run_id == first[folder.name].info.run_id
        rows = history_of(folder)
        assert curve_in_mlflow(database, run, "training/val_loss") == [(i + 1, rows[i]["val_loss"]) for i in range(2)]
        nll = read_json(folder / "metrics.json")["test"]["raw"]["nll"]
        assert curve_in_mlflow(database, run, "test/raw/nll") == [(2, nll)]
        assert (run.info.status, run.data.params["seed"]) == ("FINISHED", str(int(folder.name.split("-s")[1][0])))


def test_a_run_that_was_tracked_is_not_exported_a_second_time_but_its_new_metrics_are(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    database = tmp_path / "results/mlflow.db"
    assert lossbench("train", *QUICK, "tracker=mlflow").returncode == 0
    (before,) = mlflow_runs(database).values()
    assert lossbench("evaluate", "--n-bins", "3").returncode == 0
    assert lossbench("export", "--to", "mlflow").returncode == 0
    (after,) = mlflow_runs(database).values()
    (folder,) = run_folders(tmp_path)
    ece = read_json(folder / "metrics.json")["test"]["raw"]["ece"]
    assert after.info.run_id == before.info.run_id
    assert (before.data.metrics["test/raw/ece"] != ece, after.data.metrics["test/raw/ece"]) == (True, ece)
    assert len(curve_in_mlflow(database, after, "training/val_loss")) == 2


def test_what_is_exported_can_be_chosen_and_go_elsewhere(lossbench: Lossbench, tmp_path: Path) -> None:
    assert lossbench("train", *QUICK, "seed=0,1").returncode == 0
    assert lossbench("export", "--to", "tensorboard", "--where", "seed=1", "-o", "events").returncode == 0
    (folder,) = (tmp_path / "events").iterdir()
    assert "-s1-" in folder.name
    assert [step for step, _ in curve_in_tensorboard(folder, "train_loss")] == [1, 2]
    assert lossbench("export", folder.name, "--to", "mlflow", "-o", "new/place.db").returncode == 0
    assert list(mlflow_runs(tmp_path / "new/place.db")) == [folder.name]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["mlflow-artifacts", "place.db"]


@pytest.mark.parametrize(
    ("to", "output", "said"),
    [
        ("mlflow", "folder", "--output must name a file; folder is a folder"),
        ("mlflow", "file:///x", "--output must be sqlite:///FILE, or that of a server such as http://HOST:PORT; got "),
        ("mlflow", "postgresql+pg8000://a:geheim@h/d", "--output=postgresql+pg8000://h/d needs a driver that is not"),
        ("tensorboard", "some.npz", "--output must be in a folder to write to; {here}/some.npz is not one"),
        ("mlflow", None, "--to mlflow: tracker.mlflow.uri must name a file; results/mlflow.db is a folder"),
    ],
)
def test_where_a_tracker_cannot_write_is_one_line_before_any_run_is_shown(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, output: str | None, said: str
) -> None:
    monkeypatch.setattr(evaluation, "select", lambda *arguments: ["a run"])
    (tmp_path / "folder").mkdir()
    (tmp_path / "results/mlflow.db").mkdir(parents=True)
    (tmp_path / "some.npz").write_text("")
    before = tree(tmp_path)
    answer = lossbench("export", "--to", to, *(() if output is None else ("-o", output)))
    assert (answer.returncode, answer.stderr.count("\n"), "geheim" in answer.stderr) == (2, 1, False)
    assert answer.stderr.startswith(f"lossbench: {said.replace('{here}', str(tmp_path))}")
    assert tree(tmp_path) == before


def test_a_table_has_a_row_for_each_run_split_and_calibration(lossbench: Lossbench, tmp_path: Path) -> None:
    losses = ("loss=class_weighted", "loss.class_weights=inverse,[1,2,3]")
    assert lossbench("train", *QUICK, *losses).returncode == 0
    assert lossbench("train", *QUICK, "loss=label_smoothing").returncode == 0
    assert lossbench("export", "--to", "parquet").returncode == 0
    assert lossbench("export", "--to", "csv", "-o", "new/runs.csv").returncode == 0
    frame = pd.read_parquet(tmp_path / "runs.parquet")
    assert len(frame) == 3 * 2 * 4  # runs, splits, and raw and three calibrations
    assert set(frame["loss.class_weights"].dropna()) == {"inverse", "[1, 2, 3]"}
    assert frame["optimizer.learning_rate"].dtype == float
    written = pd.read_csv(tmp_path / "new/runs.csv", keep_default_na=False, na_values=[""])
    pd.testing.assert_frame_equal(written, frame, check_dtype=False)
    for folder in run_folders(tmp_path):
        row = frame.query(f"run == '{folder.name}' and split == 'val' and calibration == 'isotonic'")
        assert row["brier_score"].tolist() == [read_json(folder / "metrics.json")["val"]["isotonic"]["brier_score"]]


def test_a_dash_prints_a_csv_and_is_refused_for_what_nobody_reads(lossbench: Lossbench, tmp_path: Path) -> None:
    assert lossbench("train", *QUICK).returncode == 0
    printed = lossbench("export", "--to", "csv", "-o", "-")
    assert len(pd.read_csv(io.StringIO(printed.stdout))) == 2 * 4
    for to in ("parquet", "mlflow", "tensorboard"):
        said = f"lossbench: --output - prints, and --to {to} is not to be read: name where it goes\n"
        answer = lossbench("export", "--to", to, "-o", "-")
        assert (answer.returncode, answer.stdout, answer.stderr) == (2, "", said)
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_one_run_is_not_called_runs(lossbench: Lossbench) -> None:
    trained = lossbench("train", *QUICK[:-1], "epochs=1").stderr
    assert (": 1 epoch\n" in trained, "(1/1 run)" in trained) == (True, True), trained
    assert lossbench("export", "--to", "tensorboard").stdout == "tensorboard shows 1 of 1 finished run\n"


def test_a_damaged_run_is_named_and_the_others_are_exported(lossbench: Lossbench, tmp_path: Path) -> None:
    assert lossbench("train", *QUICK, "seed=0,1").returncode == 0
    damaged, whole = run_folders(tmp_path)
    (damaged / "history.csv").write_text("nothing\n")
    answer = lossbench("export", "--to", "tensorboard")
    assert (answer.returncode, answer.stdout) == (1, "tensorboard shows 1 of 2 finished runs\n")
    assert answer.stderr == f"{damaged.name}: results/runs/{damaged.name}/history.csv has no epoch\n"
    assert [path.name for path in (tmp_path / "results/tensorboard").iterdir()] == [whole.name]


def test_a_strange_run_is_named_and_the_others_are_exported(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lossbench("train", *QUICK, "seed=range(6)").returncode == 0
    folders = run_folders(tmp_path)
    for folder, strange in zip(folders, ({"versions": [1]}, {"overrides": [1]}), strict=False):
        environment = folder / "environment.json"
        environment.write_text(json.dumps({**read_json(environment), **strange}))
    (folders[2] / "history.csv").write_text("epoch,train_loss\n1,0.5\n")
    figure, begin = tracking.reliability_figure, TensorBoard.begin

    def no_figure(store: Store, run_id: str) -> bytes:
        if run_id == folders[3].name:
            raise ValueError("bins")
        return figure(store, run_id)

    def refuse(self: TensorBoard, run: Run, *arguments: Any) -> None:
        if run.run_id == folders[4].name:
            raise ValueError("a name")
        begin(self, run, *arguments)

    monkeypatch.setattr(tracking, "reliability_figure", no_figure)
    monkeypatch.setattr(TensorBoard, "begin", refuse)
    answer = lossbench("export", "--to", "tensorboard")
    assert (answer.returncode, answer.stdout) == (1, "tensorboard shows 1 of 6 finished runs\n")
    said = (
        "environment.json: versions must be a mapping",
        "environment.json: overrides must be a list of texts",
        "history.csv must number its epochs from 1 on and say the seconds that each took",
        "it is damaged (ValueError: bins)",
        "tensorboard does not take it (ValueError: a name)",
    )
    assert answer.stderr.splitlines() == [f"{folder.name}: {why}" for folder, why in zip(folders, said, strict=False)]
    assert [path.name for path in (tmp_path / "results/tensorboard").iterdir()] == [folders[5].name]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "parket"], "no --to 'parket'; did you mean parquet? (lossbench export --help)"),
        ([], "--to is missing: one of tensorboard, mlflow, parquet, csv (lossbench export --help)"),
        (["--to", "csv", "-o", "kept.csv"], "--output kept.csv is there already; remove it, or choose another name"),
        (["--to", "csv", "-o", "kept.csv/a"], "--output kept.csv/a cannot be written: {here}/kept.csv is no folder"),
        (["--to", "csv", "-o", "results"], "--output must name a file; results is a folder"),
        (["--to", "csv", "--where", "loss=focl"], "no run has loss=focl; known: cross_entropy"),
        (["--to", "mlflow", "--where", "seed=7"], "no run has seed=7; there are: 0"),
        (["--to", "tensorboard", "-o", "kept.csv"], "--output must be in a folder to write to; {here}/kept.csv is not"),
        (["--to", "mlflow", "-o", "kept.csv/a.db"], "--output must be in a folder to write to; {here}/kept.csv is not"),
    ],
)  # fmt: skip
def test_a_wrong_export_is_one_line_exit_2_and_nothing_written(
    lossbench: Lossbench, tmp_path: Path, arguments: list[str], said: str
) -> None:
    assert lossbench("train", *QUICK).returncode == 0
    assert lossbench("report").returncode == 0  # which makes the index
    (tmp_path / "kept.csv").write_text("kept")
    before = tree(tmp_path)
    answer = lossbench("export", *arguments)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"lossbench: {said}".replace("{here}", str(tmp_path)))
    assert answer.stderr.count("\n") == 1
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("to", "package"), [("parquet", "pyarrow"), ("tensorboard", "tensorboard"), ("mlflow", "mlflow")]
)
def test_a_missing_package_is_one_line_that_names_the_extra(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, package: str
) -> None:
    assert lossbench("train", *QUICK).returncode == 0
    monkeypatch.setattr("lossbench.trackers.find_spec", lambda name: None if name == package else object())
    answer = lossbench("export", "--to", to)
    said = f"lossbench: --to {to} needs a package that is not installed: pip install 'lossbench[{to}]'\n"
    assert (answer.returncode, answer.stderr) == (2, said)
    assert not (tmp_path / "runs.parquet").exists()
