import pytest
import torch

from lossbench.data import shapes

BACKGROUND, SQUARE, DISC = range(3)


def test_images_and_masks_have_the_sizes_asked_for():
    source = shapes(size=40, n_train=5, n_test=3)
    assert source.train.inputs.shape == (5, 1, 40, 40)
    assert source.train.inputs.dtype == torch.uint8
    assert source.test is not None
    assert source.test.targets.shape == (3, 40, 40)
    assert source.val is None


def test_a_seed_gives_the_same_images_and_another_seed_others():
    one, same, other = (shapes(n_train=5, n_test=5, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train.inputs, same.train.inputs)
    assert torch.equal(one.train.targets, same.train.targets)
    assert not torch.equal(one.train.targets, other.train.targets)
    assert not torch.equal(one.train.targets, one.test.targets)


def test_squares_are_a_few_times_rarer_than_the_background_and_discs_rarer_still():
    targets = shapes().train.targets
    share = [float((targets == k).float().mean()) for k in (BACKGROUND, SQUARE, DISC)]
    # A square has a half side of 4..8, 13 pixels a side on average, of which the image's edge cuts some: 0.1 of 1024.
    # A disc has a radius of 2..4, 9π pixels on average without its outline: 0.02.
    assert 0.75 < share[0] < 0.9
    assert 0.08 < share[1] < 0.16
    assert 0.015 < share[2] < 0.03


def test_every_pixel_where_the_class_changes_has_no_label():
    targets = shapes(n_train=50).train.targets
    for one, next_one in ((targets[:, :-1], targets[:, 1:]), (targets[:, :, :-1], targets[:, :, 1:])):
        labelled = (one != -100) & (next_one != -100)
        assert torch.equal(one[labelled], next_one[labelled])
    assert 0.03 < (targets == -100).float().mean() < 0.08


@pytest.mark.parametrize(("class_index", "brightness"), [(BACKGROUND, 70), (SQUARE, 130), (DISC, 190)])
def test_a_class_has_its_brightness_under_the_noise(class_index, brightness):
    source = shapes()
    pixels = source.train.inputs[:, 0][source.train.targets == class_index].double()
    # Noise has a standard deviation of 30, cut at 0 and 255; of 6,000 disc pixels the mean has an error of 0.4.
    assert pixels.mean() == pytest.approx(brightness, abs=2)
    assert pixels.std() == pytest.approx(30, abs=2)
