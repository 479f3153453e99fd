"""What a recipe may say, and that every recipe that ships says what can be trained and judged."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import compose_all

from lossbench import config
from lossbench.catalogue import conf_dir
from lossbench.errors import ConfigError
from lossbench.recipes import reproduction
from lossbench.recipes.recipe import FULL, QUICK, Claim, Recipe, recipe, recipes
from lossbench.report.selection import meets
from lossbench.settings import flat

SHIPPED = recipes([conf_dir()])


def written(folder: Path, text: str) -> list[Path]:
    (folder / "experiment").mkdir(parents=True, exist_ok=True)
    (folder / "experiment/mine.yaml").write_text(f"# @package _global_\n# What it is\nepochs: 2\n{text}")
    return [folder]


def claims(folder: Path, *lines: str) -> tuple[Claim, ...]:
    said = "".join(f"    - {line}\n" for line in lines)
    return recipe("mine", written(folder, f"recipe:\n  source: somebody\n  claims:\n{said}")).claims


def test_an_order_is_a_claim_for_each_two_neighbours(tmp_path: Path) -> None:
    first, second = claims(tmp_path, "{says: up, metric: ece, rising: [loss.epsilon=0, loss.epsilon=0.1, loss=focal]}")
    assert first == Claim("up: epsilon=0.1 > epsilon=0", "ece", ("loss.epsilon=0.1",), ("loss.epsilon=0",), low=0.0)
    assert (second.says, second.of, second.than) == ("up: loss=focal > epsilon=0.1", ("loss=focal",), first.of)
    (down,) = claims(tmp_path, "{says: down, metric: ece, falling: [loss=a, loss=b]}")
    assert (down.of, down.than, down.low, down.high) == (("loss=b",), ("loss=a",), -math.inf, 0.0)


def test_what_was_published_is_the_middle_of_what_is_claimed(tmp_path: Path) -> None:
    (cell,) = claims(tmp_path, "{metric: accuracy, of: [loss.epsilon=0], published: 0.91, within: 0.01}")
    assert cell.says == "accuracy at epsilon=0"
    assert (cell.low, cell.high) == pytest.approx((0.90, 0.92))


def test_a_factor_is_of_a_ratio(tmp_path: Path) -> None:
    (claim,) = claims(tmp_path, "{says: twice, metric: ece, of: loss=a, than: loss=b, times_above: 2}")
    assert (claim.ratio, claim.low, claim.high) == (True, 2.0, math.inf)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{metric: ece, of: loss=a}", "must have one of above, below, within"),
        ("{metric: ece, of: loss=a, above: 0, below: 1}", "got above, below"),
        ("{metric: ece, of: loss=a, times_above: 2}", "say `than` which"),
        ("{metric: ece, of: loss=a, within: 2}", "within what of"),
        ("{metric: ece, of: loss=a, abov: 0}", "did you mean above"),
        ("{metric: ece, of: loss=a, above: much}", "could not convert"),
        ("{metric: ece, rising: [loss=a]}", "two rows or more"),
    ],
)
def test_a_claim_that_says_nothing_is_refused_with_the_file(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{message}"):
        claims(tmp_path, line)


def test_a_recipe_without_a_source_or_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must have source"):
        recipe("mine", written(tmp_path, "recipe: {claims: [{metric: ece, of: loss=a, above: 0}]}\n"))
    with pytest.raises(ConfigError, match="did you mean figures"):
        recipe("mine", written(tmp_path, "recipe: {source: s, figure: {}, claims: []}\n"))


def test_an_experiment_without_claims_and_a_name_that_is_none_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"claims nothing.*lossbench train \+experiment=mine"):
        recipe("mine", written(tmp_path, ""))
    with pytest.raises(ConfigError, match="did you mean temperature_in_loss"):
        recipe("temprature_in_loss", [conf_dir()])


def test_what_is_claimed_is_no_part_of_a_run() -> None:
    run, *_ = compose_all("+experiment=temperature_in_loss")
    assert "recipe" not in run
    with pytest.raises(ConfigError, match="recipe is for the yaml of an experiment"):
        compose_all("recipe=3")


@functools.cache
def trained(name: str, scale: str) -> list[dict[str, Any]]:
    """The settings of every run of a recipe, teachers included."""
    found = []
    one = recipe(name, [conf_dir()])
    more = one.quick if scale == QUICK else ()
    for *_, words in reproduction.parts(one):
        for run in compose_all(f"+experiment={one.name}", *words, *more):
            found.append(dict(flat(run)))
            if run["teacher"] is not None:
                found.append(dict(flat(config.teacher_config(run))))
    return found


def settings(run: dict[str, Any], one: Recipe) -> tuple[Any, ...]:
    """What makes a row: all but the seed, and what validation chooses."""
    chosen = ("optimizer.", "loss.") if one.select else ()
    aside = ("seed", "teacher.id", "results_dir")
    return tuple(sorted((k, str(v)) for k, v in run.items() if k not in aside and not k.startswith(chosen)))


@pytest.mark.parametrize("scale", [FULL, pytest.param(QUICK, marks=pytest.mark.slow)])
@pytest.mark.parametrize("one", SHIPPED, ids=lambda one: one.name)
def test_every_claim_of_a_recipe_names_one_row_of_what_is_trained(one: Recipe, scale: str) -> None:
    runs = trained(one.name, scale)
    for claim in one.claims:
        for conditions in filter(None, (claim.of, claim.than)):
            rows = [run for run in runs if all(_meets(run, condition) for condition in conditions)]
            assert len({settings(run, one) for run in rows}) == 1, (claim.says, conditions)
            assert len({run["seed"] for run in rows}) >= (3 if scale == FULL else 2), claim.says


def _meets(run: dict[str, Any], condition: str) -> bool:
    key = condition.partition("=")[0]
    return (key in run or f"{key}.name" in run) and meets(run, condition)


@pytest.mark.parametrize("one", SHIPPED, ids=lambda one: one.name)
def test_a_recipe_compares_each_loss_with_the_same_budget(one: Recipe) -> None:
    def budget(run: dict[str, Any]) -> tuple[Any, ...]:
        return run["epochs"], run["batch_size"], run["keep"], run["dataset.name"], run["model.hidden"]

    runs = [run | {"model.hidden": run.get("model.hidden")} for run in trained(one.name, FULL)]
    students: Sequence[dict[str, Any]] = [run for run in runs if run["model.hidden"] != "[1200, 1200]"] or runs
    for name in {run["dataset.name"] for run in students}:
        assert len({budget(run) for run in students if run["dataset.name"] == name}) == 1
    if one.select:  # as many learning rates for each loss
        rates: dict[Any, set[float]] = {}
        for run in students:
            rates.setdefault(run["loss.name"], set()).add(run["optimizer.learning_rate"])
        assert len(set(map(frozenset, rates.values()))) == 1
