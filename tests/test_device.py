"""What of a machine a run takes, where others train beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from lossbench import device
from lossbench.device import Share


@pytest.fixture
def taken() -> Iterator[None]:
    """What is changed of this process is as it was afterwards."""
    threads = torch.get_num_threads()
    yield
    device.take(Share())
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("workers", "each"), [(1, 8), (2, 4), (3, 2), (8, 1), (9, 1)])
def test_threads_are_divided_among_workers_and_each_has_one(
    workers: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "ALL_THREADS", 8)
    assert Share.among(workers).threads == each


@pytest.mark.usefixtures("taken")
def test_the_cpus_for_reading_images_are_those_of_the_job_divided_among_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "CPUS", 16)
    assert device.cpus() == 16
    device.take(Share(workers=3))
    assert device.cpus() == 5
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    assert device.cpus() == 1
    device.take(Share())
    assert device.cpus() == 2


@pytest.mark.usefixtures("taken")
def test_a_large_model_has_its_share_of_threads_a_small_one_one_and_what_was_asked_for_is_kept() -> None:
    device.take(Share(workers=2, threads=2))
    cpu = device.device(name="cpu")
    cpu.use(step_flops=device.ONE_THREAD_FLOPS)
    assert torch.get_num_threads() == 2
    cpu.use(step_flops=device.ONE_THREAD_FLOPS - 1)
    assert torch.get_num_threads() == 1
    device.device(name="cpu", threads=3).use(step_flops=0)
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_runs_side_by_side_take_gpus_in_turn_and_one_alone_the_first(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "available", lambda: ["cpu", "cuda:0", "cuda:1"])
    found = []
    for turn in range(4):
        device.take(Share(workers=2, turn=turn))
        found.append(device.device(name=name).name)
    assert found == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    device.take(Share(workers=1, turn=1))
    assert device.device(name=name).name == "cuda:0"
    device.take(Share(workers=2, turn=1))
    assert device.device(name="cuda:0").name == "cuda:0"  # the user has chosen
