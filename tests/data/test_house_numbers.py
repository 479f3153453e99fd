import numpy as np
import pytest
import torch
from scipy.io import savemat

from lossbench.data import svhn
from lossbench.errors import DataError

pytestmark = pytest.mark.usefixtures("nothing_published")


def write_one(path, **replaced):
    """Images whose pixel at height i, width j, channel c of example n is 50·n + 3·i + 5·j + c, modulo 256."""
    axes = [np.arange(size) for size in (32, 32, 3, 3)]
    height, width, channel, example = np.meshgrid(*axes, indexing="ij")
    images = (50 * example + 3 * height + 5 * width + channel).astype(np.uint8)
    savemat(path, {"X": images, "y": np.array([[1], [10], [9]], dtype=np.uint8)} | replaced)


def write(folder, **replaced):
    for name in ("train_32x32.mat", "test_32x32.mat"):
        write_one(folder / name, **replaced)
    return str(folder)


def test_images_come_out_channel_first_and_the_label_ten_is_zero(tmp_path):
    source = svhn(root=write(tmp_path))
    assert source.train.inputs.shape == (3, 3, 32, 32)
    assert source.train.inputs.dtype == torch.uint8
    assert source.train.targets.tolist() == [1, 0, 9]
    # Example 1, channel 2, height 4, width 6: 50 + 12 + 30 + 2.
    assert int(source.train.inputs[1, 2, 4, 6]) == 94
    assert source.test is not None
    assert len(source.test) == 3


def test_images_without_an_axis_of_examples_are_refused(tmp_path):
    # MATLAB drops a last axis of size one; such a file is refused rather than guessed at.
    with pytest.raises(DataError, match=r"should hold X, uint8 \[32, 32, 3, N\]"):
        svhn(root=write(tmp_path, X=np.zeros((32, 32, 3), np.uint8), y=np.ones((1, 1), np.uint8)))


@pytest.mark.parametrize(
    "replaced",
    [
        {"X": np.zeros((32, 32, 3, 2), np.uint8)},
        {"X": np.zeros((32, 32, 3, 3))},
        {"y": np.array([["a", "b", "c"]])},
    ],
)
def test_images_and_labels_that_do_not_fit_are_an_error(tmp_path, replaced):
    with pytest.raises(DataError, match=r"train_32x32\.mat should hold X"):
        svhn(root=write(tmp_path, **replaced))


def test_both_files_are_downloaded(lonely, monkeypatch):
    def download(folder, split, download):
        assert download
        write_one(folder / f"{split}_32x32.mat")

    monkeypatch.setattr("torchvision.datasets.SVHN", download)
    assert svhn().train.targets.tolist() == [1, 0, 9]


def test_a_file_without_images_is_an_error(tmp_path):
    write(tmp_path)
    savemat(tmp_path / "train_32x32.mat", {"y": np.ones((3, 1))})
    with pytest.raises(DataError, match=r"train_32x32\.mat should hold X"):
        svhn(root=str(tmp_path))


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    write(tmp_path)
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=r"train_32x32\.mat cannot be read as a MATLAB file"):
        svhn(root=str(tmp_path))
