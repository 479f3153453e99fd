"""The command line: parse, call, print, exit code. Knows no maths.

torch, pandas and Hydra are imported by the commands that need them, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from lossbench.errors import ConfigError, RequestError

app = typer.Typer(
    name="lossbench",
    help="What does this loss do to my model, next to that one?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERRIDE…", help="Hydra overrides: loss=label_smoothing loss.epsilon=0,0.1 'seed=range(3)'"
    ),
]
ConfigDir = Annotated[
    Path | None, typer.Option("--config-dir", help="A folder of your own configs, laid out like lossbench's.")
]
ResultsDir = Annotated[Path, typer.Option("--results-dir", help="Where the runs are.")]
Where = Annotated[
    list[str] | None, typer.Option("--where", help="Keep runs with KEY=VALUE, such as dataset=digits. Repeatable.")
]


@app.command()
def train(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    force: Annotated[bool, typer.Option("--force", help="Train finished runs again.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the results and nothing else.")] = False,
    multirun: Annotated[
        bool, typer.Option("--multirun", "-m", help="Accepted for Hydra's sake: a sweep is whatever sweeps.")
    ] = False,
) -> None:
    """Train a run, or every run of a sweep.

    What defines an experiment is a Hydra override: groups (dataset, model, loss, optimizer, schedule, device) and
    values (seed, epochs, batch_size, keep, results_dir). Several values make a sweep. Finished runs are skipped,
    interrupted ones go on.
    """
    from lossbench import sweep

    try:
        outcomes = sweep.train(overrides or [], config_dir=config_dir, force=force, quiet=quiet)
    except KeyboardInterrupt:
        again = shlex.join(["lossbench", *sys.argv[1:]])
        then = "starts them again" if force else "goes on"
        print(f"\ninterrupted; finished runs are kept, the same command {then}:\n  {again}", file=sys.stderr)
        raise typer.Exit(130) from None
    for outcome in outcomes:
        if outcome.status != "failed":
            print(outcome.summary)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        print(f"{len(failed)} of {len(outcomes)} runs failed:", file=sys.stderr)
        for outcome in failed:
            print(f"  {outcome.run_id}: {outcome.message}", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def report(
    where: Where = None,
    metrics: Annotated[str | None, typer.Option("--metrics", help="Columns, such as accuracy,nll,ece.")] = None,
    calibration: Annotated[
        Literal["both", "raw", "temperature_scaled"], typer.Option("--calibration", help="Before or after scaling.")
    ] = "both",
    split: Annotated[Literal["test", "val"], typer.Option("--split", help="Which examples.")] = "test",
    format: Annotated[
        Literal["table", "markdown", "csv", "json", "latex"], typer.Option("--format", help="How to write it.")
    ] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Tabulate finished runs: mean ± standard deviation over seeds, the best in bold."""
    from lossbench.report import render, tabulate
    from lossbench.store import Store

    frame, skipped = Store(results_dir).frame()
    for message in skipped:
        print(f"skipped {message}", file=sys.stderr)
    table = tabulate(
        frame,
        where=where or [],
        metrics=[name.strip() for name in metrics.split(",") if name.strip()] if metrics else None,
        calibrations=("raw", "temperature_scaled") if calibration == "both" else (calibration,),
        split=split,
    )
    if output is None:
        terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if terminal else None
        print(render(table, format, width, color=terminal and "NO_COLOR" not in os.environ), end="")
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(render(table, format), encoding="utf-8")
        print(f"wrote {output}", file=sys.stderr)


@app.command()
def runs(results_dir: ResultsDir = Path("results")) -> None:
    """List runs with their status, age and duration, the newest first."""
    from lossbench import screen
    from lossbench.store import Store

    screen.print_runs(Store(results_dir).infos())


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run id, or the start or end of one; none for the newest.")] = "",
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Show one run: metrics, config, environment."""
    from lossbench import screen
    from lossbench.store import Store

    store = Store(results_dir)
    screen.print_run(store, store.find(run) if run else store.newest())


@app.command()
def check(
    loss: Annotated[str, typer.Argument(help="A name (lossbench list losses), or my_package.my_loss.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="OVERRIDE…", help="Its hyperparameters: epsilon=0.3")
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Check that a loss keeps the rules that a fair comparison rests on, and how large its gradients are."""
    from lossbench import conformance
    from lossbench.conformance.screen import print_results

    failed = False
    for title, subject in conformance.subjects(loss, overrides or [], config_dir):
        results = conformance.examine(subject)
        print_results(title, results)
        print()
        failed = failed or any(result.mark is conformance.Mark.FAILS for result in results)
    if failed:
        raise typer.Exit(1)


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help="losses, models, datasets, optimizers, schedules, metrics, experiments")],
    config_dir: ConfigDir = None,
) -> None:
    """List what there is to choose from."""
    from lossbench import screen
    from lossbench.catalogue import catalogue, conf_dir

    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"--config-dir must name a folder; {config_dir} is not one")
    screen.print_list(catalogue(kind, [conf_dir(), *([config_dir] if config_dir else [])]))


def main() -> NoReturn:
    """Run the command line."""
    try:
        app()
    except (RequestError, OSError) as error:
        print(f"lossbench: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
