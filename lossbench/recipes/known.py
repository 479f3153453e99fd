"""What came of recipes when they were made last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lossbench.recipes.recipe import FAILS, HOLDS, OPEN, QUICK, Recipe

RECORD = "reproduction.json"


def listing(found: Sequence[Recipe], results_dir: Path) -> list[tuple[str, str]]:
    """Return each recipe with what it is and what came of it."""
    return [(recipe.name, f"{recipe.description} · {_status(recipe, results_dir)}") for recipe in found]


def in_words(verdicts: Sequence[str]) -> str:
    """Return how many claims have each verdict: `5 hold, 1 does not, 2 are not testable`."""
    counts = {verdict: verdicts.count(verdict) for verdict in (HOLDS, FAILS, OPEN)}
    words = {
        HOLDS: "holds" if counts[HOLDS] == 1 else "hold",
        FAILS: "does not" if counts[FAILS] == 1 else "do not",
        OPEN: f"{'is' if counts[OPEN] == 1 else 'are'} {OPEN}",
    }
    return ", ".join(f"{count} {words[verdict]}" for verdict, count in counts.items() if count)


def _status(recipe: Recipe, results_dir: Path) -> str:
    """In full if it ever was made so."""
    for name in (recipe.name, f"{recipe.name}-{QUICK}"):
        path = results_dir / name / RECORD
        if not path.is_file():
            continue
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            verdicts = [finding["verdict"] for finding in said["findings"]]
            return f"{in_words(verdicts)} ({said['scale']}, {said['date']})"
        except (OSError, ValueError, KeyError, TypeError):
            return f"{path} cannot be read"
    return "not made yet"
