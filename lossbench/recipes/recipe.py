"""What a recipe says: where it comes from, what is trained, what is claimed. Read as plain yaml, without Hydra."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lossbench.catalogue import RECIPE, description
from lossbench.errors import ConfigError, check_names, did_you_mean
from lossbench.report.table import metric_name, short_name

FULL, QUICK = "full", "quick"  # scales
HOLDS, FAILS, OPEN = "holds", "does not hold", "not testable"  # verdicts
KEYS = ("source", "claims", "parts", "datasets", "select", "quick", "differs", "report", "figures", "pictures")
Conditions = tuple[str, ...]  # `key=value` each, as `lossbench report --where` takes them


@dataclass(frozen=True)
class Claim:
    """That a number of a row of the report lies somewhere, or its difference from or ratio to that of another row."""

    says: str
    metric: str
    of: Conditions
    than: Conditions = ()  # the other row; none for the number itself
    ratio: bool = False
    low: float = -math.inf  # where it is claimed to lie: between these
    high: float = math.inf
    calibration: str = "raw"
    published: float | None = None


@dataclass(frozen=True)
class Recipe:
    """A comparison to be made again."""

    name: str
    description: str
    source: str
    claims: tuple[Claim, ...]
    parts: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"": ()})  # overrides of each, by what it is
    datasets: Sequence[str] = ()  # for each of which all parts are trained; none for the experiment's own
    select: str | None = None  # the metric by which validation chooses what a loss is swept over; none for no choice
    quick: Sequence[str] = ()  # overrides that make it short
    differs: str = ""  # from the source
    report: Mapping[str, Any] = field(default_factory=dict)  # what `tabulate` is asked for
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # what `plot` is asked for, by name of file
    pictures: bool = False  # whether figures need features or images, as `lossbench evaluate --pictures` keeps them


def recipes(folders: Sequence[Path]) -> tuple[list[Recipe], list[str]]:
    """Return every recipe, by name, and what is wrong with those that are not as they should be.

    Args:
        folders: of configs, the first one winning where two have the same name.
    """
    found, wrong = [], []
    for path in _experiments(folders).values():
        try:
            found.append(_read(path))
        except ConfigError as error:
            wrong.append(str(error))
    return [recipe for recipe in found if recipe is not None], wrong


def recipe(name: str, folders: Sequence[Path]) -> Recipe:
    """Return a recipe.

    Raises:
        ConfigError: if there is none of that name, or it is not as it should be.
    """
    there = _experiments(folders)
    if name not in there:
        known = [one.name for one in recipes(folders)[0]]
        empty = [folder for folder in folders if not (folder / "experiment").is_dir()]
        hint = f"; {empty[0]} has no folder experiment" if empty else ""
        raise ConfigError(f"no recipe named {name!r}{did_you_mean(name, known)}{hint}")
    found = _read(there[name])
    if found is None:
        raise ConfigError(f"experiment={name} claims nothing to be held against: lossbench train +experiment={name}")
    return found


def reproduced(name: str, scale: str, altered: Sequence[str]) -> str:
    """Return the name of the folder below the results that holds what came of a recipe.

    Args:
        name: the recipe's.
        scale: at which it was made.
        altered: overrides that made other runs than the recipe says.
    """
    return "-".join([name, *([scale] if scale != FULL else []), *(["altered"] if altered else [])])


def _experiments(folders: Sequence[Path]) -> dict[str, Path]:
    """Each by its name, in order; the first folder wins where two have the same one."""
    found = {path.stem: path for folder in reversed(folders) for path in (folder / "experiment").glob("*.yaml")}
    return dict(sorted(found.items()))


def _read(path: Path) -> Recipe | None:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no yaml: {error}") from error
    if not isinstance(content, dict) or RECIPE not in content:
        return None
    try:
        return _recipe(path.stem, description(path), content[RECIPE])
    except (ConfigError, TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _recipe(name: str, description: str, said: Mapping[str, Any]) -> Recipe:
    check_names("no key", said, KEYS)
    for key in ("source", "claims"):
        if not said.get(key):
            raise ConfigError(f"a recipe must have {key}")
    for key, kind in {
        "claims": list,
        "parts": dict,
        "datasets": list,
        "quick": list,
        "report": dict,
        "figures": dict,
    }.items():
        if not isinstance(said.get(key, kind()), kind):
            raise ConfigError(f"{key} must be a {'list' if kind is list else 'mapping'}; got {said[key]!r}")
    if not all(isinstance(claim, dict) for claim in said["claims"]):
        raise ConfigError(
            "each of the claims must be a mapping, such as {metric: ece, of: loss.epsilon=0.1, below: 0.02}"
        )
    claims = tuple(itertools.chain(*map(_claims, said["claims"])))
    return Recipe(name, description, claims=claims, **{key: value for key, value in said.items() if key != "claims"})


def _claims(said: Mapping[str, Any]) -> list[Claim]:
    """One claim; of an order, one for each two neighbours."""
    if "rising" in said or "falling" in said:
        (order,) = {"rising", "falling"} & {*said}
        check_names("no key", said, ("says", "metric", "calibration", order))
        rows = [_conditions(row) for row in said[order]]
        if len(rows) < 2:
            raise ConfigError(f"{order} needs two rows or more; got {said[order]}")
        shared = {key: value for key, value in said.items() if key != order}
        sign = ">" if order == "rising" else "<"
        return [
            _claim({
                **shared,
                "says": f"{said['says']}: {_short(after)} {sign} {_short(before)}",
                "of": after,
                "than": before,
                "above" if order == "rising" else "below": 0,
            })
            for before, after in itertools.pairwise(rows)
        ]  # fmt: skip
    return [_claim(said)]


def _claim(said: Mapping[str, Any]) -> Claim:
    """Read one: where a number lies, or, with `than`, a difference or how many times one is the other."""
    regions = ("above", "below", "within", "times_above", "times_below")
    check_names("no key", said, ("says", "metric", "calibration", "of", "than", "published", *regions))
    of, than, published = _conditions(said["of"]), _conditions(said.get("than", ())), said.get("published")
    chosen = [key for key in regions if key in said]
    if len(chosen) != 1:
        raise ConfigError(f"a claim must have one of {', '.join(regions)}; got {', '.join(chosen) or 'none'}")
    region = chosen[0].removeprefix("times_")
    ratio, bound = chosen[0] != region, _number(chosen[0], said[chosen[0]])
    if of == than:
        raise ConfigError(f"of and than are the same row, {', '.join(of)}")
    if region == "within" and bound <= 0:
        raise ConfigError(f"within is how far the number may be from there, above 0; got {said['within']}")
    if ratio and not than:
        raise ConfigError(f"{chosen[0]} compares two rows: say `than` which")
    if region == "within" and published is None and not than:
        raise ConfigError("within what of? say `published`, or `than` which row")
    middle = 0.0 if published is None else _number("published", published)
    low = {"above": bound, "below": -math.inf, "within": middle - bound}[region]
    high = {"above": math.inf, "below": bound, "within": middle + bound}[region]
    metric, calibration = said["metric"], said.get("calibration", "raw")
    says = said.get("says") or f"{metric_name(metric, calibration)} at {_short(of)}"
    return Claim(says, metric, of, than, ratio, low, high, calibration, published)


def _number(key: str, said: Any) -> float:
    try:
        return float(said)
    except (TypeError, ValueError):
        raise ConfigError(f"{key} must be a number; got {said!r}") from None


def _conditions(said: Any) -> Conditions:
    return (said,) if isinstance(said, str) else tuple(map(str, said))


def _short(conditions: Conditions) -> str:
    """By the last words of their keys: `epsilon=0.1`."""
    pairs = (condition.partition("=") for condition in conditions)
    return " ".join(f"{short_name(key)}={value}" for key, _, value in pairs)
