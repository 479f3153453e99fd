"""What counts in the mean, for every loss that says so in its signature; and who refuses soft targets."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F

from lossbench import losses
from lossbench.errors import DataError, ShapeError

GIVEN = {"class_counts": torch.tensor([5, 1, 3])}
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 2, 0, 1, 1])


def bind(name):
    """A loss of logits and targets, with what the training split would give."""
    function = getattr(losses, name)
    parameters = inspect.signature(function).parameters
    if name == "OnlineLabelSmoothing":
        return function(3).eval()
    given = {key: value for key, value in GIVEN.items() if key in parameters}
    return lambda *args, **options: function(*args, **given, **options)


def declares(name, parameter):
    function = getattr(losses, name)
    return parameter in inspect.signature(getattr(function, "forward", function)).parameters


ALL = [name for name in losses.__all__ if not declares(name, "teacher_logits")]
WEIGHING = [name for name in ALL if declares(name, "sample_weights")]
CLAIMING = [name for name in ALL if hasattr(getattr(losses, name), "claims")]
HARD_ONLY = [name for name in CLAIMING if not getattr(losses, name).claims.soft_targets]
SOFT = [name for name in CLAIMING if getattr(losses, name).claims.soft_targets]


def test_the_lists_are_not_empty():
    assert {"focal", "mmce", "ldam", "brier", "OnlineLabelSmoothing"} <= set(WEIGHING)
    assert {"lovasz_softmax", "mmce", "ldam"} <= set(HARD_ONLY)
    assert {"focal", "poly1", "bi_tempered", "dice"} <= set(SOFT)


@pytest.mark.parametrize("name", WEIGHING)
def test_a_sample_weight_of_2_is_the_example_twice(name):
    loss = bind(name)
    weights = torch.tensor([2.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    rows = [0, 0, 1, 3, 4, 5]
    weighted = loss(LOGITS, TARGETS, sample_weights=weights)
    # Dice, the one that cannot be weighed, keeps its own sums.
    expected = (
        loss(LOGITS[rows], TARGETS[rows])
        if name != "dice_cross_entropy"
        else (losses.dice(LOGITS, TARGETS) + losses.cross_entropy(LOGITS[rows], TARGETS[rows]))
    )
    assert weighted.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("name", WEIGHING)
def test_sample_weights_of_another_length_are_a_shape_error(name):
    with pytest.raises(ShapeError, match=r"sample_weights must have shape \[6\]; got \[5\]"):
        bind(name)(LOGITS, TARGETS, sample_weights=torch.ones(5))


@pytest.mark.parametrize("name", HARD_ONLY)
def test_a_loss_of_labels_refuses_probabilities_and_says_so(name):
    with pytest.raises(ShapeError, match=r"class indices alone, int64 \[6\]; got probabilities float64 \[6, 3\]"):
        bind(name)(LOGITS, LOGITS.softmax(1))


@pytest.mark.parametrize("name", SOFT)
def test_soft_targets_that_are_one_hot_are_the_indices(name):
    soft = F.one_hot(TARGETS, 3).double()
    assert bind(name)(LOGITS, soft).item() == pytest.approx(bind(name)(LOGITS, TARGETS).item())


@pytest.mark.parametrize("name", [name for name in WEIGHING if name in SOFT])
def test_probabilities_can_be_weighed_too(name):
    soft, weights = LOGITS.flip(0).softmax(1), torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    loss = bind(name)
    if name != "dice_cross_entropy":  # Dice is not weighed
        assert loss(LOGITS, soft, sample_weights=weights).item() == pytest.approx(loss(LOGITS[:1], soft[:1]).item())


@pytest.mark.parametrize("name", [name for name in ALL if declares(name, "ignore_index")])
def test_ignored_pixels_are_as_if_they_were_not_there(name):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 2, 4, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(3, (2, 2, 4), generator=generator)
    loss = bind(name)
    expected = loss(logits[..., :3].detach(), targets[..., :3])
    targets[..., 3] = -100
    value = loss(logits, targets)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == pytest.approx(expected.item())
    assert not gradient[..., 3].any()
    assert gradient[..., :3].any()


@pytest.mark.parametrize("name", [name for name in ALL if declares(name, "ignore_index")])
def test_where_all_is_ignored_the_loss_and_its_gradient_are_zero(name):
    logits = LOGITS.clone().requires_grad_()
    loss = bind(name)(logits, torch.full_like(TARGETS, -100))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0.0
    assert not gradient.any()


BAD = {
    "sums to 0.9": ([0.9, 0.0, 0.0], "sum to 1 over the classes; got a sum of 0.9"),
    "negative": ([1.2, -0.2, 0.0], r"lie in \[0, 1\]; got -0.2"),
    "above one": ([1.5, 0.0, 0.0], r"lie in \[0, 1\]; got 1.5"),
    "nan": ([float("nan"), 1.0, 0.0], r"lie in \[0, 1\]; got nan"),
}


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("wrong", BAD)
def test_what_are_no_probabilities_are_refused(name, wrong):
    row, message = BAD[wrong]
    if wrong == "sums to 0.9" and name == "binary_cross_entropy":
        return  # several labels per example, or none: each is a probability of its own
    targets = torch.tensor([[0.0, 0.5, 0.5], row])
    with pytest.raises(DataError, match=message):
        bind(name)(torch.zeros(2, 3), targets)


def test_the_targets_of_stacked_models_are_taken_at_their_word():
    targets = torch.stack([torch.eye(3), 2 * torch.eye(3)])
    stacked = torch.func.vmap(losses.cross_entropy)(torch.zeros(2, 3, 3), targets)
    # of uniform p the loss is log 3 times the sum of the targets
    assert stacked.tolist() == pytest.approx([math.log(3), 2 * math.log(3)])


def test_no_example_is_no_wrong_target():
    assert losses.cross_entropy(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_probabilities_that_were_rounded_are_taken(dtype):
    targets = torch.randn(50, 100, generator=torch.Generator().manual_seed(0)).softmax(1).to(dtype)
    assert losses.cross_entropy(torch.zeros(50, 100), targets).item() == pytest.approx(math.log(100), rel=1e-2)


@pytest.mark.parametrize("name", SOFT)
def test_the_gradient_flows_into_soft_targets(name):
    logits = LOGITS.clone().requires_grad_()
    scores = LOGITS.flip(0).clone().requires_grad_()
    loss = bind(name)
    assert torch.autograd.gradcheck(lambda z, t: loss(z, t.softmax(1)), (logits, scores))
