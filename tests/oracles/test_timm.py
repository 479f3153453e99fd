import math

import pytest
import torch
import torch.nn.functional as F

from lossbench.losses import binary_cross_entropy, cross_entropy, poly1

LOG2, LOG3 = math.log(2), math.log(3)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7])
def test_label_smoothing_agrees(timm, batch, epsilon):
    reference = timm.LabelSmoothingCrossEntropy(smoothing=epsilon)(*batch)
    assert cross_entropy(*batch, epsilon=epsilon).item() == pytest.approx(reference.item(), abs=1e-6)


def test_soft_targets_agree(timm, batch):
    logits, _ = batch
    soft = logits.flip(0).softmax(1)
    reference = timm.SoftTargetCrossEntropy()(logits, soft)
    assert cross_entropy(logits, soft).item() == pytest.approx(reference.item(), abs=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
@pytest.mark.parametrize("pos_weight", [1.0, 3.0])
def test_binary_cross_entropy_agrees_where_timm_sums_the_classes(timm, batch, epsilon, pos_weight):
    theirs = timm.BinaryCrossEntropy(smoothing=epsilon, sum_classes=True, pos_weight=pos_weight)
    loss = binary_cross_entropy(*batch, epsilon=epsilon, pos_weight=pos_weight)
    assert loss.item() == pytest.approx(theirs(*batch).item(), abs=1e-5)


def test_its_binary_cross_entropy_averages_the_classes_unless_asked_so_that_it_is_a_kth_of_ours(timm, batch):
    reference = timm.BinaryCrossEntropy(smoothing=0.1)(*batch)  # K = 5
    assert binary_cross_entropy(*batch, epsilon=0.1).item() == pytest.approx(5 * reference.item(), abs=1e-5)


@pytest.mark.parametrize(
    ("smooth_dense", "of_log_3"),
    # A class with p = 1/2 costs log 2 whatever its target: three of four do. The first has p = 3/4 and target q, and
    # costs q (2 log 2 - log 3) + (1 - q) 2 log 2 = 2 log 2 - q log 3. Ours: q = 0.8 + 0.2/4, as for a class index.
    [(False, 1.0), (True, 0.9)],
    ids=["theirs is not smoothed", "theirs goes to 1/2"],
)
def test_it_smooths_targets_that_are_probabilities_towards_a_half_or_not_at_all(timm, smooth_dense, of_log_3):
    logits = torch.tensor([[LOG3, 0.0, 0.0, 0.0]])
    one_hot = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    theirs = timm.BinaryCrossEntropy(smoothing=0.2, sum_classes=True, smooth_dense=smooth_dense)(logits, one_hot)
    assert theirs.item() == pytest.approx(5 * LOG2 - of_log_3 * LOG3)
    assert binary_cross_entropy(logits, one_hot, epsilon=0.2).item() == pytest.approx(5 * LOG2 - 0.85 * LOG3)


@pytest.mark.parametrize("epsilon1", [-1.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_poly1_agrees_and_its_smoothing_is_our_soft_target(timm, batch, epsilon1, smoothing):
    logits, targets = batch
    reference = timm.PolyCrossEntropy(epsilon=epsilon1, smoothing=smoothing)(logits, targets)
    soft = (1 - smoothing) * F.one_hot(targets, 5) + smoothing / 5
    assert poly1(logits, soft, epsilon1=epsilon1).item() == pytest.approx(reference.item(), abs=1e-6)
    if smoothing == 0.0:
        assert poly1(logits, targets, epsilon1=epsilon1).item() == pytest.approx(reference.item(), abs=1e-6)
