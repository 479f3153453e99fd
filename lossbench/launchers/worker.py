"""What another process does for a sweep."""

from __future__ import annotations

import os

from lossbench.config import Config, import_from_here
from lossbench.launchers.stacked import Task
from lossbench.progress import Outcome


def train(task: Task, config: Config, overrides: tuple[str, ...], place: int, folder: str) -> Outcome:
    """Train a run from the folder where the sweep was asked for, in which functions of the user's are, too.

    Args:
        task: trains it.
        config: of the run, resolved.
        overrides: that made it.
        place: in the sweep.
        folder: where it was asked for.
    """
    os.chdir(folder)
    import_from_here()
    return task(config, overrides, place)
