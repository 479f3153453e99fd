"""Which settings make a table's rows and which go across, and in what order the rows stand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from lossbench.errors import ConfigError, RequestError, did_you_mean
from lossbench.report.comparison import badness
from lossbench.report.selection import Value, order, written
from lossbench.report.series import named
from lossbench.report.table import NAMES, Column, MetricColumn, Row, leading, metric_name, short_name

Config = Mapping[str, Value]


def arrange(
    keys: Sequence[str], configs: Sequence[Config], rows: Sequence[str] | None, across: Sequence[str]
) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    """Return the columns of settings, and the settings that go across above the metrics.

    Args:
        keys: all config keys that are compared.
        configs: of each row.
        rows: the keys to show, as headings name them or dotted; none for all that tell rows apart.
        across: the keys that go across.

    Raises:
        ConfigError: if there is no such key.
        RequestError: if two rows would then stand in one place.
    """
    telling = _telling(keys, configs)
    above = [key_named(word, keys, telling) for word in across]
    if rows is None:
        # What is the same for all rows of one data set, say, needs no column where data sets go across.
        shown = [key for key in telling if key not in above and (not above or _varies_within(key, above, configs))]
    else:
        shown = [key_named(word, keys, telling) for word in rows]
    if both := [key for key in shown if key in above]:
        raise ConfigError(f"{short_name(both[0])} cannot be both in --rows and in --columns")
    # A function's path and code may differ where nothing else does; rows that look alike then have a note.
    if rows is not None or above:
        _check_places([*shown, *above], keys if above else telling, configs)
    # The three names keep their words even when they stand in the title.
    taken = Counter(short_name(key) for key in {*shown, *above, *telling, *NAMES})
    named = {key: short_name(key) if taken[short_name(key)] == 1 else key for key in [*shown, *above]}
    return tuple(Column(key, named[key]) for key in shown), tuple(Column(key, named[key]) for key in above)


def key_named(word: str, keys: Sequence[str], first: Sequence[str] = ()) -> str:
    """Return the config key that a user names by its heading (`epsilon`, `teacher loss`), in full, or as a group.

    Args:
        word: what the user typed.
        keys: those there are.
        first: those that win where a short name fits several.

    Raises:
        ConfigError: if it is none, or fits several.
    """
    found = _fitting(word, keys, first)
    if len(found) > 1:
        raise ConfigError(f"{word!r} fits several settings; say which: {', '.join(sorted(found))}")
    if not found:
        raise ConfigError(f"no setting named {word!r}{did_you_mean(word, _names(keys, first))}")
    return found[0]


def in_order(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Sort rows by their settings from left to right; cross-entropy comes first among losses."""
    return sorted(rows, key=lambda row: [place(column.key, row.config[column.key]) for column in columns])


def place(key: str, value: Value) -> tuple[bool, tuple[int, float, str]]:
    """Return what a setting's values are sorted by."""
    return key == "loss.name" and value != "cross_entropy", order(value)


def sort(
    rows: Sequence[Row],
    columns: Sequence[Column],
    shown: Sequence[MetricColumn],
    by: str,
    across: Sequence[Column] = (),
) -> list[Row]:
    """Sort rows within their blocks.

    Args:
        rows: the table's.
        columns: its columns of settings, which say what a block is.
        shown: the metric columns.
        by: a setting, or `setting:desc`; or a metric, best first, in the first calibration shown or as
            `metric.calibration`. Where settings go across, by the mean over them.
        across: what goes across.

    Raises:
        ConfigError: if it is none of these.
    """
    word, _, direction = by.partition(":")
    if direction not in ("", "asc", "desc"):
        raise ConfigError(f"--sort takes KEY, KEY:desc or METRIC; got {by!r}")
    blocks = leading(columns)

    def block(row: Row) -> list[tuple[bool, tuple[int, float, str]]]:
        return [place(column.key, row.config[column.key]) for column in columns[:blocks]]

    index = _metric(word, shown)
    settings = list(rows[0].config)
    if index is not None and word not in [column.heading for column in columns]:
        if direction:
            raise ConfigError(f"--sort {word} puts the best first; :{direction} is for settings")
        means: dict[tuple[Value, ...], list[float]] = {}
        for row in rows:
            mean = row.cells[index].mean
            better = shown[index].better
            means.setdefault(_place_of(row, columns), []).extend(
                [badness(mean, better) if better else mean] if math.isfinite(mean) else []
            )
        # What has no value for all that goes across comes after what has.
        last = {key: (-len(values), fmean(values or [0.0])) for key, values in means.items()}
        return sorted(rows, key=lambda row: (block(row), last[_place_of(row, columns)]))
    first = [column.key for column in (*columns, *across)]
    if not _fitting(word, settings, first):
        nearest = did_you_mean(word, [*(column.metric for column in shown), *_names(settings, first)])
        raise ConfigError(f"--sort {word} is neither a setting nor a metric of this table{nearest}")
    key = key_named(word, settings, first)
    ordered = sorted(rows, key=lambda row: place(key, row.config[key]), reverse=direction == "desc")
    return sorted(ordered, key=block)


def look_alikes(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """A note on rows whose columns are equal, because what tells them apart is not worth a column."""
    alike: dict[tuple[Value, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.block, *_place_of(row, columns)), []).append(row)
    differing = {
        key for group in alike.values() for key in group[0].config if len({row.config[key] for row in group}) > 1
    }
    names = ["the code, the weights or the data of one's own" if key == "sources" else key for key in sorted(differing)]
    return [f"Rows that look alike differ in {', '.join(names)}."] if names else []


def of_what_goes_across(rows: Sequence[Row], columns: Sequence[Column], across: Sequence[Column]) -> list[str]:
    """A note on the settings that go with what goes across, and so have no column."""
    hidden = going_with(rows, columns, across)
    groups: dict[tuple[Value, ...], dict[str, None]] = {}
    for row in rows:
        texts = [f"{key}={written(row.config[key])}" for key in hidden if row.config[key] is not None]
        groups.setdefault(_place_of(row, across), {}).update(dict.fromkeys(texts))
    return [f"{', '.join(map(named, across, group))}: {', '.join(texts)}." for group, texts in groups.items() if texts]


def going_with(rows: Sequence[Row], columns: Sequence[Column], across: Sequence[Column]) -> list[str]:
    """Return the settings that tell rows apart and have no column because they go with what goes across."""
    if not across:
        return []
    keys = list(rows[0].config)
    telling = set(_telling(keys, [row.config for row in rows])) - {column.key for column in (*columns, *across)}
    return [key for key in keys if key in telling]


def _place_of(row: Row, columns: Sequence[Column]) -> tuple[Value, ...]:
    return tuple(row.config[column.key] for column in columns)


def _metric(word: str, shown: Sequence[MetricColumn]) -> int | None:
    """The position of `ece`, in the first calibration shown, or of `ece.temperature_scaled`."""
    for index, column in enumerate(shown):
        if word in (column.metric, f"{column.metric}.{column.calibration}", metric_name(column.metric)):
            return index
    return None


def _fitting(word: str, keys: Sequence[str], first: Sequence[str]) -> list[str]:
    """The keys that a word may mean: exactly, or those of the first list that has any of that short name."""
    exact = [key for key in (word, f"{word}.name") if key in keys][:1]
    by_name = [[key for key in of if short_name(key) == word and not key.endswith("_target_")] for of in (first, keys)]
    return exact or by_name[0] or by_name[1]


def _names(keys: Sequence[str], first: Sequence[str]) -> list[str]:
    return [*map(short_name, first), *(key.removesuffix(".name") for key in keys), *map(short_name, keys)]


def _telling(keys: Sequence[str], configs: Sequence[Config]) -> list[str]:
    sections = ("dataset", "model", "loss")
    rank = {key: (sections.index(s) if (s := key.partition(".")[0]) in sections else len(sections)) for key in keys}
    inner = sorted(keys, key=lambda key: (rank[key], key not in NAMES))
    # A function's path tells rows apart too, but its name is what people read.
    return [key for key in inner if not key.endswith(("_target_", "sources")) and _tells_rows_apart(key, configs)]


def _tells_rows_apart(key: str, configs: Sequence[Config]) -> bool:
    if len({config[key] for config in configs} - {None}) > 1:
        return True
    # One value, which some rows lack: no column if the row's own loss, model, … decides whether there is one.
    section = key.partition(".")[0]
    owners = ("loss.name", "dataset.learn") if section == "teacher" else (f"{section}.name",)
    missing: dict[tuple[Value, ...], set[bool]] = {}
    for config in configs:
        missing.setdefault(tuple(map(config.get, owners)), set()).add(config[key] is None)
    return any(len(kinds) > 1 for kinds in missing.values())


def _varies_within(key: str, above: Sequence[str], configs: Sequence[Config]) -> bool:
    there: dict[tuple[Value, ...], set[Value]] = {}
    for config in configs:
        there.setdefault(tuple(config[k] for k in above), set()).add(config[key])
    return any(len(values) > 1 for values in there.values())


def _check_places(chosen: Sequence[str], keys: Sequence[str], configs: Sequence[Config]) -> None:
    there: dict[tuple[Value, ...], Config] = {}
    for config in configs:
        other = there.setdefault(tuple(config[key] for key in chosen), config)
        differing = [key for key in keys if config[key] != other[key]]
        if differing:
            names = ", ".join(map(short_name, sorted(differing, key=lambda key: key.endswith("_target_"))[:3]))
            raise RequestError(
                f"rows that look alike by {', '.join(map(short_name, chosen))} differ in {names}; add it to --rows or "
                f"--columns, or leave some out: --where {differing[0].removesuffix('.name')}=…"
            )


def more_than_the_loss(rows: Sequence[Row]) -> list[str]:
    """Say what else rows differ in that are held against each other as if it were the loss alone."""
    keys = [key for key in rows[0].config if not key.startswith(("dataset.", "model.", "loss.", "teacher.", "sources"))]
    differing = {}
    for key in keys:
        by_block: dict[int, set[Value]] = {}
        for row in rows:
            by_block.setdefault(row.block, set()).add(row.config[key])
        values = {value for found in by_block.values() if len(found) > 1 for value in found}
        if values and not key.endswith("_target_"):
            differing[key] = ", ".join(written(value) for value in sorted(values, key=order))
    if not differing:
        return []
    texts = [f"{key} ({text})" for key, text in differing.items()]
    return [f"Not the loss alone: rows that are held against each other also differ in {', '.join(texts)}."]
