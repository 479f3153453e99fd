"""What a recipe may say, and that every recipe that ships says what can be trained and judged."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import compose_all

from lossbench.catalogue import conf_dir
from lossbench.errors import ConfigError
from lossbench.recipes import planning
from lossbench.recipes.recipe import FULL, QUICK, Claim, Recipe, recipe, recipes

SHIPPED, _ = recipes([conf_dir()])


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
        ("{metric: ece, of: loss=a, above: much}", "above must be a number; got 'much'"),
        ("{metric: ece, of: loss=a, published: lots, within: 1}", "published must be a number; got 'lots'"),
        ("{metric: ece, of: loss=a, than: [loss=a], above: 0}", "the same row, loss=a"),
        ("{metric: ece, of: loss=a, than: loss=b, within: -0.1}", "above 0; got -0.1"),
        ("a sentence", "must be a mapping"),
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


@pytest.mark.parametrize(("key", "said"), [("claims", "a: b"), ("parts", "[a]"), ("figures", "[a]"), ("quick", "a")])
def test_a_part_of_a_recipe_of_another_kind_is_refused(tmp_path: Path, key: str, said: str) -> None:
    lines = {"source": "s", "claims": "[{metric: ece, of: loss=a, above: 0}]"} | {
        key: f"{{{said}}}" if ":" in said else said
    }
    text = "recipe:\n" + "".join(f"  {name}: {value}\n" for name, value in lines.items())
    with pytest.raises(ConfigError, match=rf"{key} must be a (list|mapping)"):
        recipe("mine", written(tmp_path, text))


def test_one_recipe_that_is_wrong_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    folders = [conf_dir(), *written(tmp_path, "recipe: {source: s, claims: []}\n")]
    found, wrong = recipes(folders)
    assert [one.name for one in found] == [one.name for one in SHIPPED]
    assert len(wrong) == 1
    assert "mine.yaml: a recipe must have claims" in wrong[0]
    assert recipe("temperature_in_loss", folders).name == "temperature_in_loss"


def test_what_is_claimed_is_no_part_of_a_run() -> None:
    run, *_ = compose_all("+experiment=temperature_in_loss")
    assert "recipe" not in run
    with pytest.raises(ConfigError, match="recipe is for the yaml of an experiment"):
        compose_all("recipe=3")


@functools.cache
def trained(name: str, scale: str) -> tuple[list[planning.Run], list[planning.Run]]:
    """The settings of every run of a recipe, and of their teachers."""
    one = recipe(name, [conf_dir()])
    return planning.planned(one, one.quick if scale == QUICK else (), None)


def settings(run: planning.Run, one: Recipe) -> tuple[Any, ...]:
    """What makes a row: all but the seed, and what validation chooses."""
    chosen = ("optimizer.", "loss.") if one.select else ()
    aside = ("seed", "teacher.id", "results_dir")
    return tuple(sorted((k, str(v)) for k, v in run.items() if k not in aside and not k.startswith(chosen)))


@pytest.mark.parametrize("scale", [FULL, pytest.param(QUICK, marks=pytest.mark.slow)])
@pytest.mark.parametrize("one", SHIPPED, ids=lambda one: one.name)
def test_every_claim_of_a_recipe_names_one_row_of_what_is_trained(one: Recipe, scale: str) -> None:
    runs = list(itertools.chain(*trained(one.name, scale)))
    planning.check(one, runs)
    for claim in one.claims:
        for conditions in filter(None, (claim.of, claim.than)):
            assert len({settings(run, one) for run in planning.rows(conditions, runs)}) == 1, (claim.says, conditions)
        assert planning.seeds(claim, runs) >= 3, claim.says


# What a recipe asks about, and so changes from row to row; all else is every row's.
ASKED = {"temperature_in_loss": {"optimizer.learning_rate"}, "label_noise": {"dataset.label_noise"}}


def budgets(one: Recipe, runs: Sequence[planning.Run]) -> set[tuple[Any, ...]]:
    """How the losses are trained, on each data set: one way, if it is fair."""
    aside = {
        "seed",
        "results_dir",
        "teacher",
        "dataset._target_",
        "dataset.name",
        "dataset.root",
        *ASKED.get(one.name, ()),
    }
    if one.select:
        aside |= {"optimizer.learning_rate"}
    return {
        tuple(sorted((k, str(v)) for k, v in run.items() if k not in aside and not k.startswith(("loss.", "teacher."))))
        for run in runs
    }


@pytest.mark.parametrize("one", SHIPPED, ids=lambda one: one.name)
def test_a_recipe_compares_each_loss_with_the_same_budget(one: Recipe) -> None:
    runs, _ = trained(one.name, FULL)
    assert len(budgets(one, runs)) == 1
    if one.select:  # as many learning rates for each loss
        rates: dict[Any, set[float]] = {}
        for run in runs:
            rates.setdefault(run["loss.name"], set()).add(run["optimizer.learning_rate"])
        assert len(set(map(frozenset, rates.values()))) == 1


@pytest.mark.parametrize(
    "unfair", ["optimizer=adamw", "optimizer.learning_rate=10", "dataset.train_fraction=0.1", "model.hidden=[8]"]
)
def test_a_loss_that_is_trained_in_another_way_is_seen(unfair: str) -> None:
    one = recipe("focal_calibration", [conf_dir()])
    parts = {name: [*words, unfair] if "focal" in name else words for name, words in one.parts.items()}
    runs, _ = planning.planned(dataclasses.replace(one, parts=parts), (), None)
    assert len(budgets(one, runs)) == 2


def test_what_all_runs_share_is_said_as_overrides() -> None:
    runs, _ = trained("temperature_in_loss", FULL)
    said = planning.shared(runs)
    assert {"dataset=digits", "optimizer=sgd", "optimizer.momentum=0.9", "schedule=cosine", "keep=last"} <= set(said)
    assert not any("learning_rate=" in word or "loss" in word or "_target_" in word for word in said)


def test_which_overrides_make_other_runs_than_the_recipe_says() -> None:
    harmless = [
        "device=cuda",
        "device.threads=1",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "+tracker=mlflow",
    ]
    assert planning.altering(harmless) == []
    others = ["epochs=3", "seed=range(3)", "device.precision=bf16", "+dataset.shift=1", "~model.hidden"]
    assert planning.altering([*harmless, *others]) == others


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{metric: acuracy, of: loss.epsilon=0.1, above: 0}", "no metric named 'acuracy'; did you mean accuracy?"),
        ("{metric: ece, of: loss.epsilon=0.2, above: 0}", "'ECE at epsilon=0.2' is of loss.epsilon=0.2, which no"),
        ("{metric: ece, of: loss.epsilon=0.1, than: model=cnn, above: 0}", "is of model=cnn, which no part"),
    ],
)
def test_a_claim_of_what_nobody_trains_is_refused(line: str, said: str, tmp_path: Path) -> None:
    sweep = "hydra: {sweeper: {params: {loss: label_smoothing, loss.epsilon: '0,0.1'}}}\n"
    folders = written(tmp_path, f"{sweep}recipe:\n  source: somebody\n  claims:\n    - {line}\n")
    one = recipe("mine", folders)
    runs, teachers = planning.planned(one, (), tmp_path)
    with pytest.raises(ConfigError, match=re.escape(said)):
        planning.check(one, [*runs, *teachers])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("report: {metrics: [acc]}", "no metric named 'acc'"),
        ("report: {rowz: 1}", "report has no option 'rowz'; did you mean rows?"),
        ("report: {calibrations: [rwa]}", "no calibration named 'rwa'; did you mean raw?"),
        ("report: {baseline: loss=focal}", "report.baseline is a list of key=value; got 'loss=focal'"),
        ("report: {baseline: [loss=focal]}", "'report.baseline' is of loss=focal, which no part trains"),
        ("select: nlll", "no metric named 'nlll'; did you mean nll?"),
        ("figures: {../x.svg: {kind: sweep}}", "a figure's name is that of a file beside the table; got '../x.svg'"),
        ("figures: {x.jpg: {kind: sweep}}", "a figure ends in"),
        ("figures: {x.svg: {kind: pie}}", "no figure named 'pie'"),
        ("figures: {x.svg: {kind: sweep, y: 1}}", "x.svg has no option 'y'"),
        ("figures: {x.svg: {kind: sweep, width: wide}}", "width is column or page; got 'wide'"),
        ("figures: {x.svg: {kind: sweep, where: [loss=focal]}}", "'x.svg' is of loss=focal, which no part trains"),
    ],
)
def test_a_table_or_figure_that_could_not_be_made_is_refused(more: str, said: str, tmp_path: Path) -> None:
    claim = "claims: [{metric: ece, of: loss=label_smoothing, above: 0}]"
    folders = written(tmp_path, f"recipe:\n  source: somebody\n  {claim}\n  {more}\n")
    runs = [{"loss.name": "label_smoothing", "seed": 0}]
    with pytest.raises(ConfigError, match=re.escape(said)):
        planning.check(recipe("mine", folders), runs)
