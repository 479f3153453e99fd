#!/usr/bin/env python
"""Which runs gain by being stacked: a step of R runs as one model beside R steps of one, on one CPU thread.

Where `lossbench.stacked.grouping` draws the line was read off this. The ratio is the time that R steps of one model
take over that of one stacked step, in processor seconds, so that other processes matter less: the median over the
rounds, with the least and the largest. Both have everything that a step of training has.

    .venv/bin/python scripts/bench/stacked.py [--rounds 5] [--runs 4 16]

With `--threads`, a stacked step on one thread beside one on several instead, by the clock: where
`lossbench.device.ONE_THREAD_STACKED_FLOPS` was read off.

    .venv/bin/python scripts/bench/stacked.py --threads 2 --runs 4 16 40
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from lossbench import checking, config
from lossbench.build import build
from lossbench.stacked.training import Run, Stack
from lossbench.training import step_flops, train

STEPS = 10  # timed at a time
CASES = (
    "model=linear",
    "model=mlp",
    "model=mlp model.hidden=[512]",
    "model=mlp model.hidden=[512,512]",
    "model=mlp model.hidden=[1024,1024]",
    "dataset=fashion_mnist batch_size=128 model=mlp",
    "dataset=fashion_mnist batch_size=128 model=mlp model.hidden=[512]",
    "model=cnn model.width=4",
    "model=cnn",
    "model=cnn batch_size=128",
    "dataset=fashion_mnist batch_size=64 model=cnn model.width=4",
)


def compose(overrides: str, runs: int) -> list[dict[str, Any]]:
    """Return the checked configs of a sweep over as many ε."""
    values = ",".join(f"{r / 100:g}" for r in range(1, runs + 1))
    sweep = [*overrides.split(), "device=cpu", "device.threads=1", "loss=label_smoothing", f"loss.epsilon={values}"]
    with config.session() as hydra:
        return [checking.check(composed) for composed in hydra.plan(sweep).runs or ()]


def alone(settings: dict[str, Any]) -> Callable[[], None]:
    """Return what trains one run for some steps: its data are cut to as many batches, and validation to nothing."""
    experiment = build(settings)
    dataset, batch_size = experiment.dataset, settings["batch_size"]
    some = dataset.train.select(torch.arange(STEPS * batch_size) % len(dataset.train))
    cut = dataclasses.replace(dataset, train=some, val=some.select(torch.arange(1)), test=some.select(torch.arange(1)))
    experiment = dataclasses.replace(experiment, dataset=cut)
    return lambda: void(train(experiment, epochs=1, batch_size=batch_size, seed=0))


def together(runs: list[dict[str, Any]]) -> Callable[[], None]:
    """Return what trains the runs, stacked, for some steps."""
    experiments = [build(settings) for settings in runs]
    first, batch_size = experiments[0].dataset, runs[0]["batch_size"]
    shared = [Run(dataclasses.replace(experiment, dataset=first), 0) for experiment in experiments]
    stack = Stack(shared, epochs=1, batch_size=batch_size)
    stack.network.train()

    def go() -> None:
        stack.batches.begin_epoch(0, [None])
        for step in range(STEPS):
            start = step * batch_size % (len(first.train) - batch_size)
            stack.look(stack.batches.at(start, batch_size, step))
            stack.optimizer.step(1.0)

    return go


def with_threads(many: Callable[[], None], threads: int) -> float:
    """Return the seconds of a stacked step."""
    torch.set_num_threads(threads)
    many()  # the threads are there
    started = time.perf_counter()
    many()
    return (time.perf_counter() - started) / STEPS


def void(_: object) -> None:
    """Forget."""


def seconds(function: Callable[[], None]) -> float:
    """Return the processor time of a call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--runs", type=int, nargs="+", default=[4, 16])
    arguments.add_argument("--threads", type=int)
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    compared = f"one thread / {asked.threads}" if asked.threads else "R steps of one / one of R"
    print(f"| case | million operations a step | runs | {compared} |\n|:--|--:|--:|:--|")
    for case in CASES:
        for runs in asked.runs:
            composed = compose(case, runs)
            flops = step_flops(build(composed[0]), composed[0]["batch_size"])
            many = together(composed)
            if asked.threads:
                flops *= runs
                ratios = [with_threads(many, 1) / with_threads(many, asked.threads) for _ in range(asked.rounds)]
            else:
                one = alone(composed[0])
                one(), many()  # warm
                ratios = [runs * seconds(one) / seconds(many) for _ in range(asked.rounds)]
            middle = statistics.median(ratios)
            spread = f"{middle:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
            print(f"| {case} | {flops / 1e6:,.1f} | {runs} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
