"""A sweep whose runs are trained side by side in processes of this machine, which live as long as this one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from itertools import takewhile

from joblib import Parallel, delayed
from joblib.externals.loky import process_executor

from lossbench import stopping
from lossbench.config import Config, workers
from lossbench.errors import WorkersError
from lossbench.launchers import worker
from lossbench.launchers.stacked import Task
from lossbench.progress import Outcome


def train_sweep(runs: Sequence[tuple[Config, tuple[str, ...]]], task: Task, n_jobs: int) -> list[Outcome]:
    """Train the runs of a sweep, each in whichever process is free.

    Args:
        runs: resolved configurations, each with the overrides that made it.
        task: trains one.
        n_jobs: processes at most; -1 for one per core. A single one is this process.

    Returns:
        What came of each run, in order.

    Raises:
        WorkersError: if one of the processes was killed.
        KeyboardInterrupt: if this process is asked to stop, when each of them has saved its run.
    """
    count = workers(n_jobs, len(runs))
    if count == 1:
        return [task(config, overrides, place) for place, (config, overrides) in enumerate(runs)]
    side_by_side = Parallel(count, backend="loky", batch_size=1, max_nbytes=None)
    folder = os.getcwd()
    with stopping.passed_on() as stop:
        # A few runs ahead are handed out; no more of them once the sweep is asked to stop.
        wanted = takewhile(lambda _: stop.error is None, enumerate(runs))
        try:
            return list(
                side_by_side(
                    delayed(_train)(task, config, overrides, place, folder) for place, (config, overrides) in wanted
                )
            )
        except BrokenProcessPool as error:
            raise WorkersError("one of the processes that trained was killed, perhaps for lack of memory") from error


def _train(task: Task, config: Config, overrides: tuple[str, ...], place: int, folder: str) -> Outcome:
    """In a worker: train a run.

    Where psutil is installed, loky replaces a worker that has grown by 300 MB, torch and all, with a warning, or waits
    without end for one. A worker that keeps a data set and its caches has not leaked.
    """
    process_executor._USE_PSUTIL = False
    return worker.train(task, config, overrides, place, folder)
