"""lossbench: what does this loss do to my model, next to that one?"""

from __future__ import annotations

__version__ = "0.1.0"
