"""Which examples go where: stratified counts, the long tail, label noise. Indices and counts only."""

from __future__ import annotations

import torch
from torch import Tensor


def held_out_counts(class_counts: Tensor, fraction: float) -> Tensor:
    """Return how many examples of each class to hold out: the nearest number to the share asked for.

    At least one and at most all but one, so that a class with two examples or more is on both sides of the cut;
    a class with a single example stays where it is learned.

    Args:
        class_counts: examples of each class, int64 [K].
        fraction: the share to hold out, in (0, 1).

    Returns:
        Counts, int64 [K].
    """
    nearest = (class_counts.double() * fraction).round().long()
    return torch.minimum(nearest.clamp(min=1), (class_counts - 1).clamp(min=0))


def kept_counts(class_counts: Tensor, fraction: float) -> Tensor:
    """Return how many examples of each class a subset keeps, at least one of each class that has any; int64 [K]."""
    nearest = (class_counts.double() * fraction).round().long()
    return torch.minimum(nearest.clamp(min=1), class_counts)


def long_tailed_counts(class_counts: Tensor, factor: float) -> Tensor:
    """Return the exponential profile of a long-tailed set, the first class the largest.

        n_c = ⌊n_max · factor^(-c/(K-1))⌋, at least 1, at most what is there

    Args:
        class_counts: examples of each class before, int64 [K].
        factor: the largest class over the smallest, at least 1; 1 leaves a balanced set as it is and cuts
            nothing from any other.

    Returns:
        Counts, int64 [K].

    Source: Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", section 5.1.
    """
    num_classes = len(class_counts)
    exponent = -torch.arange(num_classes, dtype=torch.float64) / (num_classes - 1)
    # Rounded down, as the long-tailed CIFAR of the literature is (2997 rather than 2998 for the second class of
    # CIFAR-10 at factor 100); the small term keeps 5000·100^-1 at 50 whatever the last bit of the power.
    profile = (int(class_counts.max()) * factor**exponent + 1e-6).long()
    return torch.minimum(profile.clamp(min=1), class_counts)


def choose(targets: Tensor, counts: Tensor, seed: int) -> Tensor:
    """Choose at random a given number of examples of each class.

    The order in which a class's examples are drawn does not depend on `counts`: a larger choice by the same seed
    contains the smaller one.

    Args:
        targets: class indices, int64 [N].
        counts: how many to choose of each class, at most what is there, int64 [K].
        seed: of the draw.

    Returns:
        True where an example is chosen, bool [N].
    """
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    by_class = order[torch.argsort(targets[order], stable=True)]
    class_counts = torch.bincount(targets, minlength=len(counts))
    starts = class_counts.cumsum(0) - class_counts
    classes = targets[by_class]
    rank = torch.arange(len(targets)) - starts[classes]
    chosen = torch.zeros(len(targets), dtype=torch.bool)
    chosen[by_class] = rank < counts[classes]
    return chosen


def noisy_labels(targets: Tensor, num_classes: int, rate: float, seed: int) -> Tensor:
    """Replace each label, with probability `rate`, by one of the other classes drawn uniformly.

    Args:
        targets: class indices, int64 [N].
        num_classes: K, at least 2.
        rate: the probability, in [0, 1]. By one seed, the labels changed at a low rate are changed at a high one too.
        seed: of the draw.

    Returns:
        Class indices, int64 [N].
    """
    generator = torch.Generator().manual_seed(seed)
    changed = torch.rand(len(targets), generator=generator, dtype=torch.float64) < rate
    other = (targets + torch.randint(1, num_classes, targets.shape, generator=generator)) % num_classes
    return torch.where(changed, other, targets)
