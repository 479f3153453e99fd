"""The processes that train one model together, as `torchrun` starts them; this one alone everywhere else.

The first of them does all that one process does: it reads the request, decides, prints and writes. It hands each run
that is to be trained to the others, who do nothing but train with it (`lossbench.following`). What goes from one to
another outside a training goes through torchrun's own store of keys and values, where nobody waits in a collective for
one who has failed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from lossbench.errors import RunError, WorkersError, one_line
from lossbench.stopping import Stop

if TYPE_CHECKING:  # torch takes seconds to import: whoever trains has it by then
    from torch._C._distributed_c10d import Store

LOOK_EVERY = 0.01  # seconds between two looks for the next run
LEFT_WITHIN = 5.0  # seconds in which all have left a run, if it failed in all of them
ENDS_WITHIN = 10.0  # seconds that the first process has to end the others, once they are asked to stop

Told = TypeVar("Told")

_store: Store | None = None
_run = 0  # the number of the run that is trained, from 1
_together = 1  # how many processes train it: 1 but within `joined`
_lost = False  # whether a process is gone


def count() -> int:
    """How many processes train one model."""
    launched = {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys()
    return int(os.environ["WORLD_SIZE"]) if launched else 1


def number() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def here() -> tuple[int, int]:
    """Which of those on this machine this one is, and how many they are."""
    if count() == 1:
        return 0, 1
    return int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", count()))


@contextmanager
def led() -> Iterator[None]:
    """In the first process: let the others go at the end, however that comes."""
    if count() > 1:
        _connect()
    try:
        yield
    finally:
        if _store is not None:
            with suppress(RuntimeError):  # they are gone, and what keeps the store with them
                _store.set(f"run {_run + 1}", "null")


def _connect() -> Store:
    global _store
    if _store is None:
        from torch.distributed.rendezvous import rendezvous

        _store, _, _ = next(iter(rendezvous("env://")))
    return _store


def next_run(stop: Stop) -> dict[str, Any] | None:
    """In another process: wait for what is trained next.

    Args:
        stop: remembers whether this process was asked to stop; then the first one was, too, and ends the others.

    Returns:
        The configuration of the run, or None where there is none.
    """
    until = float("inf")
    try:
        store = _connect()
        while not store.check([f"run {_run + 1}"]):
            if stop.error is not None:
                until = min(until, time.monotonic() + ENDS_WITHIN)
            if time.monotonic() > until:
                return None
            time.sleep(LOOK_EVERY)
        config: dict[str, Any] | None = json.loads(store.get(f"run {_run + 1}"))
    except RuntimeError:  # the first process is gone, and the store with it
        return None
    return config


@contextmanager
def joined(config: Mapping[str, Any]) -> Iterator[None]:
    """Train a run in all processes: the first hands it to the others, which are here as soon as they have it.

    Within the block what fails in one of them ends it in all.

    Args:
        config: what the others build the run from.

    Raises:
        RunError: if it failed in another process.
        WorkersError: if another process is gone, so that none can be trained any more.
    """
    global _run, _together
    if count() == 1:
        yield
        return
    if _store is None:
        raise RunError(f"{count()} processes train through the command alone: torchrun … -m lossbench train …")
    from torch import cuda, distributed

    if _lost:
        raise WorkersError(f"one of the {count()} processes is gone: the run before this one failed there")
    store = _store
    _run += 1
    if number() == 0:
        store.set(f"run {_run}", json.dumps(config))
    try:
        # A group for each run: one that failed has left the collectives of its own wherever it was.
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda.is_available() else "gloo",
            store=distributed.PrefixStore(f"group {_run}", store),  # type: ignore[attr-defined]
            rank=number(),
            world_size=count(),
        )
        _together = count()
        yield
    except Exception as error:
        _leave(store, error)
        raise
    finally:
        _together = 1
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _leave(store: Store, error: Exception) -> None:
    """Find out in which processes a run failed, and why.

    An error of the model, the loss or the data comes to all at once: all leave, and can train the next run. One that
    comes to some, as a lack of memory may, leaves the others in a collective that cannot end. Then the others than the
    first end here, which ends that collective, and the first says why.
    """
    global _lost
    try:
        cause = store.compare_set(f"cause {_run}", "", _told(error)).decode()
        if store.add(f"left {_run}", 1) == count():
            store.compare_set(f"verdict {_run}", "", "all")
        until = time.monotonic() + LEFT_WITHIN
        while not store.check([f"verdict {_run}"]) and time.monotonic() < until:
            time.sleep(LOOK_EVERY)
        all_left = store.compare_set(f"verdict {_run}", "", "some").decode() == "all"
    except RuntimeError as gone:  # with the first process, or torchrun itself
        cause, all_left = _told(gone), False
    if all_left:
        return
    if number() > 0:
        os._exit(0)  # not as a failure, for which torchrun would stop the first one before it has said anything
    _lost = True
    if cause != _told(error):
        raise RunError(f"{cause} (in one of {count()} processes)") from error
    if _is_of_the_group(error):
        raise WorkersError("one of the processes that trained was killed, perhaps for lack of memory") from error


def _told(error: Exception) -> str:
    return f"process {number()}: {type(error).__name__}: {one_line(str(error))}"


def _is_of_the_group(error: Exception) -> bool:
    """Whether it says that another process is gone. Gloo has no exception of its own, but names its file."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or any(name in str(error) for name in ("gloo", "NCCL"))


def together() -> int:
    """How many processes train a run now: 1 before and after a run, too, when the first one is by itself."""
    return _together


def told(value: Told) -> Told:
    """Return the first process's value in each of them."""
    if _together == 1:
        return value
    from torch import device, distributed

    values = [value]
    distributed.broadcast_object_list(values, device=device("cpu"))
    return values[0]


def most(value: int) -> int:
    """Return the largest value of any process in each of them."""
    if _together == 1:
        return value
    from torch import distributed, tensor

    values = tensor(value)
    distributed.all_reduce(values, op=distributed.ReduceOp.MAX)
    return int(values)
