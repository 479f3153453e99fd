#!/usr/bin/env python
"""Time and peak memory of `lossbench report`, by the number of runs.

A store has ten seeds of each setting, a hundred settings (five losses of twenty values) on each problem, and a problem
for each thousand runs. One run of each loss is written as training writes it: 10,000 validation and 10,000 test
predictions of 10 classes, drawn and not learned, all metrics really measured. The others are its copies under another
id, with their own config and fingerprints and numbers moved at random; their predictions are hard links.

Each report is a fresh process. Cold is without the index, warm with it; either way the operating system has the files
at hand. Seconds are the median by the clock with the least and the largest, and the median of processor time, which a
busy machine disturbs less.

    .venv/bin/python scripts/bench/report.py [--runs 100 1000 10000] [--rounds 5] [--folder DIR] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
SEEDS, VALUES, EXAMPLES, CLASSES = 10, 20, 10_000, 10
LOSSES = {
    "label_smoothing": "epsilon",
    "focal": "gamma",
    "temperature": "temperature",
    "confidence_penalty": "beta",
    "margin_smoothing": "alpha",
}
LINKED = ("predictions.npz", "history.csv", "model.safetensors")
COMMANDS = {
    "report, cold": ("report",),
    "report, warm": ("report",),
    "report with a baseline": ("report", "--baseline", "loss=label_smoothing", "--baseline", "loss.epsilon=0.05"),
    "html, cold": ("report", "--format", "html", "--output", "{folder}/report.html"),
    "html, warm": ("report", "--format", "html", "--output", "{folder}/report.html"),
}


def make(folder: Path, runs: int) -> None:
    """Write a store of so many runs."""
    import numpy as np

    from lossbench import config
    from lossbench.store import Store

    store = Store(folder)
    rng = np.random.default_rng(0)
    composed = {loss: compose(loss, folder) for loss in LOSSES}
    measured = {loss: commit(store, f"{loss}-template", settings, rng) for loss, settings in composed.items()}
    for number in range(runs):
        setting, seed = divmod(number, SEEDS)
        value, of_loss = divmod(setting, len(LOSSES))
        problem, value = divmod(value, VALUES)
        loss = list(LOSSES)[of_loss]
        settings = {**composed[loss], "seed": seed}
        settings["loss"] = {**settings["loss"], LOSSES[loss]: (value + 1) / VALUES}
        settings["dataset"] = {**settings["dataset"], "train_fraction": 1 / (problem + 1)}
        name = config.run_id(settings)
        copy(store, f"{loss}-template", name, settings, measured[loss], rng, f"problem {problem} seed {seed}")
    for loss in LOSSES:
        shutil.rmtree(store.path(f"{loss}-template"))


def compose(loss: str, folder: Path) -> dict[str, Any]:
    """Return a resolved config, as training writes it."""
    from lossbench import checking, config

    with config.session() as hydra:
        planned = hydra.plan(["dataset=fashion_mnist", "model=cnn", f"loss={loss}", f"results_dir={folder}"])
    (only,) = list(planned.runs or [])
    return checking.check(only)


def commit(store: Any, name: str, settings: dict[str, Any], rng: Any) -> dict[str, Any]:
    """Write a run as training does and return its metrics.json."""
    import numpy as np
    import torch

    from lossbench.evaluation import measure

    predictions = {}
    for split in ("val", "test"):
        logits = rng.standard_normal((EXAMPLES, CLASSES), dtype=np.float32) * 4
        predictions[f"{split}_logits"] = logits
        predictions[f"{split}_targets"] = (logits / 1.5 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    epochs = range(1, settings["epochs"] + 1)
    store.start(name, settings)
    store.commit(
        name,
        metrics={**measure(predictions, {"name": "softmax"}), "beside": {}},
        predictions=predictions,
        history=[
            {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 1 / epoch, "val_accuracy": 0.5} for epoch in epochs
        ],
        environment={
            "versions": {"lossbench": "0.1.0", "python": platform.python_version(), "torch": torch.__version__},
            "platform": platform.platform(),
            "device": "cpu",
            "sources": {},
            "overrides": [f"loss={settings['loss']['name']}"],
            "fingerprints": {},
            "class_names": [f"class {k}" for k in range(CLASSES)],
            "wall_seconds": 100.0,
            "training_seconds": 99.0,
        },
        weights={"weight": torch.zeros(CLASSES, 8)},
    )
    written: dict[str, Any] = store.metrics(name)
    return written


def copy(
    store: Any, template: str, name: str, settings: dict[str, Any], metrics: dict[str, Any], rng: Any, fingerprint: str
) -> None:
    """Write a run that differs from a template in its config, and at random in its numbers."""
    store.start(name, settings)
    folder = store.partial(name)
    moved = dict(metrics)
    for split in ("val", "test"):
        moved[split] = {
            calibration: {
                metric: value * factor
                for (metric, value), factor in zip(
                    values.items(), rng.uniform(0.98, 1.02, size=len(values)).tolist(), strict=True
                )
            }
            for calibration, values in metrics[split].items()
        }
    (folder / "metrics.json").write_text(json.dumps(moved, indent=1), encoding="utf-8")
    prints = {of: f"{of} {fingerprint}" for of in ("data", "split", "initial_weights", "batch_order")}
    environment = {**store.environment(template), "fingerprints": prints}
    (folder / "environment.json").write_text(json.dumps(environment, indent=1), encoding="utf-8")
    for file in LINKED:
        os.link(store.path(template) / file, folder / file)
    folder.rename(store.path(name))


def seconds(folder: Path, command: tuple[str, ...]) -> tuple[float, float, float] | None:
    """Time a command by the clock and the processor, with its peak memory in MB; None where it is no command."""
    arguments = [part.format(folder=folder) for part in command]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "lossbench", *arguments, "--results-dir", str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    clock = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return clock, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit


def row(folder: Path, runs: int, what: str, rounds: int) -> str | None:
    """Measure one command on one store."""
    times = []
    for number in range(rounds + 1):  # the first reads the files into memory, or makes the index, and does not count
        if what.endswith("cold"):
            (folder / "index.jsonl").unlink(missing_ok=True)
        measured = seconds(folder, COMMANDS[what])
        if measured is None:
            return None
        if number:
            times.append(measured)
    clock, processor, memory = zip(*times, strict=True)
    return (
        f"| {runs:,} | {what} | {statistics.median(clock):.2f} | {min(clock):.2f}–{max(clock):.2f} | "
        f"{statistics.median(processor):.2f} | {max(memory):,.0f} |"
    )


def main() -> None:
    """Make the stores, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the stores are kept; made anew and removed where not given")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--make", type=int, metavar="RUNS", help="write one store into --folder and do no more")
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.folder, arguments.make)
        return
    versions = ", ".join(f"{name} {version(name)}" for name in ("pandas", "numpy", "pyyaml"))
    lines = [
        f"{versions}, python "
        f"{platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {arguments.rounds} rounds",
        "",
        "| runs | what | s | least–largest | s of processor | MB at the peak |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for runs in arguments.runs:
            folder = (arguments.folder or Path(temporary)) / str(runs)
            if not (folder / "runs").is_dir():
                # In another process: a child's peak memory counts that of its parent, which torch makes large.
                command = [sys.executable, __file__, "--make", str(runs), "--folder", str(folder)]
                subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
            for what in COMMANDS:
                line = row(folder, runs, what, arguments.rounds)
                if line is not None:
                    lines.append(line)
                    print(line, flush=True)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
