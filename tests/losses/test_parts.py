"""Losses that write their gradient by hand, or do some positions at a time, against autograd and differences."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap

from lossbench.losses import (
    bi_tempered,
    binary_cross_entropy,
    brier,
    confidence_penalty,
    cross_entropy,
    decoupled_distillation,
    distillation,
    dual_focal,
    incremental_distillation,
    ldam,
    logit_adjusted,
    logit_matching,
    logit_norm,
    margin_smoothing,
    max_suppression,
    mmce,
    virtual_teacher,
)
from lossbench.losses import parts as parts_module
from lossbench.losses.tempered import tempered_log_softmax

SHAPES = ((5, 4), (3, 3, 2, 1))  # examples, and pixels
SOFT = ("confidence_penalty", "logit_adjusted", "logit_norm", "margin_smoothing", "max_suppression")
Loss = Callable[[Tensor, Tensor, Tensor, Any], Tensor]

# Each with its number as a tensor: the temperature, say.
LOSSES: dict[str, tuple[float, Loss]] = {
    "bi_tempered": (1.3, lambda z, y, teacher, t2: bi_tempered(z, y, t2=t2)),
    "binary_cross_entropy": (0.1, lambda z, y, teacher, epsilon: binary_cross_entropy(z, y, epsilon=epsilon)),
    "brier": (1.0, lambda z, y, teacher, weight: weight * brier(z, y)),
    "confidence_penalty": (0.3, lambda z, y, teacher, beta: confidence_penalty(z, y, beta=beta)),
    "decoupled_distillation": (
        2.0,
        lambda z, y, teacher, t: decoupled_distillation(z, y, teacher_logits=teacher, temperature=t),
    ),
    "distillation": (3.0, lambda z, y, teacher, t: distillation(z, y, teacher_logits=teacher, temperature=t)),
    "dual_focal": (2.0, lambda z, y, teacher, gamma: dual_focal(z, y, gamma=gamma)),
    "incremental_distillation": (
        2.0,
        lambda z, y, teacher, t: incremental_distillation(z, y, teacher_logits=teacher[:, :2], temperature=t),
    ),
    "ldam": (3.0, lambda z, y, teacher, scale: ldam(z, y, class_counts=counts_of(z), scale=scale)),
    "logit_adjusted": (0.5, lambda z, y, teacher, tau: logit_adjusted(z, y, class_counts=counts_of(z), tau=tau)),
    "logit_matching": (0.6, lambda z, y, teacher, beta: logit_matching(z, y, teacher_logits=teacher, beta=beta)),
    "margin_smoothing": (0.3, lambda z, y, teacher, alpha: margin_smoothing(z, y, alpha=alpha, margin=1.0)),
    "max_suppression": (0.3, lambda z, y, teacher, alpha: max_suppression(z, y, alpha=alpha)),
    "virtual_teacher": (3.0, lambda z, y, teacher, t: virtual_teacher(z, y, temperature=t)),
    "logit_norm": (0.5, lambda z, y, teacher, t: logit_norm(z, y, temperature=t)),
    "mmce": (2.0, lambda z, y, teacher, weight: mmce(z, y, weight=weight)),
}


def counts_of(logits: Tensor) -> Tensor:
    return 1 + 3 * torch.arange(logits.shape[1])


def case(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits, teacher = 2 * torch.randn(2, *shape, generator=generator, dtype=dtype)
    targets = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    targets.view(-1)[1] = -100
    return logits.requires_grad_(), targets, teacher


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LOSSES)
def test_it_can_be_differentiated_twice_and_by_its_hyperparameter(name: str, shape: tuple[int, ...]) -> None:
    number, loss = LOSSES[name]
    logits, targets, teacher = case(shape)
    for at in (
        torch.tensor(number, dtype=torch.float64),
        torch.tensor(number, dtype=torch.float64, requires_grad=True),
    ):
        assert gradcheck(lambda z, at: loss(z, targets, teacher, at), (logits, at))
        assert gradgradcheck(lambda z, at: loss(z, targets, teacher, at), (logits, at))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LOSSES)
def test_in_parts_it_is_what_it_is_as_a_whole(
    name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    number, loss = LOSSES[name]
    logits, targets, teacher = case(shape)
    whole = loss(logits, targets, teacher, torch.tensor(number))
    (slope,) = torch.autograd.grad(whole, logits)
    monkeypatch.setattr(parts_module, "PART", 12)  # on two threads an uneven last part
    in_parts = loss(logits, targets, teacher, torch.tensor(number))
    torch.testing.assert_close(in_parts, whole)
    torch.testing.assert_close(torch.autograd.grad(in_parts, logits)[0], slope)
    with torch.no_grad():
        torch.testing.assert_close(loss(logits, targets, teacher, torch.tensor(number)), whole)
    assert gradgradcheck(lambda z: loss(z, targets, teacher, torch.tensor(number)), logits)


@pytest.mark.parametrize("name", LOSSES)
def test_stacked_hyperparameters_give_what_a_loop_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "PART", 4)
    number, loss = LOSSES[name]
    logits, targets, teacher = case(SHAPES[0])
    numbers = number * torch.tensor([1.0, 1.1], dtype=torch.float64)

    def slope(number: Tensor) -> Tensor:
        return grad(lambda z: loss(z, targets, teacher, number))(logits.detach())

    torch.testing.assert_close(vmap(slope)(numbers), torch.stack([slope(number) for number in numbers]))


@pytest.mark.parametrize("name", LOSSES)
def test_of_all_stacked_hyperparameters_at_once_the_gradient_is_that_of_a_loop(name: str) -> None:
    number, loss = LOSSES[name]
    logits, targets, teacher = case(SHAPES[0])
    logits = logits.detach()
    numbers = number * torch.tensor([1.0, 1.1], dtype=torch.float64)

    def value(number: Tensor) -> Tensor:
        return loss(logits, targets, teacher, number)

    expected = torch.stack([grad(value)(number) for number in numbers])
    torch.testing.assert_close(grad(lambda numbers: vmap(value)(numbers).sum())(numbers), expected)
    torch.testing.assert_close(torch.autograd.grad(vmap(value)(numbers.requires_grad_()).sum(), numbers)[0], expected)


@pytest.mark.parametrize("name", LOSSES)
def test_stacked_logits_give_what_a_loop_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "PART", 4)
    number, loss = LOSSES[name]
    logits, targets, teacher = case(SHAPES[0])
    both = torch.stack([logits.detach(), logits.detach().flip(1)])

    def value(logits: Tensor) -> Tensor:
        return loss(logits, targets, teacher, torch.tensor(number))

    torch.testing.assert_close(vmap(value)(both), torch.stack([value(one) for one in both]))


@pytest.mark.parametrize("name", LOSSES)
def test_stacked_labels_alone_give_what_a_loop_gives(name: str) -> None:
    number, loss = LOSSES[name]
    logits, targets, teacher = case(SHAPES[0])
    both = torch.stack([targets, targets.flip(0)])
    values = vmap(lambda targets: loss(logits, targets, teacher, torch.tensor(number)))(both)
    expected = torch.stack([loss(logits, one, teacher, torch.tensor(number)) for one in both])
    torch.testing.assert_close(values, expected)
    slopes = [torch.autograd.grad(of.sum(), logits)[0] for of in (values, expected)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SOFT)
def test_the_gradient_for_soft_targets_is_that_of_differences(name: str, shape: tuple[int, ...]) -> None:
    number, loss = LOSSES[name]
    logits, _, teacher = case(shape)
    targets = teacher.softmax(1)
    assert gradcheck(lambda z: loss(z, targets, teacher, number), logits)
    assert gradgradcheck(lambda z: loss(z, targets, teacher, number), logits)


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_targets_of_more_digits_than_the_logits_make_no_loss_of_more(name: str, dtype: torch.dtype) -> None:
    number, loss = LOSSES[name]
    logits, _, teacher = case(SHAPES[0])
    value = loss(logits.to(dtype), teacher.softmax(1), teacher, torch.tensor(number))
    assert value.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *(
            (name, number)
            for name in ("distillation", "decoupled_distillation", "virtual_teacher")
            for number in (1, 2, 4.0)
        ),
        *(("bi_tempered", t) for t in (1.0, 1.1, 1.2, 1.3, 1.4, 2.0, 4.0)),
        *((name, number) for name, (number, _) in LOSSES.items()),
    ],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_number_for_which_there_is_a_shorter_way_gives_what_a_tensor_gives(
    name: str, number: float, shape: tuple[int, ...]
) -> None:
    _, loss = LOSSES[name]
    logits, targets, teacher = case(shape)
    values = [loss(logits, targets, teacher, at) for at in (number, torch.tensor(number, dtype=torch.float64))]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_next_to_nothing_is_nothing(dtype: torch.dtype) -> None:
    depth = 100.0 if dtype == torch.float32 else 730.0  # e^-depth is a subnormal number
    logits = torch.tensor([[0.0, -depth, -3.0]], dtype=dtype, requires_grad=True)
    loss = ldam(logits, torch.tensor([2]), class_counts=torch.ones(3), max_margin=0.0, scale=1.5)
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope[0, 1] == 0
    expected = cross_entropy(1.5 * logits, torch.tensor([2]))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(slope, torch.autograd.grad(expected, logits)[0])
    # A label that lies as low has its loss all the same.
    loss = ldam(logits, torch.tensor([1]), class_counts=torch.ones(3), max_margin=0.0, scale=1.5)
    torch.testing.assert_close(loss, cross_entropy(1.5 * logits, torch.tensor([1])))


@pytest.mark.parametrize("name", ["margin_smoothing", "max_suppression", "mmce"])
def test_equal_largest_logits_share_the_gradient(name: str) -> None:
    number, loss = LOSSES[name]
    logits = torch.tensor([[2.0, 2.0, -1.0], [0.5, -0.5, 1.0]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(logits, torch.tensor([2, 2]), logits, number), logits)
    # what each gets is what it gets where it alone is largest and what it gets beside a larger one, by halves
    by_hand = []
    for least in (-1e-9, 1e-9):
        moved = (logits + torch.tensor([[least, 0.0, 0.0], [0.0, 0.0, 0.0]])).detach().requires_grad_()
        by_hand.append(torch.autograd.grad(loss(moved, torch.tensor([2, 2]), logits, number), moved)[0])
    torch.testing.assert_close(slope, (by_hand[0] + by_hand[1]) / 2, atol=1e-7, rtol=0)


@pytest.mark.parametrize("shape", [(2050, 1000), (3, 32, 256, 256)])  # many examples, few large images
def test_parts_are_cut_where_there_are_many_positions(shape: tuple[int, ...]) -> None:
    seen: list[int] = []

    def compute(values: Tensor, factor: float) -> tuple[Tensor, Tensor]:
        seen.append(len(values))
        return values.sum(1), values * factor

    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sums, products = parts_module.in_parts(compute, values, 2.0)
    assert len(seen) > 1
    assert sum(seen) == len(values)
    torch.testing.assert_close(sums, values.sum(1))
    torch.testing.assert_close(products, values * 2)


@pytest.mark.parametrize("t", [1.2, 2.0, 4.0])
@pytest.mark.parametrize("scale", [0.1, 2.0, 10.0, 1e4])
@pytest.mark.parametrize("num_classes", [1, 2, 10, 1000])
def test_the_normalisation_of_a_tempered_softmax_is_found_to_the_last_digits(
    t: float, scale: float, num_classes: int
) -> None:
    logits = scale * torch.randn(64, num_classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sums = tempered_log_softmax(logits, t).exp().sum(1)
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-11)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("highest", [20.0, 800.0, 1e4])  # from 745 on, exp(-z) is 0 in float64
def test_where_p_is_as_good_as_1_the_gradient_is_that_of_what_is_computed(highest: float, temperature: float) -> None:
    logits = torch.tensor([[highest, 0.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[0.0, 0.0, 0.5]], dtype=torch.float64)
    slopes = []
    for learned in (False, True):  # by hand, and by autograd
        at = torch.tensor(temperature, dtype=torch.float64, requires_grad=learned)
        loss = incremental_distillation(logits, torch.tensor([0]), teacher_logits=teacher, temperature=at, weight=1.0)
        slopes += torch.autograd.grad(loss, logits)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(slopes[0].sum(), torch.zeros((), dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("loss", [distillation, decoupled_distillation])
def test_a_teacher_may_come_from_inference_mode_and_logits_may_have_much_in_common(loss: Callable[..., Tensor]) -> None:
    with torch.inference_mode():
        teacher = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()
    targets = torch.arange(4)
    (plain,) = torch.autograd.grad(loss(logits, targets, teacher_logits=teacher, temperature=3.0), logits)
    high = (logits.detach() + 1024).requires_grad_()
    exact = high.detach() - 1024  # as far as they could be told apart up there
    (slope,) = torch.autograd.grad(loss(high, targets, teacher_logits=teacher, temperature=3.0), high)
    exact.requires_grad_()
    (expected,) = torch.autograd.grad(loss(exact, targets, teacher_logits=teacher, temperature=3.0), exact)
    torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slope, plain, rtol=1e-2, atol=1e-2)


def test_logits_that_are_all_but_equal_give_the_gradient_that_autograd_gives() -> None:
    logits = torch.tensor([[1.0, 1.0000001, -1.0]], requires_grad=True)
    slopes = []
    for learned in (False, True):
        at = torch.tensor(1.0, requires_grad=learned)
        loss = distillation(logits, torch.tensor([0]), teacher_logits=torch.tensor([[0.3, 0.1, 0.2]]), temperature=at)
        slopes += torch.autograd.grad(loss, logits)
    torch.testing.assert_close(slopes[0], slopes[1])


@pytest.mark.parametrize("shape", [(0, 5), (2, 5, 0, 3)])
def test_an_empty_batch_has_no_tempered_loss(shape: tuple[int, ...]) -> None:
    targets = torch.zeros(shape[0], *shape[2:], dtype=torch.int64)
    assert bi_tempered(torch.randn(shape, requires_grad=True), targets).item() == 0


OF_TEACHERS: dict[str, Callable[..., Tensor]] = {
    "distillation": lambda z, y, teacher, **own: distillation(z, y, teacher_logits=teacher, **own),
    "decoupled_distillation": lambda z, y, teacher, **own: decoupled_distillation(z, y, teacher_logits=teacher, **own),
    "virtual_teacher": lambda z, y, teacher, **own: virtual_teacher(z, y, **own),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OF_TEACHERS)
def test_cross_entropy_along_with_a_teacher_is_what_it_is_apart(name: str, shape: tuple[int, ...]) -> None:
    logits, targets, teacher = case(shape)
    loss = OF_TEACHERS[name]

    def apart(z: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(z, y)

    nothing_set = functools.partial(cross_entropy, epsilon=0.0, prior=None, temperature=1.0, class_weights=None)
    expected = loss(logits, targets, teacher, hard=apart)
    (slope,) = torch.autograd.grad(expected, logits)
    for hard in (cross_entropy, nothing_set):
        along = loss(logits, targets, teacher, hard=hard)
        torch.testing.assert_close(along, expected)
        torch.testing.assert_close(torch.autograd.grad(along, logits)[0], slope)


@pytest.mark.parametrize(
    "own", [{"epsilon": 0.3}, {"temperature": 2.0}, {"class_weights": [1.0, 2.0, 3.0]}, {"ignore_index": 0}]
)
@pytest.mark.parametrize("name", OF_TEACHERS)
def test_cross_entropy_in_which_something_is_set_counts_as_it_is_set(name: str, own: dict[str, Any]) -> None:
    logits, targets, teacher = case((5, 3))
    targets = targets.clamp(min=0)  # which every loss below counts
    hard = functools.partial(cross_entropy, **own)
    given = OF_TEACHERS[name](logits, targets, teacher, hard=hard)
    torch.testing.assert_close(given, OF_TEACHERS[name](logits, targets, teacher, hard=lambda z, y: hard(z, y)))
    assert (given - OF_TEACHERS[name](logits, targets, teacher)).abs() > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_a_second_backward_pass_gives_what_the_first_gave(name: str) -> None:
    number, loss = LOSSES[name]
    logits, targets, teacher = case((5, 4))
    value = loss(logits, targets, teacher, torch.tensor(number))
    first, second = (torch.autograd.grad(value * 3, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    value.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(logits.grad * 3, first)


@pytest.mark.parametrize("offset", [0.0, 100.0, 1e4])
@pytest.mark.parametrize("temperature", [0.7, 1.5, 3.0])
def test_where_the_largest_is_all_but_certain_no_digits_are_lost(temperature: float, offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, teacher = 8 * torch.randn(2, 512, 6, generator=generator) + offset
    targets = torch.randint(6, (512,), generator=generator)
    slopes = []
    for dtype in (torch.float32, torch.float64):
        z = logits.to(dtype).requires_grad_()
        loss = incremental_distillation(z, targets, teacher_logits=teacher[:, :4].to(dtype), temperature=temperature)
        slopes += torch.autograd.grad(loss, z)
    found, expected = slopes
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=float(2e-6 * expected.abs().max()))


def test_what_a_certain_mistake_costs_does_not_depend_on_the_precision() -> None:
    # p = 1 - e^-30 or so of the first, of which the teacher says nothing: log (1 - p) is about -30, not log 1e-7.
    logits, teacher, targets = (
        torch.tensor([[30.0, -10.0, 0.0, 1.0]]),
        torch.tensor([[0.0, 50.0, 1.0]]),
        torch.tensor([3]),
    )
    found = []
    for dtype in (torch.float32, torch.float64):
        z = logits.to(dtype).requires_grad_()
        loss = incremental_distillation(z, targets, teacher_logits=teacher.to(dtype), temperature=1.0, weight=3.0)
        found.append((loss, *torch.autograd.grad(loss, z)))
    for single, double in zip(*found, strict=True):
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)
    # New classes: one, which costs nothing. Old: -log p of the second is 40, -log(1 - p) of the first 30.
    assert found[1][0].item() == pytest.approx(70, abs=1e-3)


@pytest.mark.parametrize("loss", OF_TEACHERS)
def test_a_large_part_in_common_leaves_the_largest_at_0(loss: str) -> None:
    logits = torch.full((1, 3), 1e12, requires_grad=True)
    value = OF_TEACHERS[loss](logits, torch.tensor([1]), torch.full((1, 3), 1e12), temperature=3.0)
    expected = OF_TEACHERS[loss](torch.zeros(1, 3), torch.tensor([1]), torch.zeros(1, 3), temperature=3.0)
    torch.testing.assert_close(value, expected)
    assert torch.autograd.grad(value, logits)[0].isfinite().all()


@pytest.mark.parametrize("loss", OF_TEACHERS)
def test_gradients_in_float64_have_its_digits(loss: str) -> None:
    logits, targets, teacher = case((5, 3))
    (slope,) = torch.autograd.grad(OF_TEACHERS[loss](logits, targets, teacher), logits)
    assert slope.sum(1).abs().max() < 1e-15 * slope.abs().sum(1).max()


@pytest.mark.parametrize(
    "own",
    [{"temperature": 0.05}, {"temperature": 1.0, "correct_probability": 1 - 1e-8}, {"correct_probability": 0.999999}],
    ids=str,
)
def test_a_virtual_teacher_may_be_as_sure_as_one_likes(own: dict[str, float]) -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5, 0.0, 1.0]])
    single, double = (virtual_teacher(z, torch.tensor([3]), **own) for z in (logits, logits.double()))
    assert single.isfinite()
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=0)


@pytest.mark.parametrize("part", [4, parts_module.PART])
@pytest.mark.parametrize("name", LOSSES)
def test_nothing_that_is_handed_over_is_written_to(name: str, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "PART", part)
    number, loss = LOSSES[name]
    logits, targets, teacher = case((4, 4))  # as many examples as classes
    given = logits, targets, teacher, torch.tensor(number)
    before = [values.detach().clone() for values in given]
    values = []
    for _ in range(2):
        value = loss(*given)
        values.append((value, *torch.autograd.grad(value, logits)))
        with torch.no_grad():
            loss(*given)
    assert all(torch.equal(one, other) for one, other in zip(*values, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(before, given, strict=True))


def test_runners_up_that_tie_share_the_gradient() -> None:
    logits = torch.tensor([[2.0, 1.0, 1.0, -1.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(dual_focal(logits, torch.tensor([0])), logits)
    assert slope[0, 1] == slope[0, 2]
    torch.testing.assert_close(slope.sum(), torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("mask", [torch.finfo(torch.float32).min, -1e38, -1e30])
@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.5])
@pytest.mark.parametrize(
    "name", ["distillation", "decoupled_distillation", "confidence_penalty", "dual_focal", "binary_cross_entropy"]
)
def test_classes_that_are_masked_are_as_if_they_were_not_there(name: str, temperature: float, mask: float) -> None:
    logits, targets, teacher = (values.detach() for values in case((5, 3)))
    logits, teacher = logits.float(), teacher.float()
    wide, wide_teacher = (torch.nn.functional.pad(values, (0, 2), value=mask) for values in (logits, teacher))
    # The number of each: a temperature, β, γ, ε, the last of which spreads over all classes.
    number = 0.0 if name == "binary_cross_entropy" else temperature
    found = []
    for z, from_teacher in ((logits, teacher), (wide, wide_teacher)):
        z = z.requires_grad_()
        value = LOSSES[name][1](z, targets, from_teacher, number)
        found.append((value, torch.autograd.grad(value, z)[0]))
    (expected, slope), (masked, masked_slope) = found
    torch.testing.assert_close(masked, expected)
    torch.testing.assert_close(masked_slope, torch.nn.functional.pad(slope, (0, 2)))


@pytest.mark.parametrize("name", LOSSES)
def test_several_gradients_at_once_are_those_one_by_one(name: str) -> None:
    number, loss = LOSSES[name]
    logits, targets, teacher = case((5, 4))
    factors = torch.tensor([1.0, 2.0], dtype=torch.float64)
    value = loss(logits, targets, teacher, torch.tensor(number))
    (both,) = torch.autograd.grad(value, logits, factors, is_grads_batched=True, retain_graph=True)
    (one,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(both, torch.stack([one, 2 * one]))


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("name", LOSSES)
def test_it_can_be_compiled_in_one_graph(name: str) -> None:
    _, loss = LOSSES[name]
    logits, targets, teacher = case(SHAPES[0])
    number = torch.tensor(LOSSES[name][0], dtype=torch.float64)
    torch.compiler.reset()
    written = torch.compile(lambda z: loss(z, targets, teacher, number), backend="eager", fullgraph=True)
    (expected,) = torch.autograd.grad(loss(logits, targets, teacher, number), logits)
    torch.testing.assert_close(torch.autograd.grad(written(logits), logits)[0], expected)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("loss", [decoupled_distillation, distillation])
def test_a_class_that_is_masked_for_student_and_teacher_is_as_if_it_were_not_there(
    loss: Callable[..., Tensor], temperature: float
) -> None:
    logits, teacher = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    expected = loss(logits[:, :3], targets, teacher_logits=teacher[:, :3], temperature=temperature)
    logits[:, 3] = teacher[:, 3] = -math.inf
    masked = loss(logits.requires_grad_(), targets, teacher_logits=teacher, temperature=temperature)
    torch.testing.assert_close(masked, expected)
    assert torch.autograd.grad(masked, logits)[0].isfinite().all()
