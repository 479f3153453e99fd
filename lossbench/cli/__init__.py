"""The command line: parse, call, print, exit code. Knows no maths.

torch, pandas and Hydra are imported by the commands that need them, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from lossbench.cli.looking import check, list_, runs, show
from lossbench.cli.measuring import curve, evaluate
from lossbench.cli.reporting import report
from lossbench.cli.training import train
from lossbench.errors import RequestError

app = typer.Typer(
    name="lossbench",
    help="What does this loss do to my model, next to that one?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (train, report, evaluate, curve, runs, show, check):
    app.command()(verb)
app.command("list")(list_)


def main() -> NoReturn:
    """Run the command line."""
    try:
        app()
    except (RequestError, OSError) as error:
        print(f"lossbench: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
