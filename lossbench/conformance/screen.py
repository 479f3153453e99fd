"""What `lossbench check` prints."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from lossbench.conformance.examination import NOTHING
from lossbench.conformance.result import Mark, Result

STYLES = {Mark.HOLDS: "green", Mark.FAILS: "bold red", Mark.DOES_NOT_APPLY: "dim", Mark.NOTE: "cyan"}


def print_results(title: str, results: Iterable[Result]) -> None:
    """Print a line per property; in colour on a terminal, and never cut."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(title, style="bold", markup=False)
    unasked = 0
    for result in results:
        if result.detail == NOTHING:
            unasked += 1
        else:
            console.print(str(result), style=STYLES[result.mark], markup=False)
    if unasked:
        rest = Result("", f"The other {unasked} properties", Mark.DOES_NOT_APPLY, NOTHING)
        console.print(str(rest), style=STYLES[rest.mark], markup=False)
