"""Names, each with what it is."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table


def print_list(rows: Iterable[tuple[str, str]]) -> None:
    """Print names, each with what it is; as wide as it takes where stdout is piped, so that nothing is cut."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("name", ""):
        table.add_column(heading, overflow="fold")
    for name, description in rows:
        table.add_row(name, description)
    Console(width=None if sys.stdout.isatty() else 500, highlight=False).print(table)
