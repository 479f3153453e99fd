"""Data sets that scikit-learn brings along: nothing to download."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lossbench.data.dataset import Examples, Source
from lossbench.data.digests import check_published, saying_where
from lossbench.errors import DataError


def digits() -> Source:
    """Handwritten digits: 1,797 grey images of 8×8 pixels, 10 classes.

    Returns:
        Examples without a test split, float32 [1797, 1, 8, 8] in [0, 1]. The pixels are counts from 0 to 16 and are
        divided by 16; kept as uint8 they would be taken for fractions of 255.

    Source: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits", its test part.
    """
    table = np.loadtxt(_file("digits.csv.gz"), delimiter=",")
    return _source(table[:, :-1].reshape(-1, 1, 8, 8) / 16.0, table[:, -1], [str(digit) for digit in range(10)])


def breast_cancer() -> Source:
    """Cell nuclei of breast tumours: 569 rows of 30 measurements, malignant (class 0) or benign (class 1).

    Returns:
        Examples without a test split, float32 [569, 30].

    Source: Street et al. 1993, UCI "Breast Cancer Wisconsin (Diagnostic)".
    """
    return _table("breast_cancer.csv")


def wine() -> Source:
    """Chemical analyses of wines: 178 rows of 13 measurements, 3 growers.

    Returns:
        Examples without a test split, float32 [178, 13].

    Source: Aeberhard & Forina 1992, UCI "Wine".
    """
    return _table("wine_data.csv")


def _table(name: str) -> Source:
    path = _file(name)
    with path.open(encoding="utf-8") as file:
        _, _, *class_names = file.readline().strip().split(",")
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    return _source(table[:, :-1], table[:, -1], class_names)


def _file(name: str) -> Path:
    """Find a file of scikit-learn without importing it, which would take longer than all else before a training."""
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise DataError("scikit-learn, which brings this data set along, is not installed")
    path = Path(found.origin).parent / "datasets" / "data" / name
    if not path.is_file():
        raise DataError(f"{path} is missing: install scikit-learn again")
    with saying_where("scikit-learn"):
        check_published("scikit-learn", name, path.read_bytes(), path)
    return path


def _source(inputs: NDArray[np.float64], targets: NDArray[np.float64], class_names: Sequence[str]) -> Source:
    examples = Examples(torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets, dtype=torch.int64))
    return Source(examples, tuple(class_names))
