"""A small convolutional network."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from torch import nn

from lossbench.domains import AT_LEAST_ONE
from lossbench.models.input_shapes import require_images


def cnn(input_shape: tuple[int, ...], num_classes: int, *, width: Annotated[int, AT_LEAST_ONE] = 16) -> nn.Sequential:
    """Three blocks of 3×3 convolution, batch norm, max-pooling and ReLU, then one hidden layer.

    The maps are flattened, not averaged: where things are centred, as in Fashion-MNIST, their place tells.

    Args:
        input_shape: the shape of one image, [channels, height, width].
        num_classes: K.
        width: the channels of the first block; each of the next has twice as many as the one before, and the
            hidden layer twice as many again.

    Returns:
        A model from float [N, *input_shape] to logits [N, K].

    Raises:
        ConfigError: if the examples are not images, or are smaller than 8×8.
    """
    # 8×8 leaves 2×2 to the last batch norm, which then has a variance to estimate even in a last batch of one.
    channels, height, image_width = require_images("cnn", input_shape, min_side=8)
    pooled_pixels = (height // 8) * (image_width // 8)
    return nn.Sequential(
        OrderedDict(
            block1=_block(channels, width),
            block2=_block(width, 2 * width),
            block3=_block(2 * width, 4 * width),
            flatten=nn.Flatten(),
            hidden=nn.Linear(4 * width * pooled_pixels, 8 * width),
            relu=nn.ReLU(),
            head=nn.Linear(8 * width, num_classes),
        )
    )


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),  # the norm that follows has the bias
            norm=nn.BatchNorm2d(outputs),
            pool=nn.MaxPool2d(2),  # before ReLU, with which the maximum commutes bit for bit: a quarter as much to do
            relu=nn.ReLU(),
        )
    )
