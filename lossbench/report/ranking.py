"""Losses ranked over several data sets."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lossbench.errors import ConfigError, RequestError
from lossbench.report.choice import GIVEN
from lossbench.report.comparison import badness, of_different_data
from lossbench.report.notation import setting
from lossbench.report.table import NAMES, Column, MetricColumn, RankTable, Row
from lossbench.statistics import friedman


def rank(
    rows: Sequence[Row], columns: Sequence[Column], shown: Sequence[MetricColumn], metric: str, *, picked: bool = False
) -> RankTable:
    """Rank the rows of each block by their means and average over the blocks.

    What is ranked is whatever the rows differ in beside dataset and model, and has a mean in every block. Where
    validation picked the settings that is the loss, whatever was picked for it. A block whose runs of one seed
    differ in data or initial weights is left out.

    Args:
        rows: the table's.
        columns: the table's, by which a row is named.
        shown: the metric columns.
        metric: the one to rank by, in the first calibration shown.
        picked: whether validation picked the settings.

    Raises:
        ConfigError: if the metric does not say which of its values are better.
        RequestError: if fewer than three are in all blocks, or there is one block.
    """
    index = next(i for i, column in enumerate(shown) if column.metric == metric)
    better = shown[index].better
    if better is None:
        raise ConfigError(f"{metric} does not say which of its values are better; rank by another, such as nll")
    there = sorted({row.block for row in rows})
    blocks = [block for block in there if of_different_data([row for row in rows if row.block == block]) is None]
    table: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.block in blocks and math.isfinite(row.cells[index].mean):
            name = _name(row, [column for column in columns if column.key in GIVEN] if picked else columns)
            if row.block in table.get(name, {}):
                raise RequestError(f"two rows of one dataset and model are both {name}; leave one out: --where …")
            table.setdefault(name, {})[row.block] = badness(row.cells[index].mean, better)
    complete = [name for name, means in table.items() if len(means) == len(blocks)]
    unlike = len(there) - len(blocks)
    if len(blocks) < 2 or len(complete) < 3:
        raise RequestError(
            f"ranks need at least 3 losses on each of at least 2 datasets or models; "
            f"there are {len(complete)} on {len(blocks)}"
            + (f", and {unlike} whose runs of one seed differ in data or initial weights" if unlike else "")
        )
    ranks = friedman([[table[name][block] for name in complete] for block in blocks])
    rising = sorted(zip(complete, map(float, ranks.average), strict=True), key=lambda item: item[1])
    left_out = tuple(name for name in table if name not in complete)
    return RankTable(shown[index], tuple(rising), ranks.n, ranks.p, ranks.critical_difference, left_out, unlike)


def _name(row: Row, columns: Sequence[Column]) -> str:
    own = [c for c in columns if not c.key.startswith(("dataset.", "model.")) and row.config[c.key] is not None]
    return " ".join(setting(row, c) if c.key in NAMES else f"{c.heading}={setting(row, c)}" for c in own)
