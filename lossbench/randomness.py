"""One seed, split into independent streams.

The streams of a run are named (`split`, `init`, `order`, `augmentation`, `dropout`, …) and each is derived
from the seed and its name alone. Whatever draws from one stream, or however often, cannot shift another: two
runs that differ in the loss see the same initial weights and the same batches.
"""

from __future__ import annotations

import hashlib


def stream(seed: int, name: str, index: int = 0) -> int:
    """Derive the seed of one stream.

    Args:
        seed: the run's seed.
        name: the stream's name.
        index: a counter within the stream, such as the epoch, so that a run can go on from any epoch
            without the state of a generator.

    Returns:
        A seed in 0 .. 2^63 - 1.
    """
    digest = hashlib.sha256(f"{seed}/{name}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
