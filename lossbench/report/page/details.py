"""How each row was made: its runs, their configs and environments, and the commands that make them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossbench.errors import RequestError
from lossbench.report.commands import command_of, overrides_of, own_configs
from lossbench.report.notation import printable
from lossbench.report.selection import written
from lossbench.report.table import Row, Table
from lossbench.settings import flat
from lossbench.store import Store

ENVIRONMENT = ("platform", "device_description", "precision", "threads", "git_revision")
PRINTS = ("data", "split", "initial_weights", "batch_order")
UNREADABLE = (RequestError, AttributeError, KeyError, OSError, TypeError, ValueError)


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
class Made:
    """How a row was made."""

    commands: tuple[str, ...]
    own: tuple[str, ...]  # choices that no config of lossbench makes
    runs: tuple[RunLine, ...]


@dataclass(frozen=True)
class Details:
    """How all rows were made; what is the same for all is said once."""

    rows: tuple[Made, ...]
    environment: tuple[tuple[str, str], ...]
    configs: dict[str, Any]  # `common`, and for each row what differs: dotted key → text


def details(table: Table, store: Store) -> Details:
    """Read how the runs of a table were made.

    Args:
        table: what `tabulate` returns.
        store: where its runs are. What cannot be read is left out.
    """
    environments = {run.id: _environment(store, run.id) for row in table.rows for run in row.runs}
    same = _common([flat for flat, _ in environments.values()])
    configs = {row.runs[0].id: _config(store, row.runs[0].id) for row in table.rows}
    written_out = [{key: written(value) for key, value in flat(configs[row.runs[0].id])} for row in table.rows]
    common = _common(written_out)
    rows = []
    for row in table.rows:
        runs = []
        for run in row.runs:
            settings, raw = environments[run.id]
            prints = " ".join(str(run.fingerprints.get(of))[:6] for of in PRINTS if run.fingerprints.get(of))
            other = ", ".join(f"{key} {text}" for key, text in settings.items() if same.get(key) != text)
            finished = str(raw.get("finished_at", ""))[:16].replace("T", " ")
            runs.append(RunLine(run.id, written(run.seed), finished, _seconds(raw), prints, other))
        commands, own = _commands(row, configs[row.runs[0].id], store)
        rows.append(Made(commands, own, tuple(runs)))
    differing = [{key: text for key, text in one.items() if common.get(key) != text} for one in written_out]
    return Details(tuple(rows), tuple(same.items()), {"common": common, "rows": differing})


def _commands(row: Row, config: Mapping[str, Any], store: Store) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """One command for all seeds, or one for each of the settings that validation chose for some."""
    if not config:
        return (), ()
    try:
        if not row.picked:
            seeds = [run.seed for run in row.runs if isinstance(run.seed, int)]
            return (printable(command_of(config, seeds)),), tuple(own_configs(config))
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for one in (_config(store, run.id) for run in row.runs):
            alike.setdefault(tuple(word for word in overrides_of(one) if not word.startswith("seed=")), []).append(one)
        commands = [command_of(same[0], [one["seed"] for one in same]) for same in alike.values()]
        return tuple(map(printable, commands)), tuple(own_configs(config))
    except UNREADABLE:
        return (), ()


def _config(store: Store, run_id: str) -> dict[str, Any]:
    try:
        return store.config(run_id)
    except UNREADABLE:
        return {}


def _environment(store: Store, run_id: str) -> tuple[dict[str, str], Mapping[str, Any]]:
    try:
        raw = store.environment(run_id)
        versions = {f"{name}": printable(str(version)) for name, version in dict(raw.get("versions", {})).items()}
    except UNREADABLE:
        return {}, {}
    there = {key.replace("_", " "): printable(str(raw[key])) for key in ENVIRONMENT if raw.get(key) is not None}
    return {**versions, **there}, raw


def _common(settings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What most have, key by key, so that the others say what differs."""
    if not settings:
        return {}
    counts = Counter(item for one in settings for item in one.items())
    return {key: text for key, text in settings[0].items() if counts[key, text] == len(settings)}


def _seconds(raw: Mapping[str, Any]) -> str:
    seconds = raw.get("wall_seconds")
    return f"{seconds:.1f}" if isinstance(seconds, int | float) else ""
