"""`lossbench verify`: whether finished runs are as they were written, and the index as they are. Needs no torch."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lossbench import checksums, evaluation, index, predictions
from lossbench.errors import RequestError, StoreError
from lossbench.record import SPLITS, read_config, read_json, read_npz, record
from lossbench.store import REPLACED, Store, check_archive

FOLLOW = ("accuracy", "nll")  # what is computed again: cheap, and between them they see every logit and target
OF_A_RUN = {*checksums.OF_A_RUN, *checksums.REMEDIES}


@dataclass
class Findings:
    """What was found in a run, or beside the runs: a line for each."""

    damaged: list[str] = field(default_factory=list)  # the file, what is wrong with it, what to do
    notes: list[str] = field(default_factory=list)  # what is no damage
    unrecorded: bool = False  # a run that was made before checksums were kept


def verify_run(store: Store, run_id: str) -> Findings:
    """Hold a finished run's files against their checksums, read them all, and its metrics against its predictions.

    Args:
        store: where the run is.
        run_id: its id.
    """
    found, before = Findings(), _place(store.path(run_id))
    try:
        _verify(store, run_id, found)
    except FileNotFoundError as error:
        found.damaged.append(f"{error.filename} is gone")
    after = _place(store.path(run_id))
    if found.damaged and (after is None or after != before):
        return Findings(notes=[f"{store.path(run_id)} was written anew just now: verify it once more"])
    return found


def _place(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another of its name; None where it is gone."""
    try:
        there = folder.stat()
    except FileNotFoundError:
        return None
    return there.st_dev, there.st_ino


def _verify(store: Store, run_id: str, found: Findings) -> None:
    folder = store.path(run_id)
    there = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {checksums.NAME}
    try:
        states = checksums.recorded(folder)
    except StoreError as error:
        found.damaged.append(str(error))
        return
    found.unrecorded = states is None
    if states is None and _made_with_checksums(store, run_id):
        found.unrecorded = False
        found.damaged.append(f"{folder / checksums.NAME} is missing; {checksums.TRAIN}")
    for name in sorted({*checksums.OF_A_RUN, *(states or ())} - there):
        if name in checksums.OF_A_RUN:
            found.damaged.append(f"{folder / name} is missing; {checksums.remedy(name)}")
        elif states is not None and None not in states[name]:
            found.notes.append(f"{folder / name} was removed; {checksums.remedy(name)}")
    whole = set()
    for name in sorted(there):
        if name in OF_A_RUN:
            fault = _fault(folder / name, lambda name=name: store.check(run_id, name))  # type: ignore[misc]
            if fault is None:
                whole.add(name)
            else:
                found.damaged.append(fault)
        elif name.endswith(".tmp") or name == "checkpoint.pt":
            found.notes.append(f"{folder / name} was left by a process that died; nothing needs it")
        else:
            found.notes.append(f"{folder / name} is no file of a run")
    found.damaged += _unreadable(store, run_id, whole)


def _made_with_checksums(store: Store, run_id: str) -> bool:
    try:
        return checksums.KEPT in store.environment(run_id)
    except StoreError:  # which is said of that file
        return False


def _unreadable(store: Store, run_id: str, whole: set[str]) -> Iterator[str]:
    """Read what is as it was written: an earlier run may have no checksums, and a forged one forged ones."""
    folder = store.path(run_id)
    readers: dict[str, Callable[[Path], Any]] = {
        "config.yaml": read_config,
        "environment.json": read_json,
        "metrics.json": read_json,
        "history.csv": lambda path: store.history(run_id),
        "predictions.npz": read_npz,
        "model.safetensors": _read_header,
        "shift.json": read_json,
        "features.npz": read_npz,
        "examples.npz": read_npz,
    }
    read: dict[str, Any] = {}
    for name in [name for name in readers if name in whole]:
        fault = _fault(folder / name, lambda name=name: read.update({name: readers[name](folder / name)}))  # type: ignore[misc]
        if fault is not None:
            yield f"{fault}; {checksums.remedy(name)}"
    if {"config.yaml", "environment.json", "metrics.json"} <= set(read):
        config, metrics = read["config.yaml"], read["metrics.json"]
        fault = _fault(folder, lambda: record(config, metrics, read["environment.json"]))
        if fault is None and "predictions.npz" in read:
            fault = _fault(folder, lambda: _check_metrics_follow(folder, metrics, read["predictions.npz"]))
        if fault is not None:
            yield f"{fault}; {checksums.remedy('metrics.json' if 'metrics.json' in fault else '')}"


def _read_header(path: Path) -> None:
    with safe_open(path, framework="numpy"):  # holds what the header says against the length of the file
        pass


def _check_metrics_follow(folder: Path, stored: Mapping[str, Any], given: predictions.Arrays) -> None:
    arrays, link = predictions.of_content(folder, stored, lambda: given)
    for split in SPLITS:
        one = {f"test_{part}": arrays[f"{split}_{part}"] for part in ("logits", "targets")}
        for name, value in evaluation.measure(one, link, names=FOLLOW)["test"]["raw"].items():
            said = stored[split]["raw"][name]
            if not evaluation.same(value, float("nan") if said is None else said):
                raise StoreError(
                    f"{folder / 'metrics.json'} says that {split} {name} is {said}; by the predictions it "
                    f"is {value:.6g}"
                )


def _fault(path: Path, look: Callable[[], object]) -> str | None:
    """What is raised by looking at a file or a run that is damaged, in words that name it; None if nothing is."""
    try:
        look()
    except RequestError as error:
        said = str(error)
    except OSError as error:
        said = error.strerror or str(error)
    except (SafetensorError, csv.Error, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        said = f"cannot be read ({type(error).__name__}: {error})"
    else:
        return None
    return said if str(path) in said else f"{path}: {said}"


def verify_rest(store: Store) -> Findings:
    """Hold the index against the runs, write it anew where it is wrong, and count what is not finished or left over."""
    found = Findings()
    path = index.index_of(store.runs)
    repair = index.repair(store.runs, store.run_ids(), store.record)
    wrong = f"said something else than {repair.false:,} of the runs" if repair.false else "was not up to date"
    if repair.written:
        found.notes.append(f"{path} {wrong}: written anew from the runs")
    elif repair.false:
        found.damaged.append(f"{path} {wrong} and cannot be written; reports are wrong until it is removed")
    elif not repair.right:
        found.notes.append(f"{path} {wrong} and cannot be written; reports read the runs instead")
    infos = [info for info in store.infos() if info.status in ("running", "failed", "interrupted")]
    for info in infos.copy():
        checkpoint = store.partial(info.run_id) / "checkpoint.pt"
        if info.status == "interrupted" and checkpoint.is_file():
            fault = _fault(checkpoint, lambda path=checkpoint: check_archive(path))  # type: ignore[misc]
            if fault is not None:
                found.damaged.append(f"{fault}; remove it, and the run starts anew")
                infos.remove(info)
    for status, what in (
        ("running", "in training"),
        ("failed", "failed; lossbench runs says why, --retry-failed trains it again"),
        ("interrupted", "interrupted, no damage; the same lossbench train goes on"),
    ):
        if count := sum(info.status == status for info in infos):
            found.notes.append(f"{count:,} {what}")
    for replaced in sorted(store.runs.glob(f"*{REPLACED}")):
        run_id = replaced.name.removesuffix(REPLACED)
        if not store.held(run_id):
            found.notes.append(
                f"{replaced} is {run_id} as it was before it was trained again by a process that died; the same "
                "lossbench train tidies up"
            )
    dead = [claim for claim in _files(store.claims) if not store.held(claim.name)]
    if dead:
        found.notes.append(f"{len(dead):,} claims of dead processes in {store.claims}; nothing needs them")
    return found


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
