from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import pytest
from torch import Tensor

from lossbench.domains import NON_NEGATIVE, UNIT, Interval
from lossbench.errors import ConfigError
from lossbench.signature import check


def loss(
    logits: Tensor,
    *,
    epsilon: Annotated[float | Tensor, UNIT] = 0.0,
    weights: list[float] | Literal["inverse", "effective"] | None = None,
    classes: int = 2,
    mean: bool = True,
    rates: dict[str, float] | None = None,
    shares: list[Annotated[float, UNIT]] | None = None,
    hard: Callable[..., Tensor] | None = None,
) -> Tensor:
    return logits * epsilon


ACCEPTED = [
    {"epsilon": 0},
    {"epsilon": 1.0},
    {"weights": [1, 2.5]},
    {"weights": "inverse"},
    {"weights": None},
    {"classes": 3},
    {"mean": False},
    {"rates": {"head": 0.1}},
    {"shares": [0.5, 0.75]},
    {"hard": {"_target_": "lossbench.losses.dice"}},
]

REFUSED = [
    ({"epsilon": 1.2}, "loss.epsilon must lie in [0, 1]; got 1.2"),
    ({"epsilon": -0.1}, "loss.epsilon must lie in [0, 1]; got -0.1"),
    ({"epsilon": float("nan")}, "loss.epsilon must lie in [0, 1]; got nan"),
    ({"epsilon": "abc"}, "loss.epsilon must be a number; got 'abc'"),
    ({"epsilon": True}, "loss.epsilon must be a number; got True"),
    ({"epsilon": None}, "loss.epsilon must be a number; got None"),
    (
        {"weights": "invers"},
        "loss.weights must be inverse or effective or null or a list of numbers; got 'invers'; did you mean inverse?",
    ),
    ({"weights": ["a"]}, "loss.weights must be inverse or effective or null or a list"),
    ({"classes": 2.5}, "loss.classes must be a whole number; got 2.5"),
    ({"mean": 1}, "loss.mean must be true or false; got 1"),
    ({"rates": {"head": "fast"}}, "loss.rates must be null or a mapping, each value a number"),
    ({"shares": [0.5, 2.0]}, "loss.shares must lie in [0, 1]; got [0.5, 2.0]"),
    (
        {"hard": "dice"},
        "loss.hard must be a function, which a yaml of your own gives by its _target_ or null; got 'dice'",
    ),
    ({"epsilom": 0.1}, "loss has no key 'epsilom'; did you mean epsilon?"),
    ({"logits": 1}, "loss has no key 'logits'"),
]


@pytest.mark.parametrize("values", ACCEPTED)
def test_a_value_within_the_signature_is_accepted(values: dict[str, object]) -> None:
    check(loss, values, "loss", given=("logits",))


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_a_value_outside_the_signature_is_refused_in_the_users_words(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(loss, values, "loss", given=("logits",))
    assert message in str(caught.value)


def test_a_parameter_without_default_must_be_given() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.logits has no default and must be given"):
        check(loss, {}, "dataset")


def test_a_function_that_takes_any_keyword_gets_any() -> None:
    def free(**options: float) -> None: ...

    check(free, {"whatever": 1}, "loss")


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "text"),
    [
        (UNIT, [0, 0.5, 1], [-1e-9, 1 + 1e-9], "[0, 1]"),
        (NON_NEGATIVE, [0, 1e30], [-1, float("inf"), float("nan")], "[0, ∞)"),
        (Interval(0, 1, open_low=True), [1e-9, 1], [0], "(0, 1]"),
        (Interval(float("-inf"), 2, open_high=True), [-1e30, 1.9], [2], "(-∞, 2)"),
    ],
)
def test_an_interval_knows_its_ends(interval: Interval, inside: list[float], outside: list[float], text: str) -> None:
    assert all(value in interval for value in inside)
    assert not any(value in interval for value in outside)
    assert str(interval) == text
