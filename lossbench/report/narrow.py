"""Settings where there is no room for a column of each: which go first, one column in their place, what they held."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence

Texts = Sequence[Sequence[str]]  # of each line its settings


def leaving(texts: Texts, fixed: Collection[int], last: Sequence[int] = ()) -> list[int]:
    """Return the columns that tell no lines apart which the others do not, in the order in which they may go.

    Args:
        texts: of each line its settings, one for each column.
        fixed: columns that stay.
        last: columns that go after the others that are the same in all lines, from the left.

    Returns:
        First what is the same in all lines, then what the remaining columns repeat; each from the right.
    """
    kept = list(range(len(texts[0])))
    apart, gone = len(set(map(tuple, texts))), []
    constant = [i for i in (*(i for i in reversed(kept) if i not in last), *last) if not varies(texts, i)]
    for column in [*constant, *(i for i in reversed(kept) if i not in constant)]:
        rest = [i for i in kept if i != column]
        if column not in fixed and rest and len({tuple(row[i] for i in rest) for row in texts}) == apart:
            kept = rest
            gone.append(column)
    return gone


def in_one(texts: Texts, names: Sequence[str], columns: Sequence[int], of: Sequence[str]) -> tuple[list[str], str]:
    """Return one text for each line in place of several columns, `ε=0.1 epochs=5`, and a note of what none says.

    Args:
        texts: of each line its settings.
        names: what the texts call each column.
        columns: those it stands for.
        of: the loss of each line. What is the same in all lines of a loss is in the note.
    """
    lines: dict[str, list[Sequence[str]]] = {}
    for row, loss in zip(texts, of, strict=True):
        lines.setdefault(loss, []).append(row)
    said = {loss: [i for i in columns if varies(rows, i)] for loss, rows in lines.items()}
    labels = [
        " ".join(f"{names[i]}={row[i]}" for i in said[loss] if row[i]) for row, loss in zip(texts, of, strict=True)
    ]
    notes = []
    for loss, rows in lines.items():
        unsaid = [f"{names[i]}={rows[0][i]}" for i in columns if i not in said[loss] and rows[0][i]]
        notes += [f"{loss}: {', '.join(unsaid)}." if loss else f"{', '.join(unsaid)}."] if unsaid else []
    return labels, " ".join(notes)


def held(texts: Texts, names: Sequence[str], column: int, shown: Sequence[int]) -> str:
    """Return what a column without room holds: `epochs: 2 (cnn), 30 (mlp)`, by the fewest columns that decide it."""
    values = list(dict.fromkeys(row[column] for row in texts))
    if len(values) == 1:
        return f"{names[column]}: {values[0]}" if values[0] else ""
    choices: Iterable[tuple[int, ...]] = itertools.chain.from_iterable(
        itertools.combinations(shown, size) for size in range(1, len(shown) + 1)
    )
    deciding = next((choice for choice in choices if _decides(texts, choice, column)), tuple(shown))
    parts = []
    for value in filter(None, values):
        where = dict.fromkeys(
            " ".join(row[i] or f"no {names[i]}" for i in deciding) for row in texts if row[column] == value
        )
        parts.append(f"{value} ({', '.join(where)})")
    return f"{names[column]}: {', '.join(parts)}"


def varies(texts: Texts, column: int) -> bool:
    """Whether lines differ in a column."""
    return len({row[column] for row in texts}) > 1


def _decides(texts: Texts, columns: Sequence[int], column: int) -> bool:
    places = {tuple(row[i] for i in columns) for row in texts}
    return len({(*(row[i] for i in columns), row[column]) for row in texts}) == len(places)
