"""How much memory of this machine a process may still take."""

from __future__ import annotations

import os
from pathlib import Path


def free_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that can be had without swapping, within what a container or a cluster's job may take.

    Args:
        proc: where Linux tells of its memory. A system that does not tell is taken to be idle.
        cgroups: where it tells of limits (version 2).
    """
    free = _field(proc / "meminfo", "MemAvailable:")  # which counts the caches that it would give up
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([whole if free is None else 1024 * free, *_within_limits(proc, cgroups)])


def _within_limits(proc: Path, cgroups: Path) -> list[int]:
    """What is left of each limit that this process is under: its group's own, and those of the groups around it."""
    line = next((line for line in _lines(proc / "self/cgroup") if line.startswith("0::")), "0::/")
    inner = cgroups / line.removeprefix("0::/").strip()
    left = []
    for group in (inner, *inner.parents):
        limit, used = (_lines(group / f"memory.{name}") for name in ("max", "current"))
        if limit and used and limit[0].strip() != "max":
            caches = _field(group / "memory.stat", "inactive_file") or 0
            left.append(max(0, int(limit[0]) - int(used[0]) + caches))
        if group == cgroups:
            break
    return left


def _field(path: Path, name: str) -> int | None:
    return next((int(line.split()[1]) for line in _lines(path) if line.split()[0] == name), None)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
