import pytest
import torch

from lossbench.data import Dataset, Examples, Source
from lossbench.errors import DataError, ShapeError


def images(count=4, dtype=torch.uint8):
    pixels = torch.arange(1, count * 6 + 1).reshape(count, 1, 2, 3).to(dtype)
    return Examples(pixels, torch.arange(count) % 2)


def dataset(**options):
    examples = images()
    return Dataset(
        examples, examples, examples, ("a", "b", "c"), torch.zeros(1, 1, 1), torch.full((1, 1, 1), 2.0), **options
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_examples_refuse_inputs_and_targets_of_different_lengths():
    with pytest.raises(ShapeError, match=r"got \[4, 1, 2, 3\] and \[3\]"):
        Examples(images().inputs, torch.zeros(3, dtype=torch.int64))


def test_examples_refuse_other_dtypes():
    with pytest.raises(ShapeError, match=r"torch\.float64 and torch\.int64"):
        Examples(torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.int64))


def test_examples_refuse_weights_of_another_length():
    with pytest.raises(ShapeError, match=r"one sample weight per example, \[4\]; got \[3\]"):
        Examples(images().inputs, images().targets, torch.ones(3))


def test_selected_examples_keep_their_labels_and_weights():
    examples = Examples(images().inputs, images().targets, torch.tensor([0.0, 1.0, 2.0, 3.0]))
    chosen = examples.select(torch.tensor([3, 0]))
    assert torch.equal(chosen.inputs, examples.inputs[[3, 0]])
    assert chosen.targets.tolist() == [1, 0]
    assert chosen.sample_weights is not None
    assert chosen.sample_weights.tolist() == [3.0, 0.0]


def test_a_source_of_one_class_is_refused():
    with pytest.raises(DataError, match="at least two classes"):
        Source(Examples(images().inputs, torch.zeros(4, dtype=torch.int64)), ("only",))


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_no_class_is_refused_and_named(label):
    wrong = Examples(torch.zeros(1, 2), torch.tensor([label]))
    with pytest.raises(DataError, match=rf"the test labels must lie in 0\.\.1; got {label}"):
        Source(images(), ("a", "b"), test=wrong)


def test_class_counts_show_an_empty_class():
    # Targets 0, 1, 0, 1 and no 2.
    assert dataset().class_counts.tolist() == [2, 2, 0]
    assert dataset().num_classes == 3
    assert dataset().input_shape == (1, 2, 3)


def test_normalise_subtracts_the_mean_and_divides_by_the_scale():
    # Mean 0, scale 2: the bytes 1, 2, 3 are 0.5, 1, 1.5.
    normalised = dataset().normalise(images().inputs)
    assert normalised.dtype == torch.float32
    assert normalised[0, 0, 0].tolist() == [0.5, 1.0, 1.5]


def test_moving_a_data_set_moves_every_tensor():
    # The meta device exists on every machine and holds no values.
    weighted = Examples(images().inputs, images().targets, torch.ones(4))
    moved = Dataset(weighted, images(), images(), ("a", "b"), torch.zeros(1, 1, 1), torch.ones(1, 1, 1)).to("meta")
    tensors = [moved.mean, moved.scale, moved.train.sample_weights]
    tensors += [tensor for split in (moved.train, moved.val, moved.test) for tensor in (split.inputs, split.targets)]
    assert {str(tensor.device) for tensor in tensors if tensor is not None} == {"meta"}
    assert len(tensors) == 9


def test_augmentation_is_the_identity_unless_asked_for():
    inputs = images().inputs
    assert dataset().augment(inputs, generator()) is inputs


def test_flip_mirrors_left_to_right_about_half_of_the_images():
    inputs = images(400, torch.float32).inputs
    flipped = dataset(flip=True).augment(inputs, generator())
    same = (flipped == inputs).all(dim=(1, 2, 3))
    mirrored = (flipped == inputs.flip(3)).all(dim=(1, 2, 3))
    assert (same ^ mirrored).all()
    # Binomial(400, ½): mean 200, standard deviation 10; five of them either way.
    assert 150 < int(mirrored.sum()) < 250


def test_shift_moves_an_image_and_fills_with_zero():
    # Shifts of ±1 along each axis of [[1, 2, 3], [4, 5, 6]], by hand, for the nine offsets (dy, dx):
    # output[i, j] = input[i + dy, j + dx], 0 outside.
    by_hand = {
        (-1, -1): [[0, 0, 0], [0, 1, 2]],
        (-1, 0): [[0, 0, 0], [1, 2, 3]],
        (-1, 1): [[0, 0, 0], [2, 3, 0]],
        (0, -1): [[0, 1, 2], [0, 4, 5]],
        (0, 0): [[1, 2, 3], [4, 5, 6]],
        (0, 1): [[2, 3, 0], [5, 6, 0]],
        (1, -1): [[0, 4, 5], [0, 0, 0]],
        (1, 0): [[4, 5, 6], [0, 0, 0]],
        (1, 1): [[5, 6, 0], [0, 0, 0]],
    }
    inputs = images(1).inputs.expand(300, -1, -1, -1)
    moved = dataset(shift=1).augment(inputs, generator())
    assert moved.dtype == torch.uint8
    # Offsets come from the generator alone, so a second one tells which to expect.
    offsets = torch.randint(0, 3, (2, 300, 1), generator=generator()).squeeze(2) - 1
    expected = [by_hand[dy, dx] for dy, dx in offsets.T.tolist()]
    assert moved[:, 0].tolist() == expected
    # Each of the nine has probability 1/9: all occur among 300 but for a chance of 9·(8/9)^300 < 1e-14.
    assert len({str(image) for image in expected}) == 9


def test_all_channels_of_an_image_move_together():
    grey = torch.rand(50, 1, 5, 6, generator=generator(1))
    moved = dataset(shift=2, flip=True).augment(grey.expand(-1, 3, -1, -1), generator())
    assert moved.shape == (50, 3, 5, 6)
    assert torch.equal(moved[:, :1].expand(-1, 3, -1, -1), moved)
    assert not torch.equal(moved[:, :1], grey)


def test_augmentation_is_the_same_for_the_same_generator_seed():
    inputs = torch.rand(50, 1, 6, 6, generator=generator(1))
    data = dataset(shift=2, flip=True)
    assert torch.equal(data.augment(inputs, generator(7)), data.augment(inputs, generator(7)))
    assert not torch.equal(data.augment(inputs, generator(7)), data.augment(inputs, generator(8)))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_augmentation_is_the_same_on_a_cuda_device():
    inputs = torch.rand(50, 3, 6, 6, generator=generator(1))
    data = dataset(shift=2, flip=True)
    assert torch.equal(data.augment(inputs.cuda(), generator()).cpu(), data.augment(inputs, generator()))
