import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from lossbench.data import breast_cancer, digits, wine


@pytest.mark.parametrize(
    ("function", "shape", "num_classes"),
    [(digits, (1797, 1, 8, 8), 10), (breast_cancer, (569, 30), 2), (wine, (178, 13), 3)],
)
def test_the_sets_have_the_sizes_that_uci_gives(function, shape, num_classes):
    source = function()
    assert source.train.inputs.shape == shape
    assert source.train.inputs.dtype == torch.float32
    assert len(source.class_names) == num_classes
    assert source.train.targets.unique().tolist() == list(range(num_classes))


def test_digits_lie_between_zero_and_one():
    # Pixels are counts of 0 to 16, and both ends occur.
    inputs = digits().train.inputs
    assert float(inputs.min()) == 0.0
    assert float(inputs.max()) == 1.0
    assert bool((inputs * 16 == (inputs * 16).round()).all())


def test_breast_cancer_has_the_shares_that_uci_gives():
    source = breast_cancer()
    assert dict(zip(source.class_names, torch.bincount(source.train.targets).tolist(), strict=True)) == {
        "malignant": 212,
        "benign": 357,
    }


def test_the_files_read_here_are_what_scikit_learn_loads():
    for ours, theirs in ((digits(), load_digits()), (wine(), load_wine()), (breast_cancer(), load_breast_cancer())):
        inputs = theirs.images[:, None] / 16.0 if "images" in theirs else theirs.data
        assert torch.equal(ours.train.inputs, torch.tensor(inputs, dtype=torch.float32))
        assert torch.equal(ours.train.targets, torch.tensor(theirs.target))
        assert ours.class_names == tuple(str(name) for name in theirs.target_names)
