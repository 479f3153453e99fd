"""The report as one html file that needs nothing else: words, table, figures, and how each row was made.

Text is written by jinja2, which escapes it; numbers for the figures stand as JSON in a script that is no program. The
content security policy lets run the two scripts of the page itself, by their hashes, and fetch nothing.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import functools
import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import lossbench
from lossbench.report.notation import best_note, heading, printable, setting, title
from lossbench.report.page.details import PRINTS, details
from lossbench.report.page.plots import plots
from lossbench.report.page.rows import gather, settings_shown
from lossbench.report.records import definition
from lossbench.report.sheets import sheets
from lossbench.report.table import CALIBRATED, DIFFERS, TIED, Column, Table, metric_name
from lossbench.report.verdict import verdict
from lossbench.store import Store

MOST_CHOICES = 12


def page(table: Table, store: Store, *, command: str = "", messages: Sequence[str] = ()) -> str:
    """Return the report as html.

    Args:
        table: what `tabulate` returns.
        store: where its runs are: their bins, epochs, configs and environments.
        command: that made this page, as a shell takes it.
        messages: what is not in the table, and why.

    Raises:
        RequestError: if a run of the table cannot be read.
    """
    rows = gather(table, store)
    made = details(table, store)
    specifications = plots(table, rows)
    notes = [*best_note(table, "Bold"), *table.notes]
    script, library = _text("page.js"), _library()
    data = {"rows": [row.data for row in rows], "plots": specifications, "configs": made.configs}
    columns = [*settings_shown(table), *(column for column in table.columns if column not in settings_shown(table))]
    values = [[printable(setting(row, column)) for column in columns] for row in table.rows]
    choices = _choices(columns, values)
    settings = [column.heading for column in settings_shown(table)] or ["loss"]
    several = any(row.block for row in table.rows)
    return _template().render(
        title=printable(title(table)),
        verdicts=verdict(table),
        table=table,
        headings=settings,
        metric_headings=[heading(column) for column in table.metrics],
        width=len(settings) + (table.n is None) + len(table.metrics),
        choices=[{"heading": columns[i].heading, "values": there} for i, there in choices],
        row_choices=[json.dumps([row[i] for i, _ in choices], ensure_ascii=False) for row in values],
        several=several,
        prints=[name.replace("_", " ") for name in PRINTS],
        definitions=_definitions(table),
        missing_bins=[row.data["label"] for row in rows if not row.data["bins"]],
        rows=rows,
        notes=notes,
        sheets=sheets(table),
        made=made,
        plots=specifications,
        messages=messages,
        command=command,
        version=lossbench.__version__,
        now=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        n_runs=sum(row.n for row in table.rows),
        css=Markup(_text("page.css")),
        script=Markup(script),
        library=Markup(library),
        hashes=Markup(" ".join(f"'sha256-{_hash(text)}'" for text in (library, script))),
        data=Markup(as_json(data)),
    )


def _choices(columns: Sequence[Column], values: Sequence[Sequence[str]]) -> list[tuple[int, list[str]]]:
    """Settings that are worth a list to choose from, by position, each with its values in the order of the rows."""
    found = [(i, list(dict.fromkeys(row[i] for row in values))) for i in range(len(columns))]
    return [(i, there) for i, there in found if 1 < len(there) <= MOST_CHOICES]


def _definitions(table: Table) -> list[tuple[str, str]]:
    """What the metrics, the calibrations and the marks are."""
    found = {metric_name(column.metric): definition(column.metric) for column in table.metrics}
    for column in table.metrics:
        if column.calibration in CALIBRATED:
            label, meaning = CALIBRATED[column.calibration]
            found[label] = f"{meaning[0].upper()}{meaning[1:]}"
    found["±"] = "Standard deviation over seeds." if table.spread == "sd" else "Half the 95 % interval of the mean."
    found["bold"] = "The best mean of a dataset and model."
    found[TIED] = (
        "Cannot be told from the best, corrected for all pairs of rows in its column: no proof that it is as good."
    )
    if table.baseline:
        found[DIFFERS] = (
            f"Differs significantly from {table.baseline}, corrected for all tests of the table. That is another "
            f"correction than that of {TIED}: a number may have neither mark."
        )
    return list(found.items())


def as_json(value: Any) -> str:
    r"""Return JSON that no html parser takes for anything else: `<` is `\u003c`, so that no `</script>` ends it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@functools.cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed, 0.9 MB, as vl-convert brings them.

    They take two seconds to bundle and are kept in the user's cache folder, where that can be written.
    """
    import vl_convert

    cache = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(cache if os.path.isabs(cache) else os.path.expanduser("~/.cache"))
    kept = folder / "lossbench" / f"vega-{metadata.version('vl-convert-python')}.js"
    with contextlib.suppress(OSError, ValueError):
        checksum, _, text = kept.read_text(encoding="utf-8").partition("\n")
        if checksum == _hash(text):  # else it was damaged by accident
            return text
    text = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    text = text.replace("</script", r"<\/script").replace("<!--", r"<\!--")
    temporary = kept.with_name(f"{kept.name}.{secrets.token_hex(4)}.tmp")
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(f"{_hash(text)}\n{text}", encoding="utf-8")
            temporary.replace(kept)
        finally:
            temporary.unlink(missing_ok=True)
    return text


@functools.cache
def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = printable
    return environment.from_string(_text("page.html.jinja"))


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
