"""Predictions on masks: a chunk at a time, a sample of the pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lossbench import pixels
from lossbench.data.dataset import Examples
from lossbench.pixels import predict_pixels, sample_pixels

HEIGHT, WIDTH = 3, 4


def examples(count: int = 7) -> Examples:
    """Images of which each pixel has a value of its own, with masks of two classes and some pixels unlabelled."""
    values = torch.arange(count * HEIGHT * WIDTH, dtype=torch.float32).reshape(count, 1, HEIGHT, WIDTH)
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (count, HEIGHT, WIDTH), generator=generator)
    return Examples(values, targets.where(torch.rand(targets.shape, generator=generator) < 0.7, -100))


def model(images: Tensor) -> Tensor:
    """Two logits for each pixel: its value and the negative of it, so that a logit tells where it is from."""
    return torch.cat([images, -images], dim=1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of ten pixels, and chunks of two images."""
    monkeypatch.setattr(pixels, "MAX_PIXELS", 10)
    monkeypatch.setattr(pixels, "CHUNK_PIXELS", 2 * HEIGHT * WIDTH)
    sample_pixels.cache_clear()


def test_few_pixels_are_all_kept() -> None:
    assert sample_pixels(6, seed=0).tolist() == [0, 1, 2, 3, 4, 5]


def test_of_many_pixels_a_sample_without_repeats_is_kept_in_order(small: None) -> None:
    kept = sample_pixels(1000, seed=0).tolist()
    assert kept == sorted(set(kept))
    assert len(kept) == 10
    assert 0 <= kept[0] < kept[-1] < 1000


def test_the_sample_is_that_of_its_seed(small: None) -> None:
    first = sample_pixels(1000, seed=0).tolist()
    sample_pixels.cache_clear()
    assert sample_pixels(1000, seed=0).tolist() == first
    assert sample_pixels(1000, seed=1).tolist() != first


def test_every_pixel_is_as_likely_to_be_kept(small: None) -> None:
    counts = torch.zeros(20)
    for seed in range(1000):
        counts[sample_pixels(20, seed)] += 1
    # Each is kept with probability ½: 500 ± 16; five standard deviations either way.
    assert counts.sum() == 10_000
    assert (counts - 500).abs().max() < 80


def test_the_logits_kept_are_those_of_the_labelled_pixels_with_their_targets(small: None) -> None:
    split = examples()
    labelled = split.targets != -100
    expected_values, expected_targets = split.inputs[:, 0][labelled], split.targets[labelled]
    everything = torch.arange(int(labelled.sum()))
    for kept in (everything, sample_pixels(len(everything), seed=0)):
        logits, targets, _ = predict_pixels(model, split, kept)
        assert torch.equal(logits[:, 0], expected_values[kept])
        assert torch.equal(logits[:, 1], -expected_values[kept])
        assert torch.equal(targets, expected_targets[kept])


def test_no_more_than_a_chunk_goes_through_the_model_at_a_time(small: None) -> None:
    seen: list[int] = []

    def watched(images: Tensor) -> Tensor:
        seen.append(len(images))
        return model(images)

    predict_pixels(watched, examples(7), torch.arange(3))
    assert seen == [2, 2, 2, 1]


def test_an_image_larger_than_a_chunk_goes_through_alone(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "CHUNK_PIXELS", 5)
    logits, _, _ = predict_pixels(model, examples(3), torch.arange(4))
    assert logits.shape == (4, 2)


def test_cross_entropy_over_chunks_is_cross_entropy_over_all_labelled_pixels(small: None) -> None:
    # The chunks have different numbers of labelled pixels; a plain mean of their losses would be another number.
    split = examples()
    scaled = Examples(split.inputs / 40 - 1, split.targets)

    def loss(logits: Tensor, batch: slice) -> Tensor:
        return F.cross_entropy(logits, scaled.targets[batch])

    _, _, mean = predict_pixels(model, scaled, torch.arange(5), loss)
    torch.testing.assert_close(mean, F.cross_entropy(model(scaled.inputs), scaled.targets))


def test_without_a_loss_there_is_no_number_that_could_be_taken_for_one() -> None:
    assert predict_pixels(model, examples(), torch.arange(5))[2].isnan()


def test_a_chunk_without_a_label_adds_nothing(small: None) -> None:
    split = examples()
    split.targets[2:4] = -100  # the second chunk

    def loss(logits: Tensor, batch: slice) -> Tensor:
        assert (split.targets[batch] != -100).any() or batch.start == 2
        return torch.tensor(0.0 if batch.start == 2 else 1.0)

    logits, _, mean = predict_pixels(model, split, torch.arange(split.labelled), loss)
    assert len(logits) == split.labelled
    assert mean == 1.0
