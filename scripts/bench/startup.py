#!/usr/bin/env python
"""Seconds until a user learns something: what takes longest to import beside the first useful line of each command.

The commands are tried in turn, round after round, each in a fresh process on a terminal of its own: until what is said
of it below is shown, and until it ends. `train` is given data, a model and an epoch; the others need no torch.

    .venv/bin/python scripts/bench/startup.py [--rounds 7] [--output results/bench/startup]
"""

from __future__ import annotations

import argparse
import os
import platform
import pty
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

TORCH = "python -c 'import torch'"
TRAIN = "lossbench train dataset=digits model=mlp epochs=1 device=cpu"
MISTAKE = "lossbench train dataset=digits loss=label_smothing"
COMMANDS = {  # and what is waited for
    TORCH: "imported",
    TRAIN: "0/1 run",
    MISTAKE: "did you mean",
    "lossbench --help": "Usage",
    "lossbench list losses": "cross_entropy",
    "lossbench report": "accuracy",
}


def timed(name: str, awaited: str, folder: str) -> tuple[float, float]:
    """Return when what is awaited was shown and when the process ended, in seconds from its start."""
    command = [sys.executable, "-c", "import torch; print('imported')"]
    if name != TORCH:
        command[1:] = ["-m", *name.split()]
    terminal, its = pty.openpty()
    started = time.perf_counter()
    first, so_far = 0.0, b""
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, cwd=folder) as process:
        os.close(its)
        try:
            while shown := os.read(terminal, 65536):
                if first:
                    continue
                so_far += shown
                text = re.sub(rb"\x1b\[[?\d;]*[a-zA-Z]", b"", so_far)  # without colours and moves of the cursor
                if awaited.encode() in b" ".join(text.split()):
                    first = time.perf_counter() - started
        except OSError:  # the end, on Linux
            pass
        os.close(terminal)
    if not first or process.returncode != (2 if name == MISTAKE else 0):
        raise SystemExit(f"{command} ended with {process.returncode}; waited for: {awaited}")
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
            for name, awaited in COMMANDS.items():
                measured = timed(name, awaited, folder)
                if turn:  # the first reads files that no later one has to read
                    times[name].append(measured)
    later = [mine[0] - torch[0] for mine, torch in zip(times[TRAIN], times[TORCH], strict=True)]
    lines = [
        f"torch {version('torch')}, python {platform.python_version()}, {platform.machine()}; seconds, median "
        f"(least–largest) of {arguments.rounds} rounds",
        "",
        f"    {shlex.join(['scripts/bench/startup.py', *sys.argv[1:]])}",
        "",
        "| command | what is waited for | shown | end |",
        "| --- | --- | --- | --- |",
    ]
    for name, pairs in times.items():
        shown, end = (spread(list(values)) for values in zip(*pairs, strict=True))
        lines.append(f"| `{name}` | {COMMANDS[name]} | {shown} | {end} |")
    lines += [
        "",
        f"Seconds from when torch alone would be imported to when `train` says how many runs: {spread(later)}.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "table.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
