"""Mixup and CutMix: training examples mixed in pairs, with targets that are probabilities.

Written out although torchvision has both: its transforms draw from PyTorch's global generator, which a loss may shift,
and its mixup takes neither tables nor uint8 images.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lossbench.data.dataset import Dataset, Examples
from lossbench.errors import ConfigError


def mix(dataset: Dataset, inputs: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Mix each example of a batch with the one before it, as the data set asks; the identity if it does not.

        mixup:   x_i ← λ x_i + (1 - λ) x_{i-1},                              λ ~ Beta(α, α)
        CutMix:  x_i ← x_i with a box of (1 - λ) H W pixels from x_{i-1},    λ ~ Beta(α, α)
        both:    t_i ← λ t_i + (1 - λ) t_{i-1},    t one-hot

    One λ and one box for the batch, and one of the two at even odds where the data set asks for both. The box has the
    shape of the image and a uniform centre; what of it lies outside is cut off, and λ becomes the share of the pixels
    that remain. The batch comes in random order, so the example before is any other; the first has the last.

    Mixing before the inputs are normalised gives what mixing after would, since normalising is affine.

    Args:
        dataset: says α of each, 0 for off, and K.
        inputs: after augmentation, uint8 or float32, [B, ...]; for CutMix images, [B, C, H, W].
        targets: class indices, int64 [B], on the same device.
        seed: of this batch. Drawn on the CPU, so that every device mixes alike.

    Returns:
        Inputs, [B, ...], float32 after mixup and of their own dtype after CutMix; targets, float32 [B, K].

    Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 2; Yun et al. 2019, "CutMix:
    Regularization Strategy to Train Strong Classifiers with Localizable Features", section 3. Both pair by a random
    permutation, which may leave an example alone; the box by the latter's code, with odd sizes too.
    """
    if not dataset.mixes:
        return inputs, targets
    rng = np.random.default_rng(seed)
    one_hot = torch.zeros(len(targets), dataset.num_classes, device=targets.device)
    one_hot.scatter_(1, targets[:, None], 1.0)
    if dataset.cutmix == 0 or (dataset.mixup > 0 and rng.random() < 0.5):
        share = rng.beta(dataset.mixup, dataset.mixup)
        return _blend(inputs.float(), share), _blend(one_hot, share)
    height, width = inputs.shape[2:]
    side = math.sqrt(1 - rng.beta(dataset.cutmix, dataset.cutmix))  # of the box, as a share of the image's
    rows, columns = _range(rng, height, side), _range(rng, width, side)
    mixed = inputs.clone()
    mixed[:, :, rows, columns] = inputs.roll(1, 0)[:, :, rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, _blend(one_hot, 1 - pasted / (height * width))


def check_mixing(examples: Examples, mixup: float, cutmix: float) -> None:
    """Raise unless examples can be mixed as asked for.

    Raises:
        ConfigError: if CutMix is to mix what are no images, or anything what has sample weights.
    """
    if cutmix and examples.inputs.ndim != 4:
        raise ConfigError(
            f"dataset.cutmix={cutmix:g} needs images, [C, H, W]; the inputs of this data set have the shape "
            f"{list(examples.inputs.shape[1:])}: set dataset.cutmix=0 (dataset.mixup takes any inputs)"
        )
    if (mixup or cutmix) and examples.sample_weights is not None:
        raise ConfigError(
            f"{mixing_keys(mixup, cutmix)} and dataset.sample_weights exclude each other: "
            "two mixed examples have two weights"
        )


def mixing_keys(mixup: float, cutmix: float) -> str:
    """Write what is on as a user types it, for messages: `dataset.mixup=0.2 dataset.cutmix=1`."""
    return " ".join(f"dataset.{key}={alpha:g}" for key, alpha in (("mixup", mixup), ("cutmix", cutmix)) if alpha)


def _blend(values: Tensor, share: float) -> Tensor:
    return share * values + (1 - share) * values.roll(1, 0)


def _range(rng: np.random.Generator, size: int, side: float) -> slice:
    """The rows or columns of a box, cut off where it leaves the image."""
    length = int(size * side)
    start = int(rng.integers(size)) - length // 2
    return slice(max(start, 0), min(start + length, size))
