"""Models that see an example as a vector: linear and multi-layer perceptron."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Annotated

from torch import nn

from lossbench.domains import AT_LEAST_ONE, BELOW_ONE, POSITIVE


def linear(input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Multinomial logistic regression on the flattened example.

    Args:
        input_shape: the shape of one example.
        num_classes: K.

    Returns:
        A model from float [N, *input_shape] to logits [N, K].
    """
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), head=nn.Linear(math.prod(input_shape), num_classes)))


def mlp(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    hidden: list[Annotated[int, AT_LEAST_ONE]] = [128],  # noqa: B006 - read, never written
    dropout: Annotated[float, BELOW_ONE] = 0.0,
    init_std: Annotated[float, POSITIVE] | None = None,
) -> nn.Sequential:
    """Multi-layer perceptron with ReLU on the flattened example.

    Args:
        input_shape: the shape of one example.
        num_classes: K.
        hidden: the width of each hidden layer, first to last.
        dropout: the share of hidden units dropped after each hidden layer in training.
        init_std: if given, all weights and biases start as N(0, init_std²), as in papers of the 2000s; otherwise
            they start as PyTorch starts them, U(−1/√n, 1/√n) with n inputs.

    Returns:
        A model from float [N, *input_shape] to logits [N, K].
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = math.prod(input_shape)
    for i, width in enumerate(hidden, start=1):
        layers[f"hidden{i}"] = nn.Linear(inputs, width)
        layers[f"relu{i}"] = nn.ReLU()
        layers[f"dropout{i}"] = nn.Dropout(dropout)
        inputs = width
    layers["head"] = nn.Linear(inputs, num_classes)
    model = nn.Sequential(layers)
    if init_std is not None:
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=init_std)
    return model
