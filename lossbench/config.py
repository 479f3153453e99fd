"""Compose a configuration and expand a sweep.

The only file that touches Hydra's internals: its config loader, its override parser, its basic sweeper and
`multirun`, which Hydra keeps for `@hydra.main` and which work as well under a Typer command.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any, Protocol, cast

from hydra import version as hydra_version
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.completion_plugin import DefaultCompletionPlugin
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import MISSING, DictConfig, OmegaConf

from hydra_plugins import lossbench_optuna, lossbench_ray, lossbench_submitit
from hydra_plugins._lossbench import SweepLauncher
from lossbench import stopping
from lossbench.catalogue import RECIPE, conf_dir
from lossbench.domains import AT_LEAST_ONE, NON_NEGATIVE, POSITIVE
from lossbench.errors import ConfigError, WorkersError, did_you_mean
from lossbench.explain import composing, explained
from lossbench.identity import Config as Config
from lossbench.identity import identity as identity
from lossbench.identity import learns_new_classes as learns_new_classes
from lossbench.identity import run_id as run_id
from lossbench.identity import teacher_config as teacher_config
from lossbench.progress import Silent
from lossbench.record import check_plain
from lossbench.search import Launch, Search, Searched, Settings, Study
from lossbench.stopping import Stop

GROUPS = ("dataset", "model", "loss", "optimizer", "schedule", "device")
VALUES = ("seed", "epochs", "batch_size", "keep", "results_dir", "checkpoint_seconds")
MOST_RUNS = 10_000  # of a sweep

# Group choices that live inside another node. Users write the key on the left, Hydra wants `group@key`.
_NESTED_GROUPS = {
    "teacher.model": "model",
    "teacher.loss": "loss",
    "teacher.optimizer": "optimizer",
    "teacher.schedule": "schedule",
    **{f"{loss}.{part}": "loss" for loss in ("loss", "teacher.loss") for part in ("hard", "first", "second")},
}


@dataclass
class TeacherSchema:
    """The run that a distilled student learns from."""

    model: Any = MISSING
    loss: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    id: str | None = None
    epochs: int = MISSING
    batch_size: int = MISSING
    keep: str = MISSING


@dataclass
class Schema:
    """The top of every configuration. What is inside a group is checked against the function it names."""

    dataset: Any = MISSING
    model: Any = MISSING
    loss: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    device: Any = MISSING
    teacher: TeacherSchema | None = MISSING
    seed: int = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    keep: str = MISSING
    results_dir: str = MISSING
    checkpoint_seconds: float | None = None
    metrics: dict[str, Any] = MISSING
    tracker: dict[str, Any] = field(default_factory=dict)
    recipe: Any = None  # of an experiment: what is claimed of it, which is no part of any run


ConfigStore.instance().store(name="schema", node=Schema)


@dataclass(frozen=True)
class Session:
    """Hydra, set up with our configs and the user's own."""

    hydra: Hydra
    prefix: tuple[str, ...]  # overrides that every composition starts with

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
        in_process = str(master.hydra.launcher._target_).endswith((".BasicLauncher", ".StackedLauncher"))
        in_jobs = str(master.hydra.launcher._target_).endswith((".SubmititLauncher", ".RayLauncher"))
        searches = master.hydra.sweeper._target_ == lossbench_optuna.OptunaConf._target_
        if not (searches or master.hydra.sweeper._target_.endswith(".BasicSweeper")):
            self._check_launcher(master, 1)
            return Plan(None, master, in_process, in_jobs)
        with composing(overrides):
            params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
            parsed = self._parse([*params, *master.hydra.overrides.task])
            if searches:
                return self._plan_search(master, parsed, in_process, in_jobs)
            _check_size(parsed)
            (jobs,) = BasicSweeper.split_arguments(parsed, None)
            if not jobs:
                raise ConfigError("the sweep is empty: one of its overrides has no values")
            composed = list(self._composed(master, jobs))
        runs, typed = [config for config, _ in composed], [overrides for _, overrides in composed]
        self._check_launcher(master, len(runs))
        return Plan(runs, master, in_process, in_jobs, jobs, typed, _workers(master, len(runs)))

    def _plan_search(self, master: DictConfig, parsed: Sequence[Override], in_process: bool, in_jobs: bool) -> Plan:
        """Compose two points of every study: what holds at both ends of an interval is taken to hold between them."""
        settings = Settings(**{field.name: master.hydra.sweeper[field.name] for field in fields(Settings)})
        settings.check()
        intervals = {
            override.key_or_group: _interval(override, value)
            for override in parsed
            if isinstance(value := override.value(), IntervalSweep)
        }
        if not intervals:
            raise ConfigError("there is nothing to search: give an interval, such as 'loss.epsilon=interval(0,0.3)'")
        listed = [override for override in parsed if not isinstance(override.value(), IntervalSweep)]
        _check_size(listed)
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
        self._check_launcher(master, search.at_once)
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
        group = _NESTED_GROUPS.get(key, key)  # `teacher.loss=` offers what `loss=` does
        wanted = f"{group}={value}" if equals else key
        try:
            parsed = [
                one for one in self._parse(self._translate(overrides)) if not isinstance(one.value(), IntervalSweep)
            ]
            _check_size(parsed)
            (jobs,) = BasicSweeper.split_arguments(parsed, None)
            asked = DefaultCompletionPlugin(self.hydra.config_loader)
            found = asked._query("config", " ".join([*(word for word in jobs[0] if " " not in word), wanted]))
        except Exception:  # whatever Hydra meets in a line that is half typed
            return []
        if equals:
            return [before + one.removeprefix(f"{group}=") for one in found if not one.startswith(f"{group}=_")]
        # An experiment is added with a plus, and `_target_` is not to be set.
        named = [f"+{one}" if one.startswith("experiment") else one for one in found if "._" not in one]
        return [*named, *(f"{nested}=" for nested in _NESTED_GROUPS if f"{nested}." in named)]

    def _check_launcher(self, master: DictConfig, runs: int) -> None:
        """Let a launcher of our own refuse its settings before anything is written."""
        if str(master.hydra.launcher._target_).startswith("hydra_plugins.lossbench_"):
            cast(SweepLauncher, self._launcher(master, lambda config: None)).check(runs)

    def _launcher(self, master: DictConfig, task: Callable[[DictConfig], Any]) -> Launcher:
        context = HydraContext(self.hydra.config_loader, Callbacks(master))
        return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=master)

    def _composed(self, master: DictConfig, jobs: Sequence[Sequence[str]]) -> Iterator[tuple[Config, tuple[str, ...]]]:
        """Compose the jobs of a sweep, each with the overrides that are not Hydra's own.

        Jobs that differ in nothing but numbers and words share one composition, into which those of each are set as
        Hydra sets them: to compose takes ten times as long.
        """
        bases: dict[tuple[str, ...], DictConfig] = {}
        for job in jobs:
            parsed = self._parse(job)
            shape = tuple(
                override.key_or_group if _is_plain(override) else f"={override.input_line}" for override in parsed
            )
            if shape not in bases:
                bases[shape] = self.hydra.config_loader.load_sweep_config(master, list(job))
            base = bases[shape]
            for override in parsed:
                if _is_plain(override):
                    OmegaConf.update(base, override.key_or_group, override.value())
            typed = tuple(str(override.input_line) for override in parsed if not override.is_hydra_override())
            yield resolve(base, base.hydra.runtime.choices), typed

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
        """
        # Other launchers' processes are theirs to end.
        joblib = str(plan.master.hydra.launcher._target_).endswith(".JoblibLauncher")
        with explained(), stopping.passed_on() if joblib else nullcontext(Stop()) as stop:
            try:
                if plan.search is not None:
                    return list(plan.search.train(self._launch(plan, task), display))
                if plan.runs is None:
                    translated = self._translate(overrides)
                    batches = self.hydra.multirun("config", Job(task), translated, with_log_configuration=False)
                    return [job.return_value for batch in batches or [] for job in batch]
                planned = list(zip(plan.runs, plan.typed, strict=True)) if plan.in_process or plan.in_jobs else []
                if str(plan.master.hydra.launcher._target_).endswith(".BasicLauncher"):
                    return [task(settings, typed, 0) for settings, typed in planned]
                by_overrides = dict(zip(map(tuple, plan.jobs), planned, strict=False))
                launcher = self._launcher(plan.master, Job(task, by_overrides))
                jobs = _UntilStopped(plan.jobs, stop)
                return [job.return_value for job in launcher.launch(jobs, initial_job_idx=0)]
            except BrokenProcessPool as error:
                raise WorkersError(
                    "one of the processes that trained was killed, perhaps for lack of memory"
                ) from error

    def _launch(self, plan: Plan, task: Task) -> Launch:
        """Return what trains the runs of a round of a search, given their overrides and how many came before."""
        if not str(plan.master.hydra.launcher._target_).endswith(".BasicLauncher"):
            launcher = self._launcher(plan.master, Job(task))
            return lambda jobs, turn: [job.return_value for job in launcher.launch(jobs, initial_job_idx=turn)]
        return lambda jobs, turn: [task(config, typed, 0) for config, typed in self._composed(plan.master, jobs)]

    def _translate(self, overrides: Sequence[str]) -> list[str]:
        """Put what a user types into Hydra's grammar.

        `teacher.loss=focal` becomes `loss@teacher.loss=focal`. Where a group is swept, `loss.gamma=3` beside
        `loss=focal,flsd` becomes a sweep of one value, so that it is applied to each loss of the sweep and not to
        the default one, which may have no such key.
        """
        with explained():
            parsed = self._parse(overrides)
        if any(re.match(rf"{RECIPE}(\.|$)", override.key_or_group) for override in parsed):
            raise ConfigError(f"{RECIPE} is for the yaml of an experiment; lossbench reproduce reads it there")
        swept = {override.key_or_group for override in parsed if override.is_sweep_override()}
        if any(key.split(".")[0] == "tracker" for key in swept):
            raise ConfigError("trackers are used together, not swept: tracker=[tensorboard,mlflow]")
        return [*self.prefix, *(_translate(override, swept) for override in parsed)]

    def _parse(self, overrides: Sequence[str]) -> list[Override]:
        """The loader lets Hydra look up what `glob(*)` stands for."""
        return OverridesParser.create(config_loader=self.hydra.config_loader).parse_overrides(list(overrides))


def _is_plain(override: Override) -> bool:
    """Whether it sets a number, a word or a list of a key that is there, and chooses nothing."""
    first, _, rest = override.key_or_group.partition(".")
    if override.package is not None or override.type != OverrideType.CHANGE or override.is_sweep_override():
        return False
    known = first in (*GROUPS, "teacher", "metrics") if rest else first in VALUES
    return known and "/" not in override.key_or_group and not isinstance(override.value(), dict)


class _UntilStopped(list[Sequence[str]]):
    """The jobs of a sweep, of which joblib takes a few at a time: no more of them once the sweep is asked to stop."""

    def __init__(self, jobs: Sequence[Sequence[str]], stop: Stop) -> None:
        super().__init__(jobs)
        self.stop = stop

    def __iter__(self) -> Iterator[Sequence[str]]:
        return takewhile(lambda job: self.stop.error is None, super().__iter__())


@dataclass(frozen=True)
class Plan:
    """The runs that a request asks for."""

    runs: list[Config] | None  # None: a search, or a sweeper that is not ours, decides as it goes
    master: DictConfig  # what they have in common, with Hydra's own node
    in_process: bool  # whether they are trained in this process, one after another
    in_jobs: bool  # or in jobs of a cluster, teachers too
    jobs: Sequence[Sequence[str]] = ()  # the overrides of each run, as launchers take them
    typed: Sequence[tuple[str, ...]] = ()  # the same without Hydra's own
    workers: int = 1  # processes of this machine that train side by side
    samples: Sequence[Config] = ()  # of a search: points of it, to be checked before it begins
    search: Search | None = None


class Task(Protocol):
    """What is done for each run."""

    def __call__(self, config: Config, overrides: tuple[str, ...], turn: int) -> Any:
        """Train one run, given its resolved configuration, the overrides that made it and its place in the sweep."""


@dataclass(frozen=True)
class Job:
    """A task as Hydra calls it. A class, not a closure, so that launchers can send it to another process."""

    task: Task
    planned: Mapping[tuple[str, ...], tuple[Config, tuple[str, ...]]] = field(default_factory=dict)  # by overrides

    def __call__(self, config: DictConfig) -> Any:
        """Do it for one job, in the process that the launcher calls it in."""
        _import_from_here()
        job = HydraConfig.get()
        return self.task(resolve(config), tuple(job.overrides.task), job.job.num)

    def compose(
        self, overrides: Sequence[str], context: HydraContext, master: DictConfig
    ) -> tuple[Config, tuple[str, ...]]:
        """Return the configuration of one job of a launcher of our own, unless it was planned composing it now."""
        if tuple(overrides) in self.planned:
            return self.planned[tuple(overrides)]
        with explained():
            composed = context.config_loader.load_sweep_config(master, list(overrides))
        return resolve(composed, composed.hydra.runtime.choices), tuple(composed.hydra.overrides.task)


def returned(overrides: Sequence[str], value: Any) -> JobReturn:
    """Pack what came of one job for Hydra."""
    packed = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    packed.return_value = value
    return packed


def _workers(master: DictConfig, runs: int) -> int:
    """How many processes joblib's launcher starts; others that say `n_jobs` would mean the same."""
    asked = master.hydra.launcher.get("n_jobs", 1)
    if asked == 1:
        return 1
    if asked == 0:
        raise ConfigError("hydra.launcher.n_jobs must be a number of processes, or -1 for one per core; got 0")
    from joblib import effective_n_jobs

    return min(int(effective_n_jobs(asked)), runs)


def _interval(override: Override, swept: IntervalSweep) -> Searched:
    """Return the interval that an override searches.

    Raises:
        ConfigError: if it cannot be searched.
    """
    line, low, high = override.input_line, swept.start, swept.end
    assert low is not None  # as Hydra reads it
    assert high is not None
    if override.package is not None or override.type != OverrideType.CHANGE or override.is_hydra_override():
        raise ConfigError(f"{line}: only a key that is there can be searched, and none of Hydra's own")
    if swept.tags - {"log"}:
        raise ConfigError(f"{line}: the only tag of an interval is log; got {', '.join(sorted(swept.tags))}")
    try:
        return Searched(low, high, log="log" in swept.tags, whole=isinstance(low, int))  # by int(interval(…))
    except ConfigError as error:
        raise ConfigError(f"{line}: {error}") from error


def _is_there(config: DictConfig, key: str) -> bool:
    node, _, last = key.rpartition(".")
    parent = OmegaConf.select(config, node) if node else config
    return isinstance(parent, DictConfig) and last in parent


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
    if master.hydra.job.chdir:
        raise ConfigError("hydra.job.chdir must be false: results_dir, and paths of data, are relative to this folder")


def _check_size(overrides: Sequence[Override]) -> None:
    """Refuse a sweep that Hydra cannot expand, or not within hours and the memory there is."""
    sizes: dict[str, int] = {}
    for override in overrides:
        line, key = override.input_line, override.get_key_element()
        sizes[key] = 1
        if not override.is_sweep_override():
            continue
        if not override.is_discrete_sweep():
            raise ConfigError(f"{line} takes a sweeper that searches (hydra/sweeper=…); else name values: {key}=0,0.1")
        swept = override.value()
        try:
            values = swept.range() if isinstance(swept, RangeSweep) else override.sweep_string_iterator()
            sizes[key] = sum(1 for _ in islice(values, MOST_RUNS + 1))
        except (HydraException, ValueError) as error:
            raise ConfigError(f"cannot read '{line}': {error}") from error
    if math.prod(sizes.values()) > MOST_RUNS:
        large = " and ".join(key for key, size in sizes.items() if size > 1)
        raise ConfigError(
            f"a sweep has at most {MOST_RUNS:,} runs; this one has more, over {large}: make several of it"
        )


@contextmanager
def session(config_dir: Path | None = None) -> Iterator[Session]:
    """Set Hydra up for one request.

    Args:
        config_dir: a folder of the user's own configs, searched after ours.

    Raises:
        ConfigError: if it is not there.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"--config-dir must name a folder; {config_dir} is not one")
    prefix = () if config_dir is None else (f"hydra.searchpath=['file://{config_dir.resolve()}']",)
    _import_from_here()
    with warnings.catch_warnings():
        # What Hydra 1.4 warns of and 1.3 needs: that is 1.1 without a base version, and knows no `replace=True`.
        warnings.filterwarnings("ignore", "The version_base parameter|ConfigStore config .* is already registered")
        hydra_version.setbase("1.3")
        GlobalHydra.instance().clear()
        hydra = Hydra.create_main_hydra2("lossbench", create_config_search_path(str(conf_dir())))
        lossbench_optuna.store()
        lossbench_ray.store()
        lossbench_submitit.store()  # after Hydra has asked all plugins for theirs
    try:
        yield Session(hydra, prefix)
    finally:
        GlobalHydra.instance().clear()


def _import_from_here() -> None:
    """A function in the user's folder is importable, as it would be under `python -m`."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def _translate(override: Override, swept: set[str]) -> str:
    line, key = str(override.input_line), override.key_or_group
    if override.package is None and key in _NESTED_GROUPS:
        return line.replace(key, f"{_NESTED_GROUPS[key]}@{key}", 1)
    if key == "tracker" and override.value() is None:
        return "tracker=[]"  # which is how Hydra says it of a group
    plain = not (override.is_sweep_override() or override.is_add() or override.is_force_add() or override.is_delete())
    if plain and any(key.startswith(f"{group}.") for group in swept):
        return f"{key}=choice({override.get_value_element_as_str()})"
    return line


def resolve(config: DictConfig, choices: Mapping[str, Any] | None = None) -> Config:
    """Turn a composed configuration into plain values, each group with the name it was chosen by.

    Args:
        config: what Hydra composed.
        choices: the choice of each group; within a job Hydra's own record of them.

    Raises:
        ConfigError: for an unknown key or a value of the wrong kind.
    """
    if choices is None:
        choices = HydraConfig.get().runtime.choices
    known = [field.name for field in fields(Schema) if field.name != RECIPE]
    for key in known:
        if key not in list(config.keys()) or OmegaConf.is_missing(config, key):
            raise ConfigError(f"{key} must be given")
    with explained():
        wanted = OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("hydra", RECIPE)])
        resolved = cast(Config, OmegaConf.to_container(wanted, resolve=True, throw_on_missing=True))
    try:
        check_plain(resolved)  # what is trained must be possible to read again
    except ValueError as error:
        raise ConfigError(f"the configuration holds {error}") from error
    for key in resolved:
        if key not in known:
            raise ConfigError(f"no key '{key}'{did_you_mean(key, known)}")
    for group, choice in choices.items():
        node: Any = resolved
        for part in str(group).split("@")[-1].split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict) and "_target_" in node:
            node.setdefault("name", str(choice))
            if str(choice).endswith(".yaml"):  # Hydra takes it for the same choice: one run would have two names
                raise ConfigError(f"{group}={choice} must be named without its ending: {str(choice)[:-5]}")
    for group in GROUPS:
        if not isinstance(resolved[group], dict) or not {"_target_", "name"} <= set(resolved[group]):
            raise ConfigError(f"{group} must be one of its choices, by name; got {choices.get(group)}")
        name = resolved[group]["name"]
        if group != "device" and not (isinstance(name, str) and re.fullmatch(r"\w[\w./-]{0,99}", name)):
            raise ConfigError(f"{group}.name must be a word of letters, digits and . _ - /; got {name!r}")
    if not resolved["results_dir"].strip():
        raise ConfigError("results_dir must name a folder; it is empty")
    if (every := resolved["checkpoint_seconds"]) is not None and every not in POSITIVE:
        raise ConfigError(f"checkpoint_seconds must lie in {POSITIVE}, or be null; got {every}")
    for where, values in (("", resolved), ("teacher.", resolved["teacher"] or {})):
        _check_values(values, where)
    return resolved


def _check_values(values: Mapping[str, Any], where: str) -> None:
    for key, domain in (("seed", NON_NEGATIVE), ("epochs", AT_LEAST_ONE), ("batch_size", AT_LEAST_ONE)):
        if key in values and values[key] not in domain:
            raise ConfigError(f"{where}{key} must lie in {domain}; got {values[key]}")
    if values.get("keep", "best") not in ("best", "last"):
        raise ConfigError(f"{where}keep must be best or last; got {values['keep']!r}")
