"""When a run is saved, and what a signal does to it."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support import Lossbench, compose
from typer.core import TyperGroup

from lossbench import checkpoints, run, stopping, training
from lossbench.checkpoints import Checkpoints
from lossbench.config import run_id
from lossbench.errors import Terminated
from lossbench.store import Store
from lossbench.training import State

LONG = ("train", "dataset=wine", "model=mlp", "model.hidden=[8]", "epochs=1000000", "device.threads=1", "device=cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    return now


def test_a_checkpoint_is_due_ten_seconds_after_the_one_before(clock: list[float]) -> None:
    saver = Checkpoints(lambda state: None)
    assert not saver.due()
    clock[0] += 9.9
    assert not saver.due()
    clock[0] += 0.1
    assert saver.due()
    saver.save(State())
    assert not saver.due()


def test_one_that_takes_a_second_is_due_every_fifty(clock: list[float]) -> None:
    def slow(state: State) -> None:
        clock[0] += 1.0

    saver = Checkpoints(slow)
    saver.save(State())
    clock[0] += 49.9
    assert not saver.due()
    clock[0] += 0.1
    assert saver.due()


def test_one_after_a_disk_that_stalled_is_due_within_ten_minutes(clock: list[float]) -> None:
    def stalled(state: State) -> None:
        clock[0] += 60.0

    saver = Checkpoints(stalled)
    saver.save(State())
    clock[0] += 599.9
    assert not saver.due()
    clock[0] += 0.1
    assert saver.due()


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_the_first_signal_waits_for_the_state_to_be_saved(number: signal.Signals, error: type[BaseException]) -> None:
    saved: list[State] = []
    before = signal.getsignal(number)

    def train() -> None:
        with Checkpoints(saved.append) as saver:
            assert not saver.due()
            os.kill(os.getpid(), number)
            assert saver.due()
            assert not saved
            saver.save(State(epoch=3))

    with pytest.raises(error):
        train()
    assert [state.epoch for state in saved] == [3]
    assert signal.getsignal(number) == before


def test_the_second_signal_ends_it_at_once() -> None:
    saved: list[State] = []

    def train() -> None:
        with Checkpoints(saved.append):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)  # at the same time: the first again, as `timeout` sends it
            time.sleep(stopping.SAME)
            saved.append(State(epoch=1))
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
            saved.append(State())  # not reached

    with pytest.raises(KeyboardInterrupt):
        train()
    assert [state.epoch for state in saved] == [1]


def test_a_signal_after_the_last_look_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt), Checkpoints(lambda state: None):
        os.kill(os.getpid(), signal.SIGINT)


def test_what_fails_after_a_signal_is_recorded_and_then_it_stops() -> None:
    recorded: list[Exception] = []

    def train() -> None:
        with Checkpoints(lambda state: None, recorded.append):
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("diverged")

    with pytest.raises(KeyboardInterrupt):
        train()
    assert list(map(str, recorded)) == ["diverged"]


def test_a_checkpoint_that_cannot_be_written_when_asked_to_stop_is_no_failure_of_the_run() -> None:
    recorded: list[Exception] = []

    def full(state: State) -> None:
        raise OSError("no space left")

    def train() -> None:
        with Checkpoints(full, recorded.append) as saver:
            os.kill(os.getpid(), signal.SIGINT)
            saver.save(State())

    with pytest.raises(KeyboardInterrupt) as stopped:
        train()
    assert not recorded
    assert stopped.value.__notes__ == ["its checkpoint cannot be written (no space left): the one before counts"]


@pytest.mark.parametrize("moment", ["finish", "measure"])
def test_a_run_that_is_trained_is_stored_before_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    config = compose("dataset=wine", "model=mlp", "model.hidden=[8]", "epochs=1", f"results_dir={tmp_path}")
    place, name = (training, "finish") if moment == "finish" else (run, "measure")
    original = getattr(place, name)

    def asked(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(place, name, asked)
    with pytest.raises(KeyboardInterrupt):
        run.execute(config)
    assert Store(tmp_path).finished(run_id(config))


def test_sigterm_while_a_command_starts_is_told_like_any_other(tmp_path: Path) -> None:
    overrides = [*LONG, f"results_dir={tmp_path}"]
    code = """if True:
        import os, signal, sys
        from lossbench import config
        from lossbench.cli import main
        config.session = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
        main()
    """
    answer = subprocess.run([sys.executable, "-c", code, *overrides], capture_output=True, text=True, check=False)
    assert answer.returncode == 143
    again = shlex.join(["lossbench", *overrides])
    assert answer.stderr.endswith(f"interrupted; finished runs are kept, the same command goes on:\n  {again}\n")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_signals_that_another_library_handles_are_left_to_it() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with Checkpoints(lambda state: None) as saver:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not saver.due()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_another_thread_trains_without_signals() -> None:
    due: list[bool] = []

    def work() -> None:
        with Checkpoints(lambda state: None) as saver:
            due.append(saver.due())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert due == [False]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_asked_to_stop_writes_a_checkpoint_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "lossbench", *LONG, f"results_dir={tmp_path}"]
    with (tmp_path / "stderr").open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL)
        while not list(tmp_path.glob("runs/*.partial/config.yaml")):
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)  # some steps, and far from the ten seconds after which one is written anyway
        process.send_signal(number)
        assert process.wait(30) == code
    (partial,) = tmp_path.glob("runs/*.partial")
    state = Store(tmp_path).load_checkpoint(partial.name.removesuffix(".partial"))
    assert state is not None
    assert state.epoch > 0 or state.losses is not None
    *_, message, again = (tmp_path / "stderr").read_text().splitlines()
    assert message == "interrupted; what it was training is saved; finished runs are kept, the same command goes on:"
    assert again.strip() == shlex.join(["lossbench", *LONG, f"results_dir={tmp_path}"])
    assert not list((tmp_path / "claims").iterdir())


def test_a_forced_run_that_another_process_has_just_trained_is_not_trained_again(tmp_path: Path) -> None:
    config = compose("dataset=wine", "model=mlp", "model.hidden=[8]", "epochs=1", f"results_dir={tmp_path}")
    before = time.time()
    assert run.execute(config).status == "finished"
    assert run.execute(config, force=True, since=before).status == "skipped"
    assert run.execute(config, force=True, since=time.time()).status == "finished"
    assert run.execute(config, force=True).status == "finished"


def test_an_interrupted_run_goes_on_from_the_step_it_had_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("dataset=wine", "model=mlp", "model.hidden=[8]", "epochs=2", "batch_size=16", "device.threads=1")
    config = compose(*few, f"results_dir={tmp_path}")
    looks = itertools.count(1)
    original = Checkpoints.due

    def due(self: Checkpoints) -> bool:
        if next(looks) == 11:  # 8 steps in an epoch: after the third of the second
            os.kill(os.getpid(), signal.SIGINT)
        return original(self)

    monkeypatch.setattr(Checkpoints, "due", due)
    with pytest.raises(KeyboardInterrupt):
        run.execute(config)
    store, name = Store(tmp_path), run_id(config)
    state = store.load_checkpoint(name)
    assert state is not None
    assert state.losses is not None
    assert (state.epoch, len(state.losses)) == (1, 3)
    assert run.execute(config).status == "finished"
    resumed = store.weights(name)
    assert run.execute(config, force=True).status == "finished"
    assert all(torch.equal(resumed[key], tensor) for key, tensor in store.weights(name).items())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("method", ["make_context", "invoke"])
def test_a_signal_while_a_verb_is_read_or_at_work_is_told_in_a_line(
    lossbench: Lossbench, monkeypatch: pytest.MonkeyPatch, method: str, number: signal.Signals, code: int
) -> None:
    monkeypatch.setattr(TyperGroup, method, lambda *_, **__: os.kill(os.getpid(), number))
    answer = lossbench("report")
    assert (answer.returncode, answer.stdout, answer.stderr) == (code, "", "\ninterrupted\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_is_repeated_until_a_command_is_gone_is_told_once_and_without_a_traceback(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    script = """if True:
        import atexit, os, signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)
        class Impatient:
            def __init__(self, stream): self.stream = stream
            def write(self, text): os.kill(os.getpid(), {number}); return self.stream.write(text)
            def __getattr__(self, name): return getattr(self.stream, name)
        sys.stderr = Impatient(sys.stderr)
        atexit.register(lambda: os.kill(os.getpid(), {number}))
        from lossbench.cli import main
        from types import SimpleNamespace
        at_work = SimpleNamespace(train=lambda *_, **__: os.kill(os.getpid(), {number}))
        sys.modules["lossbench.sweep"] = at_work  # which is slow to import
        main()
    """
    overrides = [*LONG, f"results_dir={tmp_path}"]
    command = [sys.executable, "-c", script.replace("{number}", str(int(number))), *overrides]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (code, "")
    again = shlex.join(["lossbench", *overrides])
    assert answer.stderr == f"\ninterrupted; finished runs are kept, the same command goes on:\n  {again}\n"


def test_a_signal_while_the_command_line_is_imported_is_told(tmp_path: Path) -> None:
    script = """if True:
        import os, signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from lossbench.cli import main
        class Finder:
            def find_spec(self, name, *rest):
                if name == "typer":
                    os.kill(os.getpid(), signal.SIGINT)
        sys.meta_path.insert(0, Finder())
        main()
    """
    answer = subprocess.run([sys.executable, "-c", script, "report"], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout, answer.stderr) == (130, "", "\ninterrupted\n")


def test_checkpoint_seconds_says_how_often_and_changes_neither_id_nor_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    def slow(state: State) -> None:
        clock[0] += 1.0

    saver = Checkpoints(slow, every=3.0)
    for _ in range(2):
        clock[0] += 2.9
        assert not saver.due()
        clock[0] += 0.1
        assert saver.due()
        saver.save(State())
    plain = compose("dataset=wine", "model=linear", "epochs=2", "device=cpu")
    often = compose("dataset=wine", "model=linear", "epochs=2", "device=cpu", "checkpoint_seconds=1e-9")
    assert often["checkpoint_seconds"] == 1e-9
    assert run_id(often) == run_id(plain)
    asked: list[float | None] = []
    original = Checkpoints.__init__

    def init(self: Checkpoints, *arguments: Any, every: float | None = None) -> None:
        asked.append(every)
        original(self, *arguments, every=every)

    monkeypatch.setattr(Checkpoints, "__init__", init)
    for name, settings in (("plain", plain), ("often", often)):
        assert run.execute({**settings, "results_dir": str(tmp_path / name)}).status == "finished"
    assert asked == [None, 1e-9]
    ours, theirs = (Store(tmp_path / name).weights(run_id(plain)) for name in ("plain", "often"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
