"""What a network makes of its input before the last layer."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from lossbench.errors import DataError, ShapeError
from lossbench.metrics.inputs import class_indices


def class_tightness(features: ArrayLike, targets: ArrayLike) -> float:
    """How closely the features of a class lie together, by angle: class separation R².

        class_tightness = 1 - d_within / d_total,   d = 1 - cosine of two features

    d_within is the mean distance of two examples of one class, averaged over the classes; d_total that of two examples
    of two classes, over all pairs of classes, the same twice among them. Classes count alike, however many examples
    they have, and an example is also paired with itself.

    Args:
        features: of the layer before the last, [N, D], none of them all zeros.
        targets: class indices, integer [N].

    Returns:
        R² in 0..1: 1 where all features of a class point the same way, 0 where classes do not differ, as is the case
        of one class. nan where all features point the same way.

    Raises:
        ShapeError: if the two do not fit together.
        DataError: if targets are not integers, or features not finite or all zeros, which have no angle; the row is
            named, from 0.

    Source: Kornblith et al. 2021, "Why Do Better Loss Functions Lead to Less Transferable Features?".
    """
    array, classes = np.asarray(features, dtype=np.float64), class_indices(targets)
    if array.ndim != 2 or classes.shape != array.shape[:1] or not array.size:
        raise ShapeError(f"features must be [N, D] and targets [N]; got {list(array.shape)} and {list(classes.shape)}")
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    unfit = ~(np.isfinite(norms) & (norms > 0))
    if unfit.any():
        raise DataError(f"features row {np.argwhere(unfit)[0, 0]} is all zeros or not finite")
    _, numbers = np.unique(classes, return_inverse=True)
    means = np.zeros((numbers.max() + 1, array.shape[1]))
    np.add.at(means, numbers, array / norms)
    means /= np.bincount(numbers)[:, None]
    # the mean of u·v over pairs of unit vectors is the product of their means: no pair is looked at
    within = 1 - (means**2).sum(axis=1).mean()
    total = 1 - (means.mean(axis=0) ** 2).sum()
    return float(1 - within / total) if total > 1e-12 else math.nan
