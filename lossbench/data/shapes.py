"""Generated images with masks: a segmentation that trains in seconds."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from lossbench.data.dataset import IGNORE_INDEX, Examples, Source
from lossbench.domains import AT_LEAST_ONE, Interval
from lossbench.randomness import stream

CLASS_NAMES = ("background", "square", "disc")
BRIGHTNESS = (70, 130, 190)  # of each class before noise, of 255
NOISE = 30.0  # standard deviation
MIN_SIZE = Interval(16.0, 256.0)


def shapes(
    *,
    size: Annotated[int, MIN_SIZE] = 32,
    n_train: Annotated[int, AT_LEAST_ONE] = 300,
    n_test: Annotated[int, AT_LEAST_ONE] = 100,
    data_seed: int = 0,
) -> Source:
    """A square and a small disc on a dark background, all of them noisy: 3 classes for each pixel.

    The square has a side of ¼ to ½ of the image, the disc a radius of 1/16 to 1/8, so that discs are about 2 % of the
    pixels; it lies on top. The pixels around a shape have no label, as the outlines of Pascal VOC have none.

    Args:
        size: height and width of an image in pixels.
        n_train: images to learn from, the validation split included.
        n_test: images to test on.
        data_seed: of the draw, apart from the run's seed: every run of a sweep has the same images.

    Returns:
        Training and test images, uint8 [N, 1, size, size], with masks, int64 [N, size, size].
    """

    def draw(name: str, count: int) -> Examples:
        generator = torch.Generator().manual_seed(stream(data_seed, f"shapes {name}"))
        classes = _masks(count, size, generator)
        noise = NOISE * torch.randn(count, size, size, generator=generator)
        images = (torch.tensor(BRIGHTNESS)[classes] + noise).clamp(0, 255).to(torch.uint8)
        return Examples(images.unsqueeze(1), classes.where(~_outlines(classes), IGNORE_INDEX))

    return Source(draw("train", n_train), CLASS_NAMES, test=draw("test", n_test))


def _masks(count: int, size: int, generator: torch.Generator) -> Tensor:
    """The class of each pixel, int64 [count, size, size]."""

    def uniform(low: int, high: int) -> Tensor:
        return torch.randint(low, high + 1, (count, 1, 1), generator=generator)

    rows, columns = torch.arange(size)[:, None], torch.arange(size)
    classes = torch.zeros(count, size, size, dtype=torch.int64)
    half = uniform(size // 8, size // 4)
    y, x = uniform(0, size - 1), uniform(0, size - 1)
    classes[((rows - y).abs() <= half) & ((columns - x).abs() <= half)] = 1
    radius = uniform(size // 16, size // 8)
    y, x = uniform(0, size - 1), uniform(0, size - 1)
    classes[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 2
    return classes


def _outlines(classes: Tensor) -> Tensor:
    """Where the pixel above or to the left has another class, bool like `classes`."""
    outline = torch.zeros_like(classes, dtype=torch.bool)
    outline[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    outline[:, :, 1:] |= classes[:, :, 1:] != classes[:, :, :-1]
    return outline
