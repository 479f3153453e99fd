"""Data sets that scikit-learn brings along: nothing to download."""

from __future__ import annotations

from typing import Any

import torch

from lossbench.data.dataset import Examples, Source


def digits() -> Source:
    """Handwritten digits: 1,797 grey images of 8×8 pixels, 10 classes.

    Returns:
        Examples without a test split, float32 [1797, 1, 8, 8] in [0, 1]. The pixels are counts from 0 to 16 and are
        divided by 16; kept as uint8 they would be taken for fractions of 255.

    Source: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits", its test part.
    """
    from sklearn.datasets import load_digits  # a second that other data sets need not wait for

    bunch = load_digits()
    return _source(bunch, bunch.images[:, None] / 16.0)


def breast_cancer() -> Source:
    """Cell nuclei of breast tumours: 569 rows of 30 measurements, malignant (class 0) or benign (class 1).

    Returns:
        Examples without a test split, float32 [569, 30].

    Source: Street et al. 1993, UCI "Breast Cancer Wisconsin (Diagnostic)".
    """
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    return _source(bunch, bunch.data)


def wine() -> Source:
    """Chemical analyses of wines: 178 rows of 13 measurements, 3 growers.

    Returns:
        Examples without a test split, float32 [178, 13].

    Source: Aeberhard & Forina 1992, UCI "Wine".
    """
    from sklearn.datasets import load_wine

    bunch = load_wine()
    return _source(bunch, bunch.data)


def _source(bunch: Any, inputs: Any) -> Source:
    examples = Examples(torch.tensor(inputs, dtype=torch.float32), torch.tensor(bunch.target, dtype=torch.int64))
    return Source(examples, tuple(str(name) for name in bunch.target_names))
