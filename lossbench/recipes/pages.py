"""A reproduction in words: a table for the terminal, a folder with a page for readers, a line of what is known."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lossbench.errors import one_line
from lossbench.recipes.judging import Finding
from lossbench.recipes.known import RECORD, in_words
from lossbench.recipes.recipe import FAILS, HOLDS, OPEN, QUICK, Claim
from lossbench.recipes.reproduction import Reproduction
from lossbench.report import drawing, figures, render
from lossbench.report.markdown import escaped
from lossbench.report.notation import p_value
from lossbench.report.page import page
from lossbench.screen.drawing import aligned, folded
from lossbench.store import Store

HEADINGS = ("claim", "published", "claimed", "ours", "95 % interval", "n", "p", "verdict")
MARKS = {HOLDS: "✓", FAILS: "✗", OPEN: "?"}
FEW = 3  # claims that are said one by one; more are counted
ABOUT_P = (
    "The verdict goes by the 95 % interval: a claim holds where all of it lies as claimed, and does not where none of "
    "it does. p is of the one-sided t-test of the same, over seeds or pairs of one seed (between two bounds the larger "
    "of two, Schuirmann's test of equivalence): below 0.025 where a claim holds. It is not corrected for the number of "
    "claims. Bounds around what was published are ours: one published run has a spread that is not known."
)


def for_terminal(reproduction: Reproduction, columns: int) -> str:
    """Return the claims as a terminal shows them: a line each, and why where one is not testable."""
    rows = [[MARKS[finding.verdict], *_cells(finding)[1:]] for finding in reproduction.findings]
    lines = [f"{reproduction.recipe.name}: {reproduction.recipe.description}", ""]
    body = aligned([["", *HEADINGS[1:]], *rows], left=1)
    for line, finding in zip(body[1:], reproduction.findings, strict=True):
        lines += folded(f"{finding.claim.says}", columns)
        lines += [f"  {line}", *folded(f"({finding.why})", columns, "    ")] if finding.why else [f"  {line}"]
    lines.insert(2, f"  {body[0]}")
    lines += ["", *folded(_summary(reproduction), columns)]
    if reproduction.scale == QUICK:
        lines += folded("Quick scale, fewer epochs or seeds than the recipe's: a first look and no answer.", columns)
    return "\n".join(lines) + "\n"


def files(reproduction: Reproduction, store: Store) -> dict[str, bytes]:
    """Return what a folder of results holds, by name: README.md, report.html, the recipe's figures, its numbers.

    Args:
        reproduction: what came of a recipe.
        store: where its runs are.

    Raises:
        RequestError: if a figure cannot be drawn.
    """
    table, recipe = reproduction.table, reproduction.recipe
    drawn: dict[str, bytes] = {}
    captions: dict[str, str] = {}
    for name, asked in recipe.figures.items():
        drawing.check_ending(Path(name))
        options = dict(asked)
        width = str(options.pop("width", "page"))
        made, _ = figures.figure(figures.Request(sources=reproduction.run_ids, **options), store)
        drawn[name], captions[name] = drawing.draw(drawing.specification(made, width), Path(name).suffix), made.caption
    return {
        "README.md": _readme(reproduction, captions).encode(),
        RECORD: (json.dumps(_record(reproduction), indent=1, ensure_ascii=False) + "\n").encode(),
        "table.csv": render(table, "csv").encode(),
        "report.html": page(table, store, command=reproduction.command, messages=reproduction.missing).encode(),
        **drawn,
    }


def _readme(reproduction: Reproduction, captions: Mapping[str, str]) -> str:
    recipe = reproduction.recipe
    rows = [[escaped(cell) for cell in _cells(finding)] for finding in reproduction.findings]
    rule = ["---", *["---:"] * (len(HEADINGS) - 2), "---"]
    body = ["| " + " | ".join(row) + " |" for row in [HEADINGS, rule, *rows]]
    reasons: dict[str, list[str]] = {}
    for finding in reproduction.findings:
        if finding.why:
            reasons.setdefault(one_line(finding.why), []).append(finding.claim.says)
    untrained = [why for why in map(one_line, reproduction.missing) if why not in reasons]
    scale = "" if reproduction.scale != QUICK else " **Quick scale: fewer epochs or seeds than the recipe's.**"
    if reproduction.altered:
        scale += f" **Not as the recipe says: {escaped(' '.join(reproduction.altered))}.**"
    parts = [
        f"# {escaped(recipe.description)}",
        f"Source: {escaped(recipe.source)}.{scale}",
        f"```sh\n{reproduction.command}\n```",
        "\n".join(body),
        f"{_summary(reproduction)} {ABOUT_P}",
        *([f"Not testable:\n\n{_listed(reasons)}"] if reasons else []),
        *([f"Not trained:\n\n{_listed(dict.fromkeys(untrained, ()))}"] if untrained else []),
        *([f"What differs from the source: {escaped(' '.join(recipe.differs.split()))}"] if recipe.differs else []),
        f"All runs: `{' '.join(reproduction.shared)}`.",
        *(f"![{escaped(caption)}]({name})\n\n{escaped(caption)}." for name, caption in captions.items()),
        render(reproduction.table, "markdown").rstrip("\n"),
        f"The same as a page: [report.html](report.html); as numbers: [table.csv](table.csv), [{RECORD}]({RECORD}).",
        f"{len(reproduction.run_ids)} runs, {reproduction.seconds:,.0f} s together. {reproduction.date}. "
        + " ".join(f"{escaped(line)}." for line in reproduction.versions)
        + (f" Code at {', '.join(reproduction.revisions)}." if reproduction.revisions else ""),
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join(parts)) + "\n"


def _listed(reasons: Mapping[str, Sequence[str]]) -> str:
    """A line for each, with the claims that it concerns, or how many where they are many."""
    about = (f"{len(says)} claims" if len(says) > FEW else "; ".join(says) for says in reasons.values())
    return "\n".join(
        f"* {escaped(': '.join(filter(None, [says, why])))}." for why, says in zip(reasons, about, strict=True)
    )


def _summary(reproduction: Reproduction) -> str:
    verdicts = [finding.verdict for finding in reproduction.findings]
    return f"Of {len(verdicts)} claims {in_words(verdicts)}."


def _cells(finding: Finding) -> list[str]:
    claim = finding.claim
    published = "–" if claim.published is None else _number(claim.published)
    interval = "–" if math.isnan(finding.low) else f"{_number(finding.low)} … {_number(finding.high)}"
    ours = "–"
    if not math.isnan(finding.value):
        ours = f"× {_number(finding.value)}" if claim.ratio else _number(finding.value, signed=bool(claim.than))
    return [claim.says, published, _region(claim), ours, interval, str(finding.n), p_value(finding.p), finding.verdict]


def _region(claim: Claim) -> str:
    times = "× " if claim.ratio else ""
    if math.isinf(claim.high):
        return f"> {times}{claim.low:g}"
    if math.isinf(claim.low):
        return f"< {times}{claim.high:g}"
    return f"{_number(claim.low)} … {_number(claim.high)}"


def _number(value: float, *, signed: bool = False) -> str:
    digits = 4 if abs(value) < 1 else 3 if abs(value) < 10 else 2
    return f"{value:{'+' if signed else ''}.{digits}f}"


def _record(reproduction: Reproduction) -> dict[str, Any]:
    return {
        "recipe": reproduction.recipe.name,
        "scale": reproduction.scale,
        "date": reproduction.date,
        "command": reproduction.command,
        "seconds": round(reproduction.seconds, 1),
        "versions": reproduction.versions,
        "revisions": reproduction.revisions,
        "all_runs": reproduction.shared,
        "altered": reproduction.altered,
        "runs": reproduction.run_ids,
        "missing": reproduction.missing,
        "findings": [_finding(finding) for finding in reproduction.findings],
    }


def described(claim: Claim) -> dict[str, Any]:
    """Return a claim as `reproduction.json` has it."""
    return {
        "says": claim.says,
        "metric": claim.metric,
        "calibration": claim.calibration,
        "of": claim.of,
        "than": claim.than,
        "claimed": [_json(claim.low), _json(claim.high)],
        "published": claim.published,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    numbers = {key: getattr(finding, key) for key in ("n", "value", "low", "high", "p")}
    return {
        **described(finding.claim),
        **{key: _json(value) for key, value in numbers.items()},
        "verdict": finding.verdict,
        "why": finding.why,
    }


def _json(value: float) -> float | None:
    return value if math.isfinite(value) else None
