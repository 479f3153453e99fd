"""What a sweep costs: lossbench's launchers beside a shell loop of one process per run.

    python scripts/bench/sweep.py                        # results/bench/sweep/: sweep.csv and README.md
    python scripts/bench/sweep.py --sweeps digits --ways sequential joblib --rounds 1 --output /tmp/sweep

The ways are tried in turn, round after round, each in fresh processes and with an empty results folder, so that
whatever else the machine does falls on all of them. The shell loop runs `textbook.py` once per run; all its runs take
the same time, so `--loop` of them are timed and counted as all.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FASHION_MNIST = "/usr/share/datasets/fashion-mnist"
WAYS = ("shell loop", "sequential", "joblib", "stacked")
LAUNCHERS = {
    "sequential": (),
    "joblib": ("hydra/launcher=joblib",),
    "stacked": ("hydra/launcher=stacked",),
}


@dataclass(frozen=True)
class Sweep:
    """One sweep, for lossbench and for the textbook."""

    epsilons: tuple[float, ...]
    seeds: int
    epochs: int
    batch_size: int
    dataset: str
    model: str
    ways: tuple[str, ...] = WAYS
    precision: str = "fp32"  # lossbench's; the textbook has no other

    @property
    def runs(self) -> int:
        """How many."""
        return len(self.epsilons) * self.seeds

    @property
    def command(self) -> tuple[str, ...]:
        """After `lossbench`."""
        return (
            "train", f"dataset={self.dataset}", f"model={self.model}", "loss=label_smoothing",
            f"loss.epsilon={','.join(map(str, self.epsilons))}",
            f"seed=range({self.seeds})", f"epochs={self.epochs}", f"batch_size={self.batch_size}",
            "device=cpu", *([] if self.precision == "fp32" else [f"device.precision={self.precision}"]), "--quiet",
        )  # fmt: skip


SWEEPS = {
    "digits": Sweep((0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5), 5, 20, 64, "digits", "mlp"),
    "fashion_mnist, mlp": Sweep((0.0, 0.05, 0.1, 0.2), 3, 2, 128, "fashion_mnist", "mlp"),
    # Its convolutions are not stacked on a CPU, but trained one after another.
    "fashion_mnist, cnn": Sweep((0.0, 0.05, 0.1, 0.2), 3, 2, 128, "fashion_mnist", "cnn", WAYS[:3]),
    "fashion_mnist, cnn, bf16": Sweep((0.0, 0.05, 0.1, 0.2), 3, 2, 128, "fashion_mnist", "cnn", WAYS[:3], "bf16"),
}


def lossbench(sweep: Sweep, way: str) -> float:
    """Seconds of a whole sweep."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lossbench", *sweep.command, *LAUNCHERS[way], f"results_dir={folder}"]
        seconds = timed(command)
        done = len(list((Path(folder) / "runs").glob("*-s*")))
    if done != sweep.runs:
        raise SystemExit(f"{shlex.join(command)} left {done} runs, not {sweep.runs}")
    return seconds


def shell_loop(sweep: Sweep, loop: int, folder: str) -> float:
    """Seconds of a whole sweep, counted from a few of its runs."""
    pairs = [(epsilon, seed) for seed in range(sweep.seeds) for epsilon in sweep.epsilons][:loop]
    total = 0.0
    for epsilon, seed in pairs:
        settings = {
            "dataset": sweep.dataset, "model": sweep.model, "epsilon": epsilon, "seed": seed, "epochs": sweep.epochs,
            "batch-size": sweep.batch_size, "folder": folder,
        }  # fmt: skip
        options = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
        total += timed([sys.executable, str(HERE / "textbook.py"), *options])
    return total / len(pairs) * sweep.runs


def timed(command: list[str]) -> float:
    """Seconds that a command takes, from its start as a process to its end."""
    started = time.perf_counter()
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def spread(numbers: list[float], digits: int = 1) -> str:
    """Median and range."""
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def report(rows: list[dict[str, str | int | float]], rounds: int, loop: int) -> str:
    """What was measured, as a page."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "hydra-core", "joblib"))
    lines = [
        "# What a sweep costs",
        "",
        "```sh",
        shlex.join(["python", "scripts/bench/sweep.py", *sys.argv[1:]]),
        "```",
        "",
        f"{versions}, python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores. Seconds of a",
        f"whole sweep from process start to end, median (least–largest) of {rounds} rounds of all ways in turn,",
        "and how many times faster a way is than another in the same round. The load at the start of each round",
        f"is in the csv. The shell loop is `scripts/bench/textbook.py`, in fp32, timed over {loop} of its runs.",
        "",
        "| sweep | runs | way | s | s a run | times the shell loop | times sequential |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for sweep in dict.fromkeys(row["sweep"] for row in rows):
        ways = {way: [row for row in rows if (row["sweep"], row["way"]) == (sweep, way)] for way in WAYS}
        for way, of in ways.items():
            if not of:
                continue
            seconds = [float(row["seconds"]) for row in of]
            ratios = []
            for other in ("shell loop", "sequential"):
                both = zip(ways[other], of, strict=False)
                faster = [float(theirs["seconds"]) / float(ours["seconds"]) for theirs, ours in both]
                ratios.append(spread(faster) if faster and way not in (other, "shell loop") else "")
            runs = int(of[0]["runs"])
            each = f"{statistics.median(seconds) / runs:.2f}"
            lines.append(f"| {sweep} | {runs} | {way} | {spread(seconds)} | {each} | {' | '.join(ratios)} |")
    measured = dict.fromkeys(str(row["sweep"]) for row in rows)
    lines += ["", *(f"* {name}: `lossbench {shlex.join(SWEEPS[name].command)}`" for name in measured)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop", type=int, default=3, help="runs of the shell loop to time")
    parser.add_argument(
        "--fashion-mnist", default=FASHION_MNIST, help="folder with its four .gz files, for the textbook"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "results/bench/sweep")
    arguments = parser.parse_args()
    rows: list[dict[str, str | int | float]] = []
    for name in arguments.sweeps:
        sweep = SWEEPS[name]
        for number in range(1, arguments.rounds + 1):
            load = os.getloadavg()[0]
            for way in [way for way in sweep.ways if way in arguments.ways]:
                shell = way == "shell loop"
                seconds = shell_loop(sweep, arguments.loop, arguments.fashion_mnist) if shell else lossbench(sweep, way)
                row = {"sweep": name, "runs": sweep.runs, "way": way, "round": number, "seconds": round(seconds, 2)}
                rows.append({**row, "load": round(load, 1)})
                print(f"{name} {way}: {seconds:.1f} s (round {number}, load {load:.1f})", file=sys.stderr, flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    with (arguments.output / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    page = report(rows, arguments.rounds, arguments.loop)
    (arguments.output / "README.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
