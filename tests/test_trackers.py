"""What a run shows to TensorBoard and MLflow, read back by their own readers."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import sys
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from support import Lossbench, read_json
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lossbench import trackers, tracking
from lossbench.claims import held
from lossbench.errors import ConfigError
from lossbench.store import Store
from lossbench.trackers import mlflow
from lossbench.trackers.mlflow import FINISHED_AT, MLflow, _goes_on

QUICK = ("dataset=wine", "model=linear", "epochs=4", "device=cpu", "device.threads=1")
BOTH = "tracker=[tensorboard,mlflow]"
CURVES = ("learning_rate", "train_loss", "val_loss", "val_accuracy", "gradient_norm", "seconds")


def run_folders(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "results/runs").iterdir())


def events_of(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


def curve_in_tensorboard(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events_of(folder).Scalars(f"training/{name}")]


@contextmanager
def mlflow_client(database: Path) -> Any:
    assert not held(database.with_name(f"{database.name}.lock"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SQLAlchemy, about MLflow
        from mlflow import MlflowClient

        yield MlflowClient(f"sqlite:///{database}")


def mlflow_runs(database: Path) -> dict[str, Any]:
    """MLflow's runs by their names, each of which must be there once."""
    with mlflow_client(database) as client:
        found = client.search_runs([client.get_experiment_by_name("lossbench").experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def curve_in_mlflow(database: Path, run: Any, name: str) -> list[tuple[int, float]]:
    with mlflow_client(database) as client:
        return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))


def history_of(folder: Path) -> list[Mapping[str, float]]:
    with (folder / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def defined_metrics(folder: Path) -> dict[str, float]:
    content = read_json(folder / "metrics.json")
    return {
        f"{split}/{calibration}/{name}": value
        for split in ("val", "test")
        for calibration in ("raw", "temperature_scaled")
        for name, value in content[split][calibration].items()
        if value is not None
    }


def test_both_trackers_show_the_curves_the_metrics_the_settings_and_the_figure_of_a_run_and_call_nobody(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[Any] = []
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: reached.append(address))
    answer = lossbench("train", *QUICK, BOTH, "loss=label_smoothing", "loss.epsilon=0.2")
    assert (answer.returncode, "failed" in answer.stderr) == (0, False), answer.stderr
    assert (reached, os.environ["MLFLOW_DISABLE_TELEMETRY"]) == ([], "true")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]

    (folder,) = run_folders(tmp_path)
    shown, expected = events_of(tmp_path / "results/tensorboard" / folder.name), defined_metrics(folder)
    database = tmp_path / "results/mlflow.db"
    run = mlflow_runs(database)[folder.name]
    for name in CURVES:
        rows = [(int(row["epoch"]), row[name]) for row in history_of(folder)]
        points = [(event.step, event.value) for event in shown.Scalars(f"training/{name}")]
        assert points == [(step, float(np.float32(value))) for step, value in rows]  # which event files hold
        assert curve_in_mlflow(database, run, f"training/{name}") == rows
    for name, value in expected.items():
        (event,) = shown.Scalars(name)
        assert (event.step, event.value) == (4, float(np.float32(value)))
        assert run.data.metrics[name] == value
    assert len(expected) > 80

    assert run.info.status == "FINISHED"
    assert run.data.params["loss.epsilon"] == "0.2"
    assert run.data.tags["lossbench.run_id"] == folder.name
    assert "loss.epsilon=0.2" in run.data.tags["lossbench.overrides"]
    (config,) = shown.Tensors("config")[0].tensor_proto.string_val
    assert b"    epsilon: 0.2\n" in config
    assert "_hparams_/session_start_info" in shown.Tags()["tensors"]

    (image,) = shown.Images("reliability/test")
    picture = Image.open(io.BytesIO(image.encoded_image_string))
    assert picture.size == (image.width, image.height)
    kept = tmp_path / "results/mlflow-artifacts" / run.info.run_id / "artifacts"
    assert (kept / "reliability.png").read_bytes() == image.encoded_image_string
    assert (kept / "config.yaml").read_text() == (folder / "config.yaml").read_text()


def test_a_tracker_changes_neither_the_id_nor_the_config_nor_any_number(lossbench: Lossbench, tmp_path: Path) -> None:
    assert lossbench("train", *QUICK, "tracker=tensorboard").returncode == 0
    (tracked,) = run_folders(tmp_path)
    assert "skipped" in lossbench("train", *QUICK).stderr  # the same run
    (tmp_path / "results").rename(tmp_path / "tracked")
    assert lossbench("train", *QUICK, "tracker=null").returncode == 0
    (plain,) = run_folders(tmp_path)
    tracked = tmp_path / "tracked/runs" / tracked.name
    assert plain.name == tracked.name
    for name in ("config.yaml", "metrics.json"):
        assert (plain / name).read_bytes() == (tracked / name).read_bytes()
    arrays = np.load(plain / "predictions.npz"), np.load(tracked / "predictions.npz")
    assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0].files)
    weights = load_file(plain / "model.safetensors"), load_file(tracked / "model.safetensors")
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def stop_after(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C once an epoch is shown; the run is saved and ends."""
    show = tracking.Tracking.epoch

    def epoch_and_stop(self: tracking.Tracking, row: Mapping[str, float]) -> None:
        show(self, row)
        if row["epoch"] == epoch:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(tracking.Tracking, "epoch", epoch_and_stop)


def test_an_interrupted_run_goes_on_in_the_same_tracker_run_and_no_epoch_is_shown_twice(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_after(2, monkeypatch)
        assert lossbench("train", *QUICK, BOTH).returncode == 130
    (partial,) = run_folders(tmp_path)
    name, database = partial.name.removesuffix(".partial"), tmp_path / "results/mlflow.db"
    events = tmp_path / "results/tensorboard" / name
    before = mlflow_runs(database)[name]
    assert before.info.status == "KILLED"
    assert [step for step, _ in curve_in_tensorboard(events, "val_loss")] == [1, 2]
    with mlflow_client(database) as client:  # as of a process that died after an epoch more, and had not saved it
        client.log_metric(before.info.run_id, "training/train_loss", 0.5, step=3)

    assert lossbench("train", *QUICK, BOTH).returncode == 0
    after = mlflow_runs(database)[name]
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert [step for step, _ in curve_in_mlflow(database, after, "training/train_loss")] == [1, 2, 3, 4]
    rows = history_of(tmp_path / "results/runs" / name)
    assert curve_in_tensorboard(events, "val_loss") == [
        (i + 1, float(np.float32(rows[i]["val_loss"]))) for i in range(4)
    ]


@pytest.mark.slow
def test_a_forced_run_begins_anew(lossbench: Lossbench, tmp_path: Path) -> None:
    database = tmp_path / "results/mlflow.db"
    assert lossbench("train", *QUICK, BOTH).returncode == 0
    (folder,) = run_folders(tmp_path)
    before = mlflow_runs(database)[folder.name]
    assert lossbench("train", *QUICK, BOTH, "--force").returncode == 0
    after = mlflow_runs(database)[folder.name]
    assert after.info.run_id != before.info.run_id
    assert [step for step, _ in curve_in_mlflow(database, after, "training/train_loss")] == [1, 2, 3, 4]
    events = tmp_path / "results/tensorboard" / folder.name
    assert [step for step, _ in curve_in_tensorboard(events, "train_loss")] == [1, 2, 3, 4]
    assert len(list(events.iterdir())) == 1


def test_a_run_that_fails_is_shown_as_failed(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("train", *QUICK, "tracker=mlflow", "optimizer.learning_rate=1e30")
    assert answer.returncode == 1
    (run,) = mlflow_runs(tmp_path / "results/mlflow.db").values()
    assert run.info.status == "FAILED"


FAILING = """
class Failing:
    def __init__(self, at):
        self.at = at
        self.may(0)

    def may(self, place):
        if self.at == place:
            raise OSError("its\\ndisk is full")

    def begin(self, run, history, ended):
        self.may(1)

    def epoch(self, row):
        self.may(2)

    def finish(self, result):
        self.may(3)

    def stop(self, *, failed):
        self.may(4)
"""


def write_failing(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "their_losses.py").write_text(FAILING)
    (tmp_path / "conf/tracker").mkdir(parents=True)
    (tmp_path / "conf/tracker/failing.yaml").write_text("failing:\n  _target_: their_losses.Failing\n  at: 0\n")
    return "--config-dir", "conf"


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_tracker_that_fails_stops_no_run_and_says_so_once(lossbench: Lossbench, tmp_path: Path, place: int) -> None:
    own = write_failing(tmp_path)
    use = ("tracker=[failing,tensorboard]", f"tracker.failing.at={place}")
    answer = lossbench("train", *own, *QUICK, *use, "seed=0,1")
    assert answer.returncode == 0
    said = "tracker failing failed, training goes on without it (results/trackers.log): OSError: its disk is full"
    assert answer.stderr.splitlines().count(said) == 1
    log = (tmp_path / "results/trackers.log").read_text().splitlines()
    names = [folder.name for folder in run_folders(tmp_path)]
    assert [line.split(" ", 1)[1] for line in log] == [f"{name} failing: OSError: its disk is full" for name in names]
    for name in names:  # the other one goes on
        assert len(curve_in_tensorboard(tmp_path / "results/tensorboard" / name, "val_loss")) == 4


def test_what_trackers_are_told_of_a_finished_run_may_fail_and_the_run_is_finished(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> bytes:
        raise ValueError("no fonts")

    monkeypatch.setattr(tracking, "reliability_figure", fail)
    answer = lossbench("train", *QUICK, "tracker=tensorboard")
    assert (answer.returncode, answer.stderr.count("tracker tensorboard failed")) == (0, 1)
    (folder,) = run_folders(tmp_path)
    assert not folder.name.endswith(".partial")


def shown_in(uri: str, results: str, finished_at: str | None = None) -> MLflow:
    """A tracker that shows a run of a results folder, from its beginning to its first epoch."""
    tracker = MLflow(uri, "artifacts")
    tracker.begin(trackers.Run("one", {}, (), finished_at, results=lambda: results), [], 0.0)
    with tracker._client() as client:
        client.log_metric(tracker.id, "training/train_loss", 0.5, step=1)
    return tracker


def names_in(database: Path) -> list[str]:
    with mlflow_client(database) as client:
        found = client.search_runs([client.get_experiment_by_name("lossbench").experiment_id])
    return sorted(run.info.run_id for run in found)


def test_mlflow_shows_runs_of_two_results_folders_that_have_the_same_id_and_more_metrics_than_it_takes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = tmp_path / "shared.db"
    uri = f"sqlite:///{database}"
    theirs, ours = shown_in(uri, "theirs"), shown_in(uri, "ours")
    assert names_in(database) == sorted([theirs.id, ours.id])
    again = shown_in(uri, "ours")  # of another training
    assert names_in(database) == sorted([theirs.id, again.id])
    monkeypatch.setattr(MLflow, "_is_local", lambda self: False)  # as if on a server, where others look at it
    on_server = shown_in(uri, "ours")
    assert names_in(database) == sorted([theirs.id, again.id, on_server.id])

    metrics = {f"test/raw/{i}": float(i) for i in range(1001)}
    facts = {f"version.{i}": str(i) for i in range(101)}
    again.finish(trackers.Result(metrics, facts, "", b"", "2020-01-01T00:00:00+00:00"))
    with mlflow_client(database) as client:
        data = client.get_run(again.id).data
    assert data.metrics == {**metrics, "training/train_loss": 0.5}
    assert set(facts) <= {name.removeprefix("lossbench.") for name in data.tags}


def test_a_server_that_does_not_answer_is_not_asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(mlflow, "unreachable", {})
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ConnectionError, match="does not answer"):
        shown_in(uri, "")
    with monkeypatch.context() as offline:
        offline.setattr(socket, "socket", None)
        with pytest.raises(ConnectionError, match="did not answer a while ago"):
            shown_in(uri, "")
    monkeypatch.setattr(mlflow, "AGAIN", 0.0)
    with pytest.raises(ConnectionError, match="does not answer"):
        shown_in(uri, "")


def test_runs_that_were_finished_without_a_tracker_are_named_once_until_it_is_told(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    assert lossbench("train", *QUICK, "seed=0,1", "tracker=tensorboard").returncode == 0
    place = tmp_path / "results"
    how = f"lossbench export --to mlflow --results-dir {place} adds them"
    said = f"tracker mlflow is not told of runs that were finished without it; {how}"
    here = f"results_dir={place}"  # joblib's processes are kept, and stay in an earlier test's folder
    for launcher in (), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"):
        again = lossbench("train", *QUICK, "seed=0,1", BOTH, here, *launcher)
        assert [line for line in again.stderr.splitlines() if "tracker" in line] == [said], again.stderr
    assert "tracker" not in lossbench("train", *QUICK, "seed=0,1", "tracker=tensorboard").stderr
    own = write_failing(tmp_path)
    told = lossbench("train", *own, *QUICK, "tracker=failing", "results_dir=./results").stderr
    assert "tracker failing is not told of runs that were finished without it; --force trains them again\n" in told


def test_nothing_is_written_into_a_folder_that_is_a_link(lossbench: Lossbench, tmp_path: Path) -> None:
    assert lossbench("train", *QUICK).returncode == 0
    (folder,) = run_folders(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/mine.tfevents").write_text("mine")
    (tmp_path / "results/tensorboard").mkdir()
    (tmp_path / "results/tensorboard" / folder.name).symlink_to(tmp_path / "elsewhere")
    answer = lossbench("export", "--to", "tensorboard")
    assert (answer.returncode, "is a link" in answer.stderr) == (2, True)
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["mine.tfevents"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["tracker=mlflow"], "tracker=mlflow needs a package that is not installed: pip install 'lossbench[mlflow]'"),
        (["tracker=tensorboard,mlflow"], "trackers are used together, not swept: tracker=[tensorboard,mlflow]"),
        (["tracker=mlflo"], "no tracker named 'mlflo'; did you mean mlflow? (lossbench list trackers)"),
        (["tracker.mlflow.uri=a"], "no key 'tracker.mlflow'; choose it first: tracker=mlflow"),
        (
            ["tracker=tensorboard", "tracker.tensorboard.directory=3"],
            "tracker.tensorboard.directory must be text; got 3",
        ),
    ],
)
def test_a_wrong_tracker_is_one_line_exit_2_and_nothing_written(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], said: str
) -> None:
    there = trackers.find_spec
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "mlflow" else there(name))
    answer = lossbench("train", *QUICK, *overrides)
    assert (answer.returncode, answer.stderr) == (2, f"lossbench: {said}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "place", "said"),
    [
        (
            "mlflow.uri",
            "htp://there",
            "must be sqlite:///FILE, or that of a server such as http://HOST:PORT; got 'htp://",
        ),
        (
            "mlflow.uri",
            "runs.db",
            "must be sqlite:///FILE, or that of a server such as http://HOST:PORT; got 'runs.db'",
        ),
        ("mlflow.uri", "sqlite:///taken/a.db", "must be in a folder to write to; {here}/taken is not one"),
        ("mlflow.uri", "sqlite:///folder", "must name a file; folder is a folder"),
        ("mlflow.artifacts", "taken/figures", "must be in a folder to write to; {here}/taken is not one"),
        ("mlflow.uri", "postgres://u:geheim@h/d?sslkey=geheim", "must be sqlite:///FILE, or that of a server such as"),
        ("mlflow.uri", "postgresql://u:geheim@h:a/d", "=postgresql://h:a/d cannot be read by SQLAlchemy: "),
        (
            "mlflow.uri",
            "mssql+pymssql://u:geheim@h/d",
            "=mssql+pymssql://h/d needs a driver that is not installed: pip install pymssql",
        ),
        ("tensorboard.directory", "taken", "must be in a folder to write to; {here}/taken is not one"),
        ("tensorboard.directory", "taken/events", "must be in a folder to write to; {here}/taken is not one"),
    ],
)
def test_a_place_where_a_tracker_cannot_write_is_refused_before_any_training(
    lossbench: Lossbench, tmp_path: Path, key: str, place: str, said: str
) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "folder").mkdir()
    answer = lossbench("train", *QUICK, BOTH, f"tracker.{key}='{place}'")
    assert answer.returncode == 2
    space = "" if said.startswith("=") else " "
    assert answer.stderr.startswith(f"lossbench: tracker.{key}{space}{said.replace('{here}', str(tmp_path))}")
    assert (answer.stderr.count("\n"), "geheim" in answer.stderr) == (1, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "taken"]


@pytest.mark.parametrize("uri", ["https://there", "databricks"])
def test_a_server_is_not_asked_before_there_is_something_to_show(uri: str) -> None:
    MLflow.check(uri, "artifacts")


def test_a_database_with_its_driver_is_not_asked_before_there_is_something_to_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    with pytest.raises(ConfigError, match=r"uri=mysql://there/runs needs a driver .*: pip install mysqlclient$"):
        MLflow.check("mysql://user@there/runs", "artifacts")
    monkeypatch.setitem(sys.modules, "MySQLdb", SimpleNamespace())
    MLflow.check("mysql://user@there/runs", "artifacts")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("postgresql://u:p@h/d (no answer)", "postgresql://h/d (no answer)"),
        ("'http://u:p@ss/w@h:80/a?key=k' and mysql://h/d?password=p", "'http://h:80/a' and mysql://h/d"),
        ("sqlite:////home/a@b/runs.db", "sqlite:////home/a@b/runs.db"),
    ],
)
def test_a_uri_is_shown_without_user_password_and_query(said: str, shown: str) -> None:
    assert trackers.without_login(said) == shown


def test_no_override_of_a_tracker_is_kept_with_a_run_or_shown_for_its_uri_may_have_a_password(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: MLflow, *arguments: object) -> None:
        raise OSError(f"{self.uri} is down")

    with monkeypatch.context() as offline:
        offline.setattr(MLflow, "begin", refuse)
        secret = "++tracker.mlflow.uri=http://u:geheim@h"
        answer = lossbench("train", *QUICK, BOTH, secret, "loss.epsilon=0.2", "loss=label_smoothing")
    assert (answer.returncode, "geheim" in answer.stderr) == (0, False)
    assert "OSError: http://h is down" in answer.stderr
    (folder,) = run_folders(tmp_path)
    assert read_json(folder / "environment.json")["overrides"] == [*QUICK, "loss.epsilon=0.2", "loss=label_smoothing"]
    assert not [path for path in (tmp_path / "results").rglob("*") if path.is_file() and b"geheim" in path.read_bytes()]

    older = read_json(folder / "environment.json")  # of a run that was kept with all of them
    (folder / "environment.json").write_text(json.dumps({**older, "overrides": [secret, "seed=0"]}))
    assert tracking.told(Store(tmp_path / "results"), folder.name)[0].overrides == ["seed=0"]


@pytest.mark.parametrize("method", ["_write", "finish"])
def test_a_run_that_mlflow_cannot_show_to_its_end_does_not_stay_running_there(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(self: MLflow, *arguments: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(MLflow, method, fail)
    assert lossbench("train", *QUICK, "tracker=mlflow").returncode == 0
    (run,) = mlflow_runs(tmp_path / "results/mlflow.db").values()
    assert (run.info.status, run.info.end_time is None) == ("KILLED", False)


@pytest.mark.slow
def test_runs_trained_as_one_model_are_shown_one_by_one(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("train", *QUICK, BOTH, "seed=range(4)", "hydra/launcher=stacked")
    assert answer.returncode == 0
    folders = run_folders(tmp_path)
    runs = mlflow_runs(tmp_path / "results/mlflow.db")
    assert sorted(runs) == [folder.name for folder in folders]
    for folder in folders:
        assert read_json(folder / "environment.json")["stacked"] == 4
        rows = [(int(row["epoch"]), float(np.float32(row["val_loss"]))) for row in history_of(folder)]
        assert curve_in_tensorboard(tmp_path / "results/tensorboard" / folder.name, "val_loss") == rows
        assert (
            runs[folder.name].data.metrics["test/raw/nll"] == read_json(folder / "metrics.json")["test"]["raw"]["nll"]
        )


@pytest.mark.slow
def test_runs_trained_side_by_side_share_one_database_and_what_fails_there_is_said_here(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    """Six processes' first writes make the same tables; SQLite lets one of them write at a time."""
    own = write_failing(tmp_path)
    use = ("tracker=[failing,tensorboard,mlflow]", "tracker.failing.at=2")
    answer = lossbench(
        "train", *own, *QUICK, *use, "seed=range(12)", "hydra/launcher=joblib", "hydra.launcher.n_jobs=6"
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("tracker failing failed") == 1
    assert len((tmp_path / "results/trackers.log").read_text().splitlines()) == 12
    runs = mlflow_runs(tmp_path / "results/mlflow.db")
    assert sorted(runs) == [folder.name for folder in run_folders(tmp_path)]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_the_trackers_are_listed(lossbench: Lossbench) -> None:
    names = [line.split()[0] for line in lossbench("list", "trackers").stdout.splitlines()[1:]]
    assert names == ["mlflow", "tensorboard"]


def test_a_finished_run_has_times_that_end_when_it_did() -> None:
    # Epochs of 2, 3 and 1 s, the last of which ended at 100 s: the first ended 3 + 1 s before, the second 1 s.
    history = [{"epoch": i + 1.0, "seconds": seconds} for i, seconds in enumerate((2.0, 3.0, 1.0))]
    assert [at for _, at in trackers.timed(history, 100.0)] == [96.0, 99.0, 100.0]
    assert list(trackers.timed([], 100.0)) == []


def test_what_an_epoch_is_called_leaves_its_number_out() -> None:
    assert trackers.curve({"epoch": 1.0, "val_loss": 0.5}) == {"training/val_loss": 0.5}


def test_settings_are_what_can_be_compared() -> None:
    config = {
        "results_dir": "a",
        "checkpoint_seconds": 60,
        "dataset": {"root": "b", "streaming": True},
        "loss": {"_target_": "f", "prior": None, "weights": [1, 2]},
    }
    assert trackers.Run("id", config, ()).settings() == {"loss.prior": "null", "loss.weights": json.dumps([1, 2])}


def test_a_run_goes_on_in_mlflow_where_nothing_or_its_own_epochs_are_shown() -> None:
    def goes_on(tags: dict[str, str], metrics: dict[str, float], epochs: int) -> bool:
        shown = SimpleNamespace(data=SimpleNamespace(tags=tags, metrics=metrics))
        return _goes_on(shown, SimpleNamespace(finished_at=None), [{}] * epochs)

    curve, finished = {"training/train_loss": 0.5}, {FINISHED_AT: "2026-01-01T00:00:00"}
    assert goes_on({}, {}, 0)  # interrupted in its first epoch
    assert goes_on({}, curve, 3)
    assert not goes_on({}, curve, 0)  # begun anew
    assert not goes_on(finished, curve, 3)
