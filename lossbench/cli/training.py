"""`train`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lossbench import stopping
from lossbench.cli.interrupting import ended
from lossbench.cli.options import ConfigDir, Overrides
from lossbench.errors import WorkersError, counted


def train(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    force: Annotated[bool, typer.Option("--force", help="Train finished runs again.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Train again what has failed before.")] = False,
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
    try:
        with stopping.raised():  # from here on: the imports take seconds
            from lossbench import request
            from lossbench.settings import sentence, told_apart

            outcomes = request.train(
                overrides or [], config_dir=config_dir, force=force, retry_failed=retry_failed, quiet=quiet
            )
    except (KeyboardInterrupt, WorkersError) as stopped:
        again = "starts them again, and goes on with the one it was training again"
        raise ended(stopped, again if force else "goes on") from None
    succeeded = [outcome for outcome in outcomes if outcome.status != "failed"]
    several = len({outcome.config.get("results_dir") for outcome in outcomes}) > 1
    for outcome, settings in zip(succeeded, told_apart([outcome.config for outcome in succeeded]), strict=True):
        where = {"results_dir": outcome.config.get("results_dir")} if several else {}
        print("  ".join(filter(None, [outcome.summary, sentence({**settings, **where})])))
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        print(f"{len(failed)} of {counted(len(outcomes), 'run')} failed:", file=sys.stderr)
        for outcome in failed:
            where_to = f" in {outcome.config.get('results_dir')}" if several else ""
            print(f"  {outcome.run_id}{where_to}: {outcome.message}", file=sys.stderr)
        raise typer.Exit(1)
