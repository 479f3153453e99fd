"""Search hyperparameters on a validation metric: a study for each loss, all with the same number of trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

from lossbench.domains import AT_LEAST_ONE
from lossbench.errors import ConfigError, check_names, did_you_mean
from lossbench.progress import Outcome, Silent

# The overrides of each run of a round, and how many runs came before → what came of each.
Launch: TypeAlias = Callable[[Sequence[Sequence[str]], int], Sequence[Outcome]]
Trial: TypeAlias = tuple[tuple[str, ...], Callable[[Outcome], None]]  # its overrides, and whom to tell what came of it

SAMPLERS = ("tpe", "random")
DIGITS = 6  # of a value that is tried: what the next digits are differs from machine to machine


@dataclass(frozen=True)
class Searched:
    """Where a hyperparameter is looked for."""

    low: float
    high: float
    log: bool = False  # by its order of magnitude
    whole: bool = False  # in whole numbers

    def __post_init__(self) -> None:
        """Refuse one that is empty."""
        if not self.low < self.high:
            raise ConfigError(
                f"an interval goes from its lower end to its upper end; got {self.low:g} and {self.high:g}"
            )
        if self.log and self.low <= 0:
            raise ConfigError(f"an interval with tag(log, …) begins above 0; got {self.low:g}")

    def ends(self) -> tuple[str, str]:
        """Return its ends as an override has them."""
        return self.written(self.low), self.written(self.high)

    def written(self, value: float) -> str:
        """Return a value as an override has it."""
        if self.whole:
            return str(int(value))
        return repr(min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high))


@dataclass(frozen=True)
class Study:
    """A combination of what is listed, and what is searched in it."""

    overrides: tuple[str, ...]
    intervals: Mapping[str, Searched]  # key → where; none where its loss has none of the keys

    def samples(self) -> list[tuple[str, ...]]:
        """Return two points of it, one at all lower ends, one at all upper ends, as overrides."""
        ends = [[f"{key}={end}" for end in interval.ends()] for key, interval in self.intervals.items()]
        return [(*self.overrides, *point) for point in zip(*ends, strict=True)] or [self.overrides]


@dataclass(frozen=True)
class Settings:
    """How to search, `hydra.sweeper.…`."""

    n_trials: int
    n_jobs: int
    metric: str
    sampler: str
    seed: int

    def check(self) -> None:
        """Refuse what cannot be, and a search without Optuna.

        Raises:
            ConfigError: that says which.
        """
        try:
            import optuna  # noqa: F401  # here, as all that takes long: whoever composes a config imports this file
        except ImportError as error:
            raise ConfigError(
                f"hydra/sweeper=optuna needs Optuna ({error}): pip install 'lossbench[optuna]'"
            ) from error
        from lossbench import metrics

        for name in ("n_trials", "n_jobs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"hydra.sweeper.{name} must lie in {AT_LEAST_ONE}; got {getattr(self, name)}")
        if self.sampler not in SAMPLERS:
            nearest = did_you_mean(self.sampler, SAMPLERS)
            raise ConfigError(
                f"hydra.sweeper.sampler must be one of {', '.join(SAMPLERS)}; got {self.sampler!r}"
                + (nearest if "mean" in nearest else "")
            )
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"hydra.sweeper.seed must lie in 0..4294967295; got {self.seed}")
        check_names("no metric named", [self.metric], metrics.ALL)
        if metrics.ALL[self.metric].better is None:
            raise ConfigError(
                f"{self.metric} does not say which of its values are better; search by another, such as nll"
            )

    def badness(self, outcome: Outcome) -> float:
        """Return what is minimised: infinite for a run that failed, so that no more are tried near it.

        Raises:
            WorkersError: if the run was stopped.
            ConfigError: if it has no such metric.
        """
        from lossbench import metrics

        float(outcome)  # which a run that was stopped has not
        if outcome.status == "failed":
            return math.inf
        if self.metric not in outcome.validation:
            raise ConfigError(f"{outcome.run_id} has no {self.metric} on validation; search by another, such as nll")
        value = outcome.validation[self.metric]
        sign = {"lower": value, "higher": -value, "zero": abs(value)}[str(metrics.ALL[self.metric].better)]
        return math.inf if math.isnan(sign) else sign


@dataclass(frozen=True)
class Search:
    """Studies, and how to search each."""

    studies: Sequence[Study]
    settings: Settings

    @property
    def runs(self) -> int:
        """How many there will be."""
        return sum(self.settings.n_trials if study.intervals else 1 for study in self.studies)

    @property
    def at_once(self) -> int:
        """How many runs a round has, which are launched together."""
        most = min(self.settings.n_jobs, self.settings.n_trials)
        return sum(most if study.intervals else 1 for study in self.studies)

    def train(self, launch: Launch, display: Silent) -> Iterator[Outcome]:
        """Train the trials of all studies, those of a round together, so that a launcher can do so side by side.

        The same request tries the same values, for Optuna is told what came of a round in the order it asked in: where
        a search was interrupted, the same command finds its finished runs.

        Args:
            launch: trains the runs of a round.
            display: told of runs that were trained elsewhere, and what was best in each study.

        Yields:
            What came of each run.
        """
        common = set[str].intersection(*(set(study.overrides) for study in self.studies))
        trials = [_Trials(study, self.settings) for study in self.studies]
        turn = 0
        while asked := [trial for one in trials for trial in one.ask()]:
            outcomes = launch([overrides for overrides, _ in asked], turn)
            turn += len(asked)
            for (_, tell), outcome in zip(asked, outcomes, strict=True):
                tell(outcome)
                if outcome not in display.outcomes:
                    display.done(outcome)
                yield outcome
        for one in trials:
            display.note(one.found(besides=common))


class _Trials:
    """One study of Optuna's."""

    def __init__(self, study: Study, settings: Settings) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Every study begins with the same seed: losses that search the same intervals begin at the same points.
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        self.optuna = optuna.create_study(sampler=samplers[settings.sampler](seed=settings.seed))
        self.study, self.settings = study, settings
        self.left = settings.n_trials if study.intervals else 1
        self.best: tuple[float, Outcome, tuple[str, ...]] | None = None

    def ask(self) -> list[Trial]:
        """Return the trials of a round."""
        count = min(self.left, self.settings.n_jobs)
        self.left -= count
        return [self._trial() for _ in range(count)]

    def _trial(self) -> Trial:
        trial = self.optuna.ask()
        tried = tuple(
            f"{key}={one.written(trial.suggest_int(key, int(one.low), int(one.high), log=one.log))}"
            if one.whole
            else f"{key}={one.written(trial.suggest_float(key, one.low, one.high, log=one.log))}"
            for key, one in self.study.intervals.items()
        )

        def tell(outcome: Outcome) -> None:
            badness = self.settings.badness(outcome)
            self.optuna.tell(trial, badness)
            if badness < math.inf and (self.best is None or badness < self.best[0]):
                self.best = badness, outcome, tried

        return (*self.study.overrides, *tried), tell

    def found(self, besides: Set[str]) -> str:
        """Say what was best, naming the study by its overrides besides those that all have."""
        name = " ".join(one for one in self.study.overrides if one not in besides) or "search"
        if self.best is None:
            return f"{name}: every trial failed"
        _, outcome, tried = self.best
        value = outcome.validation[self.settings.metric]
        count = f"best of {self.settings.n_trials}" if tried else "nothing to search, 1 run"
        return f"{name}: {count}: {' '.join((*tried, f'{self.settings.metric} {value:.4f} on validation'))}"
