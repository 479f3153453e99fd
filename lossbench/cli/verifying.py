"""`verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lossbench.cli.options import ResultsDir
from lossbench.errors import StoreError, counted, printable


def verify(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN…]", help="Ids, or the starts or ends of some; none for all.")
    ] = None,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Check finished runs: files against their checksums, metrics against predictions. Repairs the index.

    A line for each file that is damaged says what to do; the exit code is 1 if there is one. Interrupted and failed
    runs are counted, and are no damage. Checksums find accidents: they say nothing of who wrote a run.
    """
    from lossbench.progress import counting
    from lossbench.store import Store
    from lossbench.verification import Findings, verify_rest, verify_run

    store = Store(results_dir)
    if not store.runs.is_dir():
        raise StoreError(f"no runs in {store.runs}: --results-dir must name a folder of results")
    ids = list(dict.fromkeys(map(store.find, runs or []))) or store.run_ids()
    found: list[Findings] = []
    with counting("verifying", len(ids)) as advance:
        for run_id in ids:
            found.append(verify_run(store, run_id))
            advance()
    spoilt, unrecorded = sum(bool(one.damaged) for one in found), sum(one.unrecorded for one in found)
    if not runs:
        found.append(verify_rest(store))
    for line in [line for one in found for line in one.damaged] + [line for one in found for line in one.notes]:
        print(printable(line))
    if unrecorded:
        print(f"no checksums of {counted(unrecorded, 'run')}, as of those of earlier versions: read, and not compared")
    print(f"{counted(len(ids), 'finished run')} verified: {f'{spoilt:,} damaged' if spoilt else 'none damaged'}")
    if any(one.damaged for one in found):
        raise typer.Exit(1)
