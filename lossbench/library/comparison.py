"""What a comparison found: the frame, table, figures and page of its runs."""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench.errors import ConfigError
from lossbench.report import drawing, figures, render, tabulate
from lossbench.report.fragment import fragment
from lossbench.report.page import page
from lossbench.report.table import Table
from lossbench.store import Store

FORMATS = {".md": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex", ".txt": "table", ".html": "html"}


@dataclass(frozen=True)
class Shown:
    """A table as notebooks and terminals show it; `render` gives it in other formats."""

    table: Table
    failures: Mapping[str, str]  # run id → why

    def render(self, format: str = "table") -> str:
        """Return the table as text: `table`, `markdown`, `latex`, `csv` or `json`."""
        return render(self.table, format)

    def __repr__(self) -> str:
        """As `lossbench report` prints it, and what failed."""
        return "\n".join([self.render(), *self.failed()]).rstrip("\n")

    def _repr_html_(self) -> str:
        failed = "".join(f"<p>{html.escape(line)}</p>" for line in self.failed())
        return fragment(self.table) + failed

    def failed(self) -> list[str]:
        """Return a line for each run that failed."""
        return [f"{run_id} failed: {why}" for run_id, why in self.failures.items()]


@dataclass(frozen=True)
class Plot:
    """A figure as notebooks show it."""

    spec: dict[str, Any] = field(repr=False)  # Vega-Lite
    caption: str

    def save(self, path: str | Path) -> None:
        """Write a .svg, .pdf, .png, or Vega-Lite .json to be changed."""
        drawing.check_ending(Path(path))
        Path(path).write_bytes(drawing.draw(self.spec, Path(path).suffix))

    def _repr_svg_(self) -> str:
        return drawing.draw(self.spec, ".svg").decode()


class Comparison:
    """Runs that were compared. Shows itself as the table of `lossbench report`.

    Attributes:
        failures: run id → why it failed.
        run_ids: of the runs that did not.
    """

    def __init__(self, store: Store, run_ids: Sequence[str], failures: Mapping[str, str], baseline: str | None) -> None:
        """Take runs that are stored."""
        self.store, self.run_ids, self.failures, self.baseline = store, tuple(run_ids), dict(failures), baseline

    @functools.cached_property
    def frame(self) -> pd.DataFrame:
        """A row per run × split × calibration: `loss.name`, `seed`, settings with dotted keys, metrics by name."""
        frame, _ = self.store.frame()
        return frame[frame["run"].isin(self.run_ids)].reset_index(drop=True)

    def table(self, *, baseline: str | None = None, **options: Any) -> Shown:
        """Tabulate means over seeds, what is best, and what cannot be told from it.

        Args:
            baseline: the name of the loss that the others are compared with; none for that of the comparison.
            options: of `lossbench.report.tabulate`, such as `metrics=["nll", "ece"]`, `calibrations=["raw"]`,
                `rows=["loss"]`, `sort="ece"`, `select="nll"`, `split="val"`, `spread="sd"`, `where=["seed=0,1"]`.

        Raises:
            RequestError: as `lossbench report` does.
        """
        name = baseline or self.baseline
        against = [f"loss={name}"] if name else []
        return Shown(tabulate(self.frame, baseline=against, store=self.store, **options), self.failures)

    def report(self, path: str | Path, **options: Any) -> None:
        """Write the table by the ending of a file's name: .html is the page with figures; .md .tex .csv .json .txt.

        Args:
            path: the file.
            options: as `table` takes them.
        """
        target = Path(path)
        if target.suffix not in FORMATS:
            raise ConfigError(f"a report ends in {', '.join(FORMATS)}; got {target.name}")
        shown, format = self.table(**options), FORMATS[target.suffix]
        made = page(shown.table, self.store, messages=shown.failed()) if format == "html" else shown.render(format)
        target.write_text(made, encoding="utf-8")

    def plot(self, kind: str = "reliability", *, width: str = "column", **options: Any) -> Plot:
        """Draw the runs, as `lossbench plot` does.

        Args:
            kind: `reliability`, `sweep`, `training`, `risk_coverage`, `confidence`, `scatter` or `confusion`.
            width: `column` or `page`.
            options: of `lossbench.report.figures.Request`: `calibration=["raw", "temperature_scaled"]`,
                `metrics=["accuracy", "ece"]`, `split="val"`, `where=["loss=focal"]`.

        Raises:
            RequestError: for another kind, an option that it has no use for, or too much for one figure.
        """
        figure, _ = figures.figure(figures.Request(kind, self.run_ids, **options), self.store)
        return Plot(drawing.specification(figure, width), figure.caption)

    def __repr__(self) -> str:
        """As `lossbench report` prints it."""
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
