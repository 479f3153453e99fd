"""What a caller of `lossbench.compare` gave that has no import path: lambdas, modules, arrays.

A config names functions by their paths. While a comparison goes on, `lossbench.given.<name>` is such a path.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossbench.data.dataset import Source

PREFIX = "lossbench.given."

_held: dict[str, Any] = {}
_lock = threading.Lock()  # a second comparison, in another thread, waits for the first


@contextmanager
def holding(objects: Mapping[str, Any]) -> Iterator[None]:
    """Make objects importable from here by their names until the end of the block."""
    with _lock:
        _held.update(objects)
        try:
            yield
        finally:
            _held.clear()


def arrays() -> Source:
    """Return the data that were given as arrays, held under the name `data`."""
    source: Source = _held["data"]
    return source


def __getattr__(name: str) -> Any:
    if name in _held:
        return _held[name]
    raise AttributeError(f"{name} was not given, or its comparison is over")
