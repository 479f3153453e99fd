"""What is told of runs that other processes train."""

from __future__ import annotations

import time
from pathlib import Path

from support import compose

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
