"""How many runs fit into memory side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from lossbench.build import Experiment
from lossbench.memory import free_memory

SHARE = 0.5  # of what is free: others need some, and the estimate is one
COPIES = 9  # of a run's weights: themselves, the best, gradients, moments, and what a step needs in between


def most_runs(experiment: Experiment, batch_size: int, seeds: int) -> int:
    """Return how many runs fit, at least one.

    Args:
        experiment: one of them.
        batch_size: examples per step of each.
        seeds: how many splits of the data there are beside each other.
    """
    splits = (experiment.dataset.train.resident, experiment.dataset.val.resident)
    # Each once by itself and once beside the others.
    data = 0 if seeds == 1 else 2 * seeds * sum(split.nbytes for split in splits)
    return max(1, int((free(experiment.device.name) * SHARE - data) // of_a_run(experiment, batch_size)))


def of_a_run(experiment: Experiment, batch_size: int) -> int:
    """Estimate the bytes that a run takes while it trains: weights, and what is kept for the way back."""
    network = experiment.network
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        seen[tensor.data_ptr()] = tensor.nbytes
        return tensor

    examples = experiment.dataset.train.inputs[:2]
    network.eval()  # batch norms must not learn from this
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(experiment.dataset.normalise(examples))
    weights = {parameter.data_ptr(): parameter.nbytes for parameter in network.parameters()}
    kept = sum(size for place, size in seen.items() if place not in weights) + 4 * examples.numel()
    # Twice: what is kept, and its gradient.
    return COPIES * sum(weights.values()) + 2 * kept * batch_size // len(examples)


def free(device: str) -> int:
    """Return the bytes that are free on a device."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory()
