#!/usr/bin/env python
"""Images per second of one epoch: lossbench, the bare loop, a textbook loop, Lightning.

The four (`loops.py`) see the same examples, initial weights, optimizer, schedule and threads, and take turns, each in a
process of its own, in this order and in the reverse; a round that warms up does not count. The bare loop has torch set
up as lossbench does, with freed memory kept; the others have torch as it comes. A ratio is lossbench's images per
second over another's in the same round: its median, and the least and the largest round. The textbook's loop and
Lightning's have the precision of the row; with bf16 both also stand there in fp32, which is what they mostly are.

Peak memory is the most that a process, without the DataLoader's workers, held while it trained for its first epoch,
with Python, the libraries and the data set, which all loops read alike; not what reading it took. On Linux alone, where
it varies by some 30 MB from process to process. All processes of a row are there at a time: up to eleven of 1 GB each.
With `--accuracy`, accuracy on test after the same number of epochs takes the place of speed: lossbench and the textbook
loop, paired by seed.

    .venv/bin/python scripts/bench/epoch.py [--models mlp cnn resnet20] [--precisions fp32 bf16] [--rounds 5]
    .venv/bin/python scripts/bench/epoch.py --accuracy --models mlp cnn --epochs 3 --output results/bench/epoch
    .venv/bin/python scripts/bench/epoch.py --device cuda --cifar-shaped
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import loops
import pandas as pd
import torch
from scipy import stats

ROOT = Path(__file__).parent.parent.parent
IMAGES = {"mlp": 27_000, "cnn": 6_750, "resnet20": 1_350}  # of an epoch, where it is to last a second or two
AS_SET_UP = {"lossbench", "bare"}  # have torch as lossbench sets it up
ACCURATE = {"mlp": 54_000, "cnn": 13_500, "resnet20": 5_400}


def speeds(task: loops.Task, rounds: int, names: list[str]) -> list[dict[str, object]]:
    """Measure all loops on one task, a row for each."""
    contenders = {name: (name, task) for name in dict.fromkeys(["lossbench", *names])}
    if task.precision != "fp32":
        plain = replace(task, precision="fp32")
        contenders |= {f"{name}, fp32": (name, plain) for name in contenders if name not in AS_SET_UP}
    with contextlib.ExitStack() as open_processes:
        processes = {name: open_processes.enter_context(_process(*of)) for name, of in contenders.items()}
        peaks = {name: _turn(process)["peak"] for name, process in processes.items()}  # which warms up
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(rounds):
            for name in reversed(contenders) if number % 2 else contenders:
                seconds[name].append(_turn(processes[name])["seconds"])
    rows = []
    for name, times in seconds.items():
        ratios = [other / own for other, own in zip(times, seconds["lossbench"], strict=True)]
        rows.append(
            {
                "model": task.model,
                "precision": task.precision,
                "loop": name,
                "images/s": round(task.images / statistics.median(times)),
                "lossbench is × as fast": round(statistics.median(ratios), 3),
                "least": round(min(ratios), 3),
                "most": round(max(ratios), 3),
                "peak MB": peaks[name] if math.isnan(peaks[name]) else round(peaks[name]),
            }
        )
    return rows


def _process(loop: str, task: loops.Task) -> subprocess.Popen[str]:
    """Start a process that trains for an epoch whenever it is asked to."""
    command = [sys.executable, __file__, "--turns", loop, json.dumps(asdict(task))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _turn(process: subprocess.Popen[str]) -> dict[str, float]:
    """Have a process train for an epoch, and wait."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended, and says nothing
        os.write(process.stdin.fileno(), b"\n")
    for line in process.stdout:
        if line.startswith("{"):
            return dict(json.loads(line))
    raise SystemExit(f"a process ended with {process.wait()}: {process.args!r}")


def take_turns(loop: str, task: loops.Task) -> None:
    """Train for an epoch per line of standard input, and print seconds and the peak of memory in MB."""
    counts = Path("/proc/self/clear_refs")
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):  # the process that asks says what is wrong
        for _ in sys.stdin:
            experiment = task.experiment(set_up=loop in AS_SET_UP)
            if counts.exists():
                counts.write_text("5")  # from here on the kernel counts the peak anew
            seconds = loops.LOOPS[loop](experiment, task).seconds
            print(json.dumps({"seconds": seconds, "peak": _peak_megabytes(task)}), flush=True)


def _peak_megabytes(task: loops.Task) -> float:
    """Return the most memory that this process held, on a GPU that of the GPU; nan where nobody counts."""
    if task.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    (peak,) = re.findall(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else (math.nan,)
    return float(peak) / 2**10


def accuracies(task: loops.Task, seeds: int) -> list[dict[str, object]]:
    """Compare the accuracy on test of lossbench and the textbook loop, paired by seed."""
    own, other = [], []
    for seed in range(seeds):
        of_seed = replace(task, seed=seed)
        own.append(loops.lossbench(of_seed.experiment(), of_seed, test=True).test_accuracy)
        other.append(loops.textbook(of_seed.experiment(), replace(of_seed), test=True).test_accuracy)
    differences = [one - two for one, two in zip(own, other, strict=True)]
    half = stats.t.ppf(0.975, seeds - 1) * statistics.stdev(differences) / math.sqrt(seeds)
    return [
        {
            "model": task.model,
            "precision": task.precision,
            "epochs": task.epochs,
            "images": task.images,
            "seeds": seeds,
            "lossbench": round(statistics.mean(own), 4),
            "textbook": round(statistics.mean(other), 4),
            "difference": round(statistics.mean(differences), 4),
            "± 95 %": round(float(half), 4),
            "sd over seeds": round(statistics.stdev(other), 4),
        }
    ]


def processor() -> str:
    """Name the processor, or the GPU."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(IMAGES), choices=list(IMAGES))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--loops", nargs="+", default=list(loops.LOOPS), choices=list(loops.LOOPS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--images", type=int, help="to train on in an epoch; by default as many as take a second or two"
    )
    parser.add_argument("--threads", type=int, help="of all loops; by default as lossbench chooses for the model")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="of a loop without its workers, in place of the clock: for --threads 1 on a busy machine",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cifar-shaped", action="store_true", help="random 3×32×32 images in place of Fashion-MNIST")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3, help="of --accuracy")
    parser.add_argument("--output", type=Path, help="folder to write the table to")
    parser.add_argument("--turns", nargs=2, metavar=("LOOP", "TASK"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.turns:
        take_turns(arguments.turns[0], loops.Task(**json.loads(arguments.turns[1])))
        return
    rows: list[dict[str, object]] = []
    for model in arguments.models:
        for precision in arguments.precisions:
            task = loops.Task(
                model=model,
                precision=precision,
                images=arguments.images or (ACCURATE if arguments.accuracy else IMAGES)[model],
                epochs=arguments.epochs if arguments.accuracy else 1,
                device=arguments.device,
                cifar_shaped=arguments.cifar_shaped,
                threads=arguments.threads,
                processor_time=arguments.processor_time,
            )
            task.experiment()
            task = replace(task, threads=torch.get_num_threads())  # as lossbench chooses, for the others, too
            measure = (
                accuracies(task, arguments.seeds)
                if arguments.accuracy
                else speeds(task, arguments.rounds, arguments.loops)
            )
            print(pd.DataFrame(measure).to_string(index=False), flush=True)
            rows += measure
    if arguments.output is None:
        return
    folder = arguments.output
    where = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else processor()
    name = f"accuracy_{'_'.join(arguments.models)}" if arguments.accuracy else "speed"
    name += f"-{arguments.device.partition(':')[0]}" * (arguments.device != "cpu") + "-cifar" * arguments.cifar_shaped
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(folder / f"{name}.csv", index=False)
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "torchvision", "lightning"))
    head = (
        f"{where}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; {versions}, python "
        f"{platform.python_version()}\n\n    scripts/bench/epoch.py {' '.join(sys.argv[1:])}\n"
    )
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).values.tolist()]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    (folder / f"{name}.md").write_text(f"{head}\n{body}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
