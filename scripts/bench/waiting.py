#!/usr/bin/env python
"""How long torch's threads should wait for each other awake: a step on several, on an idle machine and a busy one.

Between two operations a thread waits for the next, first awake, then asleep. Awake it takes the processor from whoever
else wants it, the thread that it is waiting for included; asleep it has to be woken. GNU's OpenMP, with which torch
comes on Linux, turns GOMP_SPINCOUNT times before it sleeps. Read off it:
`hydra_plugins.lossbench_stacked.TURNS`.

    .venv/bin/python scripts/bench/waiting.py [--rounds 5] [--output results/bench/waiting]

Each measurement is a process of its own, all kinds in turn. Busy are as many other processes as `--busy` says, each of
which counts on one core. Milliseconds of a step by the clock, median (least–largest) of the rounds; `one` is one
thread.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

STEPS = 30  # timed at a time
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # until this process ends, at the latest
CASES = {
    "digits, mlp, 40 runs stacked": "dataset=digits batch_size=64 model=mlp",
    "Fashion-MNIST, mlp of 512": "dataset=fashion_mnist batch_size=128 model=mlp model.hidden=[512]",
    "Fashion-MNIST, cnn": "dataset=fashion_mnist batch_size=128 model=cnn",
}
STACKED = "digits, mlp, 40 runs stacked"


def measure(case: str, threads: int) -> float:
    """Return the milliseconds of a step, in this process."""
    import stacked  # beside this file
    import torch

    runs = stacked.compose(CASES[case], 40 if case == STACKED else 1)
    go = stacked.together(runs) if case == STACKED else stacked.alone(runs[0])
    torch.set_num_threads(threads)
    go()
    started = time.perf_counter()
    for _ in range(STEPS // stacked.STEPS):
        go()
    return (time.perf_counter() - started) * 1000 / STEPS


def asked(case: str, turns: str, threads: int, busy: int) -> float:
    """Return the milliseconds of a step, in a process of its own beside busy ones."""
    environment = {**os.environ, **({} if turns == "one" else {"GOMP_SPINCOUNT": turns})}
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        command = [sys.executable, __file__, "--case", case, "--threads", "1" if turns == "one" else str(threads)]
        return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", nargs="+", default=["300000", "5000", "1000"])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 3])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="folder to write the table to")
    parser.add_argument("--case", choices=CASES, help="measure one in this process")
    given = parser.parse_args()
    if given.case:
        print(measure(given.case, given.threads))
        return
    ways = [*given.turns, "one"]
    lines = [
        f"torch {version('torch')}, python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores; "
        f"milliseconds of a step on {given.threads} threads that turn so often before they sleep, and on one; median "
        f"(least–largest) of {given.rounds} rounds",
        "",
        f"    {shlex.join(['scripts/bench/waiting.py', *sys.argv[1:]])}",
        "",
        f"| case | other processes | {' | '.join(ways)} |",
        f"| --- | ---: | {' | '.join('---:' for _ in ways)} |",
    ]
    for case in CASES:
        for busy in given.busy:
            found: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(given.rounds):
                for way in ways:
                    found[way].append(asked(case, way, given.threads, busy))
            cells = [f"{statistics.median(of):.1f} ({min(of):.1f}–{max(of):.1f})" for of in found.values()]
            lines.append(f"| {case} | {busy} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
        (given.output / "table.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
