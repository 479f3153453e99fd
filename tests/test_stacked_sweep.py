"""`hydra/launcher=stacked`: the same results, stored like any others."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support import Lossbench, compose, compose_all, read_json

from lossbench import checkpoints, config, run
from lossbench.launchers import copies, measuring, part, stacked
from lossbench.progress import Silent
from lossbench.stacked import training
from lossbench.store import Store

STACKED = "hydra/launcher=stacked"
QUICK = ("dataset=wine", "model=mlp", "model.hidden=[8]", "batch_size=32", "epochs=2", "device=cpu", "device.threads=1")
TWO = "device.threads=2"
EIGHT = ("loss=label_smoothing", "loss.epsilon=0,0.2", "seed=range(4)")
FOUR = ("loss=label_smoothing", "loss.epsilon=0,0.2", "seed=0,1")


@pytest.fixture
def copied() -> None:
    """Processes can be copied here."""
    if not copies.possible():
        pytest.skip("processes are copied under Linux alone, and where there is no GPU")


def numbers(folder: Path) -> dict[str, dict[str, float]]:
    """Test metrics before calibration, by run."""
    found = sorted((folder / "runs").glob("*/metrics.json"))
    return {path.parent.name: read_json(path)["test"]["raw"] for path in found}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def environments(folder: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted((folder / "runs").glob("*/environment.json"))]


def stop(
    lossbench: Lossbench, monkeypatch: pytest.MonkeyPatch, sweep: Sequence[str], due: Callable[[Any], bool]
) -> None:
    """Have a sweep stopped by what each of its processes asks between two steps."""
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.Checkpoints, "due", due)
        assert lossbench("train", *sweep).returncode == 130


def assert_goes_on_by_fours(lossbench: Lossbench, tmp_path: Path, sweep: Sequence[str], runs: int) -> None:
    """To the bits of the same sweep in `calm`, which nobody stopped."""
    assert lossbench("train", *sweep).returncode == 0
    assert numbers(tmp_path / "results") == numbers(tmp_path / "calm")
    assert [environment["stacked"] for environment in environments(tmp_path / "results")] == [4] * runs
    assert_clean(tmp_path / "results")


def assert_clean(folder: Path, begun: Sequence[str] = ()) -> None:
    left = sorted(path.name for path in (folder / "runs").glob("*.partial"))
    assert left == [f"{name}.partial" for name in begun]
    assert not list((folder / "claims").iterdir())


def test_a_stacked_sweep_is_the_sequential_one(lossbench: Lossbench, tmp_path: Path) -> None:
    alone = lossbench("train", *QUICK, *FOUR, "results_dir=alone")
    together = lossbench("train", *QUICK, *FOUR, "results_dir=together", STACKED)
    assert (alone.returncode, together.returncode) == (0, 0), together.stderr
    assert [line.split()[0] for line in alone.stdout.splitlines()] == [
        line.split()[0] for line in together.stdout.splitlines()
    ]
    assert "wine-mlp-label_smoothing: 4 runs stacked: 2 epochs" in together.stderr
    expected, found = numbers(tmp_path / "alone"), numbers(tmp_path / "together")
    assert found.keys() == expected.keys()
    assert len(found) == 4
    for name, metrics in expected.items():
        smooth = {key: metrics[key] for key in ("accuracy", "nll", "brier_score")}
        assert {key: found[name][key] for key in smooth} == pytest.approx(smooth, abs=1e-5)
    for one, other in zip(environments(tmp_path / "together"), environments(tmp_path / "alone"), strict=True):
        assert one["stacked"] == 4
        assert "stacked" not in other
        assert one["fingerprints"] == other["fingerprints"]
        assert one.keys() - {"stacked"} == other.keys()
    assert_clean(tmp_path / "together")
    with next((tmp_path / "together/runs").glob("*/history.csv")).open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_finished_runs_are_skipped_and_force_trains_them_again(lossbench: Lossbench, tmp_path: Path) -> None:
    assert lossbench("train", *QUICK, *FOUR, "seed=0", STACKED).returncode == 0
    again = lossbench("train", *QUICK, *FOUR, "seed=range(3)", STACKED)
    assert again.stderr.count("skipped") == 2
    assert again.stderr.count("finished") == 4
    forced = lossbench("train", *QUICK, *FOUR, "seed=range(3)", STACKED, "--force")
    assert forced.stderr.count("finished") == 6
    assert {environment["stacked"] for environment in environments(tmp_path / "results")} == {6}


def test_what_is_not_stacked_is_trained_by_itself_and_says_why(lossbench: Lossbench) -> None:
    answer = lossbench("train", *QUICK, "loss=cross_entropy,online_label_smoothing", "seed=range(4)", STACKED)
    assert answer.returncode == 0, answer.stderr
    assert "wine-mlp-cross_entropy: 4 runs stacked" in answer.stderr
    assert "one after another, 4 runs: a loss with a state is not stacked" in answer.stderr
    assert len(answer.stdout.splitlines()) == 8


def test_a_few_runs_are_not_worth_a_stack_on_a_cpu(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("train", *QUICK, "seed=range(3)", STACKED)
    assert "one after another, 3 runs: fewer than 4 runs" in answer.stderr
    assert all("stacked" not in environment for environment in environments(tmp_path / "results"))


def test_max_runs_divides_a_group_into_stacks_of_about_the_same_size(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("train", *QUICK, "seed=range(9)", STACKED, "hydra.launcher.max_runs=5")
    assert answer.returncode == 0, answer.stderr
    assert sorted(environment["stacked"] for environment in environments(tmp_path / "results")) == [4] * 4 + [5] * 5


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_wrong_max_runs_is_refused_before_anything_is_written(
    lossbench: Lossbench, tmp_path: Path, value: str
) -> None:
    answer = lossbench("train", *QUICK, *FOUR, STACKED, f"hydra.launcher.max_runs={value}")
    assert answer.returncode == 2
    assert "max_runs" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_one_that_diverges_fails_alone_and_is_not_tried_again(lossbench: Lossbench, tmp_path: Path) -> None:
    sweep = (*QUICK, "optimizer.learning_rate=0.01,0.1,0.2,0.3,1e20", STACKED)
    answer = lossbench("train", *sweep)
    assert answer.returncode == 1
    assert "1 of 5 runs failed" in answer.stderr
    assert len(numbers(tmp_path / "results")) == 4
    (failure,) = (tmp_path / "results/runs").glob("*.partial/failure.json")
    assert read_json(failure)["error"] == "DivergedError"
    assert "the loss became" in read_json(failure)["message"]
    again = lossbench("train", *sweep)
    assert again.returncode == 1
    assert again.stderr.count("skipped") == 4
    assert "it failed before" in again.stderr


def test_students_are_stacked_after_their_teachers(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("train", *QUICK, "loss=distillation", "loss.temperature=1,4", "seed=0,1", STACKED)
    assert answer.returncode == 0, answer.stderr
    found = {environment.get("stacked") for environment in environments(tmp_path / "results")}
    assert found == {4, None}  # two teachers, trained one by one
    assert len(numbers(tmp_path / "results")) == 6


def test_an_interrupted_stack_goes_on_as_a_stack(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = (*QUICK, *FOUR, "epochs=3", STACKED)
    assert lossbench("train", *sweep, "results_dir=calm").returncode == 0
    looks = iter(range(100))

    def due(self: Any) -> bool:
        if next(looks) == 5:  # 127 examples are 4 batches of 32: in the second epoch
            self.asked.error = KeyboardInterrupt()
        return self.stop is not None

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.Checkpoints, "due", due)
        stopped = lossbench("train", *sweep)
    assert stopped.returncode == 130
    assert "goes on" in stopped.stderr
    assert len(list((tmp_path / "results/runs").glob("*.partial/checkpoint.pt"))) == 4
    assert lossbench("train", *sweep).returncode == 0
    assert numbers(tmp_path / "results") == numbers(tmp_path / "calm")
    assert {environment["stacked"] for environment in environments(tmp_path / "results")} == {4}
    assert_clean(tmp_path / "results")


@pytest.mark.usefixtures("copied")
def test_a_stack_whose_processes_stopped_at_different_steps_goes_on_in_the_same_parts_to_the_same_bits(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = (*QUICK, *EIGHT, TWO, "epochs=3", STACKED)
    assert lossbench("train", *sweep, "results_dir=calm").returncode == 0
    looks, here = iter(range(100)), os.getpid()

    def due(self: Any) -> bool:
        look = next(looks)  # a copy has a count of its own
        if look == 9 and os.getpid() == here:
            wait_for(lambda: len(list((tmp_path / "results/runs").glob("*.partial/checkpoint.pt"))) == 4)
        if look == (9 if os.getpid() == here else 5):
            self.asked.error = KeyboardInterrupt()
        return self.stop is not None

    stop(lossbench, monkeypatch, sweep, due)
    store = Store(tmp_path / "results")
    names = [path.name.removesuffix(".partial") for path in store.runs.glob("*.partial")]
    steps = [state.step for name in names if (state := store.load_checkpoint(name))]
    assert sorted(map(steps.count, set(steps))) == [4, 4]
    assert_goes_on_by_fours(lossbench, tmp_path, sweep, 8)


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize(("processes", "stored"), [(2, 4), (3, 0)])
def test_of_a_stack_that_is_half_done_the_parts_that_are_left_go_on_as_they_were(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, stored: int
) -> None:
    """Of two processes one is done when the other is stopped; of three, two are stopped at the same step."""
    seeds = ("loss=label_smoothing", "loss.epsilon=0,0.2", f"seed=range({2 * processes})")
    # Of which stacks of two and of four round otherwise.
    size = ("dataset=digits", "model.hidden=[64]", "batch_size=128", f"device.threads={processes}", "epochs=3")
    sweep = (*QUICK, *size, *seeds, STACKED)
    assert lossbench("train", *sweep, "results_dir=calm").returncode == 0
    looks, here = iter(range(1000)), os.getpid()
    runs = tmp_path / "results/runs"

    def due(self: Any) -> bool:
        look, is_copy = next(looks), os.getpid() != here  # a copy has a count of its own
        if stored:
            if look == 12 and is_copy:
                wait_for(lambda: len(list(runs.glob("*/metrics.json"))) == stored)
                self.asked.error = KeyboardInterrupt()
                os.kill(here, signal.SIGINT)
        else:
            if look == 20 and not is_copy:
                wait_for(lambda: len(list(runs.glob("*.partial/checkpoint.pt"))) == 8)
            if look == (12 if is_copy else 20):
                self.asked.error = KeyboardInterrupt()
        return self.stop is not None

    stop(lossbench, monkeypatch, sweep, due)
    store = Store(tmp_path / "results")
    assert len(store.run_ids()) == stored
    assert_goes_on_by_fours(lossbench, tmp_path, sweep, 4 * processes)


def test_what_is_trained_but_not_stored_is_saved_when_it_is_asked_to_stop(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = iter(range(100))

    def due(self: Any) -> bool:
        if len(list((tmp_path / "results/runs").glob("*/metrics.json"))) == 1:
            self.asked.error = KeyboardInterrupt()
        return self.stop is not None

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.Checkpoints, "due", due)
        assert lossbench("train", *QUICK, *FOUR, STACKED).returncode == 130
    store = Store(tmp_path / "results")
    assert len(store.run_ids()) == 1
    left = [path.name.removesuffix(".partial") for path in store.runs.glob("*.partial")]
    assert [state.epoch for name in left if (state := store.load_checkpoint(name))] == [2, 2, 2]
    monkeypatch.setattr(training.Stack, "train_epoch", lambda *_: next(stored))  # is not called: they are trained
    assert lossbench("train", *QUICK, *FOUR, STACKED).returncode == 0
    assert next(stored) == 0
    assert_clean(tmp_path / "results")


def test_runs_that_another_process_trains_are_left_to_it(tmp_path: Path) -> None:
    runs = [compose(*QUICK, f"seed={seed}", f"results_dir={tmp_path}") for seed in range(5)]
    store = Store(tmp_path)
    with store.claim(config.run_id(runs[0]), wait=False):
        outcomes = stacked.train_sweep([(settings, ()) for settings in runs], Task(wait=False), None)
    assert [outcome.status for outcome in outcomes] == ["claimed", *["finished"] * 4]
    assert not list((tmp_path / "runs").glob("*.partial"))


def test_where_memory_does_not_hold_a_stack_they_are_trained_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise MemoryError("can't allocate memory")

    monkeypatch.setattr(training.Stack, "look", full)
    runs = [compose(*QUICK, f"seed={seed}", f"results_dir={tmp_path}") for seed in range(4)]
    task = Task()
    outcomes = stacked.train_sweep([(settings, ()) for settings in runs], task, None)
    assert [outcome.status for outcome in outcomes] == ["finished"] * 4
    assert task.display.notes == ["one after another, 4 runs: stacked, MemoryError: can't allocate memory"]


@pytest.mark.usefixtures("copied")
def test_two_processes_train_a_stack_as_one_does(lossbench: Lossbench, tmp_path: Path) -> None:
    assert lossbench("train", *QUICK, *EIGHT, STACKED, "results_dir=one").returncode == 0
    answer = lossbench("train", *QUICK, *EIGHT, STACKED, "results_dir=two", TWO)
    assert answer.returncode == 0, answer.stderr
    assert "wine-mlp-label_smoothing: 8 runs stacked in 2 processes: 2 epochs" in answer.stderr
    assert answer.stderr.count(": finished") == len(answer.stdout.splitlines()) == 8
    expected, found = numbers(tmp_path / "one"), numbers(tmp_path / "two")
    assert found.keys() == expected.keys()
    for name, metrics in expected.items():
        smooth = {key: metrics[key] for key in ("accuracy", "nll", "brier_score")}
        assert {key: found[name][key] for key in smooth} == pytest.approx(smooth, abs=1e-5)
    recorded = [(environment["stacked"], environment["threads"]) for environment in environments(tmp_path / "two")]
    assert recorded == [(4, 1)] * 8
    assert_clean(tmp_path / "two")


def test_where_no_process_can_be_copied_one_trains_and_others_measure(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(copies, "possible", lambda: False)
    monkeypatch.setattr(measuring, "begin", begun.append)
    answer = lossbench("train", *QUICK, *EIGHT, STACKED, TWO)
    assert answer.returncode == 0, answer.stderr
    assert "wine-mlp-label_smoothing: 8 runs stacked: 2 epochs" in answer.stderr
    assert begun == [8]
    assert {environment["stacked"] for environment in environments(tmp_path / "results")} == {8}


@pytest.mark.usefixtures("copied")
def test_one_that_diverges_in_another_process_fails_alone(lossbench: Lossbench, tmp_path: Path) -> None:
    rates = "optimizer.learning_rate=0.01,1e20"
    answer = lossbench("train", *QUICK, rates, "seed=range(4)", STACKED, TWO)
    assert answer.returncode == 1
    assert "4 of 8 runs failed" in answer.stderr
    assert answer.stderr.count(": finished") == len(numbers(tmp_path / "results")) == 4
    assert len(list((tmp_path / "results/runs").glob("*.partial/failure.json"))) == 4


def before_training_in_a_copy(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    train, here = part.train_stacked, os.getpid()

    def train_stacked(*arguments: Any, **settings: Any) -> Any:
        if os.getpid() != here:
            happens()
        return train(*arguments, **settings)

    monkeypatch.setattr(part, "train_stacked", train_stacked)


@pytest.mark.usefixtures("copied")
def test_what_a_killed_process_trained_is_trained_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    before_training_in_a_copy(monkeypatch, killed)
    runs = [compose(*QUICK, TWO, f"seed={seed}", f"results_dir={tmp_path}") for seed in range(8)]
    task = Task()
    outcomes = stacked.train_sweep([(settings, ()) for settings in runs], task, None)
    assert [outcome.status for outcome in outcomes] == ["finished"] * 8
    assert task.display.notes == [f"one after another, 4 runs: {stacked.GONE}"]
    assert_clean(tmp_path)


@pytest.mark.usefixtures("copied")
def test_what_another_process_cannot_stack_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise training.NotStackedError("stacked, MemoryError: can't allocate memory")

    before_training_in_a_copy(monkeypatch, full)
    runs = [compose(*QUICK, TWO, f"seed={seed}", f"results_dir={tmp_path}") for seed in range(8)]
    task = Task()
    outcomes = stacked.train_sweep([(settings, ()) for settings in runs], task, None)
    assert [outcome.status for outcome in outcomes] == ["finished"] * 8
    assert task.display.notes == ["one after another, 4 runs: stacked, MemoryError: can't allocate memory"]


@pytest.mark.usefixtures("copied")
def test_students_are_divided_after_their_teachers(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("train", *QUICK, "loss=distillation", "loss.temperature=1,4", "seed=0,1", STACKED, TWO)
    assert answer.returncode == 0, answer.stderr
    found = sorted(environment.get("stacked", 0) for environment in environments(tmp_path / "results"))
    assert found == [0, 0, 2, 2, 2, 2]  # two teachers, trained one by one
    assert answer.stderr.count(": finished") == 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_in_two_processes_all_are_saved_and_go_on(tmp_path: Path, number: int, code: int) -> None:
    with endless(tmp_path) as process:
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)  # as a cluster does
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "the same command goes on:\n  lossbench train" in stderr
    store = Store(tmp_path)
    begun = sorted(path.name.removesuffix(".partial") for path in store.runs.iterdir())
    states = [store.load_checkpoint(name) for name in begun]
    assert len(begun) == 8
    assert all(state is not None and state.model for state in states)
    assert_clean(tmp_path, begun)


@pytest.mark.usefixtures("copied")
def test_the_other_processes_end_with_the_one_that_was_asked(tmp_path: Path) -> None:
    with endless(tmp_path) as process:
        process.kill()
        process.wait()
        end = time.monotonic() + 30
        store = Store(tmp_path)
        names = [path.name.removesuffix(".partial") for path in store.runs.iterdir()]
        while any(map(store.held, names)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(map(store.held, names))
        assert sum(store.load_checkpoint(name) is not None for name in names) == 4  # those of the other process


@pytest.mark.usefixtures("copied")
def test_runs_that_stopped_at_different_steps_are_divided_by_their_steps(lossbench: Lossbench, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    with endless(store.runs.parent) as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    left = [path.name.removesuffix(".partial") for path in store.runs.glob("*.partial")]
    for number, name in enumerate(left):
        state = store.load_checkpoint(name)
        assert state is not None
        state.epoch, state.losses = 1 + number % 2, None
        store.save_checkpoint(name, state)
    more = ("seed=range(6)", "epochs=100000000")
    runs = [(settings, ()) for settings in compose_all(*QUICK, *EIGHT, TWO, *more, f"results_dir={store.runs.parent}")]
    task = Task()
    found = [
        (sum(map(len, parts)), {job.name in left for jobs in parts for job in jobs}, len(parts))
        for parts in stacked._Sweep(task, None)._stacks(
            stacked._Sweep(task, None)._to_train([(i, *run) for i, run in enumerate(runs)])
        )
    ]
    assert sorted(found, key=str) == [(4, {False}, 2), (4, {True}, 2), (4, {True}, 2)]


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize(
    ("lost", "expected"),
    [((), [[4, 4]]), ((0,), [[4, 3]]), ((0, 1, 2, 3), [[4, 2], [2]]), ((0, 1, 2), [[4, 3]]), ((0, 4), [[2, 3], [3]])],
    ids=["none", "of one", "of all of a part", "of most of a part", "of one in each part"],
)
def test_parts_of_which_checkpoints_are_lost_go_on_with_the_others_beside_them(
    tmp_path: Path, lost: tuple[int, ...], expected: list[list[int]]
) -> None:
    """Eight runs, which two processes trained by fours, each at a step of its own; what is lost begins anew."""
    runs = compose_all(*QUICK, *EIGHT, TWO, f"results_dir={tmp_path}")
    sweep = stacked._Sweep(Task(), None)
    jobs = sweep._to_train([(i, settings, ()) for i, settings in enumerate(runs)])
    names = [job.name for job in jobs]
    for i, job in enumerate(jobs):
        if i not in lost:
            job.store.start(job.name, job.complete)
            together = names[:4] if i < 4 else names[4:]
            job.store.save_checkpoint(job.name, training.State(epoch=1 + i // 4, together=together))
    found = [[len(part) for part in parts] for parts in sweep._stacks(jobs)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
    alone = [place for places in sweep.alone.values() for place in places]
    assert len(alone) + sum(map(sum, found)) == 8


@pytest.mark.usefixtures("copied")
def test_what_failed_before_takes_no_place_in_a_stack(lossbench: Lossbench, tmp_path: Path) -> None:
    rates = "optimizer.learning_rate=0.01,1e20"
    assert lossbench("train", *QUICK, rates, "seed=range(4)", STACKED, TWO).returncode == 1
    answer = lossbench("train", *QUICK, rates, "seed=range(8)", STACKED, TWO)
    assert "8 runs stacked in 2 processes" in answer.stderr
    assert [environment["stacked"] for environment in environments(tmp_path / "results")] == [4] * 8


def test_with_a_tracker_one_process_trains(lossbench: Lossbench) -> None:
    """What draws for it has threads, which a copy would wait for without end."""
    sweep = ("loss=cross_entropy,focal", "seed=range(4)", "tracker=tensorboard")
    answer = lossbench("train", *QUICK, *sweep, STACKED, TWO)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("4 runs stacked: 2 epochs") == 2
    assert answer.stderr.count(": finished") == 8


def test_what_goes_wrong_in_training_is_left_to_each_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, *_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.Stack, "train_epoch", full)
    runs = [compose(*QUICK, f"seed={seed}", f"results_dir={tmp_path}") for seed in range(4)]
    task = Task()
    outcomes = stacked.train_sweep([(settings, ()) for settings in runs], task, None)
    assert [outcome.status for outcome in outcomes] == ["finished"] * 4
    assert task.display.notes == ["one after another, 4 runs: stacked, OSError: [Errno 28] No space left on device"]


@contextmanager
def endless(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A stack in training, in two processes."""
    settings = (*QUICK, *EIGHT, STACKED, TWO, "epochs=100000000", f"results_dir={folder}")
    command = [sys.executable, "-m", "lossbench", "train", *settings]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        while process.poll() is None and len(list((folder / "runs").glob("*/config.yaml"))) < 8:
            time.sleep(0.05)
        time.sleep(1)  # until both train
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_same_run_twice_is_trained_once(tmp_path: Path) -> None:
    runs = [compose(*QUICK, f"seed={seed}", f"results_dir={tmp_path}") for seed in (0, 1, 2, 3, 0)]
    outcomes = stacked.train_sweep([(settings, ()) for settings in runs], Task(), None)
    assert [outcome.status for outcome in outcomes] == [*["finished"] * 4, "skipped"]
    assert all(math.isfinite(float(outcome)) for outcome in outcomes)


class Listening(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Task:
    """As `lossbench.sweep` has it."""

    def __init__(self, wait: bool = True) -> None:
        self.policy, self.display = run.Policy(wait=wait), Listening()

    def __call__(self, settings: config.Config, overrides: tuple[str, ...], turn: int) -> Any:
        return run.execute(settings, wait=self.policy.wait, display=self.display, overrides=overrides)
