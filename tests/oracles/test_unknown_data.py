"""Telling known from unknown data, beside torch-uncertainty."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lossbench.metrics.ranking import fpr95


@pytest.mark.filterwarnings("ignore:Metric `FPR95` will save all targets")
@pytest.mark.parametrize(("known", "unknown"), [(1000, 300), (33, 500), (7, 7)])
def test_fpr95_agrees_with_the_test_split_as_its_positive_label(known: int, unknown: int) -> None:
    from torch_uncertainty.metrics.classification import FPR95

    generator = np.random.default_rng(0)
    high, low = generator.normal(1, 1, known).round(1), generator.normal(0, 1, unknown).round(1)  # so that some tie
    reference = FPR95(pos_label=1)
    reference.update(torch.tensor(np.concatenate([high, low])), torch.tensor([1] * known + [0] * unknown))
    assert fpr95(high, low) == pytest.approx(reference.compute().item(), abs=1e-6)
