"""`hydra/sweeper=optuna`: as many trials for every loss, checked beforehand, the same ones when repeated."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import Lossbench, read_json
from yaml import safe_load

from lossbench import config
from lossbench.errors import ConfigError, WorkersError
from lossbench.progress import Outcome, Silent
from lossbench.search import Search, Searched, Settings, Study

QUICK = ("dataset=wine", "model=linear", "epochs=1", "device=cpu", "device.threads=1", "hydra/sweeper=optuna")


def settings(**changed: object) -> Settings:
    return Settings(**{"n_trials": 20, "n_jobs": 1, "metric": "nll", "sampler": "tpe", "seed": 0, **changed})  # type: ignore[arg-type]


def tried(folder: Path, key: str = "epsilon") -> list[float]:
    return sorted(safe_load(path.read_text())["loss"][key] for path in folder.glob("runs/*/config.yaml"))


class Bowl:
    """Stands for training: nll is the squared distance of `loss.epsilon` from 0.2."""

    def __init__(self) -> None:
        self.rounds: list[list[float]] = []

    def __call__(self, jobs: Sequence[Sequence[str]], turn: int) -> list[Outcome]:
        assert turn == sum(map(len, self.rounds))
        values = [float(job[-1].partition("=")[2]) for job in jobs]
        self.rounds.append(values)
        return [Outcome(f"{value}", "finished", validation={"nll": (value - 0.2) ** 2}) for value in values]


def bowl(**changed: object) -> tuple[Bowl, list[Outcome]]:
    launch, study = Bowl(), Study((), {"loss.epsilon": Searched(0, 1)})
    return launch, list(Search([study], settings(**changed)).train(launch, Silent()))


def test_tpe_comes_nearer_to_the_best_value_than_it_began() -> None:
    """A quadratic of one number: the last ten of 30 trials lie nearer to 0.2, on average, than the first ten."""
    launch, _ = bowl(n_trials=30)
    values = [value for (value,) in launch.rounds]
    first, last = values[:10], values[-10:]
    assert sum(abs(value - 0.2) for value in last) < sum(abs(value - 0.2) for value in first) / 2


def test_n_jobs_trials_are_launched_at_once() -> None:
    launch, outcomes = bowl(n_trials=7, n_jobs=3)
    assert [len(values) for values in launch.rounds] == [3, 3, 1]
    assert len(outcomes) == 7


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_seed_decides_what_is_tried(sampler: str) -> None:
    assert bowl(sampler=sampler)[0].rounds == bowl(sampler=sampler)[0].rounds
    assert bowl(sampler=sampler)[0].rounds != bowl(sampler=sampler, seed=1)[0].rounds


def test_values_have_six_digits_and_lie_within_the_interval() -> None:
    assert Searched(0, 1).written(1 / 3) == "0.333333"
    assert Searched(0.1234563, 1).written(0.1234564) == "0.1234563"  # 0.123456 lies below it
    assert Searched(0, 0.6666666).written(0.66666659) == "0.6666666"  # 0.666667 above
    assert Searched(1, 9, whole=True).written(3) == "3"


def test_an_interval_of_whole_numbers_has_both_its_ends() -> None:
    launch, study = Bowl(), Study((), {"loss.epsilon": Searched(0, 1, whole=True)})
    list(Search([study], settings(sampler="random")).train(launch, Silent()))
    assert {value for (value,) in launch.rounds} == {0.0, 1.0}


@pytest.mark.parametrize(
    ("metric", "value", "badness"),
    [("nll", 0.3, 0.3), ("accuracy", 0.9, -0.9), ("confidence_gap", -0.1, 0.1), ("nll", math.nan, math.inf)],
)
def test_every_metric_is_minimised_in_its_own_sense(metric: str, value: float, badness: float) -> None:
    assert settings(metric=metric).badness(Outcome("a", "finished", validation={metric: value})) == badness


def test_a_failed_run_is_worst_and_a_stopped_one_ends_the_search() -> None:
    assert settings().badness(Outcome("a", "failed", "nan")) == math.inf
    with pytest.raises(WorkersError):
        settings().badness(Outcome("?", "stopped"))
    with pytest.raises(ConfigError, match="a has no dice on validation"):
        settings(metric="dice").badness(Outcome("a", "finished", validation={"nll": 1.0}))


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'lossbench\[optuna\]'"):
        settings().check()


def test_losses_and_seeds_have_as_many_trials_each_and_begin_at_the_same_point(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    """2 losses × 2 seeds × 3 trials are 12 runs; focal has no epsilon, so that its learning rate alone is searched."""
    answer = lossbench(
        "train", *QUICK, "loss=label_smoothing,focal", "seed=0,1", "hydra.sweeper.n_trials=3",
        "loss.epsilon=interval(0,0.3)", "optimizer.learning_rate=tag(log,interval(0.001,1))",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    configs = [safe_load(path.read_text()) for path in tmp_path.glob("results/runs/*/config.yaml")]
    assert Counter((one["loss"]["name"], one["seed"]) for one in configs) == {
        ("label_smoothing", 0): 3, ("label_smoothing", 1): 3, ("focal", 0): 3, ("focal", 1): 3,
    }  # fmt: skip
    rates = {
        (one["loss"]["name"], one["seed"]): {
            other["optimizer"]["learning_rate"]
            for other in configs
            if (other["loss"]["name"], other["seed"]) == (one["loss"]["name"], one["seed"])
        }
        for one in configs
    }
    assert rates["focal", 0] & rates["focal", 1]  # the same first point, of the same sampler's seed
    assert "loss=focal seed=1: best of 3: optimizer.learning_rate=" in answer.stderr
    best = min(
        read_json(path)["val"]["raw"]["nll"] for path in tmp_path.glob("results/runs/*label_smoothing-s0*/metrics.json")
    )
    assert f"nll {best:.4f} on validation" in next(
        line for line in answer.stderr.splitlines() if line.startswith("loss=label_smoothing seed=0: best")
    )
    report = lossbench("report", "--select", "nll", "--format", "json")
    assert report.returncode == 0, report.stderr
    best_runs = {
        min(
            tmp_path.glob(f"results/runs/*-{loss}-s{seed}-*"),
            key=lambda run: read_json(run / "metrics.json")["val"]["raw"]["nll"],
        ).name
        for loss in ("label_smoothing", "focal")
        for seed in (0, 1)
    }
    assert {run for row in json.loads(report.stdout)["rows"] for run in row["runs"]} == best_runs


@pytest.mark.slow
def test_the_documented_search_leaves_its_baseline_at_the_defaults_of_that_loss() -> None:
    """Each other loss is searched in a hyperparameter of its own; the learning rate is searched for all."""
    text = (Path(__file__).parent.parent / "docs/scaling.md").read_text()
    (block,) = (one for one in text.split("```sh\n") if "hydra/sweeper=optuna" in one)
    train, report, *_ = block.replace("\\\n", " ").splitlines()
    with config.session() as hydra:
        plan = hydra.plan(shlex.split(train)[2:])
    assert plan.search is not None
    own = {
        study.overrides[0]: {key for key in study.intervals if key.startswith("loss.")} for study in plan.search.studies
    }
    baseline = shlex.split(report, comments=True)[-1]
    assert own.pop(baseline) == set()
    assert own
    assert all(own.values())
    assert {len(study.intervals) - len(own.get(study.overrides[0], ())) for study in plan.search.studies} == {1}


def test_the_same_command_again_finds_every_run_finished(lossbench: Lossbench, tmp_path: Path) -> None:
    command = ("train", *QUICK, "loss=label_smoothing", "loss.epsilon=interval(0,0.3)", "hydra.sweeper.n_trials=4")
    assert lossbench(*command).returncode == 0
    values = tried(tmp_path / "results")
    answer = lossbench(*command)
    assert answer.stderr.count(": skipped") == 4
    assert tried(tmp_path / "results") == values


def test_every_trial_is_launched_by_hydras_launcher_with_the_same_values(lossbench: Lossbench, tmp_path: Path) -> None:
    command = (*QUICK, "loss=label_smoothing", "loss.epsilon=interval(0,0.3)", "hydra.sweeper.n_trials=4")
    batches = "hydra.sweeper.n_jobs=2"
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert lossbench("train", *command, batches, "results_dir=one").returncode == 0
    # In full: workers that are kept from an earlier test are in another folder.
    answer = lossbench("train", *command, batches, f"results_dir={tmp_path / 'two'}", *joblib)
    assert answer.returncode == 0, answer.stderr
    assert "(4/4 runs)" in answer.stderr
    assert tried(tmp_path / "one") == tried(tmp_path / "two")


def test_failed_trials_are_reported_and_the_others_go_on(lossbench: Lossbench, tmp_path: Path) -> None:
    """A learning rate between 1 and 1e30 diverges sooner or later."""
    answer = lossbench(
        "train", *QUICK, "loss=cross_entropy", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler=random",
        "optimizer.learning_rate=tag(log,interval(1,1e30))",
    )  # fmt: skip
    assert answer.returncode == 1
    assert "of 4 runs failed" in answer.stderr
    assert len(list(tmp_path.glob("results/runs/*"))) == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss.epsilon=interval(0,1.2)", "loss.epsilon must lie in [0, 1]; got 1.2"),
        ("loss.epsilom=interval(0,1)", "no key 'loss.epsilom'; did you mean loss.epsilon?"),
        ("loss.epsilon=interval(0.3,0.1)", "from its lower end to its upper end; got 0.3 and 0.1"),
        ("loss.epsilon=tag(log,interval(0,1))", "tag(log, …) begins above 0; got 0"),
        ("loss.epsilon=tag(lg,interval(0,1))", "the only tag of an interval is log; got lg"),
        ("+loss.epsilon=interval(0,1)", "only a key that is there can be searched"),
        ("loss.epsilon=0,0.1", "there is nothing to search: give an interval"),
        ("hydra.sweeper.metric=nl", "no metric named 'nl'; did you mean nll?"),
        ("hydra.sweeper.metric=mean_confidence", "does not say which of its values are better"),
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials must lie in [1, ∞); got 0"),
        ("hydra.sweeper.n_trials=10001", "a search has at most 10,000 runs; this one has 10,001"),
        ("hydra.sweeper.sampler=tpo", "one of tpe, random; got 'tpo'; did you mean tpe?"),
        ("hydra.sweeper.sampler=grid", "hydra.sweeper.sampler must be one of tpe, random; got 'grid'\n"),
        (
            "batch_size=interval(16,64)",
            "batch_size must be a whole number: search it by 'batch_size=int(interval(16,64))'",
        ),
        ("batch_size=tag(log,interval(16,64))", "search it by 'batch_size=int(tag(log,interval(16,64)))'"),
        ("seed=int(interval(0,3))", "seed cannot be searched, for the best of several seeds is luck"),
        ("hydra.sweeper.seed=-1", "hydra.sweeper.seed must lie in 0..4294967295; got -1"),
    ],
)
def test_a_search_that_cannot_be_is_refused_and_nothing_is_written(
    override: str, message: str, lossbench: Lossbench, tmp_path: Path
) -> None:
    interval = ("optimizer.learning_rate=interval(0.1,0.2)",) if override.startswith("hydra") else ()
    answer = lossbench("train", *QUICK, "loss=label_smoothing", override, *interval)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert message in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
