import importlib.util
import shutil
from types import SimpleNamespace

import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from lossbench.data import breast_cancer, bundled, digits, wine
from lossbench.errors import DataError


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


@pytest.mark.parametrize(
    ("function", "name"), [(digits, "digits.csv.gz"), (breast_cancer, "breast_cancer.csv"), (wine, "wine_data.csv")]
)
def test_a_file_that_is_cut_short_or_has_one_wrong_bit_is_named(tmp_path, monkeypatch, function, name):
    path = tmp_path / "datasets/data" / name
    path.parent.mkdir(parents=True)
    shutil.copy(bundled._file(name), path)
    installed = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed)
    content = path.read_bytes()
    assert len(function().train) > 100  # what is there is what is read
    middle = len(content) // 2
    for wrong in (content[:-100], content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]):
        path.write_bytes(wrong)
        with pytest.raises(DataError) as caught:
            function()
        assert str(caught.value).startswith(f"{path} is not {name} of scikit-learn: expected content of sha256 ")
        assert str(caught.value).endswith("; pip install --force-reinstall scikit-learn brings the right one")
