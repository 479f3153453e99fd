"""Powers and logarithms to the base in which the processor is quickest: e or 2.

For 80,000 numbers a CPU with AVX-512 takes 13 µs for powers of e and 21 for those of 2; for a quarter of a million one
with AVX2 alone, an AMD EPYC, takes 320 and 200. So losses that write down their own derivative count logarithms in
units, until they have been summed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

IN_NATS = torch.backends.cpu.get_cpu_capability() == "AVX512"
NATS = 1.0 if IN_NATS else math.log(2)  # in nats


def antilog(values: Tensor) -> Tensor:
    """Return exp(NATS · values), in a fresh tensor.

    Args:
        values: any shape.
    """
    return values.exp() if IN_NATS else values.exp2()


def antilog_(values: Tensor) -> Tensor:
    """Write exp(NATS · values) over the values, and return them.

    Args:
        values: any shape.
    """
    return values.exp_() if IN_NATS else values.exp2_()


def log(values: Tensor) -> Tensor:
    """Return the logarithm of each value in units of `NATS`, in a fresh tensor.

    Args:
        values: any shape.
    """
    return values.log() if IN_NATS else values.log2()
