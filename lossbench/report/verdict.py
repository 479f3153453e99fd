"""What a table says, in words: no more than its tests do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lossbench.report.notation import decimals, fixed, number, p_value, printable, setting, signed, spread
from lossbench.report.selection import Value, written
from lossbench.report.series import symbol
from lossbench.report.table import NAMES, Cell, Column, RankTable, Row, Table, metric_name
from lossbench.statistics import MIN_PAIRS, SIGNIFICANCE, Comparison

UNTESTED = {  # as the cells say
    "pairs": f"fewer than {MIN_PAIRS} seeds shared with {{it}}",
    "finite": "it is infinite for some seed",
    "spread": "the difference has no spread to be judged by",
}
MOST = 5  # sentences of one dataset and model that are said at once
NAMED = 4  # rows that a sentence names; of more it says how many


@dataclass(frozen=True)
class Verdict:
    """On one dataset and model: sentences, the most important ones first, and those that may be folded away."""

    of: str
    sentences: tuple[str, ...]
    more: tuple[str, ...] = ()


def verdict(table: Table) -> list[Verdict]:
    """Return what the table's tests allow to be said, for each dataset and model, and of the ranks over all.

    Args:
        table: what `tabulate` returns. With a baseline each row has a sentence on how it differs; without one each
            metric has a sentence on which row is best and which cannot be told from it.
    """
    found = []
    all_labels = row_labels(table)
    for block in dict.fromkeys(row.block for row in table.rows):
        rows = [row for row in table.rows if row.block == block]
        labels = [label for row, label in zip(table.rows, all_labels, strict=True) if row.block == block]
        if any(cell.difference for row in rows for cell in row.cells):
            first, more = _against_the_baseline(table, rows, labels)
        else:
            first, more = _best(table, rows, labels), []
        found.append(Verdict(block_label(table, rows[0]), tuple(first[:MOST]), (*first[MOST:], *more)))
    return found + ([Verdict("all datasets and models", _ranks(table.ranks))] if table.ranks else [])


def row_labels(table: Table) -> list[str]:
    """Return the shortest names that tell all rows of a table apart: `label_smoothing ε=0.1`.

    What repeats another setting is left out, and so is what is the same for all rows of one loss. What the rows of a
    dataset and model share is not said: see `block_label`.
    """
    blocks: dict[int, list[Row]] = {}
    for row in table.rows:
        blocks.setdefault(row.block, []).append(row)
    telling = [
        c
        for c in (*table.across, *table.columns)
        if any(len({row.config[c.key] for row in rows}) > 1 for rows in blocks.values())
    ]
    droppable = [column for column in telling if column.key not in NAMES]
    for column in sorted(droppable, key=lambda column: column.key.endswith(".name")):  # a name says most
        fewer = [other for other in telling if other is not column]
        if fewer and all(_distinct(rows, fewer) == _distinct(rows, telling) for rows in blocks.values()):
            telling = fewer
    by_loss: dict[Value, list[Row]] = {}
    for row in table.rows:
        by_loss.setdefault(row.config.get("loss.name"), []).append(row)
    named = any(column.key == "loss.name" for column in telling)
    labels = []
    for row in table.rows:
        alike = by_loss[row.config.get("loss.name")] if named else table.rows
        said = [c for c in telling if c.key in NAMES or len({other.config[c.key] for other in alike}) > 1]
        words = [t if c.key in NAMES else f"{symbol(c.heading)}={t}" for c in said if (t := setting(row, c))]
        labels.append(printable(" ".join(words) or written(row.config.get("loss.name"))))
    times = Counter(zip((row.block for row in table.rows), labels, strict=True))
    return [
        label if times[row.block, label] == 1 else f"{label} (row {i})"
        for i, (row, label) in enumerate(zip(table.rows, labels, strict=True), 1)
    ]


def _distinct(rows: Sequence[Row], columns: Sequence[Column]) -> int:
    return len({tuple(row.config[column.key] for column in columns) for row in rows})


def block_label(table: Table, row: Row) -> str:
    """Return what the dataset and model of a row are called: `digits · mlp`, and their settings that have a column."""
    names = [written(row.config[key]) for key in NAMES[:2]]
    settings = [
        column
        for column in (*table.across, *table.columns)
        if column.key.startswith(("dataset.", "model.")) and column.key not in NAMES
    ]
    words = [f"{symbol(column.heading)}={text}" for column in settings if (text := setting(row, column))]
    return printable(" · ".join([*names, *words]))


def _best(table: Table, rows: Sequence[Row], labels: Sequence[str]) -> list[str]:
    """A sentence for each metric that judges: its best row, and what the tests say of the others."""
    if len(rows) == 1:
        return [f"{labels[0]} stands alone: there is nothing to compare it with."]
    sentences = []
    for i in range(len(table.metrics)):
        best = [j for j, row in enumerate(rows) if row.cells[i].best]
        if not best:
            continue
        others = [j for j, row in enumerate(rows) if j not in best and not math.isnan(row.cells[i].mean)]
        kinds: dict[str, list[str]] = {kind: [] for kind in ("tied", "better", "worse", *UNTESTED)}
        for j in others:
            cell = rows[j].cells[i]
            known = "tied" if cell.tied else "better" if cell.better_where_shared else "worse"
            kinds[cell.untested or known].append(labels[j])
        have = "has" if len(best) == 1 else "have"
        mean = _mean(table, [rows[j].cells[i] for j in best], i)
        lead = f"{_name(table, i)}: {_several([labels[j] for j in best])} {have} the best mean ({mean})"
        rest = _others(kinds, len(best))
        sentences.append(f"{lead[0].upper()}{lead[1:]}{rest}")
    judged = any(
        column.better and not math.isnan(row.cells[i].mean) for row in rows for i, column in enumerate(table.metrics)
    )
    if judged and not sentences:
        return ["No row is best, for their runs are of different data or initial weights: see the notes."]
    return sentences or ["None of these metrics says which of its values are better."]


def _others(kinds: Mapping[str, Sequence[str]], n_best: int) -> str:
    """What the tests say of the rows that are not best, and how those were corrected."""
    tied, better, worse = kinds["tied"], kinds["better"], kinds["worse"]
    n = sum(map(len, kinds.values()))
    it, they = ("it", "it") if n_best == 1 else ("them", "they")
    if not n:
        return "; there is no other."
    if len(kinds["pairs"]) == n:
        return f", but nothing is tested: that takes {MIN_PAIRS} paired seeds."
    corrected = " (corrected for all pairs of rows)" if n + n_best > 2 and (tied or better or worse) else ""
    if len(tied) == n:
        return f", but {they} cannot be told from {tied[0] if n == 1 else 'any other'}{corrected}."
    said = [f"{_several(tied)} cannot be told from {it}"] if tied else []
    if better:
        said.append(f"{_several(better)} {_are(better)} significantly better on the seeds that both have")
    if len(worse) == 1:
        said.append(f"{worse[0]} is significantly worse")
    elif worse:
        said.append(f"{'all' if len(worse) == n else 'the'} {len(worse)} others are significantly worse")
    parts = [f"{', '.join(said)}{corrected}"] if said else []
    for reason, why in UNTESTED.items():
        if kinds[reason]:
            parts.append(f"{_several(kinds[reason])} {_are(kinds[reason])} untested: {why.format(it=it)}")
    return f"; {'; '.join(parts)}."


def _are(labels: Sequence[str]) -> str:
    return "is" if len(labels) == 1 else "are"


def _against_the_baseline(table: Table, rows: Sequence[Row], labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """A sentence for each row that is compared: those with a significant difference, and the others."""
    telling: list[str] = []
    others: list[str] = []
    p = [cell.difference.p for row in table.rows for cell in row.cells if cell.difference is not None]
    tests = sum(not math.isnan(one) for one in p)
    for row, label in zip(rows, labels, strict=True):
        if any(cell.difference for cell in row.cells):
            significant = any(cell.difference and cell.difference.significant for cell in row.cells)
            (telling if significant else others).append(_row_sentence(table, row, label, tests))
    if telling:
        return telling, others
    untested = all(math.isnan(cell.difference.p) for row in rows for cell in row.cells if cell.difference is not None)
    if untested:
        return [f"Nothing can be told from {table.baseline}: a test takes {MIN_PAIRS} paired seeds."], others
    none = f"No row differs significantly from {table.baseline} in any of these metrics{_corrected(tests)}."
    return [none, *others], []


def _corrected(tests: int) -> str:
    return f", after correction for the table's {tests} tests" if tests > 1 else ""


def _row_sentence(table: Table, row: Row, label: str, tests: int) -> str:
    """Say how one row differs: `ε=0.1 against loss=cross_entropy, n = 5: worse in ECE by 0.0400 (p = 0.003).`."""
    kinds = ("better", "worse", "moved", "not significant", "equal", "untested")
    clauses: dict[str, list[str]] = {kind: [] for kind in kinds}
    compared = [(i, cell, cell.difference) for i, cell in enumerate(row.cells) if cell.difference and cell.difference.n]
    for i, cell, difference in compared:
        column, name, places = table.metrics[i], _name(table, i), decimals(table.rows, i, table.metrics[i])
        if difference.low == difference.high:  # there is no spread, and the difference is none
            clauses["equal"].append(name)
        elif math.isnan(difference.p):
            clauses["untested"].append(name)
        elif not difference.significant:
            # One interval is read, five are not: the others stand in the table of differences.
            clauses["not significant"].append(
                name + (_interval(difference, places) if not clauses["not significant"] else "")
            )
        elif column.better in ("higher", "lower"):
            kind = "better" if (difference.difference > 0) == (column.better == "higher") else "worse"
            clauses[kind].append(f"{name} by {_size(difference.difference, places)} ({_p(difference.p_holm)})")
        else:
            by, to = _minus(signed(difference.difference, places)), _minus(number(cell.mean, places, column))
            clauses["moved"].append(f"{name} moves by {by} to {to} ({_p(difference.p_holm)})")
    said = [f"{kind} in {_list(clauses[kind])}" for kind in ("better", "worse") if clauses[kind]] + clauses["moved"]
    corrected = _corrected(tests) if said or clauses["not significant"] else ""
    if clauses["not significant"]:
        said.append(f"not significant: {_list(clauses['not significant'])}")
    if clauses["equal"]:
        said.append(f"the same in every pair: {_list(clauses['equal'])}")
    if clauses["untested"]:
        said.append(f"no test of {_list(clauses['untested'])}")
    if compared and len(clauses["equal"]) == len(compared):
        said = ["the same numbers in every pair"]
    pairs = {difference.n for _, _, difference in compared}
    n = f", n = {pairs.pop()}" if len(pairs) == 1 else ""
    return f"{label} against {table.baseline}{n}{corrected}: {'; '.join(said) or 'no pair of runs to compare'}."


def _interval(difference: Comparison, places: int) -> str:
    ends = f"{_minus(signed(difference.low, places))} … {_minus(signed(difference.high, places))}"
    return (
        f" ({_minus(signed(difference.difference, places))}"
        + ("" if math.isnan(difference.low) else f", uncorrected 95 % interval {ends}")
        + ")"
    )


def _ranks(ranks: RankTable) -> tuple[str, ...]:
    name = metric_name(ranks.metric.metric, ranks.metric.calibration)
    (best, lowest), *others = ranks.rows
    lead = f"By {name}, {best} has the best average rank ({lowest:.2f} over {ranks.n} of them)"
    if not ranks.p < SIGNIFICANCE:
        return (f"{lead}, but the Friedman test finds no significant difference ({_p(ranks.p)}).",)
    behind = [label for label, average in others if average - lowest > ranks.critical_difference]
    if not behind:
        return (f"{lead}, but none of the others is further from it than the critical difference.",)
    return (f"{lead}; further from it than the critical difference: {_list(behind)}.",)


def _mean(table: Table, cells: Sequence[Cell], index: int) -> str:
    """A mean, with its spread where it is of one row alone and not of one seed."""
    places = decimals(table.rows, index, table.metrics[index])
    mean = _minus(number(cells[0].mean, places, table.metrics[index]))
    if all(cell.n == 1 for cell in cells):
        return f"{mean}, n = 1"
    after = spread(cells[0], table) if len(cells) == 1 else None
    return mean + ("" if after is None else f" ± {fixed(after, places)}")


def _name(table: Table, index: int) -> str:
    return metric_name(table.metrics[index].metric, table.metrics[index].calibration)


def _p(p: float) -> str:
    text = p_value(p)
    return f"p < {text[1:]}" if text.startswith("<") else f"p = {text}"


def _size(value: float, places: int) -> str:
    """A significant difference that rounds to nothing is still one."""
    return fixed(abs(value), places) if round(value, places) else f"{abs(value):.1g}"


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _several(labels: Sequence[str]) -> str:
    """Names, or how many there are where nobody would read them all."""
    return _list(labels) if len(labels) <= NAMED else f"{len(labels)} rows"


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
