"""`reproduce`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lossbench import stopping
from lossbench.cli.options import ConfigDir, Overrides, ResultsDir
from lossbench.errors import ConfigError, RunError, WorkersError, one_line


def reproduce(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A recipe; --list names them.")] = "",
    overrides: Overrides = None,
    list_: Annotated[bool, typer.Option("--list", help="Say what there is, and what came of it.")] = False,
    scale: Annotated[
        Literal["full", "quick"], typer.Option("--scale", help="As the recipe says, or with fewer epochs and seeds.")
    ] = "full",
    config_dir: ConfigDir = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the findings and nothing else.")] = False,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Make a published comparison again, and say which of its findings hold.

    Trains what is not finished yet, holds each number and claim against the 95 % interval over seeds, and writes page,
    table and figures to RESULTS_DIR/NAME (NAME-quick at that scale). Overrides such as device=cuda or
    hydra/launcher=joblib go to every part. Exit code 1: a claim that could be tested does not hold.
    """
    from lossbench.catalogue import conf_dir
    from lossbench.recipes.recipe import recipe, recipes

    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"--config-dir must name a folder; {config_dir} is not one")
    folders = [conf_dir(), *([config_dir] if config_dir else [])]
    if list_ or not name:
        if name or overrides:
            raise ConfigError("--list goes without a name")
        from lossbench.recipes.known import listing
        from lossbench.screen.names import print_list

        print_list(listing(recipes(folders), results_dir))
        return
    if any(word.startswith("results_dir=") for word in overrides or ()):
        raise ConfigError("say --results-dir FOLDER: the page goes there too")
    asked = recipe(name, folders)
    command = shlex.join(["lossbench", *sys.argv[1:]])
    try:
        with stopping.raised():
            from lossbench.recipes import pages
            from lossbench.recipes.reproduction import reproduce as make
            from lossbench.screen.drawing import width
            from lossbench.store import Store

            made = make(
                asked,
                overrides or [],
                scale=scale,
                results_dir=results_dir,
                config_dir=config_dir,
                quiet=quiet,
                command=command,
            )
            print(pages.for_terminal(made, width()), end="")
            written = pages.write(made, Store(results_dir), results_dir / made.name)
    except (KeyboardInterrupt, WorkersError) as stopped:
        code = stopping.ending(stopped)
        print(f"\ninterrupted; finished runs are kept, the same command goes on:\n  {command}", file=sys.stderr)
        raise typer.Exit(1 if isinstance(stopped, WorkersError) else code) from None
    except RunError as error:
        print(f"lossbench: {one_line(str(error))}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"wrote {written[0]}", file=sys.stderr)
    for line in made.missing:
        print(line, file=sys.stderr)
    if made.contradicted:
        raise typer.Exit(1)
