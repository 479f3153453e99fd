"""What an interrupted run goes on from, and what it does not go on from: one run is one training."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import Lossbench, compose
from torch import Tensor

from lossbench import checking, run
from lossbench.checkpoints import Checkpoints
from lossbench.config import run_id
from lossbench.errors import CheckpointError, DivergedError, counted
from lossbench.store import Store
from lossbench.training import State

FEW = ("dataset=wine", "model=mlp", "model.hidden=[8]", "epochs=2", "batch_size=64", "device=cpu", "device.threads=1")
STACKED = ("seed=range(4)", "hydra/launcher=stacked")

MINE = "from torch.nn.functional import cross_entropy\n\ndef mine(logits, targets):\n    return {}\n"


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C at the n-th look of the trainings that follow; 0 for none."""
    left = [0]
    original = Checkpoints.due

    def due(self: Checkpoints[Any]) -> bool:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self)

    def set_to(looks: int) -> None:
        left[0] = looks

    monkeypatch.setattr(Checkpoints, "due", due)
    return set_to


def config(folder: Path, *overrides: str) -> dict[str, Any]:
    return compose(*FEW, *overrides, f"results_dir={folder}")


def interrupt(settings: dict[str, Any], stop_at: Callable[[int], None], **options: Any) -> None:
    stop_at(3)
    with pytest.raises(KeyboardInterrupt):
        run.execute(settings, **options)
    stop_at(0)


def arrays(path: Path, seed: int) -> None:
    numbers = np.random.default_rng(seed)
    np.savez(path, inputs=numbers.normal(size=(120, 4)).astype(np.float32), targets=np.arange(120) % 3)


@pytest.mark.parametrize("launcher", [(), STACKED], ids=["alone", "stacked"])
def test_a_run_whose_data_and_loss_changed_does_not_go_on(
    lossbench: Lossbench, tmp_path: Path, stop_at: Callable[[int], None], launcher: tuple[str, ...]
) -> None:
    (tmp_path / "conf/loss").mkdir(parents=True)
    module = f"losses_of_{len(launcher)}"  # a process imports one of a name
    (tmp_path / "conf/loss/mine.yaml").write_text(f"# mine\n_target_: {module}.mine\n")
    (tmp_path / f"{module}.py").write_text(MINE.format("cross_entropy(logits, targets)"))
    arrays(tmp_path / "own.npz", 0)
    command = ("train", "--config-dir", "conf", *FEW, "dataset=arrays", "dataset.file=own.npz", "loss=mine", *launcher)
    stop_at(2)
    assert lossbench(*command, "-q").returncode == 130
    stop_at(0)
    runs = len(list(tmp_path.glob("results/runs/*.partial/checkpoint.pt")))
    assert runs == (4 if launcher else 1)
    arrays(tmp_path / "own.npz", 1)
    (tmp_path / f"{module}.py").write_text(MINE.format("2 * cross_entropy(logits, targets)"))
    answer = lossbench(*command, "-q")
    assert answer.returncode == 1
    assert f"{runs} of {counted(runs, 'run')} failed" in answer.stderr
    said = f"{module}.mine and dataset.file and its data changed since it was interrupted; --force trains it anew\n"
    assert answer.stderr.count(said) >= runs


def test_weights_to_start_from_are_of_what_a_run_is_made_of(tmp_path: Path) -> None:
    settings = config(tmp_path)
    file = tmp_path / "start.pth"
    file.write_bytes(b"one")
    named = {**settings, "model": {**settings["model"], "weights": str(file)}}
    before = checking.sources(named)
    assert before.keys() == {"model.weights"}
    file.write_bytes(b"two")
    assert checking.sources(named) != before
    file.unlink()  # a finished run does not need it any more
    assert checking.sources(named) == checking.sources(settings) == {}


def test_a_finished_run_is_not_skipped_when_the_weights_it_started_from_have_changed(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/mine.yaml").write_text("# mine\n_target_: their_losses.mine\nweights: null\n")
    (tmp_path / "their_losses.py").write_text(
        "import torch\n\ndef mine(input_shape, num_classes, *, weights: str | None = None):\n"
        "    model = torch.nn.Linear(*input_shape, num_classes)\n"
        "    if weights:\n        model.load_state_dict(torch.load(weights))\n    return model\n"
    )
    command = ("train", "--config-dir", "conf", *FEW[:1], *FEW[3:], "model=mine", "model.weights=start.pth", "-q")
    torch.save(torch.nn.Linear(13, 3).state_dict(), tmp_path / "start.pth")
    assert lossbench(*command).returncode == 0
    assert lossbench(*command).returncode == 0
    torch.save(torch.nn.Linear(13, 3).state_dict(), tmp_path / "start.pth")
    changed = lossbench(*command)
    assert changed.returncode == 2
    assert "model.weights changed since" in changed.stderr


def test_a_run_does_not_go_on_with_another_teacher(tmp_path: Path, stop_at: Callable[[int], None]) -> None:
    student = config(tmp_path, "loss=distillation")
    store = Store(tmp_path)
    stop_at(7)  # 2 batches in each of 2 epochs, and a look after each: 4 of the teacher's
    with pytest.raises(KeyboardInterrupt):
        run.execute(student)
    stop_at(0)
    (teacher,) = store.run_ids()
    path = store.path(teacher) / "model.safetensors"
    (store.path(teacher) / "checksums.json").unlink()
    from safetensors.torch import load_file, save_file

    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)
    outcome = run.execute(student)
    assert outcome.message == "its teacher changed since it was interrupted; --force trains it anew"


def test_what_diverged_begins_anew_and_not_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(tmp_path, "optimizer.learning_rate=1e30", "schedule=constant")
    store, name = Store(tmp_path), run_id(settings)
    monkeypatch.setattr(Checkpoints, "due", lambda self: not (store.partial(name) / "checkpoint.pt").exists())
    assert "the loss became" in run.execute(settings).message
    assert store.failure(name) is not None
    assert store.load_checkpoint(name) is None


def test_no_nan_is_saved_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    experiment = run.build(config(tmp_path))
    function = experiment.loss.function
    calls: list[int] = []

    def astray(logits: Tensor, targets: Tensor, **extras: Any) -> Tensor:
        calls.append(1)
        return function(logits, targets, **extras) * (math.nan if len(calls) == 3 else 1)

    saved: list[int] = []

    class Always:
        def due(self) -> bool:
            return True

        def save(self, state: State) -> None:
            saved.append(0 if state.losses is None else len(state.losses))

    object.__setattr__(experiment.loss, "function", astray)
    steps = -(-len(experiment.dataset.train) // 16)
    with pytest.raises(DivergedError, match=f"the loss became nan at step 3 of {steps} in epoch 1, at learning rate"):
        run.train(experiment, epochs=1, batch_size=16, seed=0, checkpoints=Always())
    assert saved == [1, 2]


def test_a_forced_training_that_was_interrupted_goes_on_with_force_and_is_left_alone_without(
    tmp_path: Path, stop_at: Callable[[int], None]
) -> None:
    settings = config(tmp_path)
    store, name = Store(tmp_path), run_id(settings)
    assert run.execute(settings).status == "finished"
    before = store.weights(name)
    interrupt(settings, stop_at, force=True)
    assert run.execute(settings).status == "skipped"
    assert store.load_checkpoint(name) is not None
    seen: list[float] = []

    class Watching(run.Silent):
        def epoch(self, row: Any, epochs: int) -> None:
            seen.append(row["epoch"])

    assert run.execute(settings, force=True, display=Watching()).status == "finished"
    assert seen == [2]
    assert all(torch.equal(before[key], tensor) for key, tensor in store.weights(name).items())
    assert not store.untidy(name)


def test_with_force_what_was_merely_interrupted_begins_anew(tmp_path: Path, stop_at: Callable[[int], None]) -> None:
    settings = config(tmp_path)
    interrupt(settings, stop_at)
    seen: list[float] = []

    class Watching(run.Silent):
        def epoch(self, row: Any, epochs: int) -> None:
            seen.append(row["epoch"])

    assert run.execute(settings, force=True, display=Watching()).status == "finished"
    assert seen == [1, 2]


@pytest.mark.parametrize(("look", "where"), [(1, "in epoch 1 of 2"), (3, "in epoch 2 of 2")])
def test_an_interrupted_run_is_said_to_be_saved_and_then_from_where_it_goes_on(
    lossbench: Lossbench, stop_at: Callable[[int], None], look: int, where: str
) -> None:
    """Two steps an epoch; the first look is between the first two of them."""
    stop_at(look)
    fresh = lossbench("train", *FEW)
    assert (fresh.returncode, "goes on in" in fresh.stderr) == (130, False)
    again = "what it was training is saved; finished runs are kept, the same command goes on:"
    assert f"\ninterrupted; {again}\n" in fresh.stderr
    resumed = lossbench("train", *FEW)
    assert resumed.returncode == 0
    first, second, *_ = resumed.stderr.splitlines()
    assert (first.endswith(": 2 epochs"), second.partition(": goes on ")[2]) == (True, where)


@pytest.mark.parametrize("what", ["failed", "damaged", "changed"])
def test_a_forced_training_that_cannot_be_gone_on_with_begins_anew(
    tmp_path: Path, stop_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    settings = config(tmp_path)
    store, name = Store(tmp_path), run_id(settings)
    run.execute(settings)
    interrupt(settings, stop_at, force=True)
    if what == "failed":
        store.fail(name, RuntimeError("a hiccup"), "a hiccup")
    elif what == "damaged":
        (store.partial(name) / "checkpoint.pt").write_bytes(b"")
    else:
        monkeypatch.setattr(run.lossbench, "__version__", "0.0")
    experiment, teacher = run.prepare(settings, store)
    assert run.begin(name, settings, store, True, experiment, teacher).epoch == 0
    assert not (store.partial(name) / "checkpoint.pt").exists()


def test_to_remove_a_damaged_checkpoint_is_enough(tmp_path: Path, stop_at: Callable[[int], None]) -> None:
    settings = config(tmp_path)
    interrupt(settings, stop_at)
    path = Store(tmp_path).partial(run_id(settings)) / "checkpoint.pt"
    path.write_bytes(b"")
    assert "remove it" in run.execute(settings).message
    path.unlink()
    assert run.execute(settings).status == "finished"


def test_a_checkpoint_of_a_gpu_is_read_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.start("run", {})
    with monkeypatch.context() as patch:  # torch.save notes the device of each storage
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:7")
        store.save_checkpoint("run", State(model={"w": torch.ones(2)}, losses=torch.ones(1)))
    state = store.load_checkpoint("run")
    assert state is not None
    assert state.model["w"].device.type == "cpu"


@pytest.mark.cuda
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_on_a_gpu_a_run_goes_on_with_all_its_tensors_there(
    tmp_path: Path, stop_at: Callable[[int], None], optimizer: str
) -> None:
    settings = compose(*FEW[:-2], "device=cuda", f"optimizer={optimizer}", f"results_dir={tmp_path}")
    interrupt(settings, stop_at)
    assert run.execute(settings).status == "finished"
    resumed = Store(tmp_path).weights(run_id(settings))
    assert run.execute(settings, force=True).status == "finished"
    for name, tensor in Store(tmp_path).weights(run_id(settings)).items():
        torch.testing.assert_close(tensor, resumed[name])


def test_what_a_checkpoint_is_made_of_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^a and b changed since it was interrupted; --force trains it anew$"):
        run._check_made_of({"b": "1", "c": "1"}, {"a": "1", "b": "2", "c": "1"})
