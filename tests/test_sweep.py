"""What is told of the runs of a sweep, also of those that other processes train."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from support import Lossbench, compose

from lossbench import config, sweep
from lossbench.progress import Silent
from lossbench.store import Store


def test_a_run_that_ends_after_the_last_look_is_counted_too(tmp_path: Path) -> None:
    settings = compose("dataset=wine", "model=linear", f"results_dir={tmp_path}")
    display = Silent()
    with sweep._watching([settings], False, display):
        time.sleep(sweep.WATCH_EVERY / 5)  # the first look is over, and the second has time
        Store(tmp_path).path(config.run_id(settings)).mkdir(parents=True)
    assert [(outcome.run_id, outcome.status) for outcome in display.outcomes] == [(config.run_id(settings), "finished")]


QUICK = ("dataset=wine", "model=linear", "epochs=1", "device=cpu")


@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=stacked",)], ids=["alone", "stacked"])
def test_runs_of_one_id_in_two_folders_are_two_runs(lossbench: Lossbench, launcher: tuple[str, ...]) -> None:
    command = ("train", *QUICK, "results_dir=a,b", *launcher)
    for _ in range(2):  # trained, then skipped
        answer = lossbench(*command, "-q")
        assert answer.returncode == 0, answer.stderr
        assert [line.split()[-1] for line in answer.stdout.splitlines()] == ["results_dir=a", "results_dir=b"]
    assert Store("a").run_ids() == Store("b").run_ids() != []
    failed = lossbench(*command[:3], "optimizer.learning_rate=1e30", "epochs=9", "results_dir=a,b", "device=cpu", "-q")
    assert [line.split()[2] for line in failed.stderr.splitlines()[1:]] == ["a:", "b:"]


def test_all_finished_runs_whose_data_changed_are_named_before_anything_is_trained(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    def write(seed: int) -> None:
        numbers = np.random.default_rng(seed)
        np.savez(tmp_path / "own.npz", inputs=numbers.normal(size=(90, 4)), targets=np.arange(90) % 3)

    write(0)
    command = ("train", "dataset=arrays", "dataset.file=own.npz", *QUICK[1:], "-q")
    assert lossbench(*command, "seed=0,1,2").returncode == 0
    first, *others = Store(tmp_path / "results").run_ids()
    write(1)
    answer = lossbench(*command, "seed=range(4)")
    assert answer.returncode == 2
    assert answer.stderr == (
        f"lossbench: {first} is finished, but dataset.file and its data changed since: --force trains it again "
        f"(nor can 2 more be skipped: {', '.join(others)})\n"
    )
    assert Store(tmp_path / "results").run_ids() == [first, *others]
