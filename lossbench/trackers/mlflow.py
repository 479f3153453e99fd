"""MLflow, in a local SQLite file or on a server."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lossbench.claims import claim
from lossbench.errors import ConfigError
from lossbench.trackers import CURVES, Result, Run, check_folder, curve, timed, without_login

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as Shown

EVERY = 2.0  # seconds between two writes: one takes milliseconds, as many as an epoch of a small model
AGAIN = 600.0  # seconds until a server that did not answer is asked again: each time may take twenty
RUN_ID, FINISHED_AT, RESULTS = "lossbench.run_id", "lossbench.finished_at", "lossbench.results"  # tags
MOST = {"metrics": 1000, "params": 100, "tags": 100}  # that MLflow takes at once
LOCAL = "sqlite:///"
SERVERS = ("http", "https", "databricks", "databricks-uc")  # and MLflow's own plugins
DATABASES = ("postgresql", "mysql", "mssql")  # through SQLAlchemy, which has no driver of its own for them
PACKAGES = {"MySQLdb": "mysqlclient"}  # of drivers that are imported by another name
unreachable: dict[str, float] = {}  # URI → when that was found, by time.monotonic
# Else MLflow tells of every table it makes, and tries for minutes to reach a server that is down.
ENVIRONMENT = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class MLflow:
    """Shows runs by `mlflow ui --backend-store-uri URI`."""

    package = "mlflow"

    def __init__(self, uri: str, artifacts: str, experiment: str = "lossbench") -> None:
        """Name where things go; nothing is written before there is something to write.

        Args:
            uri: `sqlite:///FILE`, or that of a server.
            artifacts: the folder for figures and configs; a server has its own.
            experiment: the name of MLflow's experiment.
        """
        self.uri, self.artifacts, self.experiment = uri, artifacts, experiment
        self.id = ""  # of MLflow's run
        self.shown = 0  # epochs
        self.waiting: list[Metric] = []
        self.wrote = 0.0

    @staticmethod
    def check(uri: str, artifacts: str, **others: object) -> None:
        """Refuse a URI that MLflow has no store for, and files that cannot be made. No server is asked yet."""
        if uri.startswith(LOCAL):
            file = Path(uri.removeprefix(LOCAL))
            if file.is_dir():
                raise ConfigError(f"tracker.mlflow.uri must name a file; {file} is a folder")
            check_folder("tracker.mlflow.uri", file.parent)
            check_folder("tracker.mlflow.artifacts", Path(artifacts))
        elif (scheme := uri.partition(":")[0].partition("+")[0]) in DATABASES:
            _check_driver(uri)
        elif scheme not in (
            *SERVERS,
            *(plugin.name for plugin in entry_points(group="mlflow.tracking_store")),
        ):
            raise ConfigError(
                f"tracker.mlflow.uri must be {LOCAL}FILE, or that of a server such as http://HOST:PORT; "
                f"got {without_login(uri)!r}"
            )

    def begin(self, run: Run, history: Sequence[Mapping[str, float]], ended: float) -> None:
        """Begin a run, or go on with the one that this training, or this finished run, has already.

        What is shown of an earlier training goes, unless it is on a server: others may look at it there.
        """
        self.id, self.waiting = "", []  # not of the run before
        with self._client() as client:
            experiment = self._experiment(client)
            own = None
            same = f"tags.`{RUN_ID}` = '{run.run_id}' and tags.`{RESULTS}` = '{run.results()}'"
            for shown in client.search_runs([experiment], same):
                if own is None and _goes_on(shown, run, history):
                    own = shown
                elif self._is_local():
                    client.delete_run(shown.info.run_id)
            if own is None:
                own = self._create(client, experiment, run, ended - sum(row["seconds"] for row in history))
            self.id = own.info.run_id
            if run.finished_at is None:
                client.update_run(self.id, status="RUNNING")
            known = client.get_metric_history(self.id, f"{CURVES}/train_loss")
            self.shown = max((point.step for point in known), default=0)
            self.waiting = [point for row, at in timed(history, ended) for point in self._points(row, at)]
            self._write(client)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Add an epoch; it is written at once, or with one of the next."""
        self.waiting += self._points(row, time.time())
        if time.monotonic() - self.wrote >= EVERY:
            with self._client() as client:
                self._write(client)

    def finish(self, result: Result) -> None:
        """Add metrics at the last epoch, facts as tags, the config and the figure as artifacts."""
        from mlflow.entities import Metric, RunTag

        with self._client() as client:
            self._write(client)
            known = client.get_run(self.id).data.metrics
            now = _milliseconds(time.time())
            points = [
                Metric(name, value, now, self.shown)
                for name, value in result.metrics.items()
                if known.get(name) != value
            ]
            self._log(client, "metrics", points)
            with TemporaryDirectory() as folder:
                (Path(folder) / "config.yaml").write_text(result.config, encoding="utf-8")
                (Path(folder) / "reliability.png").write_bytes(result.reliability)
                client.log_artifacts(self.id, folder)
            tags = [RunTag(f"lossbench.{name}", value) for name, value in result.facts.items()]
            self._log(client, "tags", [*tags, RunTag(FINISHED_AT, result.finished_at)])
            ended = datetime.fromisoformat(result.finished_at).timestamp()
            client.set_terminated(self.id, "FINISHED", _milliseconds(ended))

    def stop(self, *, failed: bool) -> None:
        """Write what is left, and say that it ended, where it began."""
        if not self.id:
            return
        with self._client() as client:
            try:
                self._write(client)
            finally:
                client.set_terminated(self.id, "FAILED" if failed else "KILLED")

    @contextmanager
    def _client(self) -> Iterator[MlflowClient]:
        """MLflow's client, for as long as nobody else writes to the file: SQLite gives up where two would wait.

        Raises:
            ConnectionError: if its server does not answer, or did not a while ago.
        """
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it would send usage data
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the packages below, among themselves
            from mlflow import MlflowClient, MlflowException

            if not self._is_local():
                if time.monotonic() - unreachable.get(self.uri, -math.inf) < AGAIN:
                    raise ConnectionError(f"{self.uri} did not answer a while ago")
                try:
                    yield MlflowClient(tracking_uri=self.uri)
                except MlflowException as error:
                    if isinstance(error.__context__, OSError):  # of the package that makes its requests
                        unreachable[self.uri] = time.monotonic()
                        raise ConnectionError(f"{self.uri} does not answer: {error}") from error
                    raise
                return
            file = Path(self.uri.removeprefix(LOCAL)).resolve()  # MLflow remembers by its URI what it has opened
            with claim(file.with_name(f"{file.name}.lock"), wait=True):
                yield MlflowClient(tracking_uri=f"{LOCAL}{file}")

    def _is_local(self) -> bool:
        return self.uri.startswith(LOCAL)

    def _experiment(self, client: MlflowClient) -> str:
        known = client.get_experiment_by_name(self.experiment)
        if known is not None:
            return str(known.experiment_id)
        location = Path(self.artifacts).resolve().as_uri() if self._is_local() else None
        return str(client.create_experiment(self.experiment, artifact_location=location))

    def _create(self, client: MlflowClient, experiment: str, run: Run, started: float) -> Shown:
        from mlflow.entities import Param

        tags = {RUN_ID: run.run_id, RESULTS: run.results(), "lossbench.overrides": " ".join(run.overrides)}
        shown = client.create_run(experiment, _milliseconds(started), tags=tags, run_name=run.run_id)
        self.id = shown.info.run_id
        self._log(client, "params", [Param(key, str(value)) for key, value in run.settings().items()])
        return shown

    def _points(self, row: Mapping[str, float], at: float) -> list[Metric]:
        """The points of an epoch, unless they are shown: one done again after an interruption has the same."""
        from mlflow.entities import Metric

        step = int(row["epoch"])
        if step <= self.shown:
            return []
        self.shown = step
        return [Metric(name, value, _milliseconds(at), step) for name, value in curve(row).items()]

    def _write(self, client: MlflowClient) -> None:
        self._log(client, "metrics", self.waiting)
        self.waiting, self.wrote = [], time.monotonic()

    def _log(self, client: MlflowClient, kind: str, values: Sequence[Any]) -> None:
        """Write values of a key of MOST, as many at once as MLflow takes."""
        for first in range(0, len(values), MOST[kind]):
            batch: dict[str, Any] = {kind: values[first : first + MOST[kind]]}
            client.log_batch(self.id, **batch)


def _check_driver(uri: str) -> None:
    """Refuse the URI of a database that SQLAlchemy cannot read, or has no driver for."""
    try:
        from sqlalchemy.engine import make_url

        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        package = PACKAGES.get(error.name or "", error.name)
        raise ConfigError(
            f"tracker.mlflow.uri={without_login(uri)} needs a driver that is not installed: pip install {package}"
        ) from error
    except Exception as error:  # of a part that is missing, or is no number
        raise ConfigError(
            f"tracker.mlflow.uri={without_login(uri)} cannot be read by SQLAlchemy: {without_login(str(error))}"
        ) from error


def _goes_on(shown: Shown, run: Run, history: Sequence[Any]) -> bool:
    """Whether what is shown is of the same training."""
    if run.finished_at is not None:
        return bool(shown.data.tags.get(FINISHED_AT) == run.finished_at)
    begun = bool(history) or not shown.data.metrics  # else it shows epochs of another training
    return begun and FINISHED_AT not in shown.data.tags


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
