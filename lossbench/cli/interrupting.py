"""The end of a verb that trains, when it was told to stop or lost its workers."""

from __future__ import annotations

import sys

import typer

from lossbench import stopping
from lossbench.cli.options import this_command
from lossbench.errors import WorkersError


def ended(stopped: KeyboardInterrupt | WorkersError, then: str = "goes on") -> typer.Exit:
    """Say how to go on; return what ends the process with the exit code of what stopped it.

    Args:
        stopped: a signal, or that the processes of a sweep were killed.
        then: what the same command does.
    """
    code = stopping.ending(stopped)
    notes = "; ".join(["interrupted", *getattr(stopped, "__notes__", ())])
    why = f"lossbench: {stopped}" if isinstance(stopped, WorkersError) else f"\n{notes}"
    print(f"{why}; finished runs are kept, the same command {then}:\n  {this_command()}", file=sys.stderr)
    return typer.Exit(1 if isinstance(stopped, WorkersError) else code)
