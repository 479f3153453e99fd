"""lossbench: what does this loss do to my model, next to that one?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossbench.library.compare import compare as compare

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "compare":  # looked up late: it imports torch, and `lossbench --help` must not
        from lossbench.library.compare import compare

        return compare
    raise AttributeError(f"module 'lossbench' has no attribute {name!r}")
