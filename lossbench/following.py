"""What a process does that trains with others and is not the first of them: what the first one says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from lossbench import config, device, processes, run, stopping
from lossbench.checkpoints import Following
from lossbench.store import Store
from lossbench.training import State, train


def follow() -> None:
    """Train each run that the first process hands on, until there is none. Nothing is said or written here."""
    warnings.simplefilter("ignore")  # the first process says them
    stop = stopping.remembered_for_good()
    turn, workers = processes.here()
    device.take(device.Share(workers, turn))
    with config.session():  # finds the user's own functions
        while (settings := processes.next_run(stop)) is not None:
            try:
                _train(settings, Following(stop))
            except KeyboardInterrupt:
                return
            except Exception:  # in all processes: the first one tells it
                continue


def _train(settings: Mapping[str, Any], checkpoints: Following) -> None:
    with processes.joined(settings):
        experiment, teacher = run.prepare(dict(settings), Store(settings["results_dir"]))
        state, step_flops = processes.told((State(), 0))
        experiment.device.use(step_flops)
        train(experiment, **run.training_values(settings), teacher=teacher, state=state, checkpoints=checkpoints)
