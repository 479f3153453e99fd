"""From what a user typed to trained runs: planned here, which takes no torch, and then checked and trained."""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lossbench import config, libraries, progress
from lossbench.progress import Outcome


def train(
    overrides: Sequence[str], *, config_dir: Path | None, force: bool, quiet: bool, retry_failed: bool = False
) -> list[Outcome]:
    """Train every run that the overrides ask for, and print what came of each.

    Args:
        overrides: in Hydra's grammar; whatever sweeps makes several runs.
        config_dir: a folder of the user's own configs.
        force: train finished runs again.
        quiet: print results only.
        retry_failed: train again what has failed before.

    Returns:
        An outcome per run.

    Raises:
        RequestError: if anything asked for is wrong, before anything is written.
        WorkersError: if a process that trains was killed or asked to stop, with all that it did not finish.
    """
    since, loading = time.time(), libraries.loading()
    with config.session(config_dir) as hydra, progress.display(quiet=quiet) as display:
        plan = hydra.plan(overrides)
        display.plan((len(plan.runs or ()) if plan.search is None else plan.search.runs) or None)
        if loading.is_alive():
            loading.join()
        with _for_good():
            from lossbench import sweep  # torch, which takes seconds to import

        return sweep.train(hydra, plan, overrides, display, since=since, force=force, retry_failed=retry_failed)


@contextlib.contextmanager
def _for_good() -> Iterator[None]:
    """Import torch without looking for garbage among what stays until the end.

    Python would look time and again while the objects of two thousand modules come, and once more as the process ends.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
    gc.freeze()
