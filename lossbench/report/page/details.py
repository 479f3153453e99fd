"""How each row was made: its runs, their configs and environments, and the commands that make them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossbench.errors import RequestError
from lossbench.report.commands import command_of, is_older, overrides_of, own_configs
from lossbench.report.notation import printable
from lossbench.report.selection import written
from lossbench.report.table import Table
from lossbench.settings import flat
from lossbench.store import Store

ENVIRONMENT = ("platform", "device_description", "precision", "threads", "git_revision")
PRINTS = ("data", "split", "initial_weights", "batch_order")
UNREADABLE = (RequestError, OSError)


@dataclass(frozen=True)
class RunLine:
    """A run as the page lists it."""

    id: str
    seed: str
    finished: str
    seconds: str
    prints: str
    environment: str  # what is not the same for all runs of the page


@dataclass(frozen=True)
class Command:
    """What makes some runs of a row again."""

    text: str
    older: bool  # it makes them with settings that they lack, and so under other ids


@dataclass(frozen=True)
class Made:
    """How a row was made."""

    commands: tuple[Command, ...]
    own: tuple[str, ...]  # choices that no config of lossbench makes
    runs: tuple[RunLine, ...]


@dataclass(frozen=True)
class Details:
    """How all rows were made; what is the same for all is said once."""

    rows: tuple[Made, ...]
    environment: tuple[tuple[str, str], ...]
    # Dotted key → text: `common` to all runs; for each row what else its runs share; for each of those the rest.
    configs: dict[str, Any]


def details(table: Table, store: Store) -> Details:
    """Read how the runs of a table were made.

    Args:
        table: what `tabulate` returns.
        store: where its runs are. What cannot be read is left out.
    """
    environments = {run.id: _environment(store, run.id) for row in table.rows for run in row.runs}
    same = _common([settings for settings, _ in environments.values()])
    configs = {run.id: _config(store, run.id) for row in table.rows for run in row.runs}
    texts = {run_id: {key: written(value) for key, value in flat(config)} for run_id, config in configs.items()}
    common = _common([text for text in texts.values() if text])
    rows, of_rows, of_runs = [], [], []
    for row in table.rows:
        runs = []
        for run in row.runs:
            settings, raw = environments[run.id]
            prints = " ".join(str(run.fingerprints.get(of))[:6] for of in PRINTS if run.fingerprints.get(of))
            other = ", ".join(f"{key} {text}" for key, text in settings.items() if same.get(key) != text)
            finished = str(raw.get("finished_at", ""))[:16].replace("T", " ")
            runs.append(RunLine(run.id, written(run.seed), finished, _seconds(raw), prints, other))
        there = [configs[run.id] for run in row.runs if configs[run.id]]
        rows.append(
            Made(_commands(there), tuple(dict.fromkeys(c for one in there for c in own_configs(one))), tuple(runs))
        )
        shared = _common([texts[run.id] for run in row.runs])
        of_rows.append({key: text for key, text in shared.items() if common.get(key) != text})
        of_runs.append(
            [{k: t for k, t in texts[run.id].items() if common.get(k) != t and shared.get(k) != t} for run in row.runs]
        )
    return Details(tuple(rows), tuple(same.items()), {"common": common, "rows": of_rows, "runs": of_runs})


def _commands(configs: Sequence[Mapping[str, Any]]) -> tuple[Command, ...]:
    """One command for all runs that differ in the seed alone.

    Others are those with settings that validation chose for each seed, and students that name their teacher by its id.
    """
    alike: dict[tuple[bool, tuple[str, ...]], list[Mapping[str, Any]]] = {}
    for config in configs:
        try:
            words = tuple(word for word in overrides_of(config) if not word.startswith("seed="))
            alike.setdefault((is_older(config), words), []).append(config)
        except RequestError:
            continue
    return tuple(
        Command(
            printable(command_of(same[0], sorted({seed for one in same if isinstance(seed := one.get("seed"), int)}))),
            older,
        )
        for (older, _), same in alike.items()
    )


def _config(store: Store, run_id: str) -> dict[str, Any]:
    try:
        return store.config(run_id)
    except UNREADABLE:
        return {}


def _environment(store: Store, run_id: str) -> tuple[dict[str, str], Mapping[str, Any]]:
    try:
        raw = store.environment(run_id)
    except UNREADABLE:
        return {}, {}
    there = raw.get("versions")
    versions = {name: printable(str(version)) for name, version in there.items()} if isinstance(there, dict) else {}
    known = {key.replace("_", " "): printable(str(raw[key])) for key in ENVIRONMENT if raw.get(key) is not None}
    return {**versions, **known}, raw


def _common(settings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What most have, key by key, so that the others say what differs."""
    if not settings:
        return {}
    counts = Counter(item for one in settings for item in one.items())
    return {key: text for key, text in settings[0].items() if counts[key, text] == len(settings)}


def _seconds(raw: Mapping[str, Any]) -> str:
    seconds = raw.get("wall_seconds")
    return f"{seconds:.1f}" if isinstance(seconds, int | float) else ""
