"""The command line: parse, call, print, exit code. Knows no maths.

torch, pandas and Hydra are imported by the commands that need them, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from lossbench.cli.looking import check, diff, list_, runs, show
from lossbench.cli.measuring import curve, evaluate
from lossbench.cli.plotting import plot
from lossbench.cli.reporting import report
from lossbench.cli.training import train
from lossbench.cli.usage import explain
from lossbench.cli.verifying import verify
from lossbench.errors import RequestError, one_line

app = typer.Typer(
    name="lossbench",
    help="What does this loss do to my model, next to that one?",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (train, report, plot, evaluate, curve, runs, show, diff, verify, check):
    app.command()(verb)
app.command("list")(list_)


def main() -> NoReturn:
    """Run the command line."""
    arguments = sys.argv[1:] or ["--help"]
    try:
        # Typer returns the code of what ends by typer.Exit, and leaves to us how to say what it could not read.
        code = app(args=arguments, prog_name="lossbench", standalone_mode=False)
    except RequestError as error:
        print(f"lossbench: {one_line(str(error))}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"lossbench: {one_line(f'{where}{error.strerror or error}')}", file=sys.stderr)
        sys.exit(2)
    except typer.TyperException as error:
        print(f"lossbench: {one_line(explain(error, arguments))}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code or 0)
