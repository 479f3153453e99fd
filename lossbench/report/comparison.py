"""Row against row: which is best, which cannot be told from it, how far each is from a baseline."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from lossbench.errors import ConfigError, RequestError, counted, did_you_mean
from lossbench.report.selection import Value, meets, parse, written
from lossbench.report.table import PICKED, MetricColumn, Row, Run, short_name
from lossbench.settings import short_names
from lossbench.statistics import MIN_PAIRS, Array, Comparison, against_best, compare, corrected

FIXED = ("data", "split", "initial_weights")  # what dataset, model and seed decide, whatever the loss


def badness(value: float, better: str | None) -> float:
    """Return a number that is smaller the better a value is; nan where the metric does not judge."""
    return {"higher": -value, "lower": value, "zero": abs(value), None: math.nan}[better]


def mark_best(rows: Sequence[Row], shown: Sequence[MetricColumn]) -> tuple[list[Row], bool, list[str]]:
    """Mark in each block and column the best mean, and what paired tests cannot tell from it.

    A row that shares fewer than MIN_PAIRS kinds of runs with the best is not tested, nor is one that is infinite in a
    run, or whose differences from the best have no spread: it has no mark but `untested`. Where several share the best
    mean, the others are held against all of them. A block whose rows were trained or tested on different data has no
    mark at all: its means are of different problems.

    Returns:
        The rows, whether anything was tested, and a note for the blocks of different data.
    """
    cells = [list(row.cells) for row in rows]
    any_tested = False
    unlike: dict[str, list[tuple[Run, Run]]] = {}
    for block in dict.fromkeys(row.block for row in rows):
        members = [i for i, row in enumerate(rows) if row.block == block]
        if found := of_different_data([rows[i] for i in members]):
            differing, one, other = found
            unlike.setdefault(", ".join(name.replace("_", " ") for name in differing), []).append((one, other))
            continue
        for j, column in enumerate(shown):
            # Rounded, so that two means of the same values added in another order still tie.
            means = {i: round(badness(cells[i][j].mean, column.better), 12) for i in members}
            judged = [i for i in members if not math.isnan(means[i])]
            if len(members) < 2 or not judged:
                continue
            least = min(means[i] for i in judged)
            if math.isinf(least):  # none is better than another
                continue
            best = [place for place, i in enumerate(judged) if means[i] == least]
            table = _by_pair([rows[i] for i in judged], j, column.better)
            has = ~np.isnan(table)
            shared = np.max([(has & has[place]).sum(axis=1) for place in best], axis=0)
            # Not asked for nothing: all pairs of ten thousand rows of one seed would not fit in memory.
            testable = (shared >= MIN_PAIRS).sum() > 1  # the best and another
            relations = against_best(table, best) if testable else np.full(len(judged), math.nan)
            for place, (i, relation) in enumerate(zip(judged, relations, strict=True)):
                if place in best:
                    cells[i][j] = replace(cells[i][j], best=True)
                elif math.isnan(relation):
                    with_a_best = table[place, has[best].any(axis=0)]
                    cells[i][j] = replace(cells[i][j], untested=_why_untested(with_a_best, int(shared[place])))
                else:
                    any_tested = True
                    cells[i][j] = replace(cells[i][j], tied=bool(relation == 0), better_where_shared=bool(relation < 0))
    notes = [
        f"No best is marked, for runs of one seed differ in {names}: {one.id} and {other.id}"
        + (f", and those of {counted(len(others), 'other dataset or model')}." if others else ".")
        for names, ((one, other), *others) in unlike.items()
    ]
    return [replace(row, cells=tuple(new)) for row, new in zip(rows, cells, strict=True)], any_tested, notes


def _why_untested(badness: Array, shared: int) -> Literal["pairs", "finite", "spread"]:
    if shared < MIN_PAIRS:
        return "pairs"
    return "finite" if np.isinf(badness).any() else "spread"


def of_different_data(rows: Sequence[Row]) -> tuple[list[str], Run, Run] | None:
    """Return the fingerprints in which two runs of one seed differ though their settings promise the same, and the two.

    The batch order is no part of it, as it goes with the batch size; nor are the weights that a run goes on from to
    learn new classes, which are its teacher's.
    """
    first: dict[Value, Run] = {}
    for row in rows:
        begun = row.config.get("dataset.learn") != "new"
        for run in filter(lambda run: run.fingerprints, row.runs):
            other = first.setdefault(run.seed, run)
            known = {*run.fingerprints} & {*other.fingerprints} & {*FIXED[: 3 if begun else 2]}
            if differing := sorted(name for name in known if run.fingerprints[name] != other.fingerprints[name]):
                return differing, other, run
    return None


def with_differences(
    rows: Sequence[Row], shown: Sequence[MetricColumn], baseline: Sequence[str]
) -> tuple[list[Row], list[str]]:
    """Compare every row with the baseline of its block, over paired runs.

    Args:
        rows: the table's.
        shown: the metric columns.
        baseline: `key=value` each: the rows that meet all of them are what the others are compared with.

    Returns:
        The rows with `difference` in their cells, Holm-corrected over all of them, and a note for whatever could not be
        compared.

    Raises:
        ConfigError: if no row is the baseline.
        RequestError: if more than one could be that of a row.
    """
    bases, unlike = _baseline_rows(rows, baseline)
    compared: dict[tuple[int, int], int] = {}
    comparisons: list[Comparison] = []
    refused: dict[str, list[tuple[Run, Run]]] = {}
    for i, base in enumerate(bases):
        if base is None:
            continue
        pairs = paired_places(rows[i], base, refused)
        for j in range(len(shown)):
            compared[i, j] = len(comparisons)
            ours, theirs = rows[i].cells[j].values, base.cells[j].values
            comparisons.append(compare([ours[a] for a, _ in pairs], [theirs[b] for _, b in pairs]))
    comparisons = corrected(comparisons)
    new = [
        replace(
            row,
            cells=tuple(
                replace(cell, difference=comparisons[compared[i, j]]) if (i, j) in compared else cell
                for j, cell in enumerate(row.cells)
            ),
        )
        for i, row in enumerate(rows)
    ]
    notes = [
        f"Not compared, for the two {reason}: {ours.id} and {theirs.id}"
        + (f", and {len(others)} more." if others else ".")
        for reason, ((ours, theirs), *others) in refused.items()
    ]
    if unlike:
        keys = ", ".join(map(short_name, sorted({key for keys in unlike for key in keys})))
        count = f"{len(unlike)} row" + "s" * (len(unlike) > 1)
        notes.append(f"Not compared, for they differ from {' '.join(baseline)} in {keys} too: {count}.")
    without = {row.block for row in rows} - {row.block for row in rows if is_baseline(row, baseline)}
    if without:
        notes.append(f"Not compared, for want of {' '.join(baseline)}: {len(without)} of the datasets and models.")
    return new, notes


def is_baseline(row: Row, baseline: Sequence[str]) -> bool:
    """Whether a row is one that others are compared with."""
    return all(meets(row.config, condition) for condition in baseline)


def _by_pair(rows: Sequence[Row], column: int, better: str | None) -> Array:
    """Badness, [row, kind of run]: a column for each seed with its fingerprints, nan where a row has no such run."""
    kinds: dict[tuple[Value, ...], int] = {}
    entries: list[tuple[int, int, float]] = []
    for i, row in enumerate(rows):
        times = Counter(run.seed for run in row.runs)
        # The sign by which the mean is judged is that of all its values: their mean is then its badness.
        towards = math.copysign(1, badness(1, better) if better != "zero" else row.cells[column].mean)
        for run, value in zip(row.runs, row.cells[column].values, strict=True):
            if run.fingerprints and times[run.seed] == 1:
                kind = (run.seed, *(v for _, v in sorted(run.fingerprints.items())))
                entries.append((i, kinds.setdefault(kind, len(kinds)), towards * value))
    table = np.full((len(rows), len(kinds)), math.nan)
    for i, kind_index, value in entries:
        table[i, kind_index] = value
    return table


def paired_places(row: Row, base: Row, refused: dict[str, list[tuple[Run, Run]]]) -> list[tuple[int, int]]:
    """Return the positions of the runs of one seed that share all fingerprints.

    Args:
        row: one row of a table.
        base: another.
        refused: is given the runs of one seed that cannot be paired, by why.
    """
    pairs = []
    for i, ours in enumerate(row.runs):
        for j, theirs in enumerate(base.runs):
            if ours.seed != theirs.seed:
                continue
            differing = [
                name.replace("_", " ")
                for name in sorted({*ours.fingerprints, *theirs.fingerprints})
                if ours.fingerprints.get(name) != theirs.fingerprints.get(name)
            ]
            of_one_seed = [[run for run in runs if run.seed == ours.seed] for runs in (row.runs, base.runs)]
            twice = [runs for runs in of_one_seed if len(runs) > 1]
            if twice:
                first, second, *_ = twice[0]
                refused.setdefault("are runs of one row and one seed", []).append((first, second))
            elif not ours.fingerprints or not theirs.fingerprints:
                refused.setdefault("have no fingerprints to be paired by", []).append((ours, theirs))
            elif differing:
                refused.setdefault(f"differ in {', '.join(differing)}", []).append((ours, theirs))
            else:
                pairs.append((i, j))
    return pairs


def _baseline_rows(rows: Sequence[Row], baseline: Sequence[str]) -> tuple[list[Row | None], list[list[str]]]:
    """For each row the one it is compared with, and the keys of every row that differs in more than what is compared.

    None for baselines themselves, and where their block has none or none that is like the row in all else.
    """
    text = " ".join(baseline)
    itself = [is_baseline(row, baseline) for row in rows]
    keys = [parse(condition, list(rows[0].config))[0] for condition in baseline]
    if not any(itself):
        there = {written(row.config[keys[0]]) for row in rows}
        hint = did_you_mean(baseline[0].partition("=")[2], there) if len(keys) == 1 else ""
        raise ConfigError(f"the baseline must be a row of the table, and none has {text}{hint}")
    if all(itself) and len(rows) > len({row.block for row in rows}):
        raise RequestError(
            f"every row has {text}, and none is left to compare with it; name a setting that one row has: "
            f"--baseline {_telling(rows)}"
        )
    # What a baseline may differ in beside the keys that name it: the rest of its loss, and whose student it is.
    free = {key.partition(".")[0] for key in keys} | {"sources"}
    free |= {"teacher"} if "loss" in free else set()
    found: list[Row | None] = []
    unlike: list[list[str]] = []
    for row, not_compared in zip(rows, itself, strict=True):
        candidates = [c for c, yes in zip(rows, itself, strict=True) if yes and c.block == row.block]
        if not_compared or not candidates:
            found.append(None)
            continue
        other = [
            [
                key
                for key, v in candidate.config.items()
                if key.partition(".")[0] not in free and v != row.config[key] and PICKED not in (v, row.config[key])
            ]
            for candidate in candidates
        ]
        pool = [candidate for candidate, keys_of in zip(candidates, other, strict=True) if not keys_of]
        if not pool:
            found.append(None)
            unlike.append(min(other, key=len))
            continue
        if len(pool) > 1:
            names = short_names(_differing(pool))
            raise RequestError(
                f"the baseline {text} fits {len(pool)} rows, which differ in {', '.join(names.values())}; "
                f"say which: --baseline {_telling(pool)}"
            )
        found.append(pool[0])
    return found, unlike


def _differing(rows: Sequence[Row]) -> list[str]:
    """The settings that rows differ in; where a function is another, its name says so."""
    there = [key for key in rows[0].config if len({row.config[key] for row in rows}) > 1]
    return [key for key in there if not key.endswith("_target_")] or there


def _telling(rows: Sequence[Row]) -> str:
    return f"{_differing(rows)[0].removesuffix('.name')}=…"
