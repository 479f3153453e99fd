#!/usr/bin/env python
"""Seconds from process start to 90 % test accuracy on Fashion-MNIST: `lossbench train` beside a textbook script.

Both train the cnn with the same batch size, optimizer and schedule, for as many epochs as the accuracy takes, and end
with what each has at its end: lossbench with all metrics and the stored run, the textbook script with three numbers.
Whole processes take turns; seconds are of the clock, the median over the rounds (one for each seed) with the least and
the most.

    .venv/bin/python scripts/bench/time_to_accuracy.py [--epochs 2] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BATCH = 128
FASHION_MNIST = "/usr/share/datasets/fashion-mnist"


def of_textbook(folder: str, epochs: int, seed: int) -> tuple[float, float]:
    """Run `textbook.py`; return its seconds and the accuracy it prints."""
    settings = ["--dataset", "fashion_mnist", "--model", "cnn", "--folder", folder, "--epsilon", "0"]
    settings += ["--batch-size", str(BATCH)]
    script = Path(__file__).with_name("textbook.py")
    took, output = _timed([sys.executable, str(script), *settings, "--epochs", str(epochs), "--seed", str(seed)])
    return took, float(output.split()[1])


def of_lossbench(epochs: int, seed: int, precision: str) -> tuple[float, float]:
    """Run `lossbench train`; return its seconds and the accuracy it stored."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ["dataset=fashion_mnist", "model=cnn", f"epochs={epochs}", f"batch_size={BATCH}", f"seed={seed}"]
        where = ["device=cpu", f"device.precision={precision}", f"results_dir={folder}"]
        took, _ = _timed([sys.executable, "-m", "lossbench", "train", *settings, *where])
        (metrics,) = Path(folder).glob("runs/*/metrics.json")
        return took, float(json.loads(metrics.read_text())["test"]["raw"]["accuracy"])


def _timed(command: list[str]) -> tuple[float, str]:
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return time.perf_counter() - started, answer.stdout


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a file; results/bench/time_to_accuracy/table.md by default")
    parser.add_argument(
        "--fashion-mnist", default=FASHION_MNIST, help="folder with its four .gz files, for the textbook script"
    )
    arguments = parser.parse_args()
    epochs = arguments.epochs
    ways: dict[str, Callable[[int], tuple[float, float]]] = {
        "lossbench, fp32": lambda seed: of_lossbench(epochs, seed, "fp32"),
        "lossbench, bf16": lambda seed: of_lossbench(epochs, seed, "bf16"),
        "textbook, fp32": lambda seed: of_textbook(arguments.fashion_mnist, epochs, seed),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for seed in range(arguments.rounds):
        for name, way in ways.items():
            measured[name].append(way(seed))
            print(f"seed {seed}, {name}: {measured[name][-1][0]:.1f} s, {measured[name][-1][1]:.4f}", flush=True)
    lines = [
        f"cnn, {epochs} epochs of batch {BATCH}, {arguments.rounds} rounds; {platform.machine()}, {os.cpu_count()} "
        f"cores, load {os.getloadavg()[0]:.1f} at the end",
        "",
        f"    scripts/bench/time_to_accuracy.py {' '.join(sys.argv[1:])}",
        "",
        "| process | s | least–most | accuracy, mean | lowest |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, results in measured.items():
        took, accuracy = zip(*results, strict=True)
        lines.append(
            f"| {name} | {statistics.median(took):.1f} | {min(took):.1f}–{max(took):.1f} | "
            f"{statistics.mean(accuracy):.4f} | {min(accuracy):.4f}{'' if min(accuracy) >= 0.9 else ' (below 0.9)'} |"
        )
    output = arguments.output or ROOT / "results/bench/time_to_accuracy/table.md"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
