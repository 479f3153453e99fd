#!/usr/bin/env python
"""What streaming takes: memory and speed beside the same images held in memory, each training in a process of its own.

Writes images of smooth noise as PNG, then trains for an epoch: a few of them (what a process takes without data), all
held in memory, all streamed. Both end in the same test logits, or it stops. Memory is the peak of the process
(`peak_memory_bytes`); images/s are of the training and validation of one epoch, s of the whole command.

    .venv/bin/python scripts/bench/streaming.py [--images 20000] [--side 64] [--rounds 3] [--model cnn] [--folder DIR]
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FEW = 200


def write(folder: Path, count: int, side: int) -> None:
    """Write images of ten classes and their list, and a list of the first few."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        place = folder / f"{number // 1000}" / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(place)
        rows.append((place.relative_to(folder), number % 10))
    for name, part in (("all", rows), ("few", rows[:FEW])):
        with (folder / f"{name}.csv").open("w", newline="") as lines:
            csv.writer(lines).writerows([("path", "label"), *part])


def train(folder: Path, name: str, streaming: bool, model: str) -> dict[str, Any]:
    """Train for an epoch in another process and return what it recorded."""
    with tempfile.TemporaryDirectory(dir=folder) as results:
        data = ("dataset=image_csv", f"dataset.file={folder / name}.csv", f"dataset.streaming={str(streaming).lower()}")
        rest = (f"model={model}", "epochs=1", "device=cpu", "device.threads=1", f"results_dir={results}", "--quiet")
        command = [sys.executable, "-m", "lossbench", "train", *data, *rest]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        (run,) = Path(results, "runs").iterdir()
        environment: dict[str, Any] = json.loads((run / "environment.json").read_text())
        with np.load(run / "predictions.npz", allow_pickle=False) as predictions:
            logits = predictions["test_logits"]
        return {**environment, "seconds": seconds, "logits": logits}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--folder", type=Path, help="where images are written; they go again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        write(folder, options.images, options.side)
        size = options.images * options.side**2 * 3 / 2**20
        print(f"{options.images} images of {options.side}×{options.side}×3: {size:.0f} MiB decoded; {options.model}")
        print(
            "| round | few: MiB | held: MiB | streamed: MiB | held: images/s | streamed: images/s | held, streamed: s |"
        )
        print("|---|---|---|---|---|---|---|")
        for turn in range(options.rounds):
            few = train(folder, "few", True, options.model)
            held, streamed = (train(folder, "all", streaming, options.model) for streaming in (False, True))
            if not np.array_equal(held["logits"], streamed["logits"]):
                raise SystemExit("the two differ")
            memory = [f"{run['peak_memory_bytes'] / 2**20:.0f}" for run in (few, held, streamed)]
            speed = [
                f"{(options.images - len(run['logits'])) / run['training_seconds']:.0f}" for run in (held, streamed)
            ]
            whole = ", ".join(f"{run['seconds']:.0f}" for run in (held, streamed))
            print(f"| {turn + 1} | {' | '.join([*memory, *speed, whole])} |", flush=True)


if __name__ == "__main__":
    main()
