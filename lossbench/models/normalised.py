"""A network with the normalisation of its inputs, so that stored weights are complete."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalised(nn.Module):
    """Take examples as the data set holds them (uint8 images, raw features) and give a network's logits.

    The mean and scale of the training split are buffers: a stored model needs nothing else to be evaluated, also
    on another data set or as a teacher.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, scale: Tensor, *, channels_last: bool = False) -> None:
        """Wrap a network.

        Args:
            network: normalised inputs, float32 [N, ...] → logits, float [N, K].
            mean: broadcastable against one input.
            scale: likewise; inputs become (inputs - mean) / scale.
            channels_last: hold images and convolutions with the channel as the fastest axis.
        """
        super().__init__()
        self.channels_last = channels_last and mean.dim() == 3
        self.network = network.to(memory_format=torch.channels_last) if self.channels_last else network
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", scale.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, [N, K], for inputs as the data set holds them, [N, ...]."""
        # A copy even of float inputs, and then in place: fresh memory for each step costs more than the arithmetic.
        normalised = inputs.to(torch.float32, copy=True).sub_(self.mean).div_(self.scale)
        if self.channels_last:  # last of all: with three numbers beside each other, arithmetic by channel is slow
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(normalised)
        return logits
