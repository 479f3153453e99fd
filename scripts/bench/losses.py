#!/usr/bin/env python
"""Forward plus backward of every loss beside a reference, turn by turn in one process.

Losses of examples, at [4096, 1000] float32, stand beside `F.cross_entropy(label_smoothing=0.1)`; losses of regions, at
[8, 4, 128, 128], beside MONAI's loss of the same kind, or segmentation_models_pytorch's where MONAI has none. Where a
loss has another name in torch, it stands beside that too. A ratio below 1 is faster, or smaller, than the reference.
Time is the median over the rounds of loss / reference, which take turns in going first, so that a busy machine slows
both; beside it are the quartiles. Where memory happens to lie makes up to a fifth of a time in one process, so the
rounds are those of several processes, one after another. On glibc what is freed is kept, for both: otherwise chance
decides who must ask Linux for pages. Memory is the peak of what both passes allocate.

    .venv/bin/python scripts/bench/losses.py [--device cuda] [--rounds 10] [--processes 5] [--threads 1]
        [--output FILE] [LOSS …]
"""

from __future__ import annotations

import argparse
import ctypes
import inspect
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler that counts bytes writes to stderr otherwise

import segmentation_models_pytorch.losses as smp
import torch
import torch.nn.functional as F
from monai.losses.dice import DiceCELoss, DiceLoss, GeneralizedDiceLoss
from monai.losses.tversky import TverskyLoss
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from lossbench import losses

POINTWISE, REGION = (4096, 1000), (8, 4, 128, 128)
Loss = Callable[[Tensor], Tensor]


def references(targets: Tensor) -> dict[str, tuple[str, Loss]]:
    """The losses of regions and whom they are held against."""
    options: dict[str, Any] = {"softmax": True, "to_onehot_y": True, "batch": True}
    channel = targets.unsqueeze(1)
    peers: dict[str, Callable[..., Tensor]] = {
        "dice": DiceLoss(**options),
        "log_cosh_dice": DiceLoss(**options),
        "generalized_dice": GeneralizedDiceLoss(**options),
        "dice_cross_entropy": DiceCELoss(**options),
        "tversky": TverskyLoss(**options),
        "focal_tversky": TverskyLoss(**options),
    }
    found = {name: (f"MONAI {type(peer).__name__}", _of(peer, channel)) for name, peer in peers.items()}
    return {**found, "lovasz_softmax": ("smp LovaszLoss", _of(smp.LovaszLoss("multiclass"), targets))}


def in_torch(targets: Tensor, teacher: Tensor) -> dict[str, tuple[str, Loss]]:
    """Losses of examples as they are written with torch's own."""

    def distillation(logits: Tensor) -> Tensor:
        student, goal = F.log_softmax(logits / 4.0, 1), F.softmax(teacher / 4.0, 1)
        soft = F.kl_div(student, goal, reduction="batchmean")
        return 0.1 * F.cross_entropy(logits, targets) + 0.9 * 16 * soft

    def binary(logits: Tensor) -> Tensor:
        goal = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, goal, reduction="sum") / len(logits)

    return {
        "distillation": ("F.kl_div + F.cross_entropy", distillation),
        "binary_cross_entropy": ("F.binary_cross_entropy_with_logits", binary),
    }


def _of(loss: Callable[[Tensor, Tensor], Tensor], targets: Tensor) -> Loss:
    return lambda logits: loss(logits, targets)


def ours(name: str, logits: Tensor, targets: Tensor) -> Loss:
    """Bind a loss to its targets and to whatever else it declares."""
    function = getattr(losses, name)
    num_classes = logits.shape[1]
    if inspect.isclass(function):  # a module, which keeps a state for each class
        return _of(cast(Any, function)(num_classes).to(logits.device), targets)
    generator = torch.Generator().manual_seed(1)
    teacher = teacher_of(logits)
    extras = {
        "teacher_logits": teacher[:, : num_classes // 2].contiguous()
        if name == "incremental_distillation"
        else teacher,
        "class_counts": torch.randint(1, 500, (num_classes,), generator=generator).to(logits.device),
    }
    extras = {key: extra for key, extra in extras.items() if key in inspect.signature(function).parameters}
    return lambda logits: function(logits, targets, **extras)


def teacher_of(logits: Tensor) -> Tensor:
    """Draw a teacher's logits."""
    return (2 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))).to(logits.device)


def seconds(loss: Loss, logits: Tensor) -> float:
    """Time one forward and backward."""
    leaf = logits.clone().requires_grad_()
    _wait(logits)
    started = time.perf_counter()
    loss(leaf).backward()
    _wait(logits)
    return time.perf_counter() - started


def peak_bytes(loss: Loss, logits: Tensor) -> int:
    """Return the most that forward and backward hold at a time, the gradient with it and the logits without."""
    leaf = logits.clone().requires_grad_()
    if logits.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss(leaf).backward()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loss(leaf).backward()
    held = peak = 0
    for event in sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


@dataclass
class Row:
    """A loss beside a reference: seconds, their ratios, round by round, and the ratio of the memory."""

    name: str
    whom: str
    seconds: list[float]
    ratios: list[float]
    memory: float

    def __str__(self) -> str:
        """The row of the table."""
        low, middle, high = statistics.quantiles(self.ratios, n=4)
        milliseconds = 1e3 * statistics.median(self.seconds)
        return (
            f"| {self.name} | {self.whom} | {milliseconds:.1f} | {middle:.2f} | {low:.2f}–{high:.2f} "
            f"| {self.memory:.2f} |"
        )


def rows(name: str, device: str, rounds: int) -> Iterator[Row]:
    """Measure a loss beside each of its references."""
    generator = torch.Generator().manual_seed(0)
    shape = REGION if name in _REGION_LOSSES else POINTWISE
    logits = (2 * torch.randn(shape, generator=generator)).to(device)
    targets = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator).to(device)
    plain = ("F.cross_entropy", lambda logits: F.cross_entropy(logits, targets, label_smoothing=0.1))
    beside = [references(targets).get(name, plain)]
    if name in (written := in_torch(targets, teacher_of(logits))):
        beside.append(written[name])
    for whom, reference in beside:
        yield row(name, ours(name, logits, targets), whom, reference, logits, rounds)


def row(name: str, loss: Loss, whom: str, reference: Loss, logits: Tensor, rounds: int) -> Row:
    """Measure one loss beside one reference."""
    own, ratios = [], []
    for turn in range(rounds + 3):
        order = (loss, reference) if turn % 2 else (reference, loss)
        times = {timed: seconds(timed, logits) for timed in order}
        own.append(times[loss])
        ratios.append(times[loss] / times[reference])
    memory = peak_bytes(loss, logits) / peak_bytes(reference, logits)
    return Row(name, whom, own[3:], ratios[3:], memory)  # three to warm up


def measured(names: Sequence[str], device: str, rounds: int, threads: int) -> list[Row]:
    """Measure losses in this process."""
    torch.set_num_threads(threads)
    _keep_memory()
    return [found for name in names for found in rows(name, device, rounds)]


def of_all(processes: Sequence[Sequence[Row]]) -> list[Row]:
    """Put together what several processes measured."""
    return [
        Row(
            same[0].name,
            same[0].whom,
            [second for row in same for second in row.seconds],
            [ratio for row in same for ratio in row.ratios],
            max(row.memory for row in same),
        )
        for same in zip(*processes, strict=True)
    ]


def _keep_memory() -> None:
    """Have freed memory kept: whether Linux must find new pages doubles a time, and does so by chance."""
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3  # malloc.h's numbers
        for parameter in (trim_threshold, mmap_threshold):
            ctypes.CDLL(None).mallopt(parameter, 2**30)


_REGION_LOSSES = references(torch.zeros(1, 1, dtype=torch.int64)).keys()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="LOSS", help="all where none is named")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=10, help="of each process")
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    machine = torch.cuda.get_device_name() if arguments.device != "cpu" else platform.machine()
    names = arguments.names or losses.__all__
    done = []
    for number in range(1, arguments.processes + 1):
        print(f"process {number} of {arguments.processes}", file=sys.stderr, flush=True)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            done.append(pool.apply(measured, (names, arguments.device, arguments.rounds, arguments.threads)))
    lines = [
        f"torch {torch.__version__}, {machine}, {arguments.threads} thread(s), {arguments.rounds} rounds in each of "
        f"{arguments.processes} processes",
        "",
        "| loss | beside | ms | time ratio | quartiles | memory ratio |",
        "|---|---|---:|---:|---:|---:|",
        *map(str, of_all(done)),
    ]
    print("\n".join(lines))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
