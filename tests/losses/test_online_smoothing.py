import math

import pytest
import torch

from lossbench.errors import ShapeError
from lossbench.losses import OnlineLabelSmoothing, cross_entropy, parts

# softmax of these logits is (1/2, 1/4, 1/4), (3/4, 1/8, 1/8) and (1/8, 1/8, 3/4).
LOGITS = torch.tensor([[2.0, 1.0, 1.0], [6.0, 1.0, 1.0], [1.0, 1.0, 6.0]], dtype=torch.float64).log()
TARGETS = torch.tensor([0, 0, 1])  # the third is wrong
LOG2, LOG3 = math.log(2), math.log(3)


def test_the_first_epoch_is_uniform_label_smoothing():
    loss = OnlineLabelSmoothing(3, alpha=0.7)(LOGITS, TARGETS)
    assert loss.item() == pytest.approx(cross_entropy(LOGITS, TARGETS, epsilon=0.3).item(), rel=1e-6)


def test_the_next_epoch_learns_from_the_mean_of_the_correct_predictions():
    # Class 0: the mean of (1/2, 1/4, 1/4) and (3/4, 1/8, 1/8) is (5/8, 3/16, 3/16); it was right both times.
    loss = OnlineLabelSmoothing(3)
    loss(LOGITS, TARGETS)
    loss.end_epoch()
    assert torch.allclose(loss.soft_labels[0], torch.tensor([5 / 8, 3 / 16, 3 / 16]))
    # ½ log 2 + ½ (5/8 log 2 + 3/8 log 4)
    assert loss(LOGITS[:1], TARGETS[:1]).item() == pytest.approx(LOG2 / 2 + (5 / 8 + 6 / 8) * LOG2 / 2)


def test_a_class_without_a_correct_prediction_is_uniform():
    loss = OnlineLabelSmoothing(3)
    loss(LOGITS, TARGETS)
    loss.end_epoch()
    assert torch.allclose(loss.soft_labels[1:], torch.full((2, 3), 1 / 3))


def test_batches_of_an_epoch_add_up_and_the_next_epoch_starts_anew():
    parts, whole = OnlineLabelSmoothing(3), OnlineLabelSmoothing(3)
    for i in range(3):
        parts(LOGITS[i : i + 1], TARGETS[i : i + 1])
    whole(LOGITS, TARGETS)
    parts.end_epoch(), whole.end_epoch()
    assert torch.allclose(parts.soft_labels, whole.soft_labels)
    parts.end_epoch()
    assert torch.allclose(parts.soft_labels, torch.full((3, 3), 1 / 3))


def test_what_is_computed_again_is_learned_from_once():
    # The second derivative computes the loss and its first once more.
    logits = LOGITS.clone().requires_grad_()
    loss = OnlineLabelSmoothing(3)
    value = loss(logits, TARGETS)
    (gradient,) = torch.autograd.grad(value, logits, create_graph=True)
    torch.autograd.grad(gradient.square().sum(), logits, retain_graph=True)
    torch.autograd.grad(value, logits)
    assert loss.counts.tolist() == [2, 0, 0]
    assert torch.allclose(loss.sums[0], torch.tensor([5 / 4, 3 / 8, 3 / 8]))


def test_a_batch_that_is_computed_in_parts_is_learned_from_whole(monkeypatch):
    monkeypatch.setattr(parts, "PART", 4)
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(400, 10, generator=generator), torch.randint(10, (400,), generator=generator)
    logits.scatter_add_(1, targets.unsqueeze(1), torch.full((400, 1), 2.0))
    loss = OnlineLabelSmoothing(10)
    loss(logits.requires_grad_(), targets)
    is_correct = logits.argmax(1) == targets
    assert 0 < is_correct.sum() < 400
    assert torch.equal(loss.counts, targets[is_correct].bincount(minlength=10).float())
    expected = torch.zeros(10, 10).index_add_(0, targets[is_correct], logits.detach().softmax(1)[is_correct])
    torch.testing.assert_close(loss.sums, expected)


def test_evaluation_is_not_learned_from():
    loss = OnlineLabelSmoothing(3).eval()
    loss(LOGITS, TARGETS)
    assert loss.counts.sum() == 0
    assert loss.sums.sum() == 0


def test_the_soft_labels_carry_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    loss = OnlineLabelSmoothing(3)
    loss(logits, TARGETS)
    loss.end_epoch()
    assert not loss.soft_labels.requires_grad


def test_ignored_pixels_are_not_learned_from_even_if_their_index_is_a_class():
    loss = OnlineLabelSmoothing(3, ignore_index=0)
    value = loss(LOGITS.reshape(3, 3, 1, 1), TARGETS.reshape(3, 1, 1))
    assert loss.counts.tolist() == [0, 0, 0]
    # The third alone: H = log 8 to its label, and (log 8 + log 8 + log 4/3)/3 to the uniform one.
    assert value.item() == pytest.approx((3 * LOG2 + (8 * LOG2 - LOG3) / 3) / 2)


def test_its_state_goes_on_from_a_checkpoint():
    loss, resumed = OnlineLabelSmoothing(3), OnlineLabelSmoothing(3)
    loss(LOGITS, TARGETS)
    resumed.load_state_dict(loss.state_dict())
    loss.end_epoch(), resumed.end_epoch()
    assert torch.equal(loss.soft_labels, resumed.soft_labels)


def test_alpha_one_is_cross_entropy():
    loss = OnlineLabelSmoothing(3, alpha=1.0)(LOGITS, TARGETS)
    assert loss.item() == pytest.approx(cross_entropy(LOGITS, TARGETS).item())


def test_probabilities_are_refused():
    with pytest.raises(ShapeError, match="class indices alone"):
        OnlineLabelSmoothing(3)(LOGITS, LOGITS.softmax(1))
