import math

import numpy as np
import pytest
import torch
from scipy.special import softmax

from lossbench.metrics import dice_score, ece, macro_f1, mce, mean_iou, rmsce


@pytest.mark.parametrize("n_bins", [5, 15, 100])
@pytest.mark.parametrize("num_classes", [2, 10])
def test_calibration_errors_agree_away_from_the_edges_of_bins(torchmetrics, num_classes, n_bins):
    rng = np.random.default_rng(5)
    logits, targets = 2 * rng.normal(size=(1000, num_classes)), rng.integers(num_classes, size=1000)
    probs = softmax(logits, axis=1)
    to_an_edge = np.abs(probs.max(axis=1) * n_bins - np.round(probs.max(axis=1) * n_bins))
    keep = to_an_edge > 1e-3  # it bins in float32
    probs, targets, logits = torch.from_numpy(probs[keep]), torch.from_numpy(targets[keep]), logits[keep]
    for ours, norm in ((ece, "l1"), (mce, "max"), (rmsce, "l2")):
        theirs = torchmetrics.multiclass_calibration_error(probs, targets, num_classes, n_bins=n_bins, norm=norm)
        assert ours(logits, targets, n_bins=n_bins) == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize(("metric", "norm", "theirs"), [(ece, "l1", 0.525), (mce, "max", 1.0), (rmsce, "l2", 0.70799)])
def test_it_gives_confidence_one_a_bin_beyond_the_last(torchmetrics, metric, norm, theirs):
    # conf 1.0 wrong and 0.95 right are both in (14/15, 1]: |1/2 - 0.975| = 0.475 by any norm. Theirs are in bins apart,
    # with gaps 1 and 0.05: (1 + 0.05)/2, the larger, √((1 + 0.05²)/2).
    probs, targets = torch.tensor([[1.0, 0.0], [0.95, 0.05]]), torch.tensor([1, 0])
    logits = [[1e4, -1e4], [math.log(0.95), math.log(0.05)]]
    assert metric(logits, targets) == pytest.approx(0.475, abs=1e-12)
    error = torchmetrics.multiclass_calibration_error(probs, targets, num_classes=2, n_bins=15, norm=norm)
    assert error.item() == pytest.approx(theirs, abs=1e-5)


def test_its_bins_hold_their_lower_edge_where_ours_hold_the_upper(torchmetrics):
    # 0.75 wrong and 0.65 right, 4 bins: both in (0.5, 0.75], |1/2 - 0.7| = 0.2. In [0.5, 0.75) and [0.75, 1] they are
    # apart: (|0 - 0.75| + |1 - 0.65|)/2 = 0.55.
    probs, targets = torch.tensor([[0.75, 0.25], [0.65, 0.35]], dtype=torch.float64), torch.tensor([1, 0])
    assert ece(probs.log(), targets, n_bins=4) == pytest.approx(0.2, abs=1e-6)
    theirs = torchmetrics.multiclass_calibration_error(probs, targets, num_classes=2, n_bins=4, norm="l1")
    assert theirs.item() == pytest.approx(0.55, abs=1e-6)


@pytest.mark.parametrize("ignored", [False, True])
def test_overlap_agrees_where_every_class_occurs(torchmetrics, ignored):
    # Their macro mean leaves out classes absent from both as well; `torchmetrics.segmentation` averages over images
    # first, which is another quantity.
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, 8, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 4, (6, 8, 8), generator=generator)
    if ignored:
        targets[:, ::3] = -100
    options = {"num_classes": 4, "average": "macro", "ignore_index": -100}
    predicted = logits.argmax(1)
    iou = torchmetrics.multiclass_jaccard_index(predicted, targets, **options).item()
    f1 = torchmetrics.multiclass_f1_score(predicted, targets, **options).item()
    assert mean_iou(logits, targets) == pytest.approx(iou)
    assert dice_score(logits, targets) == macro_f1(logits, targets) == pytest.approx(f1)
