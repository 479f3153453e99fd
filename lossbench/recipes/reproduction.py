"""A recipe made again: its parts trained, its claims held against the runs."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lossbench.errors import DataError, RunError, one_line
from lossbench.progress import Outcome
from lossbench.recipes.judging import Finding, judge
from lossbench.recipes.planning import altering, check, parts, planned, seeds, shared
from lossbench.recipes.recipe import FAILS, QUICK, Claim, Recipe
from lossbench.report import tabulate
from lossbench.report.commands import in_hydras_grammar
from lossbench.report.table import Table
from lossbench.store import Store

METRICS = ("accuracy", "nll", "ece", "confidence_gap")


@dataclass(frozen=True)
class Reproduction:
    """What came of a recipe."""

    recipe: Recipe
    scale: str
    command: str
    findings: tuple[Finding, ...]
    table: Table
    run_ids: tuple[str, ...]
    seconds: float  # of all runs together, wherever they were trained
    versions: tuple[str, ...]  # and devices, that they were trained with
    revisions: tuple[str, ...] = ()  # of lossbench's code, where they were trained from a checkout
    shared: tuple[str, ...] = ()  # how all of them were trained, as overrides
    altered: tuple[str, ...] = ()  # overrides of the user's that make other runs than the recipe says
    missing: tuple[str, ...] = ()  # what could not be trained, and why
    failed: int = 0  # runs
    date: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"))

    @property
    def contradicted(self) -> bool:
        """Whether a claim that could be tested does not hold."""
        return any(finding.verdict == FAILS for finding in self.findings)


def reproduce(
    recipe: Recipe,
    overrides: Sequence[str],
    *,
    scale: str,
    results_dir: Path,
    config_dir: Path | None,
    force: bool,
    quiet: bool,
    command: str,
) -> Reproduction:
    """Train what a recipe needs, but for what is finished, and judge its claims.

    Args:
        recipe: what to make again.
        overrides: of the user's own, for each part: a device, a launcher.
        scale: `full`, or `quick` with the recipe's overrides for that.
        results_dir: where the runs go.
        config_dir: a folder of the user's own configs.
        force: train finished runs again.
        quiet: show no progress.
        command: that asked for it.

    Raises:
        RequestError: if what is asked for is wrong, or nothing of it can be trained for want of data.
        RunError: if every run fails.
    """
    from lossbench import pictures, request

    shorter = recipe.quick if scale == QUICK else ()
    altered = altering(overrides)
    runs, teachers = planned(recipe, [*shorter, *overrides], config_dir)
    everything = [*runs, *teachers]
    check(recipe, everything)
    place = f"results_dir={in_hydras_grammar(str(results_dir))}"
    outcomes: list[Outcome] = []
    missing: dict[str, str] = {}  # why, by data set or part; "" for the runs that failed
    absent: DataError | None = None
    asked_for = list(parts(recipe))
    for number, (dataset, part, words) in enumerate(asked_for, 1):
        if dataset and dataset in missing:
            continue
        if not quiet and len(asked_for) > 1:
            called = " · ".join(filter(None, (dataset, part)))
            print(f"{recipe.name}, part {number} of {len(asked_for)}: {called}", file=sys.stderr)
        asked = [f"+experiment={recipe.name}", *words, *shorter, *overrides, place]
        try:
            outcomes += request.train(asked, config_dir=config_dir, force=force, quiet=quiet, retry_failed=True)
        except DataError as error:
            absent = error
            print(one_line(str(error)), file=sys.stderr)
            short = str(error).partition(" (")[0]  # where it was looked for is of no use to readers elsewhere
            missing[dataset or part] = short if dataset else ": ".join(filter(None, (part, short)))
    if absent is not None and not outcomes:
        raise absent
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        first = f"{failed[0].run_id}: {failed[0].message}"
        missing[""] = f"{len(failed)} of {len(outcomes)} runs failed; the first, {first}"
    store = Store(results_dir)
    finished = [outcome.run_id for outcome in outcomes if outcome.status != "failed"]
    run_ids = [name for name in _with_teachers(store, finished) if store.finished(name)]
    if not run_ids:
        raise RunError(f"no run of {recipe.name} has finished: {missing['']}")
    unseen = pictures.keep_all(store, run_ids, config_dir) if recipe.pictures else {}
    frame, _ = store.frame()
    frame = frame[frame["run"].isin(run_ids)].reset_index(drop=True)
    environments = [store.environment(name) for name in run_ids]
    return Reproduction(
        recipe,
        scale,
        command,
        findings=tuple(
            judge(
                claim,
                frame,
                select=recipe.select,
                expected=seeds(claim, everything),
                unlike=_unlike(scale, altered),
                missing=_why(claim, recipe, missing),
            )
            for claim in recipe.claims
        ),
        table=tabulate(frame, **{"metrics": METRICS, "select": recipe.select, "store": store, **recipe.report}),
        run_ids=tuple(run_ids),
        seconds=sum(environment["wall_seconds"] for environment in environments),
        versions=tuple(dict.fromkeys(map(_made_with, environments))),
        revisions=tuple(dict.fromkeys(filter(None, (environment.get("git_revision") for environment in environments)))),
        shared=tuple(shared(runs)),
        altered=tuple(altered),
        failed=len(failed),
        missing=(*missing.values(), *(f"no features of {run_id}: {why}" for run_id, why in unseen.items())),
    )


def _unlike(scale: str, altered: Sequence[str]) -> str:
    """Why what was published is no measure of these runs; more or fewer seeds are no reason."""
    if scale == QUICK:
        return "of shorter trainings than the published ones"
    others = [word for word in altered if not word.startswith("seed=")]
    return f"of other trainings than the recipe's: {' '.join(others)}" if others else ""


def _with_teachers(store: Store, run_ids: Sequence[str]) -> list[str]:
    names = []
    for name in run_ids:
        teacher = store.config(name).get("teacher")
        names += [*([teacher["id"]] if teacher else []), name]
    return list(dict.fromkeys(names))


def _why(claim: Claim, recipe: Recipe, missing: Mapping[str, str]) -> str:
    """Why runs that a claim needs may be missing: for want of its data set, or else whatever else is missing."""
    for dataset in recipe.datasets:
        if dataset in missing and f"dataset={dataset}" in {*claim.of, *claim.than}:
            return missing[dataset]
    return "; ".join(why for place, why in missing.items() if place not in recipe.datasets)


def _made_with(environment: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    device = environment.get("device_description") or environment["device"]
    return f"{versions}; {environment['precision']} on {device}, {environment['threads']} threads"
