#!/usr/bin/env python
"""What checkpoints cost: training with the default interval beside training without any, in one process.

Each round trains the same run twice, with and without, in alternating order, and checks that both end in the same
weights. `with / without` is the ratio of the two by the clock, the median over the rounds with the least and the
largest; a busy machine moves it by more than what is measured. The share is the time inside `Store.save_checkpoint`,
the waiting for the disk included, of the training's time by the clock, and does not depend on what the other training
took. Single checkpoints are measured first; what they take and the interval give the share of a training that goes on.

The last case is an ordinary one. The others are as bad as it gets: wide layers in epochs of a second, in a run that is
over soon after its first checkpoint, and in one that goes on.

    .venv/bin/python scripts/bench/checkpoints.py [--rounds 3] [--scale 1.0] [--folder DIR] [--output FILE]
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lossbench import checking, config
from lossbench.build import build
from lossbench.checkpoints import EVERY, SHARE, Checkpoints
from lossbench.store import Store
from lossbench.training import State, Trained, train

COMMON = ("dataset=fashion_mnist", "optimizer=adamw", "device=cpu", "device.threads=1")
WIDE = ("model=mlp", "model.hidden=[2048,2048]", "dataset.train_fraction=0.02", "batch_size=128")
CASES = {  # overrides and about how many seconds a training should take
    "mlp 2048-2048": (WIDE, 15.0),
    "mlp 2048-2048, longer": (WIDE, 60.0),
    "resnet20": (("model=resnet20", "dataset.train_fraction=0.02", "batch_size=128"), 60.0),
}


@dataclass(frozen=True)
class Timed:
    """One training."""

    seconds: float  # by the clock
    saving: float  # of them inside save_checkpoint
    checkpoints: int
    megabytes: float  # of the last one
    trained: Trained


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """Return a resolved config."""
    with config.session() as hydra:
        (only,) = list(hydra.plan([*COMMON, *overrides]).runs or [])
    return checking.check(only)


def timed(settings: dict[str, Any], epochs: int, folder: Path | None) -> Timed:
    """Train once, with checkpoints in a folder or without any."""
    experiment = build(settings)
    experiment.device.use(0)
    seconds: list[float] = []
    sizes: list[int] = []
    store = Store(folder) if folder else None

    def save(state: State) -> None:
        assert store is not None
        started = time.perf_counter()
        store.save_checkpoint("run", state)
        seconds.append(time.perf_counter() - started)
        sizes.append((store.partial("run") / "checkpoint.pt").stat().st_size)

    go = functools.partial(train, experiment, epochs=epochs, batch_size=settings["batch_size"], seed=settings["seed"])
    if store is None:
        started = time.perf_counter()
        trained = go()
    else:
        store.discard("run")
        store.start("run", settings)
        started = time.perf_counter()
        with Checkpoints(save) as checkpoints:
            trained = go(checkpoints=checkpoints)
    total = time.perf_counter() - started
    return Timed(total, sum(seconds), len(seconds), sizes[-1] / 2**20 if sizes else 0.0, trained)


def row(name: str, seconds: float, rounds: int, folder: Path) -> str:
    """Measure one case."""
    settings = compose(CASES[name][0])
    timed(settings, 1, None)  # reads the data and warms up
    # A training also looks at its test split, once.
    one, three = (timed(settings, epochs, None).seconds for epochs in (1, 3))
    epoch = max((three - one) / 2, 0.01)
    epochs = max(2, round((seconds - one) / epoch) + 1)
    ratios, shares, counts, size = [], [], [], 0.0
    for number in range(rounds):
        order = (folder, None) if number % 2 else (None, folder)
        pair = {place is None: timed(settings, epochs, place) for place in order}
        without, saved = pair[True], pair[False]
        for tensor, other in zip(without.trained.weights.values(), saved.trained.weights.values(), strict=True):
            assert torch.equal(tensor, other)
        ratios.append(saved.seconds / without.seconds)
        shares.append(saved.saving / saved.seconds)
        counts.append(saved.checkpoints)
        size = max(size, saved.megabytes)
    return (
        f"| {name} | {seconds:.0f} | {epochs} | {min(counts)}–{max(counts)} | {size:.1f} | "
        f"{statistics.median(shares):.2%} | {min(shares):.2%}–{max(shares):.2%} | "
        f"{statistics.median(ratios):.3f} | {min(ratios):.3f}–{max(ratios):.3f} |"
    )


def saves(name: str, folder: Path, count: int = 20) -> str:
    """Measure single checkpoints of one case, and derive their share of a training that goes on."""
    settings = compose(CASES[name][0])
    experiment, store = build(settings), Store(folder)
    experiment.device.use(0)
    times: list[float] = []

    def save(state: State) -> None:
        for _ in range(count + 1):  # the first does not count
            started = time.perf_counter()
            store.save_checkpoint("run", state)
            times.append(time.perf_counter() - started)

    store.discard("run")
    store.start("run", settings)
    train(experiment, epochs=1, batch_size=settings["batch_size"], seed=settings["seed"], on_epoch=save)
    megabytes = (store.partial("run") / "checkpoint.pt").stat().st_size / 2**20
    seconds = statistics.median(times[1:])
    share = seconds / (seconds + max(EVERY, seconds / SHARE))
    return f"| {name} | {megabytes:.1f} | {seconds:.3f} | {min(times[1:]):.3f}–{max(times[1:]):.3f} | {share:.2%} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the seconds that each training takes")
    parser.add_argument("--folder", type=Path, help="where checkpoints are written; a temporary one where not given")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    about = (
        f"torch {torch.__version__}, python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"one thread, {arguments.rounds} rounds, a checkpoint every {EVERY:g} s or {SHARE:.0%} of the time"
    )
    lines = [
        about,
        "",
        "| run | MB of a checkpoint | s each, of 20 | least–largest | share of a training that goes on |",
        "|---|---:|---:|---:|---:|",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name in ("resnet20", "mlp 2048-2048"):
            lines.append(saves(name, Path(folder)))
            print(lines[-1], flush=True)
    heading = [
        "",
        "| run | s, about | epochs | checkpoints | MB each | share | least–largest | with / without | least–largest |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += heading
    print("\n".join(heading), flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name, (_, seconds) in CASES.items():
            lines.append(row(name, seconds * arguments.scale, arguments.rounds, Path(folder)))
            print(lines[-1], flush=True)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
