"""Images that stay on the disk and are read as they are needed, where they would not fit into memory.

By threads, not processes: Pillow lets others run while it decodes, and threads need nothing of the data to be sent.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossbench import device
from lossbench.errors import DataError
from lossbench.memory import free_memory

MOST_READERS = 8  # threads, where the run has as many CPUs
READ_AT_A_TIME = 8  # images by one thread, or more of a large batch: handing them over takes little beside reading
AHEAD = 2  # batches that are read while one is trained on

# Of free memory that images may take. The source and the splits of up to four seeds are kept: five copies.
RESIDENT_SHARE = 1 / 8
MOST_RESIDENT_SHARE = 1 / 2  # where they are to be held in memory in any case

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Streamed:
    """Images on the disk, in the place of a tensor uint8 [N, C, H, W].

    What it has, a tensor has, too: `shape`, `ndim`, `dtype`, `to`, `len`, slices and `split` give tensors.

    Attributes:
        read: gives the pixels of an image of the source by its number, uint8 [C, H, W].
        numbers: which images these are, int64 [N].
        image_shape: (C, H, W).
        why: they are not held in memory, for the user; empty if they could be.
        device: where tensors go.
    """

    read: Callable[[int], Pixels]
    numbers: Tensor
    image_shape: tuple[int, int, int]
    why: str = ""
    device: torch.device | str = "cpu"

    dtype = torch.uint8
    ndim = 4

    def __len__(self) -> int:
        """The number of images."""
        return len(self.numbers)

    @property
    def shape(self) -> torch.Size:
        """[N, C, H, W]."""
        return torch.Size([len(self), *self.image_shape])

    def to(self, device: torch.device | str) -> Streamed:
        """Return the same images, whose batches go to a device."""
        return replace(self, device=device)

    def pick(self, indices: Tensor) -> Streamed:
        """Return some of them, by their places or a mask, without reading any."""
        return replace(self, numbers=self.numbers[indices.cpu()])

    def __getitem__(self, chosen: slice) -> Tensor:
        """Read some now, uint8 [M, C, H, W]."""
        (images,) = self.batches([torch.arange(len(self))[chosen]])
        return images

    def split(self, size: int) -> Iterator[Tensor]:
        """Read all, so many at a time."""
        return self.batches(torch.arange(len(self)).split(size))

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Read batches, the next ones while one is used.

        Args:
            indices: of each batch, int64 [B].

        Returns:
            Each batch, uint8 [B, C, H, W], in the same order.

        Raises:
            DataError: for an image that cannot be read.
        """
        readers = ThreadPoolExecutor(min(MOST_READERS, device.cpus()), thread_name_prefix="lossbench-images")

        def begin(batch: Tensor) -> tuple[Pixels, list[Future[None]]]:
            numbers = self.numbers[batch.cpu()].tolist()
            images = np.empty((len(numbers), *self.image_shape), dtype=np.uint8)
            step = max(READ_AT_A_TIME, len(numbers) // 1024)
            parts = [slice(start, start + step) for start in range(0, len(numbers), step)]
            return images, [readers.submit(self._fill, images[part], numbers[part]) for part in parts]

        try:
            rest = iter(indices)
            begun = deque(map(begin, itertools.islice(rest, AHEAD)))
            while begun:
                begun.extend(map(begin, itertools.islice(rest, 1)))
                images, parts = begun.popleft()
                for part in parts:
                    part.result()
                yield torch.from_numpy(images).to(self.device)
        finally:
            readers.shutdown(cancel_futures=True)

    def _fill(self, images: Pixels, numbers: list[int]) -> None:
        for image, number in zip(images, numbers, strict=True):
            image[:] = self.read(number)


def why_streamed(count: int, image_shape: tuple[int, ...], streaming: bool | None) -> str:
    """Say why images are to be read as they are needed; empty where they are to be held in memory.

    Args:
        count: how many there are, in all splits.
        image_shape: (C, H, W), of one byte each.
        streaming: as the user has it; None leaves it to their size.

    Raises:
        DataError: if they are to be held in memory and take more than half of what is free.
    """
    if streaming:
        return f"{count:,} images are read as they are needed (dataset.streaming=true)"
    size, free = count * math.prod(image_shape), free_memory()
    if size <= free * (RESIDENT_SHARE if streaming is None else MOST_RESIDENT_SHARE):
        return ""
    shape = "×".join(map(str, image_shape))
    if streaming is None:
        return (
            f"{count:,} images of {shape} bytes are read as they are needed: they would take {_gib(size)}, more than "
            f"an eighth of the {_gib(free)} of free memory (dataset.streaming=false holds them in memory)"
        )
    raise DataError(
        f"dataset.streaming=false: {count:,} images of {shape} bytes are {_gib(size)}, more than half of the "
        f"{_gib(free)} of free memory: set dataset.streaming=true, or a smaller dataset.size"
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
