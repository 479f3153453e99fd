"""What a recipe would train, composed before anything is, and whether its claims are about that."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossbench.errors import ConfigError, check_names
from lossbench.recipes.recipe import Claim, Conditions, Recipe
from lossbench.report import drawing, figures, tabulate
from lossbench.report.selection import meets
from lossbench.report.table import BESIDE
from lossbench.settings import GIVEN, counts, flat, written

Run = Mapping[str, Any]  # settings with dotted keys
# What an override may be of, and leave a run what it is.
HARMLESS = ("hydra", "device", "tracker", "checkpoint_seconds")
TRAINING = ("dataset.", "model.", "optimizer.", "schedule.", "epochs", "batch_size", "keep", "device.precision")


def parts(recipe: Recipe) -> Iterator[tuple[str, str, list[str]]]:
    """Yield data set, name and overrides of each part; no data set where that is the experiment's own."""
    for dataset in recipe.datasets or ("",):
        for part, words in recipe.parts.items():
            yield dataset, part, [*([f"dataset={dataset}"] if dataset else []), *words]


def planned(recipe: Recipe, overrides: Sequence[str], config_dir: Path | None) -> tuple[list[Run], list[Run]]:
    """Return the settings of every run of a recipe, and of their teachers.

    Args:
        recipe: whose parts are composed.
        overrides: of all parts, after their own.
        config_dir: a folder of the user's own configs.

    Raises:
        ConfigError: if a part does not compose, or is searched.
    """
    from lossbench import checking, config

    found: list[Run] = []
    teachers: list[Run] = []
    with config.session(config_dir) as hydra:
        for _, _, words in parts(recipe):
            runs = hydra.plan([f"+experiment={recipe.name}", *words, *overrides]).runs
            if runs is None:
                raise ConfigError(f"recipe {recipe.name}: what is searched is no list of runs that a claim could name")
            for settings in map(checking.check, runs):
                found.append(dict(flat(settings)))
                if settings["teacher"] is not None:
                    teachers.append(dict(flat(config.teacher_config(settings))))
    return found, teachers


def check(recipe: Recipe, runs: Sequence[Run]) -> None:
    """Hold what a recipe claims and shows against what it trains.

    Raises:
        ConfigError: if something is of a metric or calibration that there is not, of runs that nobody trains, or no
            table or figure could be made of it.
    """
    try:
        for claim in recipe.claims:
            _check_names([claim.metric], [claim.calibration])
            for conditions in filter(None, (claim.of, claim.than)):
                _check_trained(claim.says, conditions, runs)
        _check_table({"select": recipe.select, **recipe.report}, runs)
        for name, asked in recipe.figures.items():
            _check_figure(name, asked, runs)
    except ConfigError as error:
        raise ConfigError(f"recipe {recipe.name}: {error}") from error


def _check_names(metrics: Sequence[str], calibrations: Sequence[str]) -> None:
    from lossbench.calibration import CALIBRATIONS
    from lossbench.metrics import ALL

    check_names("no metric named", metrics, {*ALL, *BESIDE})
    check_names("no calibration named", calibrations, CALIBRATIONS)


def _check_trained(what: str, conditions: Sequence[str], runs: Sequence[Run]) -> None:
    if not rows(tuple(conditions), runs):
        raise ConfigError(f"{what!r} is of {', '.join(conditions)}, which no part trains")


def _check_table(asked: Mapping[str, Any], runs: Sequence[Run]) -> None:
    check_names("report has no option", asked, {*inspect.signature(tabulate).parameters} - {"frame", "store"})
    _check_names([*asked.get("metrics", ()), *filter(None, [asked["select"]])], asked.get("calibrations", ()))
    for key in ("where", "baseline"):
        if key in asked:
            _check_trained(f"report.{key}", _listed(f"report.{key}", asked[key]), runs)


def _check_figure(name: str, asked: Mapping[str, Any], runs: Sequence[Run]) -> None:
    if Path(name).name != name:
        raise ConfigError(f"a figure's name is that of a file beside the table; got {name!r}")
    drawing.check_ending(Path(name))
    known = {field.name for field in dataclasses.fields(figures.Request)} - {"sources"} | {"width"}
    check_names(f"{name} has no option", asked, known)
    if asked.get("width", "page") not in drawing.WIDTHS:
        raise ConfigError(f"{name}: width is {' or '.join(drawing.WIDTHS)}; got {asked['width']!r}")
    figures.check(figures.Request(**{"kind": "", **{key: value for key, value in asked.items() if key != "width"}}))
    _check_names([*(asked.get("metrics") or ()), *filter(None, [asked.get("select")])], asked.get("calibration") or ())
    for key in ("where", "baseline"):
        if key in asked:
            _check_trained(name, _listed(f"{name}: {key}", asked[key]), runs)


def _listed(what: str, said: Any) -> Sequence[str]:
    if isinstance(said, str):
        raise ConfigError(f"{what} is a list of key=value; got {said!r}")
    return said  # type: ignore[no-any-return]


def rows(conditions: Conditions, runs: Sequence[Run]) -> list[Run]:
    """Return the runs that conditions are about."""
    return [run for run in runs if all(_meets(run, condition) for condition in conditions)]


def seeds(claim: Claim, runs: Sequence[Run]) -> int:
    """Return how many runs, or pairs of runs, a claim is judged by."""
    found = [{run["seed"] for run in rows(conditions, runs)} for conditions in (claim.of, claim.than) if conditions]
    return len(set.intersection(*found))


def shared(runs: Sequence[Run]) -> list[str]:
    """Return how all runs are trained, as overrides; what only some share, and what is not set, is left out."""
    first, *others = runs
    found = [
        f"{key.removesuffix('.name')}={written(value)}"
        for key, value in first.items()
        if key.startswith(TRAINING) and (counts(key) or key in GIVEN) and not key.endswith("_target_")
        and value not in (None, False) and all(key in run and run[key] == value for run in others)
    ]  # fmt: skip
    return sorted(found, key=lambda word: "." in word.partition("=")[0])  # the groups and what is in none first


def altering(overrides: Sequence[str]) -> list[str]:
    """Return those of the user's overrides that make other runs than the recipe says."""
    found = []
    for word in overrides:
        key = word.lstrip("+~").partition("=")[0]
        if key.partition("/")[0].partition(".")[0] not in HARMLESS or key == "device.precision":
            found.append(word)
    return found


def _meets(run: Run, condition: str) -> bool:
    key = condition.partition("=")[0]
    return (key in run or f"{key}.name" in run) and meets(run, condition)
