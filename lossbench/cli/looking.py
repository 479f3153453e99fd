"""`runs`, `show`, `diff`, `check` and `list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lossbench.cli.options import ConfigDir, ResultsDir, Where
from lossbench.errors import printable


def runs(
    where: Where = None,
    status: Annotated[
        Literal["finished", "failed", "interrupted", "running", "unreadable"] | None,
        typer.Option("--status", help="Runs of this status alone."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The newest so many; all by default.")] = None,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """List runs, the newest first: status, age, duration, the settings that tell them apart, why one failed."""
    from lossbench.screen.drawing import width
    from lossbench.screen.listing import chosen, listing
    from lossbench.store import Store

    store = Store(results_dir)
    infos, configs = chosen(store, where or [], status, limit)
    if infos:
        _print(listing(infos, configs, width()))
    elif status is not None and next(store.infos(), None) is not None:
        print(f"no run is {status}")
    else:
        print("no runs yet: lossbench train loss=label_smoothing")


def show(
    run: Annotated[str, typer.Argument(help="A run id, or the start or end of one; none for the newest.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Its whole config and environment too.")] = False,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Show one run: settings, metrics, reliability, training, environment, and the command that repeats it.

    Of a run that has failed or was interrupted: why, and the command that goes on.
    """
    from lossbench.screen.drawing import width
    from lossbench.screen.portrait import portrait, unfinished
    from lossbench.store import Store

    store = Store(results_dir)
    run_id = store.find(run, unfinished=True) if run else store.newest()
    draw = portrait if store.finished(run_id) else unfinished
    _print(draw(store, run_id, width(), everything=everything))


def diff(
    run: Annotated[str, typer.Argument(help="A run id, or the start or end of one.")],
    other: Annotated[str, typer.Argument(help="Another.")],
    everything: Annotated[bool, typer.Option("--all", help="What is the same, too.")] = False,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Show what differs between two runs: config, metrics, environment; and whether they are paired."""
    from lossbench.screen.difference import difference
    from lossbench.screen.drawing import width
    from lossbench.store import Store

    store = Store(results_dir)
    ours, theirs = store.find(run), store.find(other)
    _print(difference(store, ours, theirs, width(), everything=everything))


def _print(text: str) -> None:
    """Print what has its words from files, which a terminal must not take for commands."""
    print("\n".join(map(printable, text.split("\n"))), end="")


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


def list_(
    kind: Annotated[
        Literal["losses", "models", "datasets", "optimizers", "schedules", "trackers", "metrics", "experiments"],
        typer.Argument(help="Of what."),
    ],
    config_dir: ConfigDir = None,
) -> None:
    """List what there is to choose from."""
    from lossbench.catalogue import catalogue, conf_dirs
    from lossbench.screen.names import print_list

    print_list(catalogue(kind, conf_dirs(config_dir)))
