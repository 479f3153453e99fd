"""One model in two processes, started by torchrun as a user does: the numbers of one process, one voice, one end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support import compose

from lossbench import data_parallel, device, processes, request, run
from lossbench.errors import ConfigError, DeviceError
from lossbench.record import read_npz
from lossbench.store import Store

# In channels-last format torch sums the statistics of a batch norm with errors of 10⁻⁴; see docs/promises.md.
SMALL = ["device=cpu", "device.threads=1", "device.channels_last=false", "epochs=2"]
# Trainings in which something depends on more than one example, or a batch does not divide by two: groups, then values.
EXPERIMENTS = {
    # The last of its batches has one example, and one process none: 1437 · 0.2 less 10 % are 259, which is 6 · 43 + 1.
    "pairs": (
        {"dataset": "digits", "model": "cnn", "loss": "mmce"},
        {"dataset": {"train_fraction": 0.2, "shift": 1, "flip": True}, "model": {"width": 4}, "batch_size": 43},
    ),
    "taught": (
        {"dataset": "digits", "model": "mlp", "loss": "distillation", "optimizer": "adamw"},
        {"dataset": {"train_fraction": 0.2, "mixup": 0.2, "cutmix": 1.0}},
    ),
    "masks": (
        {"dataset": "shapes", "model": "unet", "loss": "dice"},
        {"dataset": {"train_fraction": 0.1}, "model": {"width": 2, "depth": 1}, "batch_size": 8},
    ),
    "stateful": ({"dataset": "wine", "model": "linear", "loss": "online_label_smoothing"}, {}),
    "weighed": ({"dataset": "wine", "model": "mlp", "loss": "class_weighted"}, {"dataset": {"imbalance_factor": 3}}),
    "fails_everywhere": ({"dataset": "wine", "model": "linear", "loss": "odd"}, {"loss": {"where": "0 and 1"}}),
    "dropped_out": ({"dataset": "wine", "model": "mlp", "loss": "cross_entropy"}, {"model": {"dropout": 0.5}}),
    "fails_in_one": ({"dataset": "wine", "model": "linear", "loss": "odd"}, {"loss": {"where": "1"}}),
    "comes_after": ({"dataset": "wine", "model": "linear", "loss": "cross_entropy"}, {"batch_size": 100}),
}
ODD = '''
import os, signal

from torch.nn.functional import cross_entropy

steps = 0


def odd(logits, targets, *, epoch: int, where: str = "", stop: int = 0):
    """Cross-entropy that fails in the second epoch of some processes, or has the second one asked to stop at a step."""
    global steps
    process = os.environ.get("RANK", "-")
    if epoch == 2 and process in where:
        raise ValueError("not to my taste")
    steps += logits.requires_grad
    if steps == stop and process == "1" and "STOP" in os.environ:
        os.kill(os.getpid(), signal.SIGTERM)
    return cross_entropy(logits, targets)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a loss and experiments of the user's own, and this process in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "their_losses.py").write_text(ODD)
    for name, (groups, values) in EXPERIMENTS.items():
        path = tmp_path / f"conf/experiment/{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen = [{f"override /{group}": choice} for group, choice in groups.items()]
        path.write_text("# @package _global_\n" + yaml.safe_dump({"defaults": chosen, **values}, sort_keys=False))
    (tmp_path / "conf/loss").mkdir()
    (tmp_path / "conf/loss/odd.yaml").write_text("# odd\n_target_: their_losses.odd\nwhere: ''\nstop: 0\n")
    return tmp_path


def torchrun(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Train in two processes."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lossbench", "train"]
    return subprocess.run(
        [sys.executable, *command, "--config-dir", "conf", *SMALL, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def alone(*arguments: str) -> None:
    """Train the same in this process."""
    request.train([*SMALL, *arguments], config_dir=Path("conf"), force=False, quiet=True)


def said(answer: subprocess.CompletedProcess[str]) -> list[str]:
    """What lossbench printed, which ends where torchrun reports that its exit code was not 0."""
    return answer.stderr.partition("\nE")[0].splitlines()


def check_same_numbers(one: Store, two: Store, name: str) -> None:
    """Raise unless a run trained alone and in two processes has the same numbers, but for rounding."""
    assert two.environment(name)["fingerprints"] == one.environment(name)["fingerprints"]
    for file in ("predictions.npz", "model.safetensors"):
        read = read_npz if file.endswith("npz") else load_file
        ours, theirs = (read(store.path(name) / file) for store in (one, two))
        assert ours.keys() == theirs.keys()
        for key, values in ours.items():
            torch.testing.assert_close(torch.as_tensor(theirs[key]), torch.as_tensor(values), rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(one.history(name), two.history(name), strict=True):
        assert {**theirs, "seconds": 0} == pytest.approx({**ours, "seconds": 0}, rel=1e-5, abs=1e-5)


def test_two_processes_give_the_numbers_of_one_and_what_fails_in_one_of_them_ends_both_with_one_message(
    folder: Path,
) -> None:
    answer = torchrun(f"+experiment={','.join(EXPERIMENTS)}", "results_dir=two")
    alone("+experiment=pairs,taught,masks,stateful,weighed,dropped_out", "results_dir=one")
    one, two = Store("one"), Store("two")
    names = one.run_ids()
    assert len(names) == 7  # and the teacher
    assert two.run_ids() == names, answer.stderr
    for name in names:
        assert two.environment(name)["processes"] == 2
        if two.config(name)["model"].get("dropout") == 0.5:  # other masks
            assert two.environment(name)["fingerprints"] == one.environment(name)["fingerprints"]
        else:
            check_same_numbers(one, two, name)

    # What fails in both is a failed run; after what fails in one there is no going on.
    assert answer.returncode == 1
    lines = [line for line in said(answer) if "failed" in line or line.startswith("lossbench")]
    everywhere, in_one, end = lines
    assert ": failed: ValueError at their_losses.py:14: not to my taste (6/9 runs" in everywhere
    assert ": failed: process 1: ValueError: not to my taste (in one of 2 processes) (8/9 runs" in in_one
    assert end.startswith("lossbench: one of the 2 processes is gone: the run before this one failed there; finished")
    failures = [two.failure(path.name.removesuffix(".partial")) for path in two.runs.glob("*.partial")]
    assert sum(failure is not None and "not to my taste" in failure.message for failure in failures) == 2
    assert list(two.claims.iterdir()) == []


def test_a_signal_to_one_process_stops_both_at_the_same_step_and_one_process_goes_on_from_there(folder: Path) -> None:
    # Two epochs of 127 examples in batches of 32: the second process is asked to stop after the sixth of eight steps.
    request = ("dataset=wine", "model=mlp", "loss=odd", "loss.stop=6", "batch_size=32")
    answer = torchrun(*request, "results_dir=two", STOP="yes")
    assert answer.returncode == 1  # torchrun's own, whatever ours
    assert "interrupted; what it was training is saved; finished runs are kept, the same command goes on:" in said(
        answer
    )
    (partial,) = Store("two").runs.iterdir()
    state = Store("two").load_checkpoint(partial.name.removesuffix(".partial"))
    assert state is not None
    assert state.losses is not None
    assert (state.epoch, len(state.losses)) == (1, 2)
    alone(*request, "results_dir=two")
    alone(*request, "results_dir=one")
    (name,) = Store("one").run_ids()
    check_same_numbers(Store("one"), Store("two"), name)


@pytest.mark.slow
def test_interrupted_in_two_processes_a_run_ends_in_the_bits_of_one_that_was_not(folder: Path) -> None:
    request = ("dataset=digits", "model=cnn", "model.width=4", "loss=odd", "loss.stop=6", "dataset.train_fraction=0.2")
    assert torchrun(*request, "results_dir=whole").returncode == 0
    assert torchrun(*request, "results_dir=stopped", STOP="yes").returncode == 1
    assert Store("stopped").run_ids() == []
    assert torchrun(*request, "results_dir=stopped").returncode == 0
    (name,) = Store("whole").run_ids()
    for file in ("predictions.npz", "model.safetensors"):
        assert (Store("whole").path(name) / file).read_bytes() == (Store("stopped").path(name) / file).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("process", ["0", "1"])
def test_a_process_that_is_killed_ends_the_others(folder: Path, process: str) -> None:
    killing = ODD.replace('raise ValueError("not to my taste")', "os.kill(os.getpid(), signal.SIGKILL)")
    (folder / "their_losses.py").write_text(killing)
    answer = torchrun("dataset=wine", "model=linear", "loss=odd", f"loss.where='{process}'", "results_dir=two")
    assert answer.returncode == 1
    if process == "1":
        assert "lossbench: one of the processes that trained was killed" in answer.stderr
    (partial,) = Path("two/runs").iterdir()
    assert Store("two").failure(partial.name.removesuffix(".partial")) is None  # it goes on


@pytest.fixture
def started_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(key, value)


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (processes.count(), processes.number(), processes.here(), processes.together()) == (1, 0, (0, 1), 1)
    monkeypatch.setenv("WORLD_SIZE", "8")  # as other schedulers set it for programs of their own
    assert processes.count() == 1


def test_shares_of_a_batch_are_as_equal_as_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_together", 3)
    # 8 = 3 + 3 + 2; two examples leave the third process without one.
    assert [data_parallel.shares(examples) for examples in (9, 8, 2)] == [[3, 3, 3], [3, 3, 2], [1, 1, 0]]


@pytest.mark.usefixtures("started_by_torchrun")
def test_a_launcher_that_trains_runs_side_by_side_is_refused() -> None:
    with pytest.raises(ConfigError, match="hydra/launcher=stacked trains several runs at a time, torchrun one"):
        request.train(["hydra/launcher=stacked", "seed=0,1"], config_dir=None, force=False, quiet=True)


@pytest.mark.usefixtures("started_by_torchrun")
def test_each_process_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "available", lambda: ["cpu", "cuda:0"])
    assert device.device(name="cpu").name == "cpu"
    with pytest.raises(DeviceError, match=r"device.name=cuda:0 is one GPU, and each of 2 processes has its own"):
        device.device(name="cuda:0")
    with pytest.raises(DeviceError, match="2 processes on this machine need as many GPUs; it has 1"):
        device.device(name="auto")
    monkeypatch.setattr(device, "available", lambda: ["cpu", "mps"])
    with pytest.raises(DeviceError, match="device=cpu"):
        device.device(name="auto")


@pytest.mark.usefixtures("started_by_torchrun")
def test_a_library_call_is_refused_where_it_would_wait_for_the_others(tmp_path: Path) -> None:
    config = compose("dataset=wine", "model=linear", "device=cpu", f"results_dir={tmp_path}")
    outcome = run.execute(config)
    assert outcome.status == "failed"
    assert "2 processes train through the command alone" in outcome.message
