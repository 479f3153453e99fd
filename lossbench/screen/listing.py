"""`lossbench runs`: a line for each run."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lossbench.errors import StoreError
from lossbench.progress import duration
from lossbench.screen.drawing import aligned, folded
from lossbench.settings import flat, sentence, told_apart
from lossbench.store import RunInfo, Store


def chosen(
    store: Store, where: Sequence[str], status: str | None, limit: int | None
) -> tuple[list[RunInfo], list[Mapping[str, Any]]]:
    """Return the runs that a user asks for, the newest first, and their configs. What is not shown is not read.

    Args:
        store: where they are.
        where: filters as `lossbench.report.selection.select` takes them; finished or not, a run has a config.
        status: of the runs; None for any.
        limit: how many at most; None for all.

    Raises:
        RequestError: if a filter is wrong.
    """
    checked = (_checked(store, info, status) for info in store.infos())
    infos: Iterator[RunInfo] = (info for info in checked if status in (None, info.status))
    if where:
        infos = _meeting(store, list(infos), where)
    shown = list(infos if limit is None else itertools.islice(infos, min(limit, sys.maxsize)))
    return shown, [_config(store, info) for info in shown]


def _checked(store: Store, info: RunInfo, status: str | None) -> RunInfo:
    """Look into a run that is there as a whole, where that may matter: what cannot be read is damaged."""
    if info.status == "finished" and status in (None, "finished", "unreadable"):
        try:
            store.config(info.run_id)
            store.metrics(info.run_id)
        except StoreError as error:
            return replace(info, status="unreadable", message=str(error))
    return info


def _meeting(store: Store, infos: Sequence[RunInfo], where: Sequence[str]) -> Iterator[RunInfo]:
    import pandas as pd

    from lossbench.report.selection import select

    settings = [{"run": info.run_id, **dict(flat(_config(store, info)))} for info in infos]
    frame = pd.DataFrame(settings)
    kept = set(select(frame, where, list(frame.columns)).index) if infos else set()
    return (info for place, info in enumerate(infos) if place in kept)


def _config(store: Store, info: RunInfo) -> Mapping[str, Any]:
    try:
        return store.config(info.run_id)
    except StoreError:
        return {}


def listing(infos: Sequence[RunInfo], configs: Sequence[Mapping[str, Any]], width: int) -> str:
    """Return a line for each run: status, age, duration, what tells it apart from the others; below it, why it failed.

    Args:
        infos: of the runs, in the order to show.
        configs: theirs; empty where it cannot be read.
        width: of the lines. Ids are not broken.
    """
    settings = [sentence(run) for run in told_apart(configs)]
    now = time.time()
    cells = [
        [
            info.run_id,
            info.status,
            duration(now - info.changed, units=1),
            "" if info.seconds is None else duration(info.seconds),
        ]
        for info in infos
    ]
    # The widths of a heading's words are those of a line, too.
    lines = aligned([["run", "status", "age", "took"], *cells], left=2)
    beside = max(map(len, lines)) + 2
    inline = width - beside >= max(map(len, settings))
    shown = [lines[0].ljust(beside) + "settings" if inline and any(settings) else lines[0]]
    for line, info, text in zip(lines[1:], infos, settings, strict=True):
        shown += [line.ljust(beside) + text if inline and text else line]
        shown += [] if inline else folded(text, width, "  ")
        shown += folded(info.message, width, "  ")
    return "\n".join(shown) + "\n"
