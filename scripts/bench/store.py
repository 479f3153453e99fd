#!/usr/bin/env python
"""What a results folder costs: to look for a run, to claim one, to list them all.

    .venv/bin/python scripts/bench/store.py                    # results/bench/store/table.md

On the file system of the temporary folder (`TMPDIR`), with empty folders for runs. Microseconds of the processor, so
that other processes matter less: median over the rounds, least and largest.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lossbench.store import Store

ROOT = Path(__file__).resolve().parent.parent.parent
CALLS = 1000


def microseconds(call: Callable[[int], object], calls: int) -> float:
    """Of the processor, for one call."""
    started = time.process_time()
    for number in range(calls):
        call(number)
    return (time.process_time() - started) / calls * 1e6


def claim(store: Store, number: int) -> None:
    """Claim a run, and give it back."""
    with store.claim(f"run-{number}", wait=False) as ours:
        assert ours


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "results/bench/store")
    asked = parser.parse_args()
    lines = []
    for runs in sorted(asked.runs):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder)
            for number in range(runs):
                (store.runs / f"run-{number}").mkdir(parents=True)
            ways: dict[str, tuple[Callable[[int], object], int]] = {
                "is it finished": (lambda number, store=store: store.finished(f"run-{number}"), min(runs, CALLS)),  # type: ignore[misc]
                "a claim, and its end": (lambda number, store=store: claim(store, number), min(runs, CALLS)),  # type: ignore[misc]
                "all ids": (lambda _, store=store: store.run_ids(), 1),  # type: ignore[misc]
            }
            for name, (call, calls) in ways.items():
                call(0)  # warm
                times = [microseconds(call, calls) for _ in range(asked.rounds)]
                spread = f"{statistics.median(times):,.0f} ({min(times):,.0f}–{max(times):,.0f})"
                lines.append(f"| {runs:,} | {name} | {spread} |")
                print(lines[-1], flush=True)
    command = shlex.join(["python", "scripts/bench/store.py", *sys.argv[1:]])
    table = [
        "# What a results folder costs", "", f"```sh\n{command}\n```", "",
        f"Microseconds of the processor: median (least–largest) of {asked.rounds} rounds. Python "
        f"{platform.python_version()}, {platform.system()}, {platform.machine()}.", "",
        "| runs in the folder | what | µs |", "|---:|---|---:|", *lines,
    ]  # fmt: skip
    asked.output.mkdir(parents=True, exist_ok=True)
    (asked.output / "table.md").write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
