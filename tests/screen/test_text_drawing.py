"""Bars and sparklines of which every character can be derived."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lossbench.screen.drawing import aligned, bar, folded, reliability, sparkline


def test_a_sparkline_goes_from_the_least_to_the_largest_in_eight_steps() -> None:
    assert sparkline(range(8), 20) == "▁▂▃▄▅▆▇█"
    assert sparkline([3, 0, 7], 20) == "▄▁█"


def test_a_sparkline_of_equal_values_is_flat() -> None:
    assert sparkline([2.0, 2.0], 20) == "▁▁"


def test_more_values_than_columns_are_shown_by_the_means_of_their_shares() -> None:
    # 0, 1, … 15 in 8 shares of two: 0.5, 2.5, … 14.5, which are evenly spaced
    assert sparkline(range(16), 8) == "▁▂▃▄▅▆▇█"


def test_a_sparkline_marks_what_is_not_finite_and_leaves_it_out_of_means() -> None:
    assert sparkline([0.0, math.inf, 7.0], 20) == "▁·█"
    assert sparkline([math.nan, 0.0, 7.0, 7.0], 2) == "▁█"
    assert sparkline([math.nan], 20) == "·"


def test_a_bar_is_drawn_to_an_eighth_of_a_character() -> None:
    assert bar(0.5, 1.0, 10) == "█████     │"
    assert bar(0.55, 1.0, 10) == "█████▌    │"  # 5.5 characters: half of the sixth
    assert bar(0.0, 0.5, 10) == "     │"


def test_the_mark_is_seen_inside_a_bar_too() -> None:
    assert bar(1.0, 0.5, 10) == "█████│████"


def test_reliability_has_a_line_for_each_bin_with_its_counts_and_the_gap() -> None:
    curve = {
        name: np.array(values)
        for name, values in {
            "lo": [0.5, 0.75], "hi": [0.75, 1.0], "n": [4, 12], "confidence": [0.7, 0.9], "accuracy": [0.5, 1.0]
        }.items()
    }  # fmt: skip
    heading, first, second = reliability(curve, 60)
    assert heading.split() == ["confidence", "n", "accuracy", "gap"]
    # 60 columns, less 10 + 2 + 8 + 5 of the others and 4 gaps of 2, are 27: 26 of the bar and one beyond it.
    # 0.5 of 26 are 13; the mark stands at 0.7 of 26, 18.2
    assert first == "0.50–0.75    4  " + "█" * 13 + " " * 5 + "│" + " " * 8 + "  " + "    0.50" + "  " + "+0.20"
    assert second.startswith("0.75–1.00   12  " + "█" * 23 + "│" + "█" * 2)  # 0.9 of 26 is 23.4
    assert second.endswith("1.00  -0.10")
    assert max(map(len, (heading, first, second))) <= 60


def test_aligned_columns_are_no_wider_than_their_widest_cell() -> None:
    assert aligned([["a", "n"], ["bcd", "10"]]) == ["a     n", "bcd  10"]
    assert aligned([]) == []


@pytest.mark.parametrize("text", ["x" * 100, "a long sentence of many words " * 5])
def test_what_is_folded_fits(text: str) -> None:
    lines = folded(text, 40, "  ")
    assert max(map(len, lines)) <= 40
    assert "".join(line.strip() for line in lines).replace(" ", "") == text.replace(" ", "")
