import numpy as np
import pytest
import torch
from torch import Tensor

from lossbench.data import Dataset, Examples, Source
from lossbench.data.mixing import mix
from lossbench.data.prepare import prepare
from lossbench.errors import ConfigError

VALUES = torch.tensor([10.0, 20.0, 40.0, 80.0])  # of every pixel of image i, which has the label i


def batch(size: int = 10, dtype: torch.dtype = torch.uint8) -> tuple[Tensor, Tensor]:
    """Four images of one value each."""
    return VALUES.to(dtype)[:, None, None, None].repeat(1, 2, size, size), torch.arange(4)


def dataset(**alphas: float) -> Dataset:
    examples = Examples(*batch())
    return Dataset(
        examples, examples, examples, tuple("abcd"), torch.full((2, 1, 1), 3.0), torch.ones(2, 1, 1), **alphas
    )


def mixed(seed: int = 0, **alphas: float) -> tuple[Tensor, Tensor]:
    return mix(dataset(**alphas), *batch(), seed)


def shares(targets: Tensor) -> list[float]:
    """The share of each example that is its own."""
    return targets.diagonal().tolist()


@pytest.mark.parametrize("seed", range(5))
def test_mixup_gives_each_pixel_the_mean_of_two_under_the_target(seed):
    inputs, targets = mixed(seed, mixup=1.0)
    # λ v_i + (1 - λ) v_{i-1} = Σ_k t_ik v_k
    expected = (targets @ VALUES)[:, None, None, None].expand(4, 2, 10, 10)
    torch.testing.assert_close(inputs, expected)
    share = targets[0, 0]
    assert 0 < share < 1
    torch.testing.assert_close(targets, share * torch.eye(4) + (1 - share) * torch.eye(4).roll(1, 0))


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_pastes_a_box_and_the_target_is_its_share_of_the_pixels(seed):
    inputs, targets = mixed(seed, cutmix=1.0)
    assert inputs.dtype == torch.uint8
    pasted = inputs[1, 0] == 10
    assert torch.equal(inputs[1, 0] == 20, ~pasted)
    rows, columns = pasted.any(1), pasted.any(0)
    assert torch.equal(pasted, rows[:, None] & columns), "a box"
    for lines in (rows, columns):
        inside = lines.nonzero().flatten()
        assert len(inside) == inside.max() - inside.min() + 1, "in one piece"
    for i in range(4):
        for channel in range(2):
            assert torch.equal(inputs[i, channel] == VALUES[i - 1], pasted)
        own = 1 - pasted.double().mean().item()
        assert targets[i, i].item() == pytest.approx(own)
        assert targets[i, i - 1].item() == pytest.approx(1 - own)


def test_the_box_has_the_images_shape_and_is_cut_off_at_its_edges():
    # α = 10⁸ makes λ one half: sides of √½ · 10 = 7.07, 7 pixels, 49 in all. A centre in row 0 leaves rows 0 to 3 of
    # the box, a centre in row 9 rows 6 to 9: 4 × 4 is the least.
    pasted = [round(100 * mixed(seed, cutmix=1e8)[1][0, 3].item()) for seed in range(1000)]
    assert (min(pasted), max(pasted)) == (16, 49)


@pytest.mark.parametrize("alphas", [{"mixup": 0.3}, {"cutmix": 0.3}, {"mixup": 1.0, "cutmix": 1.0}])
def test_mixed_targets_are_probabilities(alphas):
    for seed in range(200):
        _, targets = mixed(seed, **alphas)
        assert targets.dtype == torch.float32
        assert targets.min() >= 0
        torch.testing.assert_close(targets.sum(1), torch.ones(4))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_beta_distributed(alpha):
    own = np.array([shares(mixed(seed, mixup=alpha)[1])[0] for seed in range(2000)])
    # Beta(α, α) has mean ½ and variance 1/(4(2α + 1)); the mean of 2,000 has √(variance/2000) ≤ 0.0095 about it,
    # four of which are allowed. The variance is found to √((kurtosis - 1)/2000) ≤ 3 % of itself; five of these.
    assert own.mean() == pytest.approx(0.5, abs=0.04)
    assert own.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


def test_with_both_on_each_batch_gets_one_of_them_at_even_odds():
    # Bytes stay bytes under CutMix alone. Binomial(400, ½): 200, standard deviation 10; five of them either way.
    by_mixup = sum(mixed(seed, mixup=1.0, cutmix=1.0)[0].dtype == torch.float32 for seed in range(400))
    assert abs(by_mixup - 200) < 50


def test_with_both_off_a_batch_is_left_alone():
    inputs, targets = batch()
    same_inputs, same_targets = mix(dataset(), inputs, targets, 0)
    assert same_inputs is inputs
    assert same_targets is targets


def test_two_examples_of_one_class_make_a_whole_one():
    _, targets = mix(dataset(mixup=1.0), batch()[0], torch.ones(4, dtype=torch.int64), 0)
    torch.testing.assert_close(targets, torch.eye(4)[[1, 1, 1, 1]])


@pytest.mark.parametrize("alphas", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_a_batch_of_one_is_mixed_with_itself(alphas):
    inputs, targets = batch()
    alone, probabilities = mix(dataset(**alphas), inputs[2:3], targets[2:3], 0)
    torch.testing.assert_close(alone.float(), inputs[2:3].float())
    torch.testing.assert_close(probabilities, torch.tensor([[0.0, 0.0, 1.0, 0.0]]))


def test_mixing_leaves_the_batch_it_was_given():
    inputs, targets = batch()
    mix(dataset(cutmix=1.0), inputs, targets, 0)
    assert torch.equal(inputs, batch()[0])
    assert torch.equal(targets, batch()[1])


def test_a_seed_mixes_the_same_way_twice_and_draws_from_no_other_stream():
    before = torch.get_rng_state()
    first, second, other = (mixed(seed, mixup=1.0)[0] for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("alphas", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_mixing_before_normalising_is_mixing_after(alphas):
    data = dataset(**alphas)
    inputs, targets = batch()
    first, _ = mix(data, inputs, targets, 0)
    last, _ = mix(data, data.normalise(inputs), targets, 0)
    torch.testing.assert_close(data.normalise(first), last)


def test_mixup_mixes_tables():
    data = dataset(mixup=1.0)
    inputs, targets = mix(data, VALUES[:, None], torch.arange(4), 0)
    torch.testing.assert_close(inputs.flatten(), targets @ VALUES)


@pytest.mark.cuda
@pytest.mark.parametrize("alphas", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_every_device_mixes_alike(alphas):
    on_cpu, targets = mixed(0, **alphas)
    inputs, labels = batch()
    on_cuda, probabilities = mix(dataset(**alphas).to("cuda"), inputs.cuda(), labels.cuda(), 0)
    torch.testing.assert_close(on_cuda.cpu(), on_cpu)
    torch.testing.assert_close(probabilities.cpu(), targets)


def table() -> Source:
    return Source(Examples(torch.arange(40.0)[:, None], torch.arange(40) % 2), ("a", "b"))


def images(masks: bool = False) -> Source:
    targets = torch.zeros(40, 2, 2, dtype=torch.int64) if masks else torch.arange(40) % 2
    return Source(Examples(torch.zeros(40, 1, 2, 2, dtype=torch.uint8), targets), ("a", "b"))


def test_cutmix_of_a_table_is_refused():
    with pytest.raises(ConfigError, match=r"dataset\.cutmix=0\.5 needs images.*shape \[1\].*dataset\.cutmix=0 "):
        prepare(table(), seed=0, cutmix=0.5)


@pytest.mark.parametrize("key", ["mixup", "cutmix"])
def test_masks_are_not_mixed(key):
    with pytest.raises(ConfigError, match=rf"dataset\.{key}=1 needs one label per example.*dataset\.{key}=0$"):
        prepare(images(masks=True), seed=0, **{key: 1.0})


def test_weighed_examples_are_not_mixed(tmp_path):
    path = tmp_path / "weights.npy"
    np.save(path, np.ones(40))
    with pytest.raises(ConfigError, match=r"dataset\.mixup=1 dataset\.cutmix=2 and dataset\.sample_weights exclude"):
        prepare(images(), seed=0, mixup=1.0, cutmix=2.0, sample_weights=str(path))


def test_the_data_fingerprint_covers_mixing():
    seen = [
        prepare(images(), seed=0, **options).fingerprints["data"]
        for options in ({}, {"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 0.5})
    ]
    assert len(set(seen)) == 4
