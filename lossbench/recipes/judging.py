"""Whether what was claimed is so: an interval against the place where it should lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossbench.errors import ConfigError, RequestError
from lossbench.metrics import ALL
from lossbench.recipes.recipe import FAILS, HOLDS, OPEN, Claim, Conditions
from lossbench.report import tabulate
from lossbench.report.comparison import paired_places
from lossbench.report.table import Row, Table, metric_name, short_name
from lossbench.statistics import DIGITS, MIN_PAIRS, bounds_p, t_interval

NO_SPREAD = "the runs do not differ, so there is nothing to judge chance by"


@dataclass(frozen=True)
class Finding:
    """What our runs say of a claim."""

    claim: Claim
    verdict: str
    why: str = ""  # where it is not testable
    n: int = 0  # runs, or pairs of runs
    value: float = math.nan  # mean, mean difference, or ratio of geometric means
    low: float = math.nan  # 95 % interval
    high: float = math.nan
    p: float = math.nan  # that it would lie there if it did not; one-sided, of two bounds the larger


def judge(
    claim: Claim,
    frame: pd.DataFrame,
    *,
    select: str | None = None,
    expected: int = 0,
    unlike: str = "",
    missing: str = "",
) -> Finding:
    """Hold a claim against runs.

    It holds where the whole 95 % interval lies where it should, it does not where none of it does, and else it is not
    testable: so many runs leave it open. Nor is it where runs are lost: a loss that diverges for some seeds would be
    judged by those that it suits.

    Args:
        claim: what should be so.
        frame: the runs, as `Store.frame` returns them.
        select: a metric by which validation chooses, for each loss and seed, among the runs that meet the conditions.
        expected: how many runs, or pairs of runs, there should be.
        unlike: why what was published is no measure of these trainings, if it is none.
        missing: why runs are missing, if some are.

    Raises:
        ConfigError: if the claim names several rows where it means one.
    """
    try:
        found = [_table(claim, conditions, frame, select) for conditions in (claim.of, claim.than) if conditions]
    except RequestError as error:
        return Finding(claim, OPEN, missing or str(error))
    sample = _sample(claim, *(_only_row(claim, table) for table in found))
    name = metric_name(claim.metric, claim.calibration)
    if claim.ratio and not np.isfinite(sample).all():
        return Finding(claim, OPEN, f"{name} that is not above zero has no ratio", n=len(sample))
    if any(np.isnan([row.cells[0].values for row in table.rows]).all() for table in found):
        computes = "; of runs of an earlier version lossbench evaluate computes it" if claim.metric in ALL else ""
        return Finding(claim, OPEN, f"these runs have no {name}{computes}")
    mean, (low, high) = float(sample.mean()) if len(sample) else math.nan, t_interval(sample)
    p = bounds_p(sample, *((_log(claim.low), _log(claim.high)) if claim.ratio else (claim.low, claim.high)))
    if claim.ratio:
        mean, low, high = (math.exp(end) for end in (mean, low, high))
    verdict, why = _verdict(claim, sample, low, high)
    if claim.published is not None and unlike:
        verdict, why = OPEN, unlike
    elif len(sample) < expected:
        lacking = any(np.isnan(row.cells[0].values).any() for table in found for row in table.rows)
        seeds = f"{len(sample)} of {expected} seeds{f' have {name}' if lacking else ''}"
        verdict, why = OPEN, "; ".join(filter(None, [seeds, missing]))
    return Finding(claim, verdict, why, len(sample), mean, low, high, p)


def _sample(claim: Claim, ours: Row, *others: Row) -> NDArray[np.float64]:
    """The numbers whose mean is claimed to lie somewhere: a metric, or differences or log ratios over paired runs."""
    if others:
        (theirs,) = others
        pairs = paired_places(ours, theirs, {})
        a = np.array([ours.cells[0].values[place] for place, _ in pairs], dtype=np.float64)
        b = np.array([theirs.cells[0].values[place] for _, place in pairs], dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(a) - np.log(b) if claim.ratio else a - b
        undefined = np.isnan(a) | np.isnan(b)
    else:
        values = np.array(ours.cells[0].values, dtype=np.float64)
        undefined = np.isnan(values)
    return values[~undefined]


def _log(bound: float) -> float:
    return math.log(bound) if bound > 0 else -math.inf


def _verdict(claim: Claim, sample: NDArray[np.float64], low: float, high: float) -> tuple[str, str]:
    """And why, where it is not testable."""
    n = len(sample)
    if n < MIN_PAIRS:
        number = {0: "no runs, or none that are paired", 1: "one seed has no interval"}.get(n, "two seeds say little")
        return OPEN, f"{number}: {MIN_PAIRS} or more would"
    if not np.isfinite(sample).all():
        return OPEN, "a value is infinite"
    if np.ptp(sample.round(DIGITS)) == 0:
        return OPEN, NO_SPREAD
    if claim.low < low and high < claim.high:
        return HOLDS, ""
    if high <= claim.low or claim.high <= low:
        return FAILS, ""
    return OPEN, f"{n} seeds leave it open"


def _table(claim: Claim, conditions: Conditions, frame: pd.DataFrame, select: str | None) -> Table:
    return tabulate(frame, where=conditions, metrics=[claim.metric], calibrations=[claim.calibration], select=select)


def _only_row(claim: Claim, table: Table) -> Row:
    if len(table.rows) > 1:
        keys = ", ".join(short_name(column.key) for column in table.columns)
        raise ConfigError(f"{claim.says!r} is said of {len(table.rows)} rows, which differ in {keys}: say which")
    return table.rows[0]
