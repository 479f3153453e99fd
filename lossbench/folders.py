"""Where something is about to be written."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def obstacle(folder: Path) -> Path | None:
    """Return what keeps a folder from being written to, or made; None where nothing does.

    Returns:
        The nearest thing that is there: the folder or one above it that may not be written to, or something else.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return None if there.is_dir() and os.access(there, os.W_OK) else there


def replace(path: Path, content: bytes) -> None:
    """Write a file in one step, its folder made where it is missing: others see the old content or the new.

    Raises:
        OSError: if it cannot be written. What was there then stays.
    """
    target = path.resolve()  # a link stays one
    temporary = target.with_name(target.name + ".tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
