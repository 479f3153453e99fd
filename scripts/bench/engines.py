"""What an engine costs per run: many short runs through each, all of them there and told of once.

That none is trained twice is for the tests of the engines, which count epochs and jobs.

    python scripts/bench/engines.py --runs 1000          # results/bench/engines/: engines.csv and README.md
    eval "$(scripts/slurm env)"; python scripts/bench/engines.py --engines submitit_slurm --output /tmp/engines

A run is one epoch of a linear model on the 178 wines. The overhead is what the engine takes beyond that: the seconds of
the whole command times the workers, less those that the runs recorded of themselves, divided by the runs. It has in it
the start of the command and of every worker, composing, handing out, and looking for results.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sweep import spread

ROOT = Path(__file__).resolve().parent.parent.parent
SLURM = [
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.array_parallelism={workers}",
]
# How each is asked for so many workers, and how many it is given.
ENGINES = {
    "sequential": ([], 1),
    "stacked": (["hydra/launcher=stacked"], 1),
    "joblib": (["hydra/launcher=joblib", "hydra.launcher.n_jobs={workers}"], None),
    "ray": (["hydra/launcher=ray"], os.cpu_count()),  # all that there are
    "submitit_local": (["hydra/launcher=submitit_local", "hydra.launcher.array_parallelism={workers}"], None),
    "submitit_slurm": (SLURM, None),
    "submitit_slurm, 50 runs a job": ([*SLURM, "hydra.launcher.runs_per_job=50"], None),
}
PACKAGES = ("torch", "hydra-core", "joblib", "submitit", "ray")


def command(engine: str, runs: int, workers: int, folder: str) -> list[str]:
    """Return the sweep to time."""
    asked, _ = ENGINES[engine]
    small = ["dataset=wine", "model=linear", "epochs=1", "device=cpu", "device.threads=1", f"seed=range({runs})", "-q"]
    launcher = [part.format(workers=workers) for part in asked]
    return [sys.executable, "-m", "lossbench", "train", *small, *launcher, f"results_dir={folder}"]


def measure(engine: str, runs: int, workers: int) -> dict[str, str | int | float]:
    """Time a sweep, and see that each of its runs is there once.

    Raises:
        SystemExit: if one is not there, or is told of twice.
    """
    workers = ENGINES[engine][1] or workers
    with tempfile.TemporaryDirectory(dir=os.environ.get("LOSSBENCH_BENCH")) as folder:
        asked, load, started = command(engine, runs, workers, folder), os.getloadavg()[0], time.perf_counter()
        answer = subprocess.run(
            asked, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=True
        )
        seconds = time.perf_counter() - started
        found = sorted(Path(folder, "runs").iterdir())
        training = [json.loads((path / "environment.json").read_text())["wall_seconds"] for path in found]
        lines = answer.stdout.splitlines()
    if len(found) != runs or len(set(lines)) != runs or len(lines) != runs:
        raise SystemExit(f"{shlex.join(asked)}: {len(found)} runs stored and {len(lines)} told of, not {runs}")
    # Stacked runs share their time.
    inside = statistics.fmean(training) * (1 if engine == "stacked" else runs)
    row: dict[str, str | int | float] = {"engine": engine, "runs": runs, "workers": workers}
    row |= {"seconds": round(seconds, 2), "run": round(inside / runs, 4)}
    return {**row, "overhead": round((seconds * workers - inside) / runs, 4), "load": round(load, 1)}


def report(rows: list[dict[str, str | int | float]], rounds: int) -> str:
    """What was measured, as a page."""
    installed = []
    for name in PACKAGES:
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    lines = [
        "# What an engine costs per run",
        "",
        "```sh",
        shlex.join(["python", "scripts/bench/engines.py", *sys.argv[1:]]),
        "```",
        "",
        f"{', '.join(installed)}, python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores.",
        f"Median (least–largest) of {rounds} rounds of all in turn. Each left every run complete, told of once.",
        "Overhead is the seconds of the command times the workers, less those in the runs, for each run.",
        "",
        "| engine | runs | workers | load before | s in all | s in a run | overhead, s a run |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for engine in dict.fromkeys(row["engine"] for row in rows):
        of = [row for row in rows if row["engine"] == engine]
        cells = [spread([float(row[key]) for row in of], digits) for key, digits in
                 (("load", 1), ("seconds", 1), ("run", 3), ("overhead", 3))]  # fmt: skip
        lines.append(f"| {engine} | {of[0]['runs']} | {of[0]['workers']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=["sequential", "stacked", "joblib"])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2, help="of engines that have several")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=ROOT / "results/bench/engines")
    arguments = parser.parse_args()
    rows = []
    for number in range(1, arguments.rounds + 1):
        for engine in arguments.engines:
            row = measure(engine, arguments.runs, arguments.workers)
            rows.append(row)
            print(f"{engine}, round {number}: {row}", file=sys.stderr, flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    with (arguments.output / "engines.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    page = report(rows, arguments.rounds)
    (arguments.output / "README.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
