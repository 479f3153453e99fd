"""Seconds as people say them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lossbench.progress import Bars, Lines, Outcome, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"),
     (86_400 * 2 + 3 * 3600 + 59, "2 d 3 h"), (-1.0, "0.0 s")],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_bar_begins_where_an_interrupted_run_goes_on() -> None:
    with Bars(Console(file=io.StringIO(), force_terminal=True)) as bars:
        bars.run("one", 60)
        bars.goes_on("one", 12, 60)
        task = bars.progress.tasks[bars.current]
        assert (task.completed, task.total, task.fields["info"]) == (12, 60, "goes on in epoch 13 of 60")
        bars.goes_on("one", 60, 60)
        assert task.fields["info"] == "goes on after the last of 60 epochs"


def test_the_time_left_counts_all_runs_that_were_trained_as_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten of thirty took 100 s together: when the first is stored, twenty are left, and nine as good as done."""
    now = iter([0.0, 0.0, 100.0, 101.0])
    monkeypatch.setattr("lossbench.progress.time.monotonic", lambda: next(now))
    lines = Lines()
    lines.begin(30)
    lines.run("ten", 5, 10)
    lines.done(Outcome("one", "finished"))
    assert capsys.readouterr().err.splitlines()[-1] == "one: finished (1/30 runs, about 3 min 20 s left)"


def test_an_age_has_one() -> None:
    assert duration(3 * 3600 + 59 * 60, units=1) == "3 h"
