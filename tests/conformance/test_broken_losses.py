"""Each property is one that a loss can break, and a break shows on its own line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench import losses
from lossbench.conformance import Mark, Result, check
from lossbench.conformance.examination import PROPERTIES
from lossbench.domains import NON_NEGATIVE
from lossbench.errors import ShapeError
from lossbench.losses.checks import check_shapes
from lossbench.losses.claims import claim
from lossbench.losses.targets import at_least_float32

Loss = Callable[..., Tensor]


def by_name(loss: Loss) -> dict[str, Result]:
    return {result.name: result for result in check(loss)}


def failing(results: dict[str, Result]) -> set[str]:
    return {name for name, result in results.items() if result.mark is Mark.FAILS}


def sound(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of examples and pixels, of class indices alone; every loss below differs from it in one thing."""
    check_shapes(logits, targets, soft=False)
    return F.cross_entropy(logits, targets)


def each(logits: Tensor, targets: Tensor) -> Tensor:
    check_shapes(logits, targets, soft=False)
    return F.cross_entropy(logits, targets, reduction="none")


def a_vector(logits: Tensor, targets: Tensor) -> Tensor:
    return each(logits, targets)


def in_float64(logits: Tensor, targets: Tensor) -> Tensor:
    check_shapes(logits, targets, soft=False)
    return F.cross_entropy(logits.double(), targets)


def log_of_an_underflow(logits: Tensor, targets: Tensor) -> Tensor:
    check_shapes(logits, targets, soft=False)
    return F.nll_loss(logits.softmax(1).log(), targets)  # e^-20000 is 0


def nothing_where_nan(logits: Tensor, targets: Tensor) -> Tensor:
    losses = each(logits, targets)
    return losses.where(losses > 0, 0.0).mean()  # nan > 0 is False


def over_the_other_classes(logits: Tensor, targets: Tensor) -> Tensor:
    others = (targets != targets.flatten()[0]).sum()
    return sound(logits, targets) * (others / others if len(targets) > 1 else 1)  # 0 / 0 where there are none


def over_n_minus_one(logits: Tensor, targets: Tensor) -> Tensor:
    check_shapes(logits, targets, soft=False)
    spread = (logits - logits.mean(0)).square().sum() / (len(logits) - 1)  # 0 / 0 of one example
    return sound(logits, targets) + 0 * spread


def product_over_classes(logits: Tensor, targets: Tensor) -> Tensor:
    chances = logits.new_full(logits.shape[1:2], 0.1).prod()  # 10^-1000 is 0
    return sound(logits, targets) * (chances / chances)


def half_the_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    return sound(logits, targets) * sound(logits, targets).detach()


def in_the_logits_own_precision(logits: Tensor, targets: Tensor) -> Tensor:
    return sound(logits, targets).to(logits.dtype)


def every_second_example_twice(logits: Tensor, targets: Tensor) -> Tensor:
    losses = each(logits, targets)
    if losses.ndim > 1:
        raise ShapeError("examples alone")  # which pixels are second depends on the layout
    weights = 1.0 + torch.arange(len(losses), dtype=losses.dtype, device=losses.device) % 2
    return (losses * weights).sum() / weights.sum()


@claim(shift_invariant=True)
def with_a_square(logits: Tensor, targets: Tensor) -> Tensor:
    return sound(logits, targets) + 0.01 * logits.square().mean()


def a_sum(logits: Tensor, targets: Tensor) -> Tensor:
    return each(logits, targets).sum()


@claim(mean_of_examples=True)
def root_of_the_mean_square(logits: Tensor, targets: Tensor) -> Tensor:
    return each(logits, targets).square().mean().sqrt()


def diluted(logits: Tensor, targets: Tensor, *, ignore_index: int = -100) -> Tensor:
    check_shapes(logits, targets, soft=False)
    return F.cross_entropy(logits, targets, ignore_index=ignore_index, reduction="none").mean()  # zeros count


def nan_of_nothing(logits: Tensor, targets: Tensor, *, ignore_index: int = -100) -> Tensor:
    check_shapes(logits, targets, soft=False)
    return F.cross_entropy(logits, targets, ignore_index=ignore_index)


def weights_not_divided_by(logits: Tensor, targets: Tensor, *, sample_weights: Tensor | None = None) -> Tensor:
    losses = each(logits, targets).flatten(1).mean(1) if logits.ndim > 2 else each(logits, targets)
    if sample_weights is None:
        return losses.mean()
    if sample_weights.shape != losses.shape:
        raise ShapeError("sample_weights")
    return (losses * sample_weights).mean()


def summed_over_pixels(logits: Tensor, targets: Tensor) -> Tensor:
    return each(logits, targets).flatten(1).sum(1).mean() if logits.ndim > 2 else sound(logits, targets)


@claim(soft_targets=True)
def soft_targets_twice(logits: Tensor, targets: Tensor) -> Tensor:
    check_shapes(logits, targets)
    return F.cross_entropy(logits, targets) * (2 if targets.is_floating_point() else 1)


@claim(soft_targets=True)
def root_of_what_is_left(logits: Tensor, targets: Tensor) -> Tensor:
    if logits.ndim < 2 or targets.shape != logits.shape:  # else check_shapes would refuse the sums
        check_shapes(logits, targets)
    left = (targets.sum(1) - 0.75).sqrt() if targets.is_floating_point() else logits.new_tensor(0.25).sqrt()
    return F.cross_entropy(logits, targets) * left.mean() / 0.25**0.5


@claim(cross_entropy_at={"gamma": 1.0})
def focal_of_another_gamma(
    logits: Tensor, targets: Tensor, *, gamma: Annotated[float | Tensor, NON_NEGATIVE] = 2.0
) -> Tensor:
    return losses.focal(logits, sound_targets(logits, targets), gamma=gamma)


def sound_targets(logits: Tensor, targets: Tensor) -> Tensor:
    check_shapes(logits, targets, soft=False)
    return targets


def branching(logits: Tensor, targets: Tensor, *, gamma: float = 1.0) -> Tensor:
    return sound(logits, targets) * (gamma if gamma > 0 else 1.0)


def unchecked(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets)


def in_silence(logits: Tensor, targets: Tensor) -> Tensor:
    check_shapes(logits, targets, soft=False)
    classes = torch.arange(logits.shape[1], device=logits.device).reshape(-1, *(1 for _ in logits.shape[2:]))
    return -(at_least_float32(logits).log_softmax(1) * (targets.unsqueeze(1) == classes)).sum(1).mean()


def flat_at_first(logits: Tensor, targets: Tensor) -> Tensor:
    return sound(logits, targets) * (logits.abs().amax() > 1)


BROKEN: dict[str, Loss] = {
    "finite_scalar": a_vector,
    "single_precision": in_float64,
    "extreme_logits": log_of_an_underflow,
    "nan_shows": nothing_where_nan,
    "one_class_present": over_the_other_classes,
    "one_example": over_n_minus_one,
    "many_classes": product_over_classes,
    "gradient_of_finite_differences": half_the_gradient,
    "autocast": in_the_logits_own_precision,
    "order_of_examples": every_second_example_twice,
    "constant_added": with_a_square,
    "mean_scale": a_sum,
    "mean_of_examples": root_of_the_mean_square,
    "ignored_targets": diluted,
    "all_ignored": nan_of_nothing,
    "sample_weights": weights_not_divided_by,
    "pixels": summed_over_pixels,
    "soft_targets": soft_targets_twice,
    "targets_that_do_not_sum_to_one": root_of_what_is_left,
    "identity": focal_of_another_gamma,
    "stacked": branching,
    "shapes_and_dtypes": unchecked,
    "targets_out_of_range": in_silence,
    "scale_audit": flat_at_first,
}


def test_there_is_a_broken_loss_for_every_property_but_one_that_needs_a_gpu_and_one_that_finds_no_fault() -> None:
    assert list(BROKEN) == [prop.__name__ for prop in PROPERTIES if prop.__name__ not in ("devices", "repeats")]


@pytest.mark.parametrize("name", BROKEN)
def test_a_break_shows_on_its_own_line_alone(name: str) -> None:
    results = by_name(BROKEN[name])
    assert failing(results) == {name}
    assert str(results[name]).startswith("✗ ")
    assert results[name].detail


def root_of_zero(logits: Tensor, targets: Tensor) -> Tensor:
    return sound(logits, targets) + (logits - logits.detach()).square().sum().sqrt()  # value 0, gradient 0 / 0


def of_another_size_in_float32(logits: Tensor, targets: Tensor) -> Tensor:
    return sound(logits, targets) * (1.0 if logits.dtype == torch.float64 else 1.1)


def rounded_away(logits: Tensor) -> Tensor:
    """1e-3, which is 0 in bf16: its next number above 1 is 1 + 2^-7."""
    return torch.ones((), dtype=logits.dtype, device=logits.device) + 1e-3 - 1


def over_what_is_rounded_away(logits: Tensor, targets: Tensor) -> Tensor:
    return sound(logits, targets) * (rounded_away(logits) / rounded_away(logits))


def plus_what_is_rounded_away(logits: Tensor, targets: Tensor) -> Tensor:
    return sound(logits, targets) * (1 + 100 * rounded_away(logits))  # 1.1, and 1 in bf16


def decayed(logits: Tensor, targets: Tensor, *, ignore_index: int = -100) -> Tensor:
    check_shapes(logits, targets, soft=False)
    labels = losses.cross_entropy(logits, targets, ignore_index=ignore_index)
    return labels + 0.01 * logits.square().mean()  # of ignored examples too


def weights_as_a_mask(logits: Tensor, targets: Tensor, *, sample_weights: Tensor | None = None) -> Tensor:
    mask = None if sample_weights is None else (sample_weights > 0).double()
    return losses.cross_entropy(logits, sound_targets(logits, targets), sample_weights=mask)


@claim(cross_entropy_at={"share": 0.5})
def partly_detached(logits: Tensor, targets: Tensor, *, share: float | Tensor = 0.5) -> Tensor:
    return share * sound(logits, targets) + (1 - share) * sound(logits, targets).detach()


def of_another_size_for_tensors(logits: Tensor, targets: Tensor, *, gamma: float | Tensor = 1.0) -> Tensor:
    return sound(logits, targets) * (2 if isinstance(gamma, Tensor) else 1)


def converted(logits: Tensor, targets: Tensor) -> Tensor:
    return sound(logits, targets.long() if targets.ndim < logits.ndim else targets)


@pytest.mark.parametrize(
    ("loss", "lines", "reason"),
    [
        (root_of_zero, {"finite_scalar"}, "the gradient has nan or infinity"),
        (of_another_size_in_float32, {"single_precision"}, " instead of "),
        (over_what_is_rounded_away, {"autocast"}, "loss or gradient is not finite"),
        (plus_what_is_rounded_away, {"autocast"}, " instead of "),
        (decayed, {"ignored_targets", "all_ignored"}, "gradient"),
        (weights_as_a_mask, {"sample_weights"}, "weight 2: "),
        (partly_detached, {"gradient_of_finite_differences", "identity"}, ""),
        (of_another_size_for_tensors, {"stacked"}, " instead of "),
        (converted, {"shapes_and_dtypes"}, "int32 targets: no error, float targets: no error"),
    ],
)
def test_there_is_more_than_one_way_to_break_a_line(loss: Loss, lines: set[str], reason: str) -> None:
    results = by_name(loss)
    assert failing(results) == lines
    assert all(reason in results[line].detail for line in lines)


def test_a_gradient_of_another_size_is_told_from_a_value_of_another_size() -> None:
    detail = by_name(partly_detached)["identity"].detail
    assert detail.startswith("at share=0.5 same value, but the gradient differs by up to ")
