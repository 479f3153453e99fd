"""Runs of a stack measured side by side: the numbers of one process, whatever becomes of the others."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest

from lossbench import evaluation
from lossbench.errors import DataError
from lossbench.launchers import measuring

SOFTMAX = {"name": "softmax"}


def one_after_another(asked: list[Any]) -> str:
    return text([evaluation.measure(*arguments) for arguments in asked])


def text(measured: list[dict[str, Any]]) -> str:
    return json.dumps(measured)  # in which one nan is like another


def predictions(seed: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    of_splits = {}
    for split, count in (("val", 40), ("test", 60)):
        targets = generator.integers(0, 3, count)
        logits = generator.normal(size=(count, 3)) + 2 * np.eye(3)[targets]
        of_splits |= {f"{split}_logits": logits.astype(np.float32), f"{split}_targets": targets}
    return of_splits


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(measuring.loky, "cpu_count", lambda: 2)
    monkeypatch.setattr(measuring, "_there", None)
    yield
    if measuring._there is not None:
        measuring._there.shutdown()


def begun(runs: int) -> Any:
    """The processes, once they are there: else this one measures all before they begin."""
    measuring.begin(runs)
    assert measuring._there is not None
    measuring._there.submit(evaluation.get_ready).result()
    return measuring._there


def test_it_gives_what_one_process_gives_to_the_bit() -> None:
    begun(12)
    asked = [(predictions(seed), SOFTMAX, {"n_bins": 7}) for seed in range(12)]
    assert text([get() for get in measuring.side_by_side(asked)]) == one_after_another(asked)


def test_the_other_process_takes_from_the_end() -> None:
    measuring.begin(12)
    asked = [(predictions(seed), SOFTMAX, {}) for seed in range(12)]
    here, found = [], []
    for get in measuring.side_by_side(asked):
        here.append(cast(Any, get).args[0] is None)
        found.append(get())
    assert text(found) == one_after_another(asked)
    assert (here[0], here[-1]) == (True, False)
    assert here == sorted(here, reverse=True)


def test_what_is_wrong_with_a_run_is_raised_for_that_run_alone() -> None:
    asked = [(predictions(seed), SOFTMAX, {}) for seed in range(8)]
    for wrong in (0, 7):
        asked[wrong][0]["test_logits"][3, 1] = np.nan
    for place, get in enumerate(measuring.side_by_side(asked)):
        if place in (0, 7):
            with pytest.raises(DataError, match="row 3"):
                get()
        else:
            assert get()["test"]["raw"]["accuracy"] > 0.5


def test_what_a_killed_process_leaves_is_measured_here() -> None:
    helpers = begun(8)
    asked = [(predictions(seed), SOFTMAX, {}) for seed in range(8)]
    side_by_side = measuring.side_by_side(asked)
    first = next(side_by_side)
    for pid in list(helpers._processes):
        os.kill(pid, signal.SIGKILL)
    assert text([first(), *(get() for get in side_by_side)]) == one_after_another(asked)
    assert text([get() for get in measuring.side_by_side(asked)]) == one_after_another(asked)  # with a new one
    assert measuring._there is not helpers


def test_what_was_killed_while_it_waited_is_not_missed() -> None:
    helpers = begun(8)
    asked = [(predictions(seed), SOFTMAX, {}) for seed in range(8)]
    for pid in list(helpers._processes):
        os.kill(pid, signal.SIGKILL)
    while helpers._flags.broken is None:
        time.sleep(0.01)
    assert text([get() for get in measuring.side_by_side(asked)]) == one_after_another(asked)
    assert measuring._there is None


def test_the_other_processes_never_hear_of_ctrl_c() -> None:
    helpers = begun(8)
    for pid in helpers._processes:
        os.kill(pid, signal.SIGINT)
    assert helpers.submit(os.getpid).result() in helpers._processes


@pytest.mark.parametrize(("cores", "runs"), [(1, 100), (8, 3)])
def test_on_one_core_or_with_few_runs_there_is_no_other_process(
    monkeypatch: pytest.MonkeyPatch, cores: int, runs: int
) -> None:
    monkeypatch.setattr(measuring.loky, "cpu_count", lambda: cores)
    measuring.begin(runs)
    asked = [(predictions(seed), SOFTMAX, {}) for seed in range(3)]
    assert text([get() for get in measuring.side_by_side(asked)]) == one_after_another(asked)
    assert measuring._there is None
