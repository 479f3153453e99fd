"""What of a table a narrow terminal shows, and what goes first."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from lossbench.report.layout import Line
from lossbench.report.narrow import leaving
from lossbench.report.table import NAMES, Table

FOLDS = (20, 14)  # characters of a setting in a line, before numbers are left out
NARROW_FOLDS = (10, 8)  # after
BROKEN_FOLD = 6  # within words, if nothing else helps; in fewer nobody reads them
ESSENTIAL = 3  # see _importance


@dataclass(frozen=True)
class Fit:
    """What of a table is shown, and how tightly."""

    columns: tuple[int, ...]  # of settings, by position
    in_one: tuple[int, ...]  # of settings, those that share one column
    metrics: tuple[int, ...]  # by position
    groups: int  # how many of those that go across, from the left
    less: int = 0  # decimals given up
    plus_minus: str = " ± "
    fold: int | None = None  # characters of a setting in a line


def fits(table: Table, of: Sequence[Line]) -> Iterator[Fit]:
    """What to show, from everything to hardly anything. Digits go before columns do."""
    groups, columns = len(of[0].rows), tuple(range(len(table.columns)))
    fit = Fit(columns, (), tuple(range(len(table.metrics))), groups)
    yield fit
    yield (fit := replace(fit, less=1))
    yield (fit := replace(fit, plus_minus="±"))
    going = _may_go(table, of)
    together = tuple(i for i in columns if table.columns[i].key not in NAMES and i not in going)
    leaving_metrics = _least_important(table)
    for index in range(len(leaving_metrics) + 1):
        fit = replace(fit, metrics=tuple(i for i in fit.metrics if i not in leaving_metrics[:index]))
        yield fit
        for fold in FOLDS:
            for count in range(len(going) + 1):
                kept = tuple(i for i in columns if i not in going[:count])
                yield replace(fit, columns=kept, fold=fold)
        last = replace(fit, columns=tuple(i for i in columns if i not in going), fold=FOLDS[-1])
        # One column for many settings, before what was asked for or judges most goes.
        following = leaving_metrics[index : index + 1]
        asked = "metrics" in table.asked
        if len(together) > 1 and (asked or not following or _importance(table, following[0])[0] == ESSENTIAL):
            rest = tuple(i for i in last.columns if i not in together)
            last = replace(last, columns=rest, in_one=together)
            yield from (replace(last, fold=fold) for fold in FOLDS)
        if asked:
            yield from (replace(last, fold=fold) for fold in NARROW_FOLDS)
    for count in range(groups, 0, -1):
        last = replace(last, groups=count)
        yield from (replace(last, fold=fold) for fold in (FOLDS[-1], *NARROW_FOLDS))
    yield replace(last, fold=BROKEN_FOLD)


def more(table: Table, of: Sequence[Line], fit: Fit) -> Iterator[Callable[[Fit], Fit]]:
    """What to show again where there is room: settings, then metrics, what mattered most first."""

    def with_column(fit: Fit, index: int) -> Fit:
        return replace(fit, columns=tuple(sorted({*fit.columns, index})))

    def with_metric(fit: Fit, index: int) -> Fit:
        return replace(fit, metrics=tuple(sorted({*fit.metrics, index})))

    for index in reversed(_may_go(table, of)):
        if index not in fit.in_one:
            yield functools.partial(with_column, index=index)
    for index in reversed(_least_important(table)):
        yield functools.partial(with_metric, index=index)


def _may_go(table: Table, of: Sequence[Line]) -> list[int]:
    """The settings that a narrow terminal leaves out, in order: none that the user named."""
    named = [i for i, column in enumerate(table.columns) if column.key in NAMES or "rows" in table.asked]
    return leaving([line.settings for line in of], named) if table.columns else []


def _least_important(table: Table) -> list[int]:
    """The metrics in the order in which a narrow terminal leaves them out; never the first.

    First what judges nothing, then what is best at zero (how far the calibration error says, but for the direction),
    then other calibrations than the first, then the rest; from the right.
    """
    return sorted(range(1, len(table.metrics)), key=lambda index: _importance(table, index))


def _importance(table: Table, index: int) -> tuple[int, int]:
    column = table.metrics[index]
    other = 2 if column.calibration != table.metrics[0].calibration else ESSENTIAL
    return {None: 0, "zero": 1}.get(column.better, other), -index
