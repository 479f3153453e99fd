"""Generated data whose posterior is known: ground truth for calibration."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from lossbench.data.dataset import Examples, Source
from lossbench.domains import AT_LEAST_ONE, POSITIVE, Interval
from lossbench.errors import ShapeError
from lossbench.randomness import stream

AT_LEAST_TWO = Interval(2.0, math.inf, open_high=True)


def gaussians(
    *,
    num_classes: Annotated[int, AT_LEAST_TWO] = 2,
    dimensions: Annotated[int, AT_LEAST_ONE] = 2,
    separation: Annotated[float, POSITIVE] = 2.0,
    n_train: Annotated[int, AT_LEAST_TWO] = 2000,
    n_test: Annotated[int, AT_LEAST_ONE] = 10000,
    data_seed: int = 0,
) -> Source:
    """Classes of equal prior, each a Gaussian of unit variance around its mean from `gaussian_means`.

    The best accuracy there is for two classes is Φ(separation/2): 0.841 at 2.

    Args:
        num_classes: K.
        dimensions: D, features per example.
        separation: distance between neighbouring means, in standard deviations.
        n_train: examples to learn from, the validation split included.
        n_test: examples to test on.
        data_seed: of the draw, apart from the run's seed: every run of a sweep has the same examples.

    Returns:
        Training and test examples, float32 [N, D]. Their true posterior is
        `gaussian_log_posterior(inputs, gaussian_means(num_classes, dimensions, separation))`, of raw inputs.
    """
    means = gaussian_means(num_classes, dimensions, separation)

    def draw(name: str, count: int) -> Examples:
        generator = torch.Generator().manual_seed(stream(data_seed, f"gaussians {name}"))
        targets = torch.randint(0, num_classes, (count,), generator=generator)
        return Examples(means[targets] + torch.randn(count, dimensions, generator=generator), targets)

    names = tuple(f"class {k}" for k in range(num_classes))
    return Source(draw("train", n_train), names, test=draw("test", n_test))


def gaussian_means(num_classes: int, dimensions: int, separation: float) -> Tensor:
    """Return the means: the corners of a regular polygon in the first two dimensions; in one, evenly on a line.

    Args:
        num_classes: K, at least 2.
        dimensions: D, at least 1.
        separation: distance between neighbours.

    Returns:
        Means around the origin, float32 [K, D].
    """
    means = torch.zeros(num_classes, dimensions, dtype=torch.float64)
    k = torch.arange(num_classes, dtype=torch.float64)
    if dimensions == 1:
        means[:, 0] = (k - (num_classes - 1) / 2) * separation
    else:
        radius = separation / (2 * math.sin(math.pi / num_classes))  # from the side of the polygon
        angle = 2 * math.pi * k / num_classes
        means[:, 0], means[:, 1] = radius * angle.cos(), radius * angle.sin()
    return means.float()


def gaussian_log_posterior(inputs: Tensor, means: Tensor) -> Tensor:
    """Log-probability of each class given an input, exactly.

        log p(k | x) = log softmax_k(-½‖x - μ_k‖²)

    Args:
        inputs: raw, as `gaussians` gives them, float [N, D].
        means: float [K, D].

    Returns:
        Log-probabilities in nats, float64 [N, K]; valid logits.

    Raises:
        ShapeError: if the two disagree in D.
    """
    if inputs.ndim != 2 or means.ndim != 2 or inputs.shape[1] != means.shape[1]:
        raise ShapeError(f"expected inputs [N, D] and means [K, D]; got {list(inputs.shape)} and {list(means.shape)}")
    inputs, means = inputs.double(), means.double()
    # ½‖x‖² is the same for every class and drops out of the softmax.
    return torch.log_softmax(inputs @ means.T - means.square().sum(1) / 2, dim=1)
