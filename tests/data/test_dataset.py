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


def augmented(data, inputs, seed=0):
    """The images of a batch whose targets do not matter."""
    targets = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    moved, same = data.augment(inputs, targets, generator(seed))
    assert same is targets
    return moved


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
    assert augmented(dataset(), inputs) is inputs


def test_flip_mirrors_left_to_right_about_half_of_the_images():
    inputs = images(400, torch.float32).inputs
    flipped = augmented(dataset(flip=True), inputs)
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
    moved = augmented(dataset(shift=1), inputs)
    assert moved.dtype == torch.uint8
    # Offsets come from the generator alone, so a second one tells which to expect.
    offsets = torch.randint(0, 3, (2, 300, 1), generator=generator()).squeeze(2) - 1
    expected = [by_hand[dy, dx] for dy, dx in offsets.T.tolist()]
    assert moved[:, 0].tolist() == expected
    # Each of the nine has probability 1/9: all occur among 300 but for a chance of 9·(8/9)^300 < 1e-14.
    assert len({str(image) for image in expected}) == 9


def test_all_channels_of_an_image_move_together():
    grey = torch.rand(50, 1, 5, 6, generator=generator(1))
    moved = augmented(dataset(shift=2, flip=True), grey.expand(-1, 3, -1, -1))
    assert moved.shape == (50, 3, 5, 6)
    assert torch.equal(moved[:, :1].expand(-1, 3, -1, -1), moved)
    assert not torch.equal(moved[:, :1], grey)


def test_augmentation_is_the_same_for_the_same_generator_seed():
    inputs = torch.rand(50, 1, 6, 6, generator=generator(1))
    data = dataset(shift=2, flip=True)
    assert torch.equal(augmented(data, inputs, 7), augmented(data, inputs, 7))
    assert not torch.equal(augmented(data, inputs, 7), augmented(data, inputs, 8))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_augmentation_is_the_same_on_a_cuda_device():
    inputs = torch.rand(50, 3, 6, 6, generator=generator(1))
    data = dataset(shift=2, flip=True)
    assert torch.equal(augmented(data, inputs.cuda()).cpu(), augmented(data, inputs))


def masked(count=1, **options):
    """Images [count, 1, 2, 3] of the values 1..6, and their masks: the same pattern as classes 0..2 and no label."""
    inputs = torch.arange(1, 7, dtype=torch.uint8).reshape(1, 1, 2, 3).repeat(count, 1, 1, 1)
    targets = torch.tensor([[0, 1, 2], [-100, 1, 0]]).repeat(count, 1, 1)
    examples = Examples(inputs, targets)
    return Dataset(examples, examples, examples, ("a", "b", "c"), torch.zeros(1, 1, 1), torch.ones(1, 1, 1), **options)


def test_masks_have_the_size_of_their_images():
    with pytest.raises(ShapeError, match=r"masks \[N, H, W\]; got \[4, 1, 2, 3\] and \[4, 3, 2\]"):
        Examples(images().inputs, torch.zeros(4, 3, 2, dtype=torch.int64))


def test_a_table_has_no_masks():
    with pytest.raises(ShapeError, match=r"got \[4, 3\] and \[4, 2, 3\]"):
        Examples(torch.zeros(4, 3), torch.zeros(4, 2, 3, dtype=torch.int64))


def test_an_image_with_a_mask_has_one_weight():
    examples = Examples(masked(2).train.inputs, masked(2).train.targets, torch.tensor([1.0, 3.0]))
    assert examples.select(torch.tensor([1])).sample_weights.tolist() == [3.0]


def test_class_counts_of_masks_are_pixels_with_a_label():
    # Of 0 1 2 / - 1 0 there are two 0, two 1, one 2, in each of two images; the one without a label counts nowhere.
    assert masked(2).class_counts.tolist() == [4, 4, 2]
    assert masked(2).train.labelled == 10


def test_a_mask_may_leave_pixels_without_a_label_and_a_label_may_not():
    Source(masked().train, ("a", "b", "c"))
    with pytest.raises(DataError, match=r"labels must lie in 0\.\.1; got -100"):
        Source(Examples(torch.zeros(1, 2), torch.tensor([-100])), ("a", "b"))


def test_masks_without_any_label_are_refused():
    nothing = Examples(masked().train.inputs, torch.full((1, 2, 3), -100))
    with pytest.raises(DataError, match="no pixel of the test masks has a label"):
        Source(masked().train, ("a", "b", "c"), test=nothing)


def test_a_mask_moves_with_its_image():
    # The values 1..6 say where each pixel of the result comes from, and so which class belongs to it; 0 is outside.
    data = masked(200, shift=1, flip=True)
    inputs, targets = data.augment(data.train.inputs, data.train.targets, generator())
    class_of_value = torch.tensor([-100, 0, 1, 2, -100, 1, 0])
    assert torch.equal(targets, class_of_value[inputs[:, 0].long()])
    assert (inputs == 0).any()
    assert not torch.equal(targets, data.train.targets)


def test_the_images_move_alike_with_and_without_masks():
    data = masked(50, shift=1, flip=True)
    moved, _ = data.augment(data.train.inputs, data.train.targets, generator())
    assert torch.equal(moved, augmented(data, data.train.inputs))
