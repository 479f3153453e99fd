"""A sweep whose runs are trained side by side in processes of this machine, which live as long as this one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from itertools import takewhile

from joblib import Parallel, delayed

from lossbench import stopping
from lossbench.config import Config
from lossbench.errors import WorkersError
from lossbench.launchers.stacked import Task
from lossbench.launchers.worker import train
from lossbench.progress import Outcome


def train_sweep(runs: Sequence[tuple[Config, tuple[str, ...]]], task: Task, n_jobs: int) -> list[Outcome]:
    """Train the runs of a sweep, each in whichever process is free.

    Args:
        runs: resolved configurations, each with the overrides that made it.
        task: trains one.
        n_jobs: processes; -1 for one per core.

    Returns:
        What came of each run, in order.

    Raises:
        WorkersError: if one of the processes was killed.
        KeyboardInterrupt: if this process is asked to stop, when each of them has saved its run.
    """
    # A few runs ahead are handed out; no more of them once the sweep is asked to stop.
    folder = os.getcwd()
    side_by_side = Parallel(n_jobs, backend="loky", batch_size=1, max_nbytes=None)
    with stopping.passed_on() as stop:
        try:
            return list(
                side_by_side(
                    delayed(train)(task, config, overrides, place, folder)
                    for place, (config, overrides) in takewhile(lambda _: stop.error is None, enumerate(runs))
                )
            )
        except BrokenProcessPool as error:
            raise WorkersError("one of the processes that trained was killed, perhaps for lack of memory") from error
