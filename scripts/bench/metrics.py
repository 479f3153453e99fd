#!/usr/bin/env python
"""Time and peak memory of all metrics together, by the size of what they measure.

Each size runs in a process of its own, whose peak memory (resource.getrusage) covers Python, the libraries and the
float32 logits too. Seconds are the fastest round by the clock, with the quartiles over the rounds, and the least that a
round took of the processor, which a busy machine disturbs less. Right before each round half of the examples take their
turn: the ratio is the median over the rounds, without the processor time of the kernel, whose price for fresh memory
comes and goes. Where cost is linear in N it is 2, or less for the part that does not depend on N.

    .venv/bin/python scripts/bench/metrics.py [--rounds 10] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from lossbench import metrics

SHAPES = [(10_000, 10), (50_000, 1000), (20, 21, 320, 320)]  # the last: 2,048,000 pixels of 21 classes
ROOT = Path(__file__).parent.parent.parent


def example(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Draw float32 logits, and targets from their softmax flattened by T = 1.5."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(shape, dtype=np.float32) * 2
    targets = np.empty((shape[0], *shape[2:]), dtype=np.int64)
    size = max(1, 2**20 // logits[0].size)
    for start in range(0, len(logits), size):  # in parts, so that the peak below is not of this
        part = logits[start : start + size]
        targets[start : start + size] = (part / 1.5 + rng.gumbel(size=part.shape)).argmax(axis=1)
    return logits, targets


def measure(shape: tuple[int, ...], rounds: int) -> None:
    """Print what each round took by the clock and the processor, and the peak memory before and after, as JSON."""
    logits, targets = example(shape)
    before = peak_megabytes()
    half = len(logits) // 2
    of_half, of_all = [], []
    for _ in range(rounds):
        of_half.append(seconds(logits[:half], targets[:half]))
        of_all.append(seconds(logits, targets))
    print(json.dumps({"half": of_half, "all": of_all, "before": before, "peak": peak_megabytes()}))


def seconds(logits: np.ndarray, targets: np.ndarray) -> tuple[float, float, float]:
    """Time all metrics by the clock, by the processor, and by the processor without the kernel."""
    clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    metrics.evaluate(logits, targets)
    clock, after = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_SELF)
    user, kernel = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return clock, user + kernel, user


def peak_megabytes() -> float:
    """Most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def in_a_fresh_process(shape: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Run `measure` in a process of its own."""
    command = [sys.executable, __file__, "--rounds", str(rounds), "--measure", *map(str, shape)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    measured: dict[str, Any] = json.loads(answer.stdout)
    return measured


def row(shape: tuple[int, ...], rounds: int) -> str:
    """Measure one size."""
    measured = in_a_fresh_process(shape, rounds)
    clock, processor, user = zip(*measured["all"], strict=True)
    low, _, high = statistics.quantiles(clock, n=4)
    ratio = statistics.median(full / half for full, (*_, half) in zip(user, measured["half"], strict=True))
    size = " × ".join(f"{length:,}" for length in shape)
    return (
        f"| {size} | {min(clock):.3f} | {low:.3f}–{high:.3f} | {min(processor):.3f} | {ratio:.2f} | "
        f"{measured['before']:,.0f} | {measured['peak']:,.0f} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", type=int, nargs="+", metavar="LENGTH", help="one shape, in this process")
    arguments = parser.parse_args()
    if arguments.measure:
        measure(tuple(arguments.measure), arguments.rounds)
        return
    lines = [
        f"numpy {np.__version__}, scipy {scipy.__version__}, python {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} cores, {arguments.rounds} rounds, {len(metrics.ALL)} metrics",
        "",
        "| logits | s, least | quartiles | s of processor | ratio of N to N/2 | MB before | MB at the peak |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    print("\n".join(lines), flush=True)
    for shape in SHAPES:
        lines.append(row(shape, arguments.rounds))
        print(lines[-1], flush=True)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
