"""Compose the runs that a request asks for, and have them done by Hydra's launchers.

It touches Hydra's internals: its config loader, its override parser, its basic sweeper and `multirun`, which Hydra
keeps for `@hydra.main` and which work as well under a Typer command.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

from hydra import version as hydra_version
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.completion_plugin import DefaultCompletionPlugin
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from hydra_plugins import lossbench_joblib, lossbench_optuna, lossbench_ray, lossbench_submitit
from hydra_plugins._lossbench import SweepLauncher
from lossbench.catalogue import RECIPE, conf_dirs
from lossbench.config.jobs import Job, Plan, Task, import_from_here, unresolved, workers
from lossbench.config.overrides import (
    MOST_RUNS,
    NESTED_GROUPS,
    check_choice,
    check_size,
    interval,
    is_plain,
    translated,
)
from lossbench.config.schema import of_run, resolve
from lossbench.domains import AT_LEAST_ONE
from lossbench.errors import ConfigError, did_you_mean
from lossbench.explain import composing, explained
from lossbench.identity import Config
from lossbench.progress import Silent
from lossbench.search import Launch, Search, Settings, Study


@dataclass(frozen=True)
class Session:
    """Hydra, set up with our configs and the user's own."""

    hydra: Hydra
    prefix: tuple[str, ...]  # overrides that every composition starts with
    _parsed: dict[str, Override] = field(default_factory=dict, init=False, repr=False, compare=False)

    def plan(self, overrides: Sequence[str]) -> Plan:
        """Compose every run of a sweep.

        Args:
            overrides: as the user typed them.

        Raises:
            ConfigError: if one cannot be read, a run does not compose, or there is none.
        """
        with composing(overrides), warnings.catch_warnings():
            warnings.filterwarnings("error", "provider=hydra.searchpath")  # a folder of configs that is not there
            master = self.hydra.compose_config(
                config_name="config",
                overrides=self._translate(overrides),
                run_mode=RunMode.MULTIRUN,
                with_log_configuration=False,
            )
        _check_plugins(master)
        target = str(master.hydra.launcher._target_)
        in_process = target.endswith((".BasicLauncher", ".StackedLauncher"))
        in_jobs = target.endswith((".SubmititLauncher", ".RayLauncher"))
        searches = master.hydra.sweeper._target_ == lossbench_optuna.OptunaConf._target_
        if not (searches or master.hydra.sweeper._target_.endswith(".BasicSweeper")):
            self._check_launcher(master, 1, ())
            return Plan(None, master, in_process, in_jobs)
        with composing(overrides):
            of_yaml = unresolved(master.hydra.sweeper.params or OmegaConf.create())
            params = [f"{key}={value}" for key, value in of_yaml.items()]
            parsed = self._parse([*params, *unresolved(master.hydra.overrides.task)])
            if searches:
                return self._plan_search(master, parsed, in_process, in_jobs)
            check_size(parsed)
            (jobs,) = BasicSweeper.split_arguments(parsed, None)
            if not jobs:
                raise ConfigError("the sweep is empty: one of its overrides has no values")
            composed = list(self._composed(master, jobs, overrides))
        runs, typed = [config for config, _ in composed], [overrides for _, overrides in composed]
        self._check_launcher(master, len(runs), runs)
        count = _workers(master, len(runs))
        in_process = in_process or (target.endswith(".JoblibLauncher") and count == 1)
        return Plan(runs, master, in_process, in_jobs, jobs, typed, count)

    def _plan_search(self, master: DictConfig, parsed: Sequence[Override], in_process: bool, in_jobs: bool) -> Plan:
        """Compose two points of every study: what holds at both ends of an interval is taken to hold between them."""
        settings = Settings(**{field.name: master.hydra.sweeper[field.name] for field in fields(Settings)})
        settings.check()
        intervals = {
            override.key_or_group: interval(override, value)
            for override in parsed
            if isinstance(value := override.value(), IntervalSweep)
        }
        if not intervals:
            raise ConfigError("there is nothing to search: give an interval, such as 'loss.epsilon=interval(0,0.3)'")
        listed = [override for override in parsed if not isinstance(override.value(), IntervalSweep)]
        check_size(listed)
        (jobs,) = BasicSweeper.split_arguments(listed, None)
        if not jobs:
            raise ConfigError("the sweep is empty: one of its overrides has no values")
        studies = []
        for job in jobs:
            config = self.hydra.config_loader.load_sweep_config(master, list(job))
            there = {key: one for key, one in intervals.items() if _is_there(config, key)}
            studies.append(Study(tuple(job), there))
        known = {key for study in studies for key in study.intervals}
        if not known.issuperset(intervals):  # composing it says what is wrong
            studies[0] = replace(studies[0], intervals=intervals)
        search = Search(studies, settings)
        if search.runs > MOST_RUNS:
            raise ConfigError(
                f"a search has at most {MOST_RUNS:,} runs; this one has {search.runs:,}: make several of it"
            )
        samples = [config for config, _ in self._composed(master, [*chain(*(study.samples() for study in studies))])]
        self._check_launcher(master, search.at_once, samples)
        return Plan(
            None, master, in_process, in_jobs, workers=_workers(master, search.at_once), samples=samples, search=search
        )

    def completions(self, overrides: Sequence[str], begun: str) -> list[str]:
        """Return what an override could go on as.

        Args:
            overrides: those before it.
            begun: what is typed of it.

        Returns:
            Whole overrides, or keys up to a `.`, `/` or `=`; none where what is typed cannot be composed.
        """
        key, equals, values = begun.partition("=")
        *listed, value = values.split(",") if "[" not in values else [values]
        before = f"{key}={','.join(listed)}," if listed else f"{key}{equals}"
        group = NESTED_GROUPS.get(key, key)  # `teacher.loss=` offers what `loss=` does
        wanted = f"{group}={value}" if equals else key
        try:
            parsed = [
                one for one in self._parse(self._translate(overrides)) if not isinstance(one.value(), IntervalSweep)
            ]
            check_size(parsed)
            (jobs,) = BasicSweeper.split_arguments(parsed, None)
            asked = DefaultCompletionPlugin(self.hydra.config_loader)
            found = asked._query("config", " ".join([*(word for word in jobs[0] if " " not in word), wanted]))
        except Exception:  # whatever Hydra meets in a line that is half typed
            return []
        if equals:
            return [before + one.removeprefix(f"{group}=") for one in found if not one.startswith(f"{group}=_")]
        # An experiment is added with a plus, and `_target_` is not to be set.
        named = [f"+{one}" if one.startswith("experiment") else one for one in found if "._" not in one]
        return [*named, *(f"{nested}=" for nested in NESTED_GROUPS if f"{nested}." in named)]

    def _check_launcher(self, master: DictConfig, runs: int, configs: Sequence[Config]) -> None:
        """Let a launcher of our own refuse its settings before anything is written."""
        if _is_ours(master):
            cast(SweepLauncher, self._launcher(master, lambda config: None)).check(runs, configs)

    def _launcher(self, master: DictConfig, task: Callable[[DictConfig], Any]) -> Launcher:
        context = HydraContext(self.hydra.config_loader, Callbacks(master))
        return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=master)

    def _composed(
        self, master: DictConfig, jobs: Sequence[Sequence[str]], overrides: Sequence[str] = ()
    ) -> Iterator[tuple[Config, tuple[str, ...]]]:
        """Compose the jobs of a sweep, each with the overrides that are not Hydra's own.

        Jobs that differ in nothing but numbers and words share one composition, into which those of each are set as
        Hydra sets them: to compose takes ten times as long.
        """
        bases: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}
        for job in jobs:
            parsed = self._parse(job)
            shape = tuple(
                override.key_or_group if is_plain(override) else f"={override.input_line}" for override in parsed
            )
            if shape not in bases:
                composed = self.hydra.config_loader.load_sweep_config(master, list(job))
                bases[shape] = of_run(composed), composed.hydra.runtime.choices
            base, choices = bases[shape]
            for override in parsed:
                if is_plain(override):
                    OmegaConf.update(base, override.key_or_group, override.value())
            typed = tuple(str(override.input_line) for override in parsed if not override.is_hydra_override())
            yield resolve(base, choices, overrides), typed

    def multirun(self, plan: Plan, overrides: Sequence[str], task: Task, display: Silent) -> list[Any]:
        """Call `task` for every run, here or in whichever process Hydra's launcher chooses.

        What was planned is not composed again: with the basic sweeper, Hydra would twice more for each run.

        Args:
            plan: what `plan` returned.
            overrides: what it was made from; a sweeper other than the basic one is given them.
            task: what to do for each run.
            display: told how a search goes.

        Returns:
            What the task returned for each run; empty where a sweeper keeps that to itself.

        Raises:
            WorkersError: if a process that trains was killed.
            KeyboardInterrupt: if this process is asked to stop.
        """
        with explained():
            if plan.search is not None:
                return list(plan.search.train(self._launch(plan, task), display))
            if plan.runs is None:
                translated = self._translate(overrides)
                batches = self.hydra.multirun("config", Job(task), translated, with_log_configuration=False)
                return [job.return_value for batch in batches or [] for job in batch]
            planned = list(zip(plan.runs, plan.typed, strict=True))
            if str(plan.master.hydra.launcher._target_).endswith(".BasicLauncher"):
                return [task(settings, typed, 0) for settings, typed in planned]
            return self._launched(plan.master, task, plan.jobs, planned)

    def _launch(self, plan: Plan, task: Task) -> Launch:
        """Return what trains the runs of a round of a search, given their overrides and how many came before."""

        def launch(jobs: Sequence[Sequence[str]], turn: int) -> list[Any]:
            composed = self._composed(plan.master, jobs)
            if str(plan.master.hydra.launcher._target_).endswith(".BasicLauncher"):
                return [task(config, typed, 0) for config, typed in composed]
            return self._launched(plan.master, task, jobs, composed, turn)

        return launch

    def _launched(
        self,
        master: DictConfig,
        task: Task,
        jobs: Sequence[Sequence[str]],
        composed: Iterable[tuple[Config, tuple[str, ...]]],
        turn: int = 0,
    ) -> list[Any]:
        """Have a launcher call the task; others than ours send it to where they train, without what is composed."""
        planned = dict(zip(map(tuple, jobs), composed, strict=True)) if _is_ours(master) else {}
        launcher = self._launcher(master, Job(task, planned))
        return [job.return_value for job in launcher.launch(jobs, initial_job_idx=turn)]

    def _translate(self, overrides: Sequence[str]) -> list[str]:
        """Put what a user types into Hydra's grammar.

        `teacher.loss=focal` becomes `loss@teacher.loss=focal`. Where a group is swept, `loss.gamma=3` beside
        `loss=focal,flsd` becomes a sweep of one value, so that it is applied to each loss of the sweep and not to
        the default one, which may have no such key.
        """
        with explained():
            parsed = self._parse(overrides)
        if nameless := next((override for override in parsed if not override.key_or_group), None):
            raise ConfigError(f"cannot read '{nameless.input_line}': expected key=value, and there is no key")
        if any(re.match(rf"{RECIPE}(\.|$)", override.key_or_group) for override in parsed):
            raise ConfigError(f"{RECIPE} is for the yaml of an experiment; lossbench reproduce reads it there")
        for override in parsed:
            check_choice(override)
        for group in (override.key_or_group for override in parsed if override.key_or_group.startswith("hydra/")):
            parent = group.rpartition("/")[0]
            siblings = [f"{parent}/{name}" for name in self.hydra.config_loader.list_groups(parent)]
            if group not in siblings:
                raise ConfigError(f"no group '{group}'{did_you_mean(group, siblings)}")
        swept = {override.key_or_group for override in parsed if override.is_sweep_override()}
        if any(key.split(".")[0] == "tracker" for key in swept):
            raise ConfigError("trackers are used together, not swept: tracker=[tensorboard,mlflow]")
        return [*self.prefix, *(translated(override, swept) for override in parsed)]

    def _parse(self, overrides: Sequence[str]) -> list[Override]:
        """Parse each override once; the loader lets Hydra look up what `glob(*)` stands for."""
        if new := [override for override in dict.fromkeys(overrides) if override not in self._parsed]:
            parser = OverridesParser.create(config_loader=self.hydra.config_loader)
            self._parsed.update(zip(new, parser.parse_overrides(new), strict=True))
        return [self._parsed[override] for override in overrides]


def _is_there(config: DictConfig, key: str) -> bool:
    node, _, last = key.rpartition(".")
    parent = OmegaConf.select(config, node) if node else config
    return isinstance(parent, DictConfig) and last in parent


def _workers(master: DictConfig, runs: int) -> int:
    """Other launchers that say `n_jobs` mean the same by it as joblib's."""
    return workers(master.hydra.launcher.get("n_jobs", 1), runs)


def _is_ours(master: DictConfig) -> bool:
    return str(master.hydra.launcher._target_).startswith("hydra_plugins.lossbench_")


def _check_plugins(master: DictConfig) -> None:
    """Refuse what Hydra would only refuse when it starts the sweep, or what would lead the runs astray."""
    for part in ("launcher", "sweeper"):
        target = str(master.hydra[part].get("_target_"))
        if not target.startswith(("hydra_plugins.", "hydra._internal.core_plugins.")):
            raise ConfigError(f"hydra.{part}._target_={target} is no {part}; choose one by its name: hydra/{part}=…")
        try:
            importlib.import_module(target.rpartition(".")[0])
        except Exception as error:
            choice = master.hydra.runtime.choices.get(f"hydra/{part}")
            said = f"{type(error).__name__}: {error}"
            raise ConfigError(f"the plugin of hydra/{part}={choice} cannot be imported ({said})") from error
    most = master.hydra.launcher.get("max_runs")
    if isinstance(most, int) and most < 1:
        raise ConfigError(f"hydra.launcher.max_runs must lie in {AT_LEAST_ONE}, or be null; got {most}")
    if master.hydra.job.env_set:
        raise ConfigError("hydra.job.env_set has no effect on lossbench: set such variables before it starts")
    if master.hydra.job.chdir:
        raise ConfigError("hydra.job.chdir must be false: results_dir, and paths of data, are relative to this folder")


@contextmanager
def session(config_dir: Path | None = None) -> Iterator[Session]:
    """Set Hydra up for one request.

    Args:
        config_dir: a folder of the user's own configs, searched after ours.

    Raises:
        ConfigError: if it is not there.
    """
    ours, *own = conf_dirs(config_dir)
    prefix = tuple(f"hydra.searchpath=['file://{folder.resolve()}']" for folder in own)
    import_from_here()
    with warnings.catch_warnings():
        # What Hydra 1.4 warns of and 1.3 needs: that is 1.1 without a base version, and knows no `replace=True`.
        warnings.filterwarnings("ignore", "The version_base parameter|ConfigStore config .* is already registered")
        hydra_version.setbase("1.3")
        GlobalHydra.instance().clear()
        hydra = Hydra.create_main_hydra2("lossbench", create_config_search_path(str(ours)))
        lossbench_joblib.store()
        lossbench_optuna.store()
        lossbench_ray.store()
        lossbench_submitit.store()  # after Hydra has asked all plugins for theirs
    try:
        yield Session(hydra, prefix)
    finally:
        GlobalHydra.instance().clear()
