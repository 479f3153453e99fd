"""`report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lossbench.cli.options import Output, ResultsDir, Where, by_ending, names, put, terminal, this_command


def report(
    where: Where = None,
    metrics: Annotated[str | None, typer.Option("--metrics", help="Columns, such as accuracy,nll,ece.")] = None,
    calibration: Annotated[
        str,
        typer.Option("--calibration", help="Before or after: raw, temperature_scaled, vector_scaled, isotonic."),
    ] = "raw,temperature_scaled",
    split: Annotated[Literal["test", "val"], typer.Option("--split", help="Which examples.")] = "test",
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="Compare with the rows of KEY=VALUE, such as loss=cross_entropy. Repeatable."),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option("--select", help="For each loss and seed the hyperparameters best by this metric on validation."),
    ] = None,
    ranks: Annotated[
        str | None, typer.Option("--ranks", help="Rank the losses by this metric over several datasets.")
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option("--rows", help="The settings that make rows, such as loss,epsilon; all that differ otherwise."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns", help="Settings that go across above the metrics, such as dataset; not in csv and json."
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="KEY[:desc] | METRIC",
            help="Order the rows of each dataset and model by a setting, or by a metric, best first.",
        ),
    ] = None,
    spread: Annotated[
        Literal["interval", "sd"], typer.Option("--spread", help="After ±: half the 95 % interval, or the deviation.")
    ] = "interval",
    format: Annotated[
        Literal["table", "markdown", "csv", "json", "latex", "html"] | None,
        typer.Option("--format", help="How to write it; by the ending of --output, and else a table for the terminal."),
    ] = None,
    output: Output = None,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Tabulate finished runs: mean ± 95 % interval over seeds, the best marked and what cannot be told from it."""
    from lossbench.report import render, tabulate
    from lossbench.report.latex import too_wide
    from lossbench.store import Store

    store = Store(results_dir)
    # Beside what is shown: what validation chooses by, and what every run has.
    frame, left_out = store.frame(
        [split, "val"] if select else [split], ["raw", "temperature_scaled", *(names(calibration) or ())]
    )
    for line in left_out:
        print(line, file=sys.stderr)
    table = tabulate(
        frame,
        where=where or [],
        metrics=names(metrics),
        calibrations=names(calibration) or (),
        split=split,
        baseline=baseline or [],
        select=select,
        ranks=ranks,
        spread=spread,
        rows=names(rows),
        across=names(columns) or (),
        sort=sort,
        store=store,
    )
    if (format or by_ending(output)) == "html":
        from lossbench.report.page import page

        put(page(table, store, command=this_command(), messages=left_out), output)
        return
    width, color = terminal(output)
    text = render(table, format or by_ending(output), width, color=color)
    put(text, output)
    if (format or by_ending(output)) == "latex":
        for line in too_wide(text):
            print(f"too wide: {line}", file=sys.stderr)
