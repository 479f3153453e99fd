#!/usr/bin/env python
"""Seconds until a user sees something: what takes longest to import beside the first sign of life of each command.

The commands are tried in turn, round after round, each in a fresh process on a terminal of its own: until something is
shown, and until it ends. `train` is given data, a model and an epoch to start with; the others need no torch.

    .venv/bin/python scripts/bench/startup.py [--rounds 7] [--output results/bench/startup]
"""

from __future__ import annotations

import argparse
import os
import platform
import pty
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

TORCH = "python -c 'import torch'"
TRAIN = "lossbench train dataset=digits model=mlp epochs=1 device=cpu"
COMMANDS = {
    TORCH: [sys.executable, "-c", "import torch; print(1)"],
    TRAIN: [sys.executable, "-m", *TRAIN.split()],
    "lossbench --help": [sys.executable, "-m", "lossbench", "--help"],
    "lossbench list losses": [sys.executable, "-m", "lossbench", "list", "losses"],
    "lossbench report": [sys.executable, "-m", "lossbench", "report"],
}


def timed(command: list[str], folder: str) -> tuple[float, float]:
    """Return when something was shown and when the process ended, in seconds from its start."""
    terminal, its = pty.openpty()
    started = time.perf_counter()
    first = 0.0
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, cwd=folder) as process:
        os.close(its)
        try:
            while shown := os.read(terminal, 65536):
                # Not what hides the cursor before there is anything to show.
                if not first and re.sub(rb"\x1b\[[?\d;]*[a-zA-Z]", b"", shown).strip():
                    first = time.perf_counter() - started
        except OSError:  # the end, on Linux
            pass
        os.close(terminal)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return first, time.perf_counter() - started


def spread(values: list[float]) -> str:
    """Write the median and the least and largest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, help="folder to write the table to")
    arguments = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for turn in range(arguments.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for name, command in COMMANDS.items():
                measured = timed(command, folder)
                if turn:  # the first reads files that no later one has to read
                    times[name].append(measured)
    later = [mine[0] - torch[0] for mine, torch in zip(times[TRAIN], times[TORCH], strict=True)]
    lines = [
        f"torch {version('torch')}, python {platform.python_version()}, {platform.machine()}; seconds, median "
        f"(least–largest) of {arguments.rounds} rounds",
        "",
        f"    scripts/bench/startup.py --rounds {arguments.rounds}",
        "",
        "| command | something is shown | end |",
        "| --- | --- | --- |",
    ]
    for name, pairs in times.items():
        lines.append(f"| `{name}` | {spread([first for first, _ in pairs])} | {spread([end for _, end in pairs])} |")
    lines += ["", f"Seconds from when torch alone would be imported to when `train` shows something: {spread(later)}."]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "table.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
