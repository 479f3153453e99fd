"""What several verbs take, and where what they print goes."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from lossbench import folders
from lossbench.errors import ConfigError


def _or_printed(output: Path | None) -> Path | None:
    """`-o -` prints, as everywhere."""
    return None if output == Path("-") else output


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERRIDE…", help="Hydra overrides: loss=label_smoothing loss.epsilon=0,0.1 'seed=range(3)'"
    ),
]
ConfigDir = Annotated[
    Path | None, typer.Option("--config-dir", help="A folder of your own configs, laid out like lossbench's.")
]
ResultsDir = Annotated[Path, typer.Option("--results-dir", file_okay=False, help="Where the runs are.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write to this file; - prints, as without.", callback=_or_printed)
]
Where = Annotated[
    list[str] | None, typer.Option("--where", help="Keep runs with KEY=VALUE, such as dataset=digits. Repeatable.")
]


def names(text: str | None) -> list[str] | None:
    """Return the names in a comma-separated option; None where it was not given.

    Raises:
        ConfigError: if it was given and has none.
    """
    if text is None:
        return None
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise ConfigError(f"expected names with commas between them, such as nll,ece; got {text!r}")
    return found


def by_ending(output: Path | None) -> str:
    """Return how to write to a file of this name, a table as on a terminal where there is none.

    Raises:
        ConfigError: for an ending that says nothing.
    """
    endings = {".md": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex", ".html": "html"}
    endings |= dict.fromkeys(("", ".txt"), "table")
    ending = "" if output is None else output.suffix
    if ending not in endings:
        raise ConfigError(
            f"--output {output} must end in {', '.join(key for key in endings if key)}, or --format say how to write it"
        )
    return endings[ending]


def terminal(output: Path | None) -> tuple[int | None, bool]:
    """Return how wide a table may be, and whether in colour: as the terminal has it, where one is written to.

    What is piped on is as wide as it needs, unless COLUMNS says how wide it may be.
    """
    if output is not None or not (sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()):
        return None, False
    return shutil.get_terminal_size().columns, sys.stdout.isatty() and "NO_COLOR" not in os.environ


def refuse(output: Path, source: str = "") -> None:
    """Refuse to write into the folder of a run, or over what is no file or was read.

    Args:
        output: where to write.
        source: a file that is measured, if there is one.

    Raises:
        ConfigError: if the file would lie in such a folder, or is such a thing.
    """
    if output.is_dir():
        raise ConfigError(f"--output must name a file; {output} is a folder")
    if output.exists() and not output.is_file():  # a device or a pipe, which a rename would replace
        raise ConfigError(f"--output must name a file; {output} is something else (without --output it is printed)")
    if source and output.resolve() == Path(source).resolve():
        raise ConfigError(f"--output {output} is the file that is measured; choose another name")
    if (output.parent / "metrics.json").exists() and (output.parent / "predictions.npz").exists():
        raise ConfigError(f"--output {output} lies in the folder of a run; choose another place")


def this_command() -> str:
    """Return what was typed, to be pasted."""
    return shlex.join(["lossbench", *sys.argv[1:]])


def write(content: bytes, path: Path, called: str) -> None:
    """Write a file in one step.

    Args:
        content: of the file.
        path: made with its folders, or replaced.
        called: what the message says of it.

    Raises:
        ConfigError: if it cannot be written.
    """
    try:
        folders.replace(path, content)
    except OSError as error:
        raise ConfigError(f"{called} cannot be written: {error.strerror}") from error


def put(content: str | bytes, output: Path | None) -> None:
    """Print, or write to a file; bytes are for a file."""
    encoded = content.encode() if isinstance(content, str) else content
    if output is None:
        print(encoded.decode(), end="")
        return
    refuse(output)
    write(encoded, output, f"--output {output}")
    print(f"wrote {output}", file=sys.stderr)
