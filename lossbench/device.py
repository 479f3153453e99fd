"""Where a run is computed: processor, precision, threads, memory format."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from lossbench import processes
from lossbench.domains import Interval
from lossbench.errors import DeviceError

ALL_THREADS = torch.get_num_threads()  # torch's own choice, before a run has changed it

# Below this much work in a step, handing it to a second thread takes longer than doing it. A count of operations
# and not a timing, so that the choice, and with it every bit of a run, is the same each time.
ONE_THREAD_FLOPS = 100_000_000
ONE_THREAD_STACKED_FLOPS = 15_000_000  # of all models of a stack: each operation is one for all of them, and larger

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

KEPT = 31 * 2**20  # bytes; glibc learns from pieces below 32 MB alone

THREADS = Interval(1.0, 1024.0)  # more than a machine has are waste, and far more end the process


@dataclass(frozen=True)
class Share:
    """What of a machine is for a run, where others train beside it."""

    workers: int = 1  # processes that train side by side
    turn: int = 0  # the run's place in the sweep: GPUs are taken in turn
    threads: int = ALL_THREADS  # CPU threads that a large model gets

    @classmethod
    def among(cls, workers: int) -> Share:
        """Divide the threads of a run alone among processes. Asked here: in a worker, joblib has divided them, too."""
        return cls(workers, threads=max(1, ALL_THREADS // workers))

    def gpu(self, count: int) -> str:
        """One of so many GPUs."""
        return f"cuda:{self.turn % count if self.workers > 1 else 0}"


_share = Share()


def take(share: Share) -> None:
    """Have the runs of this process keep to their share of the machine from now on."""
    global _share
    _share = share
    torch.set_num_threads(1)  # until the size of a run is known: building and trying it is small work


def cpus() -> int:
    """How many CPUs of this machine are for what a run does beside its model, such as reading images."""
    _, together = processes.here()
    given = int(os.environ.get("SLURM_CPUS_PER_TASK", CPUS))  # not every Slurm keeps a job to those
    return max(1, min(given, CPUS) // max(_share.workers, together))


@dataclass(frozen=True)
class Device:
    """A processor that is there, and how to compute on it."""

    name: str  # as torch names it: cpu, cuda:1, mps
    precision: str
    threads: int | None
    channels_last: bool

    @property
    def most_threads(self) -> int:
        """CPU threads that a run may take."""
        return self.threads or _share.threads

    def use(self, step_flops: int, one_thread_below: int = ONE_THREAD_FLOPS) -> None:
        """Set torch up for a run: CPU threads and memory, and deterministic algorithms on a GPU.

        Args:
            step_flops: floating-point operations of one forward pass over a batch.
            one_thread_below: from how many on several threads are faster.
        """
        torch.set_num_threads(1 if not self.threads and step_flops < one_thread_below else self.most_threads)
        if self.name.startswith("cuda"):
            # Warn only: some kernels have no deterministic twin, and a run on them is better than none.
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.benchmark = False
        else:
            # What a step frees, the next step gets again, and not new pages that Linux has to fill with zeros first:
            # glibc keeps pieces as large as the largest that it has seen come back, and twice that in all.
            torch.empty(KEPT, dtype=torch.uint8)

    def seed(self, seed: int) -> None:
        """Seed the generators that a training may draw from: the CPU's and the device's own.

        As `torch.manual_seed`, which looks for every kind of device there is and takes a tenth of a small model's step.
        """
        torch.default_generator.manual_seed(seed)
        if self.name.startswith("cuda"):
            torch.cuda.manual_seed_all(seed)
        elif self.name == "mps":
            torch.mps.manual_seed(seed)

    def autocast(self) -> AbstractContextManager[None]:
        """Compute matrix products and convolutions in bfloat16 where that was asked for."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(torch.device(self.name).type, dtype=torch.bfloat16)

    @property
    def description(self) -> str:
        """The device in words, for the record of a run."""
        kind = torch.device(self.name)
        return torch.cuda.get_device_name(kind) if kind.type == "cuda" else kind.type


def device(
    *,
    name: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    threads: Annotated[int, THREADS] | None = None,
    channels_last: bool = True,
) -> Device:
    """Find the device a config asks for.

    Args:
        name: `auto` (cuda, then mps, then cpu) or a device as torch names it.
        precision: of matrix products and convolutions; weights stay float32.
        threads: CPU threads; None is one for small models and torch's own choice for others.
        channels_last: hold images with the channel as the fastest axis.

    Raises:
        DeviceError: if it is not there, with a list of what is.
    """
    there = available()
    asked, gpu = name, _share.gpu(sum(kind.startswith("cuda") for kind in there) or 1)
    if name == "auto":
        name = next((kind for kind in (gpu, "mps") if kind in there), "cpu")
    elif name == "cuda":
        name = gpu
    if name not in there:
        raise DeviceError(f"device.name={name} is not on this machine; there is {', '.join(there)}")
    if processes.count() > 1:
        _check_each_has_its_own(asked, name, sum(kind.startswith("cuda") for kind in there))
    return Device(name, precision, threads, channels_last)


def _check_each_has_its_own(asked: str, name: str, gpus: int) -> None:
    """Raise unless each of the processes that train together has a device of its own."""
    _, here = processes.here()
    if name == "mps":
        raise DeviceError("processes that train together do so on cpu or cuda; this machine has mps: device=cpu")
    if asked.startswith("cuda:"):
        raise DeviceError(
            f"device.name={asked} is one GPU, and each of {processes.count()} processes has its own: cuda"
        )
    if name.startswith("cuda") and here > gpus:
        raise DeviceError(f"{here} processes on this machine need as many GPUs; it has {gpus}: --nproc-per-node {gpus}")


def available() -> list[str]:
    """Return the devices of this machine as torch names them."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *cuda, *mps]
