import math

import pytest
import torch
import torch.nn.functional as F

from lossbench.losses import binary_cross_entropy, confidence_penalty, focal, max_suppression

LOG2, LOG3 = math.log(2), math.log(3)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_agrees(uncertainty, batch, gamma):
    reference = uncertainty.FocalLoss(gamma=gamma)(*batch)
    assert focal(*batch, gamma=gamma).item() == pytest.approx(reference.item(), abs=1e-6)


def test_its_focal_divides_by_the_count_where_ours_divides_by_the_weights(uncertainty):
    # One example, p_y = 1/2, γ = 2: (1/2)² log 2, times its weight 1/4 in theirs and at any weight in ours.
    logits, targets, weights = torch.zeros(1, 2), torch.tensor([0]), torch.tensor([0.25, 1.0])
    assert uncertainty.FocalLoss(gamma=2.0, alpha=weights)(logits, targets).item() == pytest.approx(LOG2 / 16)
    assert focal(logits, targets, gamma=2.0, class_weights=weights).item() == pytest.approx(LOG2 / 4)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_max_suppression_agrees(uncertainty, batch, alpha):
    reference = uncertainty.CrossEntropyMaxSupLoss(max_sup=alpha)(*batch)
    assert max_suppression(*batch, alpha=alpha).item() == pytest.approx(reference.item(), abs=1e-6)


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_its_confidence_penalty_is_ours_plus_the_constant_beta_log_k(uncertainty, batch, beta):
    # It penalises log K - H ≥ 0 and we - H. That keeps its loss positive and leaves the gradient alone.
    logits, targets = batch
    reference = uncertainty.ConfidencePenaltyLoss(reg_weight=beta, eps=0.0)(logits, targets)
    loss = confidence_penalty(logits, targets, beta=beta)
    assert loss.item() == pytest.approx(reference.item() - beta * math.log(5), abs=1e-6)


def test_its_binary_cross_entropy_averages_over_the_classes_where_ours_sums(uncertainty, batch):
    logits, targets = batch
    reference = uncertainty.BCEWithLogitsLSLoss()(logits, F.one_hot(targets, 5))
    assert binary_cross_entropy(logits, targets).item() == pytest.approx(5 * reference.item(), abs=1e-6)


def test_it_smooths_towards_a_half_where_we_smooth_towards_a_kth(uncertainty):
    # K = 4, ε = 0.2. Three classes have p = 1/2 and cost log 2 whatever their target. The first has p = 3/4 and costs
    # 2 log 2 - q log 3: theirs has q = 0.8 + 0.2/2, ours 0.8 + 0.2/4.
    logits, targets = torch.tensor([[LOG3, 0.0, 0.0, 0.0]]), torch.tensor([0])
    theirs = 4 * uncertainty.BCEWithLogitsLSLoss(label_smoothing=0.2)(logits, F.one_hot(targets, 4))
    assert theirs.item() == pytest.approx(5 * LOG2 - 0.9 * LOG3)
    assert binary_cross_entropy(logits, targets, epsilon=0.2).item() == pytest.approx(5 * LOG2 - 0.85 * LOG3)


def test_of_two_classes_the_smoothing_is_the_same(uncertainty, batch):
    logits, targets = batch[0][:, :2], batch[1] % 2
    reference = uncertainty.BCEWithLogitsLSLoss(label_smoothing=0.2)(logits, F.one_hot(targets, 2))
    assert binary_cross_entropy(logits, targets, epsilon=0.2).item() == pytest.approx(2 * reference.item(), abs=1e-6)
