import numpy as np
import pytest
import torch
from support import compose

from lossbench.checking import sources
from lossbench.data import arrays
from lossbench.data.prepare import prepare
from lossbench.errors import DataError


@pytest.fixture
def save(tmp_path):
    def write(**content):
        path = tmp_path / "mine.npz"
        np.savez(path, **content)
        return str(path)

    return write


IMAGES = np.arange(4 * 1 * 2 * 3, dtype=np.uint8).reshape(4, 1, 2, 3)
TARGETS = np.array([0, 1, 1, 0])


def test_inputs_and_targets_come_as_they_are(save):
    source = arrays(file=save(inputs=IMAGES, targets=TARGETS))
    assert source.train.inputs.dtype == torch.uint8
    assert source.train.inputs.numpy().tolist() == IMAGES.tolist()
    assert source.train.targets.tolist() == [0, 1, 1, 0]
    assert source.class_names == ("0", "1")
    assert source.val is None
    assert source.test is None


def test_grey_images_get_a_channel_and_other_numbers_become_float32(save):
    source = arrays(file=save(inputs=IMAGES[:, 0].astype(np.int16), targets=TARGETS.astype(np.uint8)))
    assert source.train.inputs.shape == (4, 1, 2, 3)
    assert source.train.inputs.dtype == torch.float32
    assert source.train.inputs[1, 0, 0].tolist() == [6.0, 7.0, 8.0]


def test_splits_and_class_names_that_are_given_are_used(save):
    table = np.arange(8.0).reshape(4, 2)
    source = arrays(
        file=save(
            inputs=table, targets=TARGETS, val_inputs=table[:1], val_targets=TARGETS[:1], test_inputs=table[:2],
            test_targets=TARGETS[:2], class_names=np.array(["cat", "dog", "never seen"]),
        )
    )  # fmt: skip
    assert source.class_names == ("cat", "dog", "never seen")
    assert source.val is not None
    assert source.test is not None
    assert (len(source.val), len(source.test)) == (1, 2)


def test_booleans_are_targets_of_two_classes(save):
    source = arrays(file=save(inputs=np.eye(4), targets=TARGETS == 1))
    assert source.train.targets.tolist() == [0, 1, 1, 0]
    assert source.class_names == ("0", "1")


def test_words_are_targets_and_their_classes_stand_in_order(save):
    table, words = np.eye(4), np.array(["dog", "cat", "cat", "dog"])
    source = arrays(file=save(inputs=table, targets=words, val_inputs=table[:1], val_targets=words[:1]))
    assert source.class_names == ("cat", "dog")
    assert source.train.targets.tolist() == [1, 0, 0, 1]
    assert source.val is not None
    assert source.val.targets.tolist() == [1]


def test_words_that_are_whole_numbers_stand_in_the_order_of_their_size(save):
    source = arrays(file=save(inputs=np.eye(3), targets=np.array(["10", "9", "10"])))
    assert (source.class_names, source.train.targets.tolist()) == (("9", "10"), [1, 0, 1])


def test_class_names_say_the_order_of_words(save):
    names = np.array(["dog", "never seen", "cat"])
    source = arrays(file=save(inputs=np.eye(3), targets=np.array(["cat", "dog", "cat"]), class_names=names))
    assert source.class_names == ("dog", "never seen", "cat")
    assert source.train.targets.tolist() == [2, 0, 2]


def test_masks_are_targets_of_every_pixel(save):
    masks = np.zeros((4, 2, 3), dtype=np.int64)
    masks[0, 0, 0], masks[1, 1, 1] = 1, -100
    source = arrays(file=save(inputs=IMAGES, targets=masks))
    assert source.train.masks
    assert source.class_names == ("0", "1")


def test_it_can_be_split_and_normalised_like_any_data(save):
    dataset = prepare(arrays(file=save(inputs=np.eye(40), targets=np.arange(40) % 2)), seed=0)
    # a fifth of 40 is the test split, a tenth of the other 32, rounded class by class, the validation split
    assert (len(dataset.test), len(dataset.val), len(dataset.train)) == (8, 4, 28)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"inputs": IMAGES}, "lacks targets"),
        ({"targets": TARGETS}, "lacks inputs"),
        ({"class_names": np.array(["a", "b"])}, "should hold inputs and targets; it holds class_names"),
        ({"inputs": IMAGES, "targets": TARGETS, "val_inputs": IMAGES}, "lacks val_targets"),
        ({"inputs": IMAGES, "target": TARGETS}, "has an array 'target'; did you mean targets"),
        ({"inputs": IMAGES[:3], "targets": TARGETS}, r"one for each of the 3 inputs .* got int64 \[4\]"),
        ({"inputs": IMAGES, "targets": TARGETS.astype(float)}, "whole numbers"),
        ({"inputs": IMAGES, "targets": TARGETS + 1}, r"got 1\.\.2, 2 different ones: number the classes from 0$"),
        (
            {"inputs": IMAGES, "targets": TARGETS * 2},
            r"2 different ones: number the classes from 0, or add class_names",
        ),
        (
            {"inputs": IMAGES, "targets": TARGETS + 1, "class_names": np.array(["a", "b"])},
            r"mine\.npz: targets\[1\] should lie in 0\.\.1, class_names has 2 names: number the classes from 0; got 2",
        ),
        (
            {"inputs": IMAGES, "targets": TARGETS * 2, "class_names": np.array(["a", "b"])},
            r"mine\.npz: targets\[1\] should lie in 0\.\.1, class_names has 2 names; got 2",
        ),
        (
            {"inputs": IMAGES, "targets": TARGETS, "val_inputs": IMAGES, "val_targets": TARGETS * 3},
            r"mine\.npz: val_targets\[1\] should lie in 0\.\.1, the classes of targets; got 3",
        ),
        ({"inputs": IMAGES, "targets": TARGETS, "class_names": np.array([1, 2])}, "class_names should be K words"),
        ({"inputs": IMAGES, "targets": TARGETS * 0}, "at least two classes"),
        ({"inputs": IMAGES, "targets": np.array(["a"] * 4)}, "targets should have at least two classes; got a"),
        (
            {"inputs": IMAGES, "targets": np.array(list("abab")), "class_names": np.array(["a", "bb"])},
            "targets has 'b', which class_names has not; did you mean bb",
        ),
        (
            {
                "inputs": IMAGES,
                "targets": np.array(list("abab")),
                "val_inputs": IMAGES,
                "val_targets": np.array(list("abac")),
            },
            "class 'c' of val is no class of train",
        ),
        (
            {"inputs": IMAGES, "targets": np.array(list("abab")), "val_inputs": IMAGES, "val_targets": TARGETS},
            r"val_targets should be words, one for each input; got int64 \[4\]",
        ),
        ({"inputs": np.zeros((4, 8, 8, 3)), "targets": TARGETS}, r"look like \[N, H, W, C\]"),
        ({"inputs": np.array(["a"] * 4), "targets": TARGETS}, "should be numbers"),
        ({"inputs": np.zeros(4), "targets": TARGETS}, "should be numbers"),
        ({"inputs": np.array([[0.0], [np.nan], [1], [2]]), "targets": TARGETS}, r"inputs\[1\] is not finite"),
        ({"inputs": np.array([[0.0], [1e300], [1], [2]]), "targets": TARGETS}, r"inputs\[1\] is not finite in float32"),
        ({"inputs": IMAGES[:0], "targets": TARGETS[:0]}, r"inputs \[0, 1, 2, 3\] are empty"),
        ({"inputs": np.zeros((4, 0)), "targets": TARGETS}, r"inputs \[4, 0\] are empty"),
        (
            {"inputs": np.eye(4), "targets": TARGETS, "val_inputs": np.zeros((0, 4)), "val_targets": TARGETS[:0]},
            r"val_inputs \[0, 4\] are empty",
        ),
        ({"inputs": IMAGES, "targets": TARGETS.astype(np.uint64) << np.uint64(63)}, "0..K-1; got 9223372036854775808"),
        (
            {"inputs": np.eye(4), "targets": TARGETS, "test_inputs": np.eye(3), "test_targets": TARGETS[:3]},
            r"test_inputs are of shape \[3\], inputs of \[4\]",
        ),
        ({"inputs": np.array([object()] * 4, dtype=object), "targets": TARGETS}, "no .npz of plain numbers"),
    ],
)
def test_what_does_not_fit_is_said(save, content, message):
    with pytest.raises(DataError, match=message):
        arrays(file=save(**content))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match=r"dataset\.file=.*gone\.npz: no such file"):
        arrays(file=str(tmp_path / "gone.npz"))


def test_runs_on_a_file_that_was_changed_between_them_are_told_apart(save, tmp_path):
    config = compose("dataset=arrays", f"dataset.file={save(inputs=np.eye(40), targets=np.arange(40) % 2)}")
    before = sources(config)
    assert set(before) == {"dataset.file"}
    save(inputs=np.eye(40) * 2, targets=np.arange(40) % 2)
    assert sources(config) != before
