"""Finished runs for other programs: in a tracker, as if it had been there, or as one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lossbench.catalogue import conf_dir
from lossbench.checking import target_of
from lossbench.errors import ConfigError, RequestError, StoreError, one_line
from lossbench.folders import obstacle
from lossbench.settings import written
from lossbench.store import Store
from lossbench.trackers import PLACES, Tracker, check_installed, without_login
from lossbench.tracking import told, told_epochs

if TYPE_CHECKING:
    import pandas as pd

TABLES = {"parquet": "runs.parquet", "csv": "runs.csv"}  # and where they go unless --output says


def to_tracker(
    store: Store, ids: Sequence[str], name: str, output: str | None, advance: Callable[[], None]
) -> dict[str, str]:
    """Show finished runs in a tracker. One that is there already is brought up to date, and not shown twice.

    Args:
        store: where the runs are.
        ids: of the runs.
        name: a key of `lossbench.trackers.PLACES`.
        output: its folder, file or URI; None for what `tracker=NAME` takes.
        advance: called after each run.

    Returns:
        Why, for each run that is left out.

    Raises:
        ConfigError: if the tracker is not installed, or cannot write there, or takes none of the runs.
    """
    settings = _settings(store, name, output)
    make = target_of(settings, f"tracker.{name}")
    check_installed(f"--to {name}", name, make.package)  # type: ignore[attr-defined]
    values = {key: value for key, value in settings.items() if key != "_target_"}
    try:
        make.check(**values)  # type: ignore[attr-defined]
    except ConfigError as error:
        key = f"tracker.{name}.{PLACES[name]}"
        raise ConfigError(str(error).replace(key, f"--to {name}: {key}" if output is None else "--output")) from error
    tracker: Tracker = make(**values)
    left_out, refused = {}, {}
    for run_id in ids:
        try:
            if store.held(run_id):
                raise StoreError(f"it is being trained again by {store.holder(run_id)}")
            (run, result), history = told(store, run_id), told_epochs(store, run_id)
        except (RequestError, OSError) as error:
            left_out[run_id] = str(error)
            continue
        except Exception as error:  # a stranger's run may hold anything
            left_out[run_id] = one_line(f"it is damaged ({type(error).__name__}: {error})")
            continue
        try:
            tracker.begin(run, history, datetime.fromisoformat(result.finished_at).timestamp())
            tracker.finish(result)
        except Exception as error:  # of a package that is not ours
            with suppress(Exception):
                tracker.stop(failed=False)
            refused[run_id] = without_login(one_line(f"{type(error).__name__}: {error}"))
            if isinstance(error, OSError) or len(refused) == len(ids):
                place = without_login(settings[PLACES[name]])
                raise ConfigError(f"--to {name} cannot write to {place} ({refused[run_id]})") from error
            continue
        advance()
    return left_out | {run_id: f"{name} does not take it ({said})" for run_id, said in refused.items()}


def _settings(store: Store, name: str, output: str | None) -> dict[str, Any]:
    """A tracker's settings, as `tracker=NAME` has them for these results."""
    text = (conf_dir() / "tracker" / f"{name}.yaml").read_text(encoding="utf-8")
    results = store.runs.parent
    settings = {key: value.replace("${results_dir}", str(results)) for key, value in yaml.safe_load(text)[name].items()}
    if output is not None and name == "mlflow" and "://" not in output:
        settings["artifacts"] = str(Path(output).with_name("mlflow-artifacts"))
        output = f"sqlite:///{output}"
    return settings if output is None else {**settings, PLACES[name]: output}


def table(store: Store, ids: Iterable[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return runs as a table, and what was left out.

    Returns:
        What `Store.frame` returns, of these runs; a column of numbers, truth values or words is of that kind, and one
        of several kinds has words.
    """
    from pandas.api.types import is_object_dtype

    frame, left_out = store.frame()
    frame = frame[frame["run"].isin(list(ids))].reset_index(drop=True)
    frame = frame.dropna(axis="columns", how="all")
    for key in filter(lambda key: is_object_dtype(frame[key]), frame.columns):
        kinds = {type(cell) for cell in frame[key].dropna()}
        if kinds <= {int, float}:
            frame[key] = frame[key].astype(float)
        elif len(kinds) > 1:
            frame[key] = frame[key].map(written, na_action="ignore")
    return frame, left_out


def check_table(kind: str, output: Path) -> None:
    """Hold what a table needs against what is there, before runs are read.

    Raises:
        ConfigError: if something is there already, cannot be written, or pandas lacks what writes it.
    """
    check_installed(f"--to {kind}", kind, {"parquet": "pyarrow"}.get(kind))
    if output.exists() or output.is_symlink():
        raise ConfigError(f"--output {output} is there already; remove it, or choose another name")
    if there := obstacle(output.parent):
        raise ConfigError(f"--output {output} cannot be written: {there} is no folder to write to")


def encoded(frame: pd.DataFrame, kind: str) -> bytes:
    """Return a table as a file of a kind."""
    if kind == "parquet":
        content = frame.to_parquet(index=False, engine="pyarrow")
        assert content is not None
        return content
    return frame.to_csv(index=False).encode()
