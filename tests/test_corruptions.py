from __future__ import annotations

import math

import pytest
import torch

from lossbench.corruptions import LEVELS, contrast, corruption, gaussian_blur, gaussian_noise


def images(count: int = 4, channels: int = 3, side: int = 32) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_every_corruption_keeps_shape_and_range(name: str, level: int) -> None:
    for side in (4, 28, 64):
        worse = corruption(name, level)(images(channels=1, side=side))
        assert worse.shape == (4, 1, side, side)
        assert worse.dtype == torch.float32
        assert (worse >= 0).all()
        assert (worse <= 1).all()


@pytest.mark.parametrize("name", LEVELS)
def test_each_level_is_further_from_the_image_than_the_one_before(name: str) -> None:
    clean = images()
    distances = [(corruption(name, level)(clean) - clean).square().mean().item() for level in (1, 2, 3, 4, 5)]
    assert distances[0] > 0
    assert distances == sorted(set(distances))


def test_noise_has_the_deviation_it_says_and_is_clipped() -> None:
    generator = torch.Generator().manual_seed(0)
    grey = gaussian_noise(torch.full((1, 1, 200, 200), 0.5), 0.1, generator)
    # The standard error of a deviation from 40,000 draws is 0.1 / sqrt(80,000) = 0.00035. Clipping is at 5 deviations.
    assert grey.std().item() == pytest.approx(0.1, abs=0.0015)
    black = gaussian_noise(torch.zeros(1, 1, 200, 200), 0.1, generator)
    # Half of a normal distribution is clipped to 0, the rest has the mean 0.1 · sqrt(2/π)/2.
    assert (black == 0).float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert black.mean().item() == pytest.approx(0.1 / math.sqrt(2 * math.pi), abs=0.001)


def test_every_run_and_level_is_given_the_same_noise_and_every_batch_its_own() -> None:
    grey = torch.full((2, 1, 8, 8), 0.5)
    once, again, louder = (corruption("gaussian_noise", level) for level in (1, 1, 5))
    first = once(grey)
    assert torch.equal(first, again(grey))
    torch.testing.assert_close((louder(grey) - 0.5) / 0.10, (first - 0.5) / 0.04)  # deviations of CIFAR-10-C
    assert not torch.equal(first, once(grey))


def test_contrast_keeps_each_images_mean_and_a_share_of_its_deviations() -> None:
    # The means are 0.5 and 0.25; a quarter of the distance to them is left.
    pair = torch.tensor([[0.0, 1.0], [0.0, 0.5]]).reshape(2, 1, 1, 2)
    assert contrast(pair, 0.25).flatten().tolist() == [0.375, 0.625, 0.1875, 0.3125]


def test_blur_spreads_a_point_as_a_gaussian() -> None:
    point = torch.zeros(1, 1, 9, 9)
    point[0, 0, 4, 4] = 1
    blurred = gaussian_blur(point, 1.0)[0, 0]
    assert blurred.sum().item() == pytest.approx(1)
    # A pixel beside the point has exp(-1/2) of it, one across the corner exp(-1).
    assert (blurred[4, 5] / blurred[4, 4]).item() == pytest.approx(math.exp(-0.5))
    assert (blurred[5, 5] / blurred[4, 4]).item() == pytest.approx(math.exp(-1))


def test_blur_is_as_wide_on_a_larger_image_as_on_its_thumbnail() -> None:
    # Twice the side, twice the σ: beside the point are 2 pixels in place of 1, at the same distance in σ.
    point = torch.zeros(1, 1, 64, 64)
    point[0, 0, 32, 32] = 1
    blurred = gaussian_blur(point, 1.0)[0, 0]
    assert (blurred[32, 34] / blurred[32, 32]).item() == pytest.approx(math.exp(-0.5))
