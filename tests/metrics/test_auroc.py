from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lossbench.metrics.ranking import auroc, fpr95


def test_auroc_counts_the_pairs_in_the_right_order_and_half_of_the_ties() -> None:
    # Of 3 > 2, 3 > 1, 2 = 2, 2 > 1 the third counts one half: 3.5 of 4.
    assert auroc([3, 2], [2, 1]) == 3.5 / 4


def test_auroc_is_one_zero_or_a_half_where_it_must_be() -> None:
    assert auroc([2, 3], [0, 1]) == 1
    assert auroc([0, 1], [2, 3]) == 0
    assert auroc([5, 5, 5], [5]) == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_auroc_with_many_ties_is_scikit_learns(seed: int) -> None:
    generator = np.random.default_rng(seed)
    positives, negatives = generator.integers(1, 9, 70), generator.integers(0, 8, 130)
    labels = np.repeat([1, 0], [70, 130])
    assert auroc(positives, negatives) == pytest.approx(
        roc_auc_score(labels, np.concatenate([positives, negatives])), abs=1e-12
    )


def test_fpr95_is_the_share_of_negatives_from_the_threshold_up() -> None:
    # 19 of the 20 positives 1..20 are at least 2. Of the negatives 2 and 3 are.
    assert fpr95(range(1, 21), [0, 1, 2, 3]) == 0.5


def test_fpr95_accepts_more_than_95_percent_where_it_cannot_accept_just_that() -> None:
    # 95 % of 21 is 19.95, so that 20 are accepted: the threshold is 2 again. Of 10 all are: it is 1.
    assert fpr95(range(1, 22), [0, 1, 2, 3]) == 0.5
    assert fpr95(range(1, 11), [0, 1, 2, 3]) == 0.75


def test_fpr95_accepts_ties_with_the_threshold_on_both_sides() -> None:
    assert fpr95([1.0] * 7, [1.0] * 3 + [0.0]) == 0.75


def test_without_one_of_the_two_there_is_nothing_to_tell_apart() -> None:
    for measure in (auroc, fpr95):
        assert math.isnan(measure([], [1.0]))
        assert math.isnan(measure([1.0], []))
