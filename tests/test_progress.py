"""Seconds as people say them."""

from __future__ import annotations

import pytest

from lossbench.progress import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"),
     (86_400 * 2 + 3 * 3600 + 59, "2 d 3 h"), (-1.0, "0.0 s")],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_age_has_one() -> None:
    assert duration(3 * 3600 + 59 * 60, units=1) == "3 h"
