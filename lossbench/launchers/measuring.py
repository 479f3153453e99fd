"""What a stack has trained is there all at once, and measured side by side, in processes that need no torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any, TypeAlias

from joblib.externals import loky

from lossbench import evaluation, stopping

# What `lossbench.evaluation.measure` is given: predictions, link, options.
Asked: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, float]]
RUNS_EACH = 4  # that a process is to measure, or it is not worth its start
AT_MOST = 16  # processes: more would wait for this one to store what they measured
AHEAD = 2  # runs that each process has at a time, so that it need not wait for the next
IDLE = 60.0  # seconds after which one ends; it is started again when there is something to measure

_there: loky.ProcessPoolExecutor | None = None


def begin(runs: int) -> None:
    """Start processes now, so that they have imported what they need by the time that runs are trained.

    Args:
        runs: that there will be to measure.
    """
    helpers = _helpers(runs)
    if helpers is not None:
        with stopping.unheard():  # a terminal sends Ctrl-C to all that it started
            for _ in range(helpers._max_workers):
                helpers.submit(evaluation.get_ready)


def side_by_side(asked: Sequence[Asked]) -> Iterator[Callable[[], dict[str, Any]]]:
    """Measure runs here from the first on, and in other processes from the last.

    Args:
        asked: for each run, what `lossbench.evaluation.measure` is given.

    Returns:
        What gives the measurements of a run, or raises what was wrong; to be called before the next is asked for.
    """
    helpers = _helpers(len(asked))
    handed: dict[int, Future[dict[str, Any]]] = {}
    first = len(asked)  # of those that are handed out
    for place, arguments in enumerate(asked):
        while helpers and first > place + 1 and _under_way(handed) < AHEAD * helpers._max_workers:
            try:
                with stopping.unheard():
                    handed[first - 1] = helpers.submit(evaluation.measure, *asked[first - 1])
                first -= 1
            except BrokenProcessPool:  # while it waited
                _lost()
                helpers = None
        yield functools.partial(_measured, handed.get(place), arguments)


def _under_way(handed: Mapping[int, Future[Any]]) -> int:
    return sum(not future.done() for future in handed.values())


def _measured(future: Future[dict[str, Any]] | None, asked: Asked) -> dict[str, Any]:
    try:
        return evaluation.measure(*asked) if future is None else future.result()
    except BrokenProcessPool:  # it was killed, perhaps for lack of memory
        _lost()
        return evaluation.measure(*asked)


def _helpers(runs: int) -> loky.ProcessPoolExecutor | None:
    """The processes, of which there are enough for so many runs; none where this one is enough."""
    global _there
    count = min(loky.cpu_count() - 1, runs // RUNS_EACH, AT_MOST)
    if count < 1:
        return None
    if _there is None or _there._max_workers < count:
        resource_tracker.ensure_running()  # else it begins where they do, and has them hear Ctrl-C
        _there = loky.ProcessPoolExecutor(count, timeout=IDLE)
    return _there


def _lost() -> None:
    global _there
    _there = None
