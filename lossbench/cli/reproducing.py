"""`reproduce`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lossbench import folders, stopping
from lossbench.cli.interrupting import ended
from lossbench.cli.options import ConfigDir, Overrides, ResultsDir, this_command, write
from lossbench.errors import ConfigError, RunError, WorkersError, one_line


def reproduce(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A recipe; --list names them.")] = "",
    overrides: Overrides = None,
    list_: Annotated[bool, typer.Option("--list", help="Say what there is, and what came of it.")] = False,
    scale: Annotated[
        Literal["full", "quick"], typer.Option("--scale", help="As the recipe says, or with fewer epochs and seeds.")
    ] = "full",
    config_dir: ConfigDir = None,
    force: Annotated[bool, typer.Option("--force", help="Train its finished runs again.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the findings and nothing else.")] = False,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Make a published comparison again, and say which of its findings hold.

    Trains what is not finished yet, holds each number and claim against the 95 % interval over seeds, and writes page,
    table and figures to RESULTS_DIR/NAME (NAME-quick at that scale). Overrides such as device=cuda or
    hydra/launcher=joblib go to every part; with one that makes other runs than the recipe says, the folder is
    NAME-altered. Exit code 1: a claim that could be tested does not hold, or a run failed.
    """
    from lossbench.catalogue import conf_dirs
    from lossbench.recipes.recipe import recipe, recipes, reproduced

    configs = conf_dirs(config_dir)
    if list_ or not name:
        if name or overrides:
            raise ConfigError("--list goes without a name")
        from lossbench.recipes.known import listing
        from lossbench.screen.names import print_list

        found, wrong = recipes(configs)
        print_list(listing(found, results_dir))
        for line in wrong:
            print(f"lossbench: {one_line(line)}", file=sys.stderr)
        if wrong:
            raise typer.Exit(2)
        return
    if any(word.startswith("results_dir=") for word in overrides or ()):
        raise ConfigError("say --results-dir FOLDER: the page goes there too")
    asked = recipe(name, configs)
    from lossbench.recipes.planning import altering

    folder = results_dir / reproduced(name, scale, altering(overrides or []))
    if there := folders.obstacle(folder):
        raise ConfigError(f"what came of it goes to {folder}: {there} is no folder to write to")
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
                force=force,
                quiet=quiet,
                command=this_command(),
            )
            print(pages.for_terminal(made, width()), end="")
            for line in made.missing:
                print(line, file=sys.stderr)
            written = pages.files(made, Store(results_dir))
            for file, content in written.items():
                write(content, folder / file, str(folder / file))
    except (KeyboardInterrupt, WorkersError) as stopped:
        raise ended(stopped) from None
    except RunError as error:
        print(f"lossbench: {one_line(str(error))}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"wrote {folder / next(iter(written))}", file=sys.stderr)
    if made.contradicted or made.failed:
        raise typer.Exit(1)
