"""Test images as a worse camera would take them: noise, blur and low contrast at five levels each.

After CIFAR-10-C: its names, formulas and levels. They are applied to the pixels as the data set holds them, before
the normalisation, and are not rounded to whole grey levels again, as its files are.

Source: Hendrycks & Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
and its code, `make_cifar_c.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as images_of

from lossbench.randomness import stream

# What each level, 1 to 5, does: see the functions of the same name.
LEVELS = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
}
NOISE_SEED = 0  # apart from the run's seed: every run, and every level, is given the same draw
SIDE = 32  # pixels: what the blur's levels were made for


def corruption(name: str, level: int) -> Callable[[Tensor], Tensor]:
    """Return what corrupts batches of images, float [B, C, H, W] in [0, 1], which also comes out.

    Args:
        name: a key of LEVELS.
        level: 1 to 5.

    Returns:
        A function to be called on the batches in their order: each takes its share of one stream of noise.
    """
    amount = LEVELS[name][level - 1]
    if name == "gaussian_noise":
        generator = torch.Generator().manual_seed(stream(NOISE_SEED, name))
        return lambda images: gaussian_noise(images, amount, generator)
    return lambda images: {"gaussian_blur": gaussian_blur, "contrast": contrast}[name](images, amount)


def gaussian_noise(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Add independent noise to every channel of every pixel, clipped to [0, 1].

        output = clip(images + deviation · N(0, 1))

    Args:
        images: float [B, C, H, W] in [0, 1].
        deviation: standard deviation, of 1 for the whole range.
        generator: on the CPU, so that every device draws the same numbers.
    """
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return (images + deviation * noise).clamp(0, 1)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian that is cut at 3σ; the images are mirrored at their edges.

    Args:
        images: float [B, C, H, W] in [0, 1].
        sigma: σ in pixels of images of 32×32 or less; it grows with the shorter side of larger ones.
    """
    side = min(images.shape[2:])
    sigma *= max(1.0, side / SIDE)
    size = 2 * min(math.ceil(3 * sigma), side - 1) + 1
    blurred: Tensor = images_of.gaussian_blur(images, [size, size], [sigma, sigma])
    return blurred


def contrast(images: Tensor, factor: float) -> Tensor:
    """Draw each image towards its own mean, channel by channel.

        output = mean + factor · (images - mean)

    Args:
        images: float [B, C, H, W] in [0, 1].
        factor: how much of the contrast is left.
    """
    mean = images.mean(dim=(2, 3), keepdim=True)
    return mean + factor * (images - mean)
