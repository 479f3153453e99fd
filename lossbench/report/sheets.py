"""What stands below a table: differences from the baseline, each with its test, and ranks over data sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lossbench.report.narrow import held, leaving, varies
from lossbench.report.notation import ARROWS, decimals, heading, p_value, setting, signed
from lossbench.report.table import Table, metric_name
from lossbench.statistics import MIN_PAIRS

EFFECT_SIZE = "d_z: Cohen's, the mean over the standard deviation of the differences."


@dataclass(frozen=True)
class Sheet:
    """Lines of text below headings; the first `words` columns are words, the others numbers."""

    title: str
    headings: tuple[str, ...]
    words: int
    rows: tuple[tuple[str, ...], ...]
    note: str
    defined: Mapping[str, str] = field(default_factory=dict)  # sentences of the note that one column alone needs


def sheets(table: Table) -> list[Sheet]:
    """Return what a table has beside its rows."""
    return [*_differences(table), *_ranks(table)]


def may_go(sheet: Sheet) -> list[int]:
    """Return the columns of words that tell no lines apart, in the order in which they may go; the loss goes last."""
    first = int(sheet.words > 1)  # what groups lines stays
    texts = [row[first : sheet.words] for row in sheet.rows]
    names = [i for i, name in enumerate(sheet.headings[first : sheet.words]) if name in ("dataset", "model", "loss")]
    return [first + i for i in leaving(texts, [i for i in names if varies(texts, i)], names)] if first else []


def without(sheet: Sheet, out: Sequence[int]) -> list[str]:
    """Say what columns of words hold that are left out."""
    shown = [i for i in range(1, sheet.words) if i not in out]
    return [f"{text}." for i in out if (text := held(sheet.rows, sheet.headings, i, shown))]


def _differences(table: Table) -> list[Sheet]:
    rows = []
    columns = (*table.across, *table.columns)
    for i, metric in enumerate(table.metrics):
        places, name = decimals(table.rows, i, metric), heading(metric)
        for row in table.rows:
            difference = row.cells[i].difference
            if difference is None:
                continue
            low, high = (signed(end, places) for end in (difference.low, difference.high))
            numbers = (
                signed(difference.difference, places),
                "–" if math.isnan(difference.low) else f"[{low}, {high}]",
                p_value(difference.p_holm),
                "–" if math.isnan(difference.effect_size) else f"{difference.effect_size:.1f}",
                str(difference.n),
            )
            rows.append((name, *(setting(row, column) for column in columns), *numbers))
            name = ""  # once for each metric
    if not rows:
        return []
    comparisons = [c.difference for row in table.rows for c in row.cells if c.difference is not None]
    tests = sum(not math.isnan(difference.p) for difference in comparisons)
    note = [
        "Mean over n runs paired by seed, data, split, initial weights and batch order, with its 95 % interval "
        "(Student t, not corrected).",
    ]
    if tests:
        note += [
            f"p: paired t, Holm-corrected over the table's {tests} tests."
            if tests > 1
            else "p: paired t, of one test.",
            EFFECT_SIZE,
        ]
    if any(difference.n < MIN_PAIRS for difference in comparisons):
        note.append(f"No p-value below {MIN_PAIRS} pairs: two or one say nothing of the spread.")
    if any(difference.n >= MIN_PAIRS and math.isnan(difference.p) for difference in comparisons):
        note.append("No p-value where all pairs differ by the same amount or a value is infinite.")
    headings = ("metric", *(column.heading for column in columns), "difference", "95 % interval", "p", "d_z", "n")
    return [
        Sheet(
            f"Difference from {table.baseline}",
            headings,
            1 + len(columns),
            tuple(rows),
            " ".join(note),
            {"d_z": EFFECT_SIZE},
        )
    ]


def _ranks(table: Table) -> list[Sheet]:
    ranks = table.ranks
    if ranks is None:
        return []
    name = metric_name(ranks.metric.metric, ranks.metric.calibration)
    note = [
        f"Rank 1 is the best mean {name}; averages over {ranks.n} datasets or models.",
        f"Friedman test of no difference: p {p_value(ranks.p) if ranks.p < 0.001 else f'= {p_value(ranks.p)}'}.",
        f"Two differ (p < 0.05) if their ranks are more than {ranks.critical_difference:.2f} apart: Nemenyi's "
        "critical difference.",
    ]
    if ranks.n < 3:
        note.append("Two blocks are hardly enough for either.")
    if ranks.unlike:
        note.append(
            f"Left out, for their runs of one seed differ in data or initial weights: {ranks.unlike} of the datasets "
            "or models."
        )
    if ranks.left_out:
        note.append(f"Not ranked, for want of a mean in some block: {', '.join(ranks.left_out)}.")
    rows = tuple((label, f"{average:.2f}") for label, average in ranks.rows)
    title = f"Average ranks by {name}{ARROWS.get(ranks.metric.better or '', '')}"
    return [Sheet(title, ("ranked", "average rank"), 1, rows, " ".join(note))]
