"""The index over runs: what reports read of every run, in one file, so that each run is read once.

`<results>/index.jsonl` is derived from config.yaml, metrics.json and environment.json of the runs and can be deleted
at any time. A line whose files have changed since, by their times, inodes or sizes, is not used; a damaged line or one
of another version of lossbench is not read. Of two processes that write it at once, the last one's file stays, whole.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.errors import StoreError
from lossbench.record import NEEDED, SCHEMA, SPLITS, Record

if TYPE_CHECKING:
    import pandas as pd

VERSION = b"2.%d" % SCHEMA  # of a line: to be raised whenever a Record, or how it is read, changes
FILES = ("config.yaml", "metrics.json", "environment.json")
MANY = 200  # runs to read, which take long enough for a bar
MOST_NAMES = 3  # of what was skipped
LONGEST = 200  # characters of a reason
NUMBERS = {int, float, type(None)}
SETTINGS = {str, bool, *NUMBERS}


def index_of(runs: Path) -> Path:
    """Return where the index over a folder of runs is."""
    return runs.parent / "index.jsonl"


def records(
    runs: Path, ids: Iterable[str], read: Callable[[str], Record]
) -> tuple[dict[str, Record], dict[str, list[str]]]:
    """Return what is known of every run, from the index where that is up to date, which it is made afterwards.

    Args:
        runs: the folder.
        ids: of the runs in it.
        read: reads one from its files, or raises a StoreError.

    Returns:
        The records by run, in the order of the ids, and the runs that could not be read, by the reason.
    """
    index = index_of(runs)
    stored, damaged = _load(index)
    lines: dict[str, bytes] = {}
    found: dict[str, Record | None] = {}
    stamps: dict[str, str] = {}
    for run_id in ids:
        stamp = _stamp(runs / run_id)
        known = stored.get((run_id, stamp))
        record = _decoded(known) if known is not None else None
        if known is not None and record is not None:
            lines[run_id] = known
        else:
            stamps[run_id] = stamp
        found[run_id] = record
    skipped: dict[str, list[str]] = {}
    for run_id in _counted(list(stamps)):
        try:
            found[run_id] = record = read(run_id)
        except (StoreError, OSError) as error:
            reason = (
                error.strerror if isinstance(error, OSError) else str(error).replace(f"{runs / run_id}{os.sep}", "")
            )
            skipped.setdefault(reason or "cannot be read", []).append(run_id)
        else:
            lines[run_id] = _encoded(run_id, stamps[run_id], record)
    if damaged or {*lines} != {run_id for run_id, _ in stored} or any(run_id in lines for run_id in stamps):
        _save(index, [lines[run_id] for run_id in found if run_id in lines])
    return {run_id: record for run_id, record in found.items() if record is not None}, skipped


@dataclass(frozen=True)
class Repair:
    """What became of an index that was held against the runs."""

    right: bool  # it was what the runs say, or there was nothing to say
    false: int = 0  # runs of which a report would have shown something else than they hold
    written: bool = False


def repair(runs: Path, ids: Iterable[str], read: Callable[[str], Record]) -> Repair:
    """Read every run, whatever the index says, and write it anew where it says something else.

    Args:
        runs: the folder.
        ids: of the runs in it.
        read: reads one from its files, or raises a StoreError.
    """
    index = index_of(runs)
    stored, _ = _load(index)
    lines: list[bytes] = []
    false = 0
    for run_id in ids:
        stamp = _stamp(runs / run_id)
        known, line = stored.get((run_id, stamp)), None
        with suppress(StoreError, OSError):
            line = _encoded(run_id, stamp, read(run_id))
            lines.append(line)
        false += known is not None and known != line
    expected = b"".join(lines)
    if _content(index) == expected:
        return Repair(right=True)
    _save(index, lines)
    return Repair(right=False, false=false, written=_content(index) == expected)


def _content(index: Path) -> bytes:
    try:
        return index.read_bytes()
    except OSError:
        return b""


def frame(
    records: Mapping[str, Record], splits: Sequence[str] = SPLITS, calibrations: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return a row per run × split × calibration; see `lossbench.store.Store.frame`."""
    import pandas as pd

    heads = [
        (run_id, split, calibration)
        for run_id, record in records.items()
        for split in SPLITS
        if split in splits
        for calibration in record.values[split]
        if calibrations is None or calibration in calibrations
    ]
    if not heads:
        return pd.DataFrame()
    number = {run_id: i for i, run_id in enumerate(records)}
    owner = np.array([number[run_id] for run_id, _, _ in heads], dtype=np.intp)
    names = list(dict.fromkeys(name for record in records.values() for name in (*record.metrics, *record.beside)))
    column = {name: j for j, name in enumerate([*names, "temperature"])}
    places = {record.metrics: [column[name] for name in record.metrics] for record in records.values()}
    numbers = np.full((len(heads), len(column)), np.nan)
    for i, (run_id, split, calibration) in enumerate(heads):
        record = records[run_id]
        numbers[i, places[record.metrics]] = record.values[split][calibration]  # None is nan
        numbers[i, column["temperature"]] = record.temperature
        if split == "test":  # the only split that the others were measured on
            for name, value in record.beside.items():
                numbers[i, column[name]] = value
    # Settings once for each run and not for each row: a frame of so many dicts takes most of the time otherwise.
    settings = pd.DataFrame([record.settings for record in records.values()])
    return pd.concat(
        [
            pd.DataFrame(heads, columns=["run", "split", "calibration"]),
            settings.take(owner).reset_index(drop=True),
            pd.DataFrame(numbers, columns=list(column)),
        ],
        axis=1,
    )


def messages(skipped: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each reason why something was left out, with the first few names."""
    lines = []
    for reason, names in skipped.items():
        shown = [_printable(name) for name in names[:MOST_NAMES]]
        text = _printable(reason)
        if len(names) == 1:
            lines.append(f"skipped {shown[0]}: {text}")
        else:
            more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
            lines.append(f"skipped {len(names):,}: {text} ({', '.join(shown)}{more})")
    return lines


def _printable(text: str) -> str:
    """What came from a file may steer a terminal, or fill it."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def _counted(names: list[str]) -> Iterator[str]:
    """Yield the names, with a bar where they are many and somebody looks at it."""
    if len(names) < MANY or not sys.stderr.isatty():
        yield from names
        return
    from lossbench.progress import counting

    with counting("reading runs", len(names)) as advance:
        for name in names:
            yield name
            advance()


def _stamp(folder: Path) -> str:
    """What changes when a run's files do."""
    stamp = []
    for name in FILES:
        with suppress(OSError):
            status = os.stat(f"{folder}{os.sep}{name}")
            # The time of change and the inode, too: what copies a file with its times, as rsync does, sets neither.
            stamp.append(f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino} {status.st_size}")
    return ", ".join(stamp)


# A line is VERSION, the checksum of all that follows, the run's id, its stamp and its record, apart by tabs.


def _load(index: Path) -> tuple[dict[tuple[str, str], bytes], bool]:
    """Return the index's lines by run and stamp, and whether there are others in it."""
    lines: dict[tuple[str, str], bytes] = {}
    damaged = False
    with suppress(OSError), index.open("rb") as file:
        for line in file:
            version, checksum, content = (*line.rstrip(b"\n").split(b"\t", 2), b"", b"")[:3]
            if version != VERSION or checksum != b"%d" % zlib.crc32(content):
                damaged = True
                continue
            run_id, stamp, _ = (*content.split(b"\t", 2), b"", b"")[:3]
            lines[run_id.decode("utf-8", "replace"), stamp.decode("utf-8", "replace")] = line
    return lines, damaged


def _encoded(run_id: str, stamp: str, record: Record) -> bytes:
    content = f"{run_id}\t{stamp}\t{json.dumps(vars(record))}".encode("utf-8", "replace")
    return b"%b\t%d\t%b\n" % (VERSION, zlib.crc32(content), content)


def _decoded(line: bytes) -> Record | None:
    """The checksum finds what is damaged by accident; what somebody has made up must have a record's parts, too."""
    try:
        content: dict[str, Any] = json.loads(line.split(b"\t", 4)[4])
        record = Record(**{**content, "metrics": tuple(content["metrics"])})
        return record if _is_whole(record) else None
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError):
        return None


def _is_whole(record: Record) -> bool:
    """Whether a record's parts are of the kinds and lengths that `lossbench.record.record` gives them."""
    lists = [numbers for split in SPLITS for numbers in record.values[split].values()]
    return (
        {type(value) for value in record.settings.values()} <= SETTINGS
        and all(key in record.settings for key in NEEDED)
        and {type(name) for name in record.metrics} <= {str}
        and all(len(numbers) == len(record.metrics) and {*map(type, numbers)} <= NUMBERS for numbers in lists)
        and {type(value) for value in (*record.beside.values(), record.temperature)} <= NUMBERS
    )


def _save(index: Path, lines: Iterable[bytes]) -> None:
    temporary = index.with_name(f"{index.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(b"".join(lines))
        temporary.replace(index)
    except OSError:  # a folder that is read-only, or full: the next report reads the runs again
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
