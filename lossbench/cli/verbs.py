"""All verbs under one name, and what they say of a request that is wrong."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import lossbench
from lossbench import processes, stopping
from lossbench.cli.completing import complete, completion
from lossbench.cli.exporting import export
from lossbench.cli.looking import check, diff, list_, runs, show
from lossbench.cli.measuring import curve, evaluate
from lossbench.cli.plotting import plot
from lossbench.cli.reporting import report
from lossbench.cli.reproducing import reproduce
from lossbench.cli.training import train
from lossbench.cli.usage import explain
from lossbench.cli.verifying import verify
from lossbench.errors import RequestError, one_line


class _Verbs(TyperGroup):
    """Reads and calls a verb, and tells a signal: Typer would end at Ctrl-C and SIGTERM alike, and say nothing."""

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        try:
            return super().make_context(*arguments, **settings)
        except KeyboardInterrupt as stopped:
            raise typer.Exit(stopping.told(stopped)) from None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            raise typer.Exit(stopping.told(stopped)) from None


app = typer.Typer(
    name="lossbench",
    cls=_Verbs,
    help="What does this loss do to my model, next to that one?",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"lossbench {lossbench.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """What stands before a verb."""


for verb in (train, report, plot, evaluate, curve, runs, show, diff, export, verify, check, reproduce, completion):
    app.command()(verb)
app.command("list")(list_)
app.command(hidden=True)(complete)


def call(arguments: list[str]) -> int:
    """Call the verb that the arguments ask for, and return the exit code."""
    if processes.number() > 0:
        from lossbench.following import follow

        follow()
        return 0
    try:
        # Typer returns the code of what ends by typer.Exit, and leaves to us how to say what it could not read.
        with processes.led():
            code = app(args=arguments, prog_name="lossbench", standalone_mode=False)
    except RequestError as error:
        print(f"lossbench: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"lossbench: {one_line(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 2
    except typer.TyperException as error:
        print(f"lossbench: {one_line(explain(error, arguments))}", file=sys.stderr)
        return 2
    return code or 0
