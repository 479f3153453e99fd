"""Whether what was claimed is so: an interval against the place where it should lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lossbench.errors import ConfigError, RequestError
from lossbench.recipes.recipe import FAILS, HOLDS, OPEN, Claim, Conditions
from lossbench.report import tabulate
from lossbench.report.comparison import paired_places
from lossbench.report.table import Row, Table, short_name
from lossbench.statistics import compare, t_interval

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
    p: float = math.nan  # paired t-test, of a difference from 0 or a ratio from 1


def judge(
    claim: Claim, frame: pd.DataFrame, *, select: str | None = None, quick: bool = False, missing: str = ""
) -> Finding:
    """Hold a claim against runs.

    It holds where the whole 95 % interval lies where it should, it does not where none of it does, and else it is not
    testable: so many runs leave it open.

    Args:
        claim: what should be so.
        frame: the runs, as `Store.frame` returns them.
        select: a metric by which validation chooses, for each loss and seed, among the runs that meet the conditions.
        quick: whether they were trained for less than the recipe says: what was published is no measure of them then.
        missing: why runs are missing, if some are.

    Raises:
        ConfigError: if the claim names several rows where it means one.
    """
    try:
        found = [_table(claim, conditions, frame, select) for conditions in (claim.of, claim.than) if conditions]
    except RequestError as error:
        return Finding(claim, OPEN, missing or str(error))
    ours, *others = (_only_row(claim, table) for table in found)
    if not others:
        values = np.array([value for value in ours.cells[0].values if not math.isnan(value)])
        n, p = len(values), math.nan
        value = float(values.mean()) if n else math.nan
        low, high = t_interval(values)
    else:
        (theirs,) = others
        pairs = paired_places(ours, theirs, {})
        a, b = [ours.cells[0].values[i] for i, _ in pairs], [theirs.cells[0].values[j] for _, j in pairs]
        if claim.ratio and min([*a, *b], default=1.0) <= 0:
            return Finding(claim, OPEN, f"a {claim.metric} of zero has no ratio", n=len(a))
        compared = compare(np.log(a), np.log(b)) if claim.ratio else compare(a, b)
        n, p = compared.n, compared.p
        value, low, high = compared.difference, compared.low, compared.high
        if claim.ratio:
            value, low, high = (math.exp(end) for end in (value, low, high))
    return _judged(Finding(claim, "", n=n, value=value, low=low, high=high, p=p), quick)


def _judged(found: Finding, quick: bool) -> Finding:
    claim, verdict, why = found.claim, OPEN, ""
    if found.n == 0:
        why = "no runs, or none that are paired"
    elif quick and claim.published is not None:
        why = "of shorter trainings than the published ones"
    elif found.n < 2:
        why = "one run has no interval: more seeds would"
    elif math.isnan(found.low):
        why = NO_SPREAD
    elif claim.low < found.low and found.high < claim.high:
        verdict = HOLDS
    elif found.high <= claim.low or claim.high <= found.low:
        verdict = FAILS
    else:
        why = f"{found.n} seeds leave it open"
    return replace(found, verdict=verdict, why=why)


def _table(claim: Claim, conditions: Conditions, frame: pd.DataFrame, select: str | None) -> Table:
    return tabulate(frame, where=conditions, metrics=[claim.metric], calibrations=[claim.calibration], select=select)


def _only_row(claim: Claim, table: Table) -> Row:
    if len(table.rows) > 1:
        keys = ", ".join(short_name(column.key) for column in table.columns)
        raise ConfigError(f"{claim.says!r} is said of {len(table.rows)} rows, which differ in {keys}: say which")
    return table.rows[0]
