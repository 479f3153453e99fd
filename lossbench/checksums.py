"""What the files of a finished run held when it wrote them: their sha256, in `checksums.json` of its folder.

They find what was damaged, cut short or changed since. They prove nothing of who wrote a run: whoever can write its
files can write their checksums, too.

    {"sha256": {"config.yaml": ["5f0c…"], "metrics.json": ["9a1b…", "77d0…"], "shift.json": [null, "e2c4…"]}}

A file is in one of the states that its list names; null is that it is not there. There are more than one while a file
is replaced, and where a process died over that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from lossbench.errors import StoreError
from lossbench.record import read_json

NAME = "checksums.json"
KEPT = "checksums"  # in environment.json: whether the run was made with them
OF_A_RUN = (
    "config.yaml",
    "metrics.json",
    "environment.json",
    "predictions.npz",
    "history.csv",
    "model.safetensors",
)
REMEDIES = {
    "metrics.json": "lossbench evaluate makes it again from the predictions",
    "shift.json": "remove it, and lossbench evaluate --corruptions or --ood makes it again",
    "features.npz": "remove it, and lossbench evaluate --pictures makes it again",
    "examples.npz": "remove it, and lossbench evaluate --pictures makes it again",
}
TRAIN = "train it again with --force"

States: TypeAlias = dict[str, list[str | None]]


def digest(path: Path) -> str:
    """Return the sha256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remedy(name: str) -> str:
    """Return what to do about a file that is damaged."""
    return REMEDIES.get(name, TRAIN)


def content(states: Mapping[str, list[str | None]]) -> dict[str, object]:
    """Return what `checksums.json` holds, for the states that each file may be in."""
    return {"sha256": dict(states)}


def recorded(folder: Path) -> States | None:
    """Return the states that a run's files may be in, by their names; None for a run that was made without.

    Raises:
        StoreError: if its checksums are damaged.
    """
    path = folder / NAME
    if not path.exists():
        return None
    states = read_json(path).get("sha256")
    if not isinstance(states, dict) or not all(map(_is_entry, states, states.values())):
        raise StoreError(f"{path} does not hold checksums; {TRAIN}")
    return states


def _is_entry(name: str, states: object) -> bool:
    """A stranger's names must not lead out of the folder."""
    return (
        re.fullmatch(r"[\w-][\w.-]*", name) is not None
        and isinstance(states, list)
        and all(state is None or (isinstance(state, str) and re.fullmatch("[0-9a-f]{64}", state)) for state in states)
    )


def check(path: Path) -> None:
    """Refuse a file of a finished run that is not as it was recorded. What is not there is for whoever reads it.

    Raises:
        StoreError: naming the file, both checksums and what to do. Not where the run was made without checksums.
    """
    expected: list[str | None] = []
    found = ""
    for _ in range(2):  # a process that replaces it just now may have done so between the two looks
        states = recorded(path.parent)
        if states is None or not path.exists():
            return
        expected, found = states.get(path.name, []), digest(path)
        if found in expected:
            return
    known = [state for state in expected if state is not None]
    if not known:
        raise StoreError(f"{path} is none of the files that {NAME} lists; {remedy(path.name)}")
    raise StoreError(
        f"{path} is not what the run wrote: sha256 {_short(found)}, recorded {' or '.join(map(_short, known))}; "
        f"{remedy(path.name)}"
    )


def _short(digest: str) -> str:
    return f"{digest[:12]}…"
