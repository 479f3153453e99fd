"""Runs on disk: the only writer below the results folder.

`<results>/runs/<run id>/` exists if and only if the run is complete. Work in progress is `<run id>.partial/` and
becomes the former by one rename.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import json
import math
import os
import re
import shlex
import shutil
import time
import traceback
import uuid
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import yaml
from numpy.typing import NDArray

from lossbench import checksums, claims, identity, index
from lossbench.errors import CheckpointError, StoreError, one_line
from lossbench.record import SCHEMA, SPLITS, Record, numbers, read_config, read_json, read_npz, record

if TYPE_CHECKING:  # torch and pandas take a second each to import: only the methods that need them do
    import pandas as pd
    from torch import Tensor

    from lossbench.training import State

PARTIAL = ".partial"
REPLACED = ".replaced" + PARTIAL  # a finished run that is trained again, while the new one takes its place
FOREIGN = "holds no run"
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times as fast where PyYAML was built with libyaml

Version: TypeAlias = tuple[int, int, int]  # of a run: what tells one training of it from the next


@dataclass(frozen=True)
class RunInfo:
    """A line of `lossbench runs`."""

    run_id: str
    status: str  # finished, failed, interrupted, running or unreadable
    seconds: float | None  # wall time of a finished run, and of one that is running, so far
    changed: float  # when it was last written, seconds since the epoch
    message: str = ""


@dataclass(frozen=True)
class Failure:
    """Why a run failed."""

    error: str  # the name of the exception
    message: str
    traceback: Sequence[str] = ()  # as Python prints it


class Store:
    """The results folder."""

    def __init__(self, results_dir: str | Path) -> None:
        """Name the folder; nothing is written before there is something to write."""
        self.runs = Path(results_dir) / "runs"
        self.claims = Path(results_dir) / "claims"
        self.log = Path(results_dir) / "trackers.log"
        self._id = Path(results_dir) / "id"

    @property
    def option(self) -> str:
        """What a command needs in order to look here: nothing in `results`, where it looks by itself."""
        folder = self.runs.parent
        return "" if folder == Path("results") else f" --results-dir {shlex.quote(str(folder))}"

    def path(self, run_id: str) -> Path:
        """Return the folder of a finished run."""
        return self.runs / run_id

    def partial(self, run_id: str) -> Path:
        """Return the folder of a run in progress."""
        return self.runs / (run_id + PARTIAL)

    def finished(self, run_id: str) -> bool:
        """Whether a run is complete."""
        return self.path(run_id).is_dir()

    def run_ids(self) -> list[str]:
        """Return the ids of all finished runs, sorted."""
        return sorted(
            path.name
            for path in _inside(self.runs)
            if not path.name.endswith(PARTIAL) and not path.name.startswith(".") and path.is_dir()
        )

    def _unfinished_ids(self) -> list[str]:
        """Return the ids of all others, sorted: failed, interrupted or running."""
        return sorted({path.name.removesuffix(PARTIAL) for path in _inside(self.runs) if path.name.endswith(PARTIAL)})

    # Who trains what

    def claim(self, run_id: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Claim a run for this process; see `lossbench.claims.claim`."""
        return claims.claim(self.claims / run_id, wait=wait)

    def held(self, run_id: str) -> bool:
        """Whether a process that is alive is training a run."""
        return claims.held(self.claims / run_id)

    def holder(self, run_id: str) -> str:
        """Say which process that is."""
        return claims.holder(self.claims / run_id)

    # Writing

    def start(self, run_id: str, config: Mapping[str, Any]) -> None:
        """Begin a run, or go on with one: its folder and its config."""
        folder = _own(self.partial(run_id))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failure.json").unlink(missing_ok=True)
        text = yaml.dump(dict(config), Dumper=DUMPER, sort_keys=False, allow_unicode=True)
        _write_text(folder / "config.yaml", text)

    def discard(self, run_id: str) -> None:
        """Drop what an interrupted run has left."""
        shutil.rmtree(self.partial(run_id), ignore_errors=True)

    def discard_checkpoint(self, run_id: str) -> None:
        """Drop what a run would go on from."""
        (self.partial(run_id) / "checkpoint.pt").unlink(missing_ok=True)

    def save_checkpoint(self, run_id: str, state: State) -> None:
        """Keep what is needed to go on from between two steps."""
        import torch

        temporary = _new(self.partial(run_id) / "checkpoint.tmp")
        torch.save(vars(state), temporary)
        _sync(temporary)  # else a power cut can leave the new name with nothing behind it
        temporary.replace(temporary.with_suffix(".pt"))
        _sync(temporary.parent)

    def load_checkpoint(self, run_id: str) -> State | None:
        """Return where an interrupted run stopped, on the CPU, or None if it left no checkpoint.

        Raises:
            CheckpointError: if it cannot be read.
        """
        import torch

        from lossbench.training import State

        path = self.partial(run_id) / "checkpoint.pt"
        if not path.is_file():
            return None
        blank = vars(State())
        try:
            check_archive(path)
            state = State(**torch.load(path, map_location="cpu", weights_only=True))
            for name, value in vars(state).items():
                kinds = (type(None), torch.Tensor) if blank[name] is None else type(blank[name])
                if not isinstance(value, kinds):
                    raise TypeError(f"its {name} is a {type(value).__name__}")
        except Exception as error:
            why = one_line(str(error)).removeprefix(f"{path} ")
            raise CheckpointError(f"{path} cannot be read ({why}); remove it, or train again with --force") from error
        return state

    def commit(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, Any],
        predictions: Mapping[str, NDArray[Any]],
        history: Sequence[Mapping[str, float]],
        environment: Mapping[str, Any],
        weights: Mapping[str, Tensor],
    ) -> None:
        """Write what a run gave and declare it complete, in place of an earlier one under the same id."""
        from safetensors.torch import save_file

        folder = self.partial(run_id)
        _write(folder / "metrics.json", {**metrics, "schema": SCHEMA})
        _write(folder / "environment.json", {**environment, checksums.KEPT: True})
        np.savez_compressed(_new(folder / "predictions.npz"), allow_pickle=False, **predictions)
        with _new(folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(history[0]))
            writer.writeheader()
            writer.writerows(history)
        tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
        save_file(tensors, _new(folder / "model.safetensors"))
        states: checksums.States = {name: [checksums.digest(folder / name)] for name in checksums.OF_A_RUN}
        _write(folder / checksums.NAME, checksums.content(states))
        for path in (*folder.iterdir(), folder):
            _sync(path)
        replaced = folder.with_name(run_id + REPLACED)
        shutil.rmtree(replaced, ignore_errors=True)  # where a process died just below
        if self.finished(run_id):
            self.path(run_id).rename(replaced)
        folder.rename(self.path(run_id))
        _sync(self.runs)
        self.tidy(run_id)

    def untidy(self, run_id: str) -> bool:
        """Whether a finished run has leftovers: of a process that died at the end, or is training it again."""
        return any(path.exists() for path in (*self._leftovers(run_id), self.claims / run_id))

    def tidy(self, run_id: str) -> None:
        """Drop what a finished run needs no more. Only for whoever holds the claim on it."""
        for path in self._leftovers(run_id):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _leftovers(self, run_id: str) -> tuple[Path, ...]:
        partial = self.partial(run_id)
        # What was interrupted while it was trained again is what --force goes on with, and may have taken hours.
        kept = (partial / "checkpoint.pt").is_file() and not (partial / "failure.json").exists()
        own = self.path(run_id) / "checkpoint.pt", self.runs / (run_id + REPLACED)
        return own if kept else (*own, partial)

    def fail(self, run_id: str, error: Exception, message: str) -> None:
        """Record why a run failed, in words, and where."""
        folder = _own(self.partial(run_id))
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(
            folder / "failure.json",
            {
                "error": type(error).__name__,
                "message": message,
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "traceback": traceback.format_exception(error),
            },
        )

    def id(self) -> str:
        """Return what tells this folder from others, wherever it is moved: made at random when it is first asked for.

        Where nothing can be written it is made of the machine and the path.
        """
        try:
            with claims.claim(self.claims / "id", wait=True):
                if (known := _hexadecimal(self._id)) is None:
                    known = uuid.uuid4().hex
                    _write_text(self._id, known + "\n")
                return known
        except (OSError, StoreError):
            place = f"{os.uname().nodename}:{self._id.absolute()}"
            return _hexadecimal(self._id) or uuid.uuid5(uuid.NAMESPACE_URL, place).hex

    def log_failure(self, line: str) -> None:
        """Record that a tracker failed; where that cannot be, the run goes on all the same."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}\n")

    def save_data(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> Path:
        """Keep a caller's own data beside the runs, for `dataset=arrays dataset.file=…`; once under each name."""
        path = self.runs.parent / "data" / f"{name}.npz"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{uuid.uuid4().hex}.tmp")  # its own: another process may write the same data
            try:
                with temporary.open("xb") as file:
                    np.savez(file, allow_pickle=False, **arrays)
                _sync(temporary)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        return path

    # What is kept with a finished run names the version of it that it was computed from.

    def version(self, run_id: str) -> Version:
        """Tell a finished run from another that is made under the same id: its predictions are written once."""
        predictions = self._file(run_id, "predictions.npz").stat()
        return predictions.st_dev, predictions.st_ino, predictions.st_mtime_ns

    def save_metrics(self, run_id: str, metrics: Mapping[str, Any], *, of: Version | None = None) -> None:
        """Replace the metrics of a finished run."""
        self._replace(run_id, "metrics.json", lambda path: _write(path, {**metrics, "schema": SCHEMA}), of)

    def save_beside(self, run_id: str, values: Mapping[str, float], *, of: Version | None = None) -> None:
        """Keep numbers beside the metrics of a finished run, in the place of those of the same names.

        Raises:
            StoreError: if its metrics are not what the run wrote; they would seem to be, with a new checksum.
        """

        def write(path: Path) -> None:  # read here, where nobody else adds to it
            self.check(run_id, "metrics.json")
            kept = self.metrics(run_id)
            _write(path, {**kept, "beside": {**numbers(kept.get("beside", {}), "beside"), **values}})

        self._replace(run_id, "metrics.json", write, of)

    def save_shift(self, run_id: str, content: Mapping[str, Any], *, of: Version | None = None) -> None:
        """Keep with a finished run what its model says of other data than it was made for, beside what is kept."""

        def write(path: Path) -> None:  # read here, where nobody else adds to it
            kept = self.shift(run_id)
            both = {key: {**kept[key], **content[key]} for key in ("ood",) if key in kept and key in content}
            _write(path, {**kept, **content, **both})

        self._replace(run_id, "shift.json", write, of)

    def save_arrays(
        self, run_id: str, name: str, arrays: Mapping[str, NDArray[Any]], *, of: Version | None = None
    ) -> None:
        """Keep arrays with a finished run, for figures: `features` or `examples`."""

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)

        self._replace(run_id, f"{name}.npz", write, of)

    def _replace(self, run_id: str, name: str, write: Callable[[Path], object], of: Version | None) -> None:
        """Write a file of a finished run anew. The folder's age stays what it was: the run was not trained again.

        A process may die at any moment: the checksums first say that the file is the old or the new one, and only
        when it is the new one that it is.
        """
        # Whoever measures does so in an instant; whoever trains the run again may take hours, and makes another run.
        with self.claim(run_id, wait=not self.partial(run_id).exists()) as ours:
            if not ours:
                raise StoreError(f"{run_id} is being trained again by {self.holder(run_id)}: measure it afterwards")
            if of is not None and self.version(run_id) != of:
                raise StoreError(f"{run_id} was trained again while it was measured: measure it once more")
            folder = _own(self.path(run_id))
            before = folder.stat()
            temporary = _new(folder / f"{name}.tmp")
            write(temporary)
            _sync(temporary)
            states = checksums.recorded(folder)
            if states is None:
                temporary.replace(folder / name)
            else:
                new = checksums.digest(temporary)
                _write_checksums(folder, {**states, name: [*states.get(name, [None]), new]})
                _sync(folder)  # else a power cut can leave the new file with checksums that do not know it
                temporary.replace(folder / name)
                _write_checksums(folder, {**states, name: [new]})
            os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))

    # Reading

    def config(self, run_id: str) -> dict[str, Any]:
        """Return a run's resolved config; of one that is not finished, too."""
        folder = self.path(run_id) if self.finished(run_id) else self.partial(run_id)
        return read_config(_there(folder / "config.yaml"))

    def check(self, run_id: str, name: str) -> None:
        """Hold a file of a finished run against its checksum; see `lossbench.checksums.check`."""
        checksums.check(self._file(run_id, name))

    def metrics(self, run_id: str) -> dict[str, Any]:
        """Return a run's metrics: split → calibration → name → value."""
        return self._json(run_id, "metrics.json")

    def shift(self, run_id: str) -> dict[str, Any]:
        """Return what a run's model says of other data than it was made for; empty where nobody asked."""
        return read_json(self._intact(run_id, "shift.json")) if (self.path(run_id) / "shift.json").is_file() else {}

    def environment(self, run_id: str) -> dict[str, Any]:
        """Return how and where a run was made, with its fingerprints."""
        return self._json(run_id, "environment.json")

    def history(self, run_id: str) -> list[dict[str, float]]:
        """Return a run's epochs."""
        path = self._file(run_id, "history.csv")
        try:
            with path.open(newline="", encoding="utf-8") as file:
                epochs = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        except (TypeError, ValueError, csv.Error) as error:
            raise StoreError(f"{path} is no table of numbers") from error
        if not epochs or "epoch" not in epochs[0]:
            raise StoreError(f"{path} has no epoch")
        return epochs

    def predictions(self, run_id: str) -> dict[str, NDArray[Any]]:
        """Return a run's logits and targets on validation and test."""
        return read_npz(self._intact(run_id, "predictions.npz"))

    def arrays(self, run_id: str, name: str) -> dict[str, NDArray[Any]]:
        """Return what `lossbench evaluate --pictures` kept with a run: `features` or `examples`.

        Raises:
            StoreError: if there is none.
        """
        if not self.keeps(run_id, name):
            made_by = f"lossbench evaluate --pictures {run_id}{self.option}"
            raise StoreError(f"{run_id} has no {name} to draw; {made_by} makes them")
        return read_npz(self._intact(run_id, f"{name}.npz"))

    def keeps(self, run_id: str, name: str) -> bool:
        """Whether `lossbench evaluate --pictures` has kept `features` or `examples` with a run."""
        return (self.path(run_id) / f"{name}.npz").is_file()

    def check_there(self, run_id: str, name: str) -> None:
        """Look for a file of a finished run.

        Raises:
            StoreError: if it is missing.
        """
        self._file(run_id, name)

    def failure(self, run_id: str) -> Failure | None:
        """Return why a run failed that was not trained again since; None where it did not."""
        path = self.partial(run_id) / "failure.json"
        if not path.is_file():
            return None
        try:
            content = read_json(path)
            trace = content.get("traceback")
            lines = [str(line) for line in trace] if isinstance(trace, list) else []
            return Failure(str(content.get("error")), str(content["message"]), lines)
        except (StoreError, KeyError):
            return Failure("", f"{path} cannot be read")

    def weights(self, run_id: str) -> dict[str, Tensor]:
        """Return a run's stored model."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._intact(run_id, "model.safetensors")
        try:
            return load_file(path)
        except SafetensorError as error:
            raise StoreError(f"{path} holds no weights: {error}") from error

    def infos(self) -> Iterator[RunInfo]:
        """Return what is known of every run, finished or not, the newest first."""
        return self._infos(lambda name: True)

    def _infos(self, wanted: Callable[[str], bool]) -> Iterator[RunInfo]:
        infos = []
        for path in _inside(self.runs):
            if not wanted(path.name) or path.name.endswith(REPLACED) or path.name.startswith("."):
                continue
            with contextlib.suppress(FileNotFoundError):  # renamed just now, by a process that trains
                if path.is_dir():
                    infos.append(self._info(path))
        yield from sorted(infos, key=lambda info: info.changed, reverse=True)

    def info(self, run_id: str) -> RunInfo:
        """Return what is known of a run, finished or not."""
        return self._info(self.path(run_id) if self.finished(run_id) else self.partial(run_id))

    def _info(self, folder: Path) -> RunInfo:
        run_id, changed = folder.name.removesuffix(PARTIAL), folder.stat().st_mtime
        if not folder.name.endswith(PARTIAL):
            try:
                for name in ("config.yaml", "metrics.json"):
                    self._file(run_id, name)
                environment = self.environment(run_id)
                seconds, finished = float(environment["wall_seconds"]), _finished_at(environment)
            except (StoreError, KeyError, TypeError, ValueError, OverflowError) as error:
                return RunInfo(run_id, "unreadable", None, changed, str(error))
            return RunInfo(run_id, "finished", seconds, changed if finished is None else finished)
        if self.held(run_id):
            since = (self.claims / run_id).stat().st_mtime
            return RunInfo(run_id, "running", time.time() - since, changed)
        if (failure := self.failure(run_id)) is not None:
            return RunInfo(run_id, "failed", None, changed, failure.message)
        return RunInfo(run_id, "interrupted", None, changed)

    def unfinished(self) -> Counter[str]:
        """Return how many runs failed, were interrupted and are running."""
        return Counter(info.status for info in self._infos(lambda name: name.endswith(PARTIAL)))

    def frame(
        self, splits: Sequence[str] = SPLITS, calibrations: Sequence[str] | None = None
    ) -> tuple[pd.DataFrame, list[str]]:
        """Return every finished run as a table, and what was left out.

        Args:
            splits: those to return.
            calibrations: those to return; none for all.

        Returns:
            A row per run × split × calibration: `run`, `split`, `calibration`, the config with dotted keys
            (`loss.epsilon`), the fingerprints (`fingerprint.split`), the metrics by name, `temperature`, the fitted
            one, what metrics.json has `beside` them (`lossbench.report.table.BESIDE`); and lines that say which
            folders could not be read and why, and how many runs have failed or were interrupted.
        """
        read, skipped = index.records(self.runs, self.run_ids(), self.record)
        foreign = [path.name for path in _inside(self.runs) if not path.is_dir() and not path.name.startswith(".")]
        if foreign:
            skipped[FOREIGN] = sorted([*foreign, *skipped.get(FOREIGN, [])])
        lines = index.messages(skipped)
        counts = self.unfinished()
        parts = [f"{counts[status]:,} {status}" for status in ("failed", "interrupted") if counts[status]]
        if parts:
            lines.append(f"left out what is not finished: {', '.join(parts)} (lossbench runs)")
        return index.frame(read, splits, calibrations), lines

    def record(self, run_id: str) -> Record:
        """Read what a report needs of a run.

        Raises:
            StoreError: if that is missing or damaged.
        """
        if not any((self.path(run_id) / name).exists() for name in index.FILES):
            raise StoreError(FOREIGN)
        config = self.config(run_id)
        found = record(config, self.metrics(run_id), self.environment(run_id))
        with contextlib.suppress(AttributeError, KeyError, TypeError):  # of another version, whose ids were others
            named = identity.run_id(config)
            if named != run_id and self.finished(named):  # it would count as one seed more
                raise StoreError(f"its settings are those of {named}: a copy, or its config.yaml is another run's")
        return found

    def find(self, run_id: str, *, unfinished: bool = False) -> str:
        """Return the id of the run that a user names, in full or by the start or end of its id.

        Args:
            run_id: what was typed.
            unfinished: whether one that is not finished will do, where no other has that name.

        Raises:
            StoreError: if there is none, or more than one.
        """
        known = self.run_ids()
        others = [] if (matches := _fitting(run_id, known)) else _fitting(run_id, self._unfinished_ids())
        if unfinished:
            matches, others = matches or others, []
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise StoreError(f"'{run_id}' fits {len(matches)} runs: {', '.join(matches[:5])}")
        if len(others) == 1:
            status = self.info(others[0]).status
            raise StoreError(
                f"{others[0]} {'has' if status == 'failed' else 'is'} {status}, not finished; "
                f"lossbench show {others[0]}{self.option} says more"
            )
        if Path(run_id).is_file():
            raise StoreError(f"{run_id} is no run; a file of logits is named .npz or .csv")
        nearest = difflib.get_close_matches(run_id, known, n=3, cutoff=0.6)
        meant = f" did you mean {' or '.join(nearest)}?" if nearest else ""
        raise StoreError(f"no finished run '{run_id}' in {self.runs};{meant} lossbench runs{self.option} lists them")

    def newest(self) -> str:
        """Return the id of the run that was finished last.

        Raises:
            StoreError: if there is none.
        """
        known = self.run_ids()
        if not known:
            raise StoreError(f"no finished runs in {self.runs}; lossbench train makes some")
        return max(known, key=self.finished_at)

    def finished_at(self, run_id: str) -> float:
        """Return when a run was finished, seconds since the epoch; a copy of it was not finished when it was copied."""
        with contextlib.suppress(StoreError):
            if (recorded := _finished_at(self.environment(run_id))) is not None:
                return recorded
        return self.path(run_id).stat().st_mtime

    def _file(self, run_id: str, name: str) -> Path:
        return _there(self.path(run_id) / name)

    def _intact(self, run_id: str, name: str) -> Path:
        """A file that is as the run wrote it, where it has recorded what it wrote."""
        path = self._file(run_id, name)
        checksums.check(path)
        return path

    def _json(self, run_id: str, name: str) -> dict[str, Any]:
        return read_json(self._file(run_id, name))


def _fitting(run_id: str, known: Sequence[str]) -> Sequence[str]:
    """The ids that a user may mean: that one, or those that start or end so."""
    if run_id in known:
        return [run_id]
    return [name for name in known if name.startswith(run_id) or name.endswith(run_id)]


def check_archive(path: Path) -> None:
    """Hold a zip file against the checksums in it, as torch writes them and does not look at them.

    Raises:
        StoreError: if a part of it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (EOFError, NotImplementedError, OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(f"{path} is damaged ({error})") from error
    if damaged is not None:
        raise StoreError(f"{path} is damaged ({damaged} in it)")


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _there(path: Path) -> Path:
    if not path.is_file():
        raise StoreError(f"{path} is missing")
    return path


def _hexadecimal(path: Path) -> str | None:
    """What a file holds that has an id of 32 hexadecimal digits; of any other, nothing is told to anyone."""
    if path.is_symlink() or not path.is_file():
        return None
    content = path.read_bytes()[:33].strip()
    return content.decode() if re.fullmatch(rb"[0-9a-f]{32}", content) else None


def _finished_at(environment: Mapping[str, Any]) -> float | None:
    try:
        return datetime.fromisoformat(str(environment.get("finished_at"))).timestamp()
    except (ValueError, OverflowError):
        return None


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    _write_text(path, _json(content))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    _new(path).write_text(_json(content), encoding="utf-8")


def _write_checksums(folder: Path, states: checksums.States) -> None:
    _write_json(folder / checksums.NAME, checksums.content(states))


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no nan: a metric that is not defined is null."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_text(path: Path, text: str) -> None:
    temporary = _new(path.with_name(path.name + ".tmp"))
    temporary.write_text(text, encoding="utf-8")
    _sync(temporary)
    temporary.replace(path)


def _new(path: Path) -> Path:
    """Make room for a file: in a stranger's store a link may stand there, and lead the writing to a file elsewhere."""
    path.unlink(missing_ok=True)
    return path


def _own(folder: Path) -> Path:
    """Refuse to write into a folder that is elsewhere."""
    if folder.is_symlink():
        raise StoreError(f"{folder} is a link; nothing is written into a run that lies elsewhere")
    return folder


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk and not in a cache that a power cut empties."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
