"""`export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lossbench.cli.options import ResultsDir, Where, put, refuse
from lossbench.errors import ConfigError, counted


def export(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN…]", help="Ids, or the starts or ends of some; none for all.")
    ] = None,
    to: Annotated[
        Literal["tensorboard", "mlflow", "parquet", "csv"],
        typer.Option("--to", help="A tracker, or a table with a row for each run, split and calibration."),
    ] = ...,  # type: ignore[assignment] # which is how Typer says that it must be given
    where: Where = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="The table's file, - to print a csv; TensorBoard's folder; MLflow's .db file, or the URI of a server.",
            show_default="runs.parquet, runs.csv; RESULTS/tensorboard, RESULTS/mlflow.db",
        ),
    ] = None,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Hand finished runs to another program.

    tensorboard and mlflow: curves, metrics, settings and a reliability diagram, as `train tracker=…` shows them while
    it trains; what is there already is not shown twice. parquet and csv: one table of all settings and metrics.
    """
    from lossbench import evaluation
    from lossbench import export as exporting
    from lossbench.progress import counting
    from lossbench.store import Store

    store = Store(results_dir)
    if output == "-" and to != "csv":
        raise ConfigError(f"--output - prints, and --to {to} is not to be read: name where it goes")
    if to in exporting.TABLES:
        file = None if output == "-" else Path(output or exporting.TABLES[to])
        if file is not None:
            refuse(file)
            exporting.check_table(to, file)
        frame, left_out = exporting.table(store, evaluation.select(store, runs or [], where or []))
        for line in left_out:
            print(line, file=sys.stderr)
        put(exporting.encoded(frame, to), file)
        return
    ids = evaluation.select(store, runs or [], where or [])
    with counting("exporting", len(ids)) as advance:
        failed = exporting.to_tracker(store, ids, to, output, advance)
    for run_id, message in failed.items():
        print(f"{run_id}: {message}", file=sys.stderr)
    print(f"{to} shows {len(ids) - len(failed):,} of {counted(len(ids), 'finished run')}")
    if failed:
        raise typer.Exit(1)
