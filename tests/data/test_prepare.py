import math

import numpy as np
import pytest
import torch

from lossbench.data import Examples, Source
from lossbench.data.prepare import fingerprint, normalisation, prepare
from lossbench.errors import ConfigError, DataError


def source(counts=(60, 30, 10), **splits):
    """Examples whose only feature is their number in the source, so that any split can be traced back."""
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    numbers = torch.arange(len(targets), dtype=torch.float32)[:, None]
    return Source(Examples(numbers, targets), tuple("abcdefghij"[: len(counts)]), **splits)


def image_source(count=20):
    pixels = torch.arange(count * 2 * 3 * 4).reshape(count, 2, 3, 4) % 251
    return Source(Examples(pixels.to(torch.uint8), torch.arange(count) % 2), ("a", "b"))


def numbers(examples):
    return set(examples.inputs.flatten().tolist())


def counts(examples, num_classes=3):
    return torch.bincount(examples.targets, minlength=num_classes).tolist()


def test_splits_are_disjoint_and_together_the_source():
    data = prepare(source(), seed=0)
    train, val, test = numbers(data.train), numbers(data.val), numbers(data.test)
    assert len(train) + len(val) + len(test) == 100
    assert train | val | test == set(map(float, range(100)))


def test_splits_are_stratified():
    # Test is 0.2 of 60, 30, 10; validation 0.1 of the 48, 24, 8 left: 4.8 → 5, 2.4 → 2, 0.8 → 1.
    data = prepare(source(), seed=0)
    assert counts(data.test) == [12, 6, 2]
    assert counts(data.val) == [5, 2, 1]
    assert data.class_counts.tolist() == [43, 22, 7]


def test_every_example_keeps_its_label():
    data = prepare(source(), seed=4)
    for split in (data.train, data.val, data.test):
        # The first 60 examples are of class 0, the next 30 of class 1, the rest of class 2.
        expected = [0 if number < 60 else 1 if number < 90 else 2 for number in split.inputs.flatten().tolist()]
        assert split.targets.tolist() == expected


def test_a_seed_gives_the_same_splits_twice():
    first, second = prepare(source(), seed=1), prepare(source(), seed=1)
    assert numbers(first.val) == numbers(second.val)
    assert first.fingerprints == second.fingerprints


def test_another_seed_gives_another_validation_split_and_the_same_test_split():
    first, second = prepare(source(), seed=1), prepare(source(), seed=2)
    assert numbers(first.val) != numbers(second.val)
    assert torch.equal(first.test.inputs, second.test.inputs)
    assert first.fingerprints["split"] != second.fingerprints["split"]


def test_a_sources_own_splits_are_left_alone():
    own = source((5, 5, 5))
    data = prepare(source(val=own.train, test=own.train), seed=0)
    assert data.val is own.train
    assert data.test is own.train
    assert counts(data.train) == [60, 30, 10]


def test_a_smaller_training_fraction_is_part_of_a_larger_one():
    small, large = (prepare(source(), seed=0, train_fraction=share) for share in (0.1, 0.5))
    # 0.1 of the 43, 22, 7 left for training: 4, 2, 1 (0.7).
    assert counts(small.train) == [4, 2, 1]
    assert numbers(small.train) < numbers(large.train)


def test_subset_imbalance_and_noise_touch_the_training_split_alone():
    plain = prepare(source(), seed=0)
    worse = prepare(source(), seed=0, train_fraction=0.9, imbalance_factor=20.0, label_noise=0.5)
    for name in ("val", "test"):
        assert torch.equal(getattr(plain, name).inputs, getattr(worse, name).inputs)
        assert torch.equal(getattr(plain, name).targets, getattr(worse, name).targets)
    assert numbers(worse.train) < numbers(plain.train)


def test_the_long_tail_is_cut_from_what_the_splits_leave():
    # 100 of each class: 20 for test, 8 for validation, 72 left; 72·9^(-c/2) = 72, 24, 8.
    assert prepare(source((100, 100, 100)), seed=0, imbalance_factor=9.0).class_counts.tolist() == [72, 24, 8]


def test_label_noise_does_not_move_an_example_between_splits():
    plain, noisy = prepare(source(), seed=0), prepare(source(), seed=0, label_noise=0.5)
    assert torch.equal(plain.train.inputs, noisy.train.inputs)
    assert not torch.equal(plain.train.targets, noisy.train.targets)
    assert plain.fingerprints["split"] == noisy.fingerprints["split"]
    assert plain.fingerprints["data"] != noisy.fingerprints["data"]


def test_the_share_of_noisy_labels_is_the_one_asked_for():
    clean, noisy = (prepare(source((5000, 5000)), seed=0, label_noise=rate) for rate in (0.0, 0.3))
    changed = int((clean.train.targets != noisy.train.targets).sum())
    # Binomial(7200, 0.3): 2160, standard deviation 38.9; five of them either way.
    assert len(clean.train) == 7200
    assert abs(changed - 2160) < 195


def test_an_empty_class_is_no_error_here():
    data = prepare(source((60, 0, 10)), seed=0)
    assert data.class_counts.tolist()[1] == 0
    assert data.num_classes == 3


def test_too_few_examples_for_a_split_is_an_error():
    with pytest.raises(DataError, match="2 examples are too few to cut a test split"):
        prepare(source((1, 1)), seed=0)


def test_no_training_examples_is_an_error():
    with pytest.raises(DataError, match="no training examples"):
        prepare(source((0, 0)), seed=0)


def test_an_empty_split_of_the_source_is_an_error():
    with pytest.raises(DataError, match="own test split has no examples"):
        prepare(source(test=source((0, 0)).train), seed=0)


def test_standard_normalization_gives_the_training_split_mean_zero_and_deviation_one():
    for data in (prepare(source(), seed=0), prepare(image_source(), seed=0)):
        normalised = data.normalise(data.train.inputs).double()
        axes = [0, *range(2, normalised.ndim)]
        assert normalised.mean(axes).abs().max() < 1e-6
        assert (normalised.std(axes, correction=0) - 1).abs().max() < 1e-6


def test_standard_moments_of_bytes_by_hand():
    # One channel holds 0 and 2 (mean 1, deviation 1), the other 10 and 16 (mean 13, deviation 3).
    pixels = torch.tensor([[[[0]], [[10]]], [[[2]], [[16]]]], dtype=torch.uint8)
    mean, scale = normalisation(pixels, "standard")
    assert mean.shape == scale.shape == (2, 1, 1)
    assert mean.flatten().tolist() == [1.0, 13.0]
    assert scale.flatten().tolist() == [1.0, 3.0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_constant_feature_is_only_centred(dtype):
    constant = torch.full((7, 1), 0.1 if dtype == torch.float32 else 3).to(dtype)
    mean, scale = normalisation(constant, "standard")
    assert mean.tolist() == pytest.approx([constant[0].item()])
    assert scale.tolist() == [1.0]


def test_unit_normalization_divides_bytes_by_255_and_leaves_floats():
    data = prepare(image_source(), seed=0, normalization="unit")
    assert data.normalise(torch.full((1, 2, 3, 4), 255, dtype=torch.uint8)).unique().tolist() == [1.0]
    table = prepare(source(), seed=0, normalization="unit")
    assert torch.equal(table.normalise(table.test.inputs), table.test.inputs)


def test_no_normalization_leaves_bytes_as_they_are():
    data = prepare(image_source(), seed=0, normalization="none")
    assert torch.equal(data.normalise(data.test.inputs), data.test.inputs.float())


def test_the_data_fingerprint_follows_a_single_value():
    changed = source()
    changed.train.inputs[50] += 0.5
    first, second = prepare(source(), seed=0), prepare(changed, seed=0)
    assert first.fingerprints["data"] != second.fingerprints["data"]
    assert first.fingerprints["split"] == second.fingerprints["split"]


def test_the_data_fingerprint_covers_how_the_model_sees_the_data():
    seen = [
        prepare(image_source(), seed=0, **options).fingerprints["data"]
        for options in ({}, {"normalization": "unit"}, {"shift": 1}, {"flip": True})
    ]
    assert len(set(seen)) == 4


def test_a_fingerprint_tells_shapes_and_dtypes_of_the_same_bytes_apart():
    zeros = torch.zeros(4)
    alike = [zeros, zeros.reshape(2, 2), zeros.int()]
    assert len({fingerprint([tensor]) for tensor in alike}) == 3
    assert fingerprint([zeros]) == fingerprint([torch.zeros(8)[::2]])


@pytest.mark.parametrize(("options", "key"), [({"shift": 2}, "dataset.shift=2"), ({"flip": True}, "dataset.flip=true")])
def test_augmentation_of_a_table_is_an_error_that_names_the_key(options, key):
    with pytest.raises(ConfigError, match=rf"{key} needs images.*dataset\.shift=0"):
        prepare(source(), seed=0, **options)


def test_a_shift_as_large_as_the_image_is_an_error():
    with pytest.raises(ConfigError, match=r"dataset\.shift must be smaller than the images, 3×4 pixels; got 3"):
        prepare(image_source(), seed=0, shift=3)
    assert prepare(image_source(), seed=0, shift=2, flip=True).shift == 2


def test_sample_weights_follow_their_examples_into_the_training_split_alone(tmp_path):
    path = tmp_path / "weights.npy"
    np.save(path, np.arange(100.0) / 4)
    data = prepare(source(), seed=0, train_fraction=0.5, sample_weights=str(path))
    assert data.train.sample_weights is not None
    # Example i of the source has the feature i and the weight i/4.
    assert torch.equal(data.train.sample_weights, data.train.inputs.flatten() / 4)
    assert data.val.sample_weights is None
    assert data.test.sample_weights is None
    assert data.fingerprints["data"] != prepare(source(), seed=0, train_fraction=0.5).fingerprints["data"]


def test_missing_sample_weights_are_an_error(tmp_path):
    with pytest.raises(DataError, match=r"dataset\.sample_weights=.*weights\.npy: no such file"):
        prepare(source(), seed=0, sample_weights=str(tmp_path / "weights.npy"))


@pytest.mark.parametrize("content", [b"", b"1, 2, 3\n"])
def test_sample_weights_that_are_no_npy_are_an_error(tmp_path, content):
    path = tmp_path / "weights.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"must be a \.npy file of numbers"):
        prepare(source(), seed=0, sample_weights=str(path))


def test_an_archive_of_sample_weights_is_an_error(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, weights=np.ones(100))
    with pytest.raises(DataError, match=r"must be a \.npy file of numbers; .*archive"):
        prepare(source(), seed=0, sample_weights=str(path))


def test_pickled_sample_weights_are_not_loaded(tmp_path):
    path = tmp_path / "weights.npy"
    np.save(path, np.array([1.0, None]), allow_pickle=True)
    with pytest.raises(DataError, match=r"must be a \.npy file of numbers"):
        prepare(source(), seed=0, sample_weights=str(path))


def test_sample_weights_of_the_wrong_length_are_an_error(tmp_path):
    path = tmp_path / "weights.npy"
    np.save(path, np.ones(99))
    with pytest.raises(DataError, match=r"100 training examples, shape \[100\]; got \[99\]"):
        prepare(source(), seed=0, sample_weights=str(path))


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf, None])
def test_negative_infinite_or_all_zero_sample_weights_are_an_error(tmp_path, wrong):
    path = tmp_path / "weights.npy"
    np.save(path, np.zeros(100) if wrong is None else np.array([wrong] + [1.0] * 99))
    with pytest.raises(DataError, match="finite, non-negative weights, not all zero"):
        prepare(source(), seed=0, sample_weights=str(path))


def mask_source(count=20, **splits):
    """Images of 2×2 pixels whose value is their number in the source, each with a mask of two classes."""
    pixels = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    masks = torch.tensor([[0, 1], [-100, 0]]).expand(count, -1, -1)
    return Source(Examples(pixels, masks), ("a", "b"), **splits)


def image_numbers(examples):
    return examples.inputs[:, 0, 0, 0].tolist()


def test_images_with_masks_are_cut_at_random():
    # Test is 0.2 of 20, validation 0.1 of the 16 left: 1.6 → 2.
    data = prepare(mask_source(), seed=0)
    splits = [image_numbers(split) for split in (data.train, data.val, data.test)]
    assert [len(split) for split in splits] == [14, 2, 4]
    assert sorted(number for split in splits for number in split) == list(range(20))
    assert image_numbers(prepare(mask_source(), seed=1).test) == splits[2]
    assert image_numbers(prepare(mask_source(), seed=1).val) != splits[1]


def test_a_share_of_the_images_with_masks_may_be_kept():
    assert len(prepare(mask_source(), seed=0, train_fraction=0.5).train) == 7


def test_a_source_with_its_own_masked_splits_keeps_them():
    own = mask_source(3).train
    data = prepare(mask_source(val=own, test=own), seed=0)
    assert (len(data.train), data.val, data.test) == (20, own, own)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imbalance_factor": 10.0}, r"dataset\.imbalance_factor=10 needs one label per example.*imbalance_factor=1$"),
        ({"label_noise": 0.2}, r"dataset\.label_noise=0\.2 needs one label per example.*label_noise=0$"),
    ],
)
def test_what_needs_one_label_per_example_is_refused_for_masks(options, message):
    with pytest.raises(ConfigError, match=message):
        prepare(mask_source(), seed=0, **options)


def test_the_old_classes_are_a_data_set_of_their_own():
    # Of 43, 22, 7 to train on, 5, 2, 1 to validate and 12, 6, 2 to test, the first two each.
    data = prepare(source(), seed=0, old_classes=2, learn="old")
    assert data.num_classes == data.teacher_classes == 2
    assert data.class_names == ("a", "b")
    assert [counts(split) for split in (data.train, data.val, data.test)] == [[43, 22, 0], [5, 2, 0], [12, 6, 0]]


def test_the_new_classes_are_trained_and_validated_and_all_are_tested():
    data = prepare(source((60, 30, 10, 20)), seed=0, old_classes=2, learn="new")
    assert (data.num_classes, data.teacher_classes) == (4, 2)
    # 0.2 of 10 and 20 for test, 0.1 of the 8 and 16 left (0.8 and 1.6) for validation, 7 and 14 for training.
    assert [counts(split, 4) for split in (data.train, data.val)] == [[0, 0, 7, 14], [0, 0, 1, 2]]
    assert counts(data.test, 4) == [12, 6, 2, 4]


def test_old_and_new_examples_are_those_of_the_splits_of_all_classes():
    options = {"seed": 3, "old_classes": 2, "train_fraction": 0.5, "imbalance_factor": 4.0}
    everything, old, new = (prepare(source(), learn=learn, **options) for learn in ("all", "old", "new"))
    for name in ("train", "val"):
        assert numbers(getattr(old, name)) | numbers(getattr(new, name)) == numbers(getattr(everything, name))
        assert not numbers(getattr(old, name)) & numbers(getattr(new, name))
    assert numbers(old.test) < numbers(everything.test) == numbers(new.test)


def test_old_classes_that_are_learned_with_the_others_change_no_example():
    plain, marked = prepare(source(), seed=0), prepare(source(), seed=0, old_classes=2)
    assert plain.fingerprints == marked.fingerprints
    assert marked.teacher_classes == 3


def test_label_noise_within_the_old_classes_stays_there():
    noisy = prepare(source(), seed=0, old_classes=2, learn="old", label_noise=1.0)
    assert counts(noisy.train) == [22, 43, 0]  # each of two classes becomes the other


def test_label_noise_within_the_new_classes_stays_there_and_needs_two():
    with pytest.raises(ConfigError, match=r"label_noise=1.0 needs two classes to learn; there is one new one"):
        prepare(source(), seed=0, old_classes=2, learn="new", label_noise=1.0)
    four = source((60, 30, 40, 20))
    noisy, clean = (prepare(four, seed=0, old_classes=2, learn="new", label_noise=rate) for rate in (1.0, 0.0))
    assert counts(noisy.train, 4) == [0, 0, *counts(clean.train, 4)[:1:-1]]  # each of two classes becomes the other


@pytest.mark.parametrize(("shares", "options"), [((0, 40, 0), {}), ((0, 40, 40), {"old_classes": 2, "learn": "old"})])
def test_training_examples_of_one_class_are_an_error_however_many_have_names(shares, options):
    with pytest.raises(DataError, match=r"should be of at least two classes; all 29 are of 'b'"):
        prepare(source(shares), seed=0, **options)


@pytest.mark.parametrize("old_classes", [1, 3, 4])
def test_one_old_class_or_no_new_one_is_an_error(old_classes):
    with pytest.raises(ConfigError, match=f"at least 2 and fewer than the 3 classes; got {old_classes}"):
        prepare(source(), seed=0, old_classes=old_classes)


@pytest.mark.parametrize("learn", ["old", "new"])
def test_a_part_of_the_classes_without_old_ones_is_an_error(learn):
    with pytest.raises(ConfigError, match=rf"learn={learn} needs dataset\.old_classes"):
        prepare(source(), seed=0, learn=learn)


def test_a_split_without_an_example_of_the_new_classes_is_an_error():
    own = source((5, 5, 0)).train
    with pytest.raises(DataError, match=r"learn=new leaves no validation example"):
        prepare(source(val=own), seed=0, old_classes=2, learn="new")


def test_old_classes_of_masks_are_an_error():
    with pytest.raises(ConfigError, match=r"dataset\.old_classes=2 needs one label per example.*old_classes=0$"):
        prepare(mask_source(), seed=0, old_classes=2)
