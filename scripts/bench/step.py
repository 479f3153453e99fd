#!/usr/bin/env python
"""What the parts of a training step cost, each beside another way to write them.

    .venv/bin/python scripts/bench/step.py                     # results/bench/step/table.md
    .venv/bin/python scripts/bench/step.py --compile           # torch.compile beside eager, too: minutes of compiling

One thread of the processor, shapes of Fashion-MNIST and CIFAR, random numbers. Both ways of a part are called in turn,
round after round; the time is the processor's, so that other processes matter less. Median over the rounds, least and
largest.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossbench import losses, models
from lossbench.device import Device
from lossbench.losses.cross_entropy import smoothed_cross_entropy
from lossbench.losses.log_probs import log_probs
from lossbench.losses.targets import mean_over_labelled
from lossbench.models.normalised import Normalised
from lossbench.optimization import adamw, sgd

ROOT = Path(__file__).resolve().parent.parent.parent
BATCH, CLASSES = 128, 10
SGD: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
GREY, COLOUR = (1, 28, 28), (3, 32, 32)

Way = Callable[[], object]


def composed_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Label smoothing as lossbench computes it where examples are weighed."""
    log_p = log_probs(logits, targets, -100, scale=1.0)
    losses = smoothed_cross_entropy(log_p.target, log_p.total, logits, 0.1, None, 1.0)
    return mean_over_labelled(losses, targets, -100, None, None)


def in_fresh_memory(images: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Normalised, with new memory for each operation."""
    return ((images.float() - mean) / scale).contiguous(memory_format=torch.channels_last)


def in_channels_last(images: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Normalised where the numbers of a pixel lie beside each other."""
    return images.to(torch.float32, copy=True, memory_format=torch.channels_last).sub_(mean).div_(scale)


def both_ways(loss: Callable[..., Tensor]) -> Way:
    """A loss forward and backward."""
    logits = torch.randn(BATCH, CLASSES, requires_grad=True)
    targets = torch.randint(0, CLASSES, (BATCH,))

    def go() -> None:
        logits.grad = None
        loss(logits, targets).backward()

    return go


def step_of(optimizer: torch.optim.Optimizer) -> Way:
    """A step of an optimizer whose parameters have gradients."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.randn_like(parameter)
    return lambda: optimizer.step()


def network_both_ways(network: nn.Module, shape: tuple[int, ...]) -> Way:
    """Forward and backward of a network, without a loss."""
    inputs = torch.randn(BATCH, *shape).contiguous(memory_format=torch.channels_last)
    network.to(memory_format=torch.channels_last).train()

    def go() -> None:
        for parameter in network.parameters():
            parameter.grad = None
        network(inputs).sum().backward()

    return go


def relu_before_pooling(network: nn.Sequential) -> nn.Sequential:
    """The cnn as it is usually written."""
    blocks: list[Any] = list(network)
    return nn.Sequential(
        *(nn.Sequential(block.conv, block.norm, block.relu, block.pool) for block in blocks[:3]), *blocks[3:]
    )


def parts() -> dict[str, tuple[str, Way, str, Way]]:
    """Each part of a step: another way, and ours."""
    mlp, cnn = models.mlp(GREY, CLASSES), models.cnn(GREY, CLASSES)
    images = torch.randint(0, 256, (54_000, *GREY), dtype=torch.uint8)
    chosen = torch.randperm(len(images))[:BATCH]
    device = Device("cpu", "fp32", 1, True)
    found: dict[str, tuple[str, Way, str, Way]] = {
        "cross-entropy with label smoothing, both ways": (
            "small operations, as where examples are weighed", both_ways(composed_cross_entropy),
            "torch's kernel", both_ways(lambda *given: losses.cross_entropy(*given, epsilon=0.1)),
        ),
        "the same": (
            "`F.cross_entropy`",
            both_ways(lambda logits, targets: F.cross_entropy(logits, targets, label_smoothing=0.1)),
            "that, checked, and 0 where all is ignored",
            both_ways(lambda *given: losses.cross_entropy(*given, epsilon=0.1)),
        ),
        "seeding the step": (
            "`torch.manual_seed`", lambda: torch.manual_seed(1), "the CPU's generator alone", lambda: device.seed(1)
        ),
        "SGD": (
            "as torch chooses", step_of(torch.optim.SGD(models.mlp(GREY, CLASSES).parameters(), **SGD)),
            "`fused=True`", step_of(sgd(models.mlp(GREY, CLASSES))),
        ),
        "AdamW": (
            "as torch chooses", step_of(torch.optim.AdamW(models.mlp(GREY, CLASSES).parameters())),
            "`fused=True`", step_of(adamw(models.mlp(GREY, CLASSES))),
        ),
        "batch by index": (
            "`images[chosen]`", lambda: images[chosen], "`index_select`", lambda: images.index_select(0, chosen)
        ),
    }  # fmt: skip
    for name, shape in (("1×28×28", GREY), ("3×32×32", COLOUR)):
        batch = torch.randint(0, 256, (BATCH, *shape), dtype=torch.uint8)
        mean, scale = torch.full((shape[0], 1, 1), 70.0), torch.full((shape[0], 1, 1), 90.0)
        ours = partial(Normalised(nn.Identity(), mean, scale, channels_last=True), batch)
        way = "a copy, arithmetic in place, then channels last"
        found |= {
            f"normalising {name}": (
                "the same in fresh memory", partial(in_fresh_memory, batch, mean, scale), way, ours
            ),
            f"the same of {name}": (
                "channels last, then arithmetic", partial(in_channels_last, batch, mean, scale), way, ours
            ),
        }  # fmt: skip
    found["network of the mlp, both ways"] = ("", mlp_both_ways := network_both_ways(mlp, GREY), "", mlp_both_ways)
    found["network of the cnn, both ways"] = (
        "ReLU, then pooling", network_both_ways(relu_before_pooling(models.cnn(GREY, CLASSES)), GREY),
        "pooling, then ReLU", network_both_ways(cnn, GREY),
    )  # fmt: skip
    return found


def compiled() -> dict[str, tuple[str, Way, str, Way]]:
    """`torch.compile` beside eager."""
    return {
        f"network of the {name}, both ways": (
            "`torch.compile`", network_both_ways(torch.compile(model(GREY, CLASSES)), GREY),  # type: ignore[arg-type]
            "eager", network_both_ways(model(GREY, CLASSES), GREY),
        )
        for name, model in (("mlp", models.mlp), ("cnn", models.cnn))
    }  # fmt: skip


def microseconds(way: Way, calls: int) -> float:
    """Of the processor, for one call."""
    started = time.process_time()
    for _ in range(calls):
        way()
    return (time.process_time() - started) / calls * 1e6


def measured(found: dict[str, tuple[str, Way, str, Way]], rounds: int) -> list[str]:
    """A line of the table for each part."""
    lines = []
    for name, (usual_name, usual, ours_name, ours) in found.items():
        usual(), ours()  # warm
        calls = max(3, min(500, int(3e5 / max(1.0, microseconds(usual, 3)))))
        pairs = [(microseconds(usual, calls), microseconds(ours, calls)) for _ in range(rounds)]
        cells = [spread(times, 0) for times in zip(*pairs, strict=True)]
        ratio = spread([usual_time / ours_time for usual_time, ours_time in pairs], 2)
        if not ours_name:
            cells, ratio = [cells[1], cells[1]], ""
        lines.append(f"| {name} | {usual_name} | {cells[0]} | {ours_name} | {cells[1]} | {ratio} |")
        print(lines[-1], flush=True)
    return lines


def spread(numbers: list[float] | tuple[float, ...], digits: int) -> str:
    """Median and range."""
    return f"{statistics.median(numbers):,.{digits}f} ({min(numbers):,.{digits}f}–{max(numbers):,.{digits}f})"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="torch.compile beside eager, too")
    parser.add_argument("--output", type=Path, default=ROOT / "results/bench/step")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = [*measured(parts(), asked.rounds), *(measured(compiled(), asked.rounds) if asked.compile else [])]
    table = [
        "# What the parts of a step cost", "",
        f"```sh\n{shlex.join(['python', 'scripts/bench/step.py', *sys.argv[1:]])}\n```", "",
        f"A batch of {BATCH}, one thread, microseconds of the processor: median (least–largest) of {asked.rounds} "
        f"rounds in turn. torch {torch.__version__}, python {platform.python_version()}, {platform.machine()}, "
        f"{torch.backends.cpu.get_cpu_capability()}.", "",
        "| part | another way | µs | ours | µs | ours is faster, times |", "|---|---|---:|---|---:|---:|", *found,
    ]  # fmt: skip
    asked.output.mkdir(parents=True, exist_ok=True)
    (asked.output / "table.md").write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
