"""`runs`, `show`, `check` and `list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lossbench.cli.options import ConfigDir, ResultsDir
from lossbench.errors import ConfigError


def runs(results_dir: ResultsDir = Path("results")) -> None:
    """List runs with their status, age and duration, the newest first."""
    from lossbench import screen
    from lossbench.store import Store

    screen.print_runs(Store(results_dir).infos())


def show(
    run: Annotated[str, typer.Argument(help="A run id, or the start or end of one; none for the newest.")] = "",
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Show one run: metrics, config, environment."""
    from lossbench import screen
    from lossbench.store import Store

    store = Store(results_dir)
    screen.print_run(store, store.find(run) if run else store.newest())


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
    kind: Annotated[str, typer.Argument(help="losses, models, datasets, optimizers, schedules, metrics, experiments")],
    config_dir: ConfigDir = None,
) -> None:
    """List what there is to choose from."""
    from lossbench import screen
    from lossbench.catalogue import catalogue, conf_dir

    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"--config-dir must name a folder; {config_dir} is not one")
    screen.print_list(catalogue(kind, [conf_dir(), *([config_dir] if config_dir else [])]))
