"""Which runs can be trained as one model, and why others cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from lossbench.build import Experiment
from lossbench.checking import target_of
from lossbench.config import Config
from lossbench.stacked.optimizers import KINDS

OF_THE_OPTIMIZER = ("learning_rate", "weight_decay")

# On a CPU stacking saves the overhead of small operations. Larger ones gain nothing by it, and lose what they find in
# the cache. Counts of operations and not a timing, so that what is stacked is the same each time. Where the
# lines are was read off scripts/bench/stacked.py.
DENSE_FLOPS = 100_000_000  # of one forward pass over a batch
CONVOLUTION_FLOPS = 20_000_000
FEWEST = {"cpu": 4}  # runs that stacking is worth it for; two elsewhere


def alike(config: Config) -> str:
    """Write down what runs must share to be trained as one model.

    May differ: the seed, learning rate and weight decay, and the real-valued hyperparameters of the loss, which are
    those that its signature lets be tensors, `float | Tensor`.

    Args:
        config: as `lossbench.checking.check` returns it.
    """
    optimizer = {key: value for key, value in config["optimizer"].items() if key not in OF_THE_OPTIMIZER}
    shared = {**config, "seed": None, "optimizer": optimizer, "loss": _without_numbers(config["loss"])}
    return json.dumps(shared, sort_keys=True)


def _without_numbers(node: Mapping[str, Any]) -> Config:
    function = target_of(node, "loss")
    try:
        hints = {} if isinstance(function, type) else get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # annotations of a user's own that only a type checker can read
        hints = {}
    kept: Config = {}
    for key, value in node.items():
        if isinstance(value, Mapping) and "_target_" in value:
            kept[key] = _without_numbers(value)
        elif type(value) in (int, float) and {float, Tensor} <= _kinds(hints.get(key)):
            kept[key] = "a number"
        else:
            kept[key] = value
    return kept


def _kinds(hint: Any) -> set[Any]:
    """The members of a union, below `Annotated`."""
    if get_origin(hint) is Annotated:
        return _kinds(get_args(hint)[0])
    return set(get_args(hint))


def fewest(device: str) -> int:
    """Return how many runs it takes for a stack to be faster than one after another."""
    return FEWEST.get(device, 2)


def why_alone(experiment: Experiment, step_flops: int) -> str:
    """Say why a run cannot be trained stacked with others like it, or would not be faster; empty where it can.

    Args:
        experiment: of the run.
        step_flops: floating-point operations of one forward pass over a batch.
    """
    network, optimizer = experiment.network, experiment.optimizer
    if experiment.dataset.train.masks:
        return "images with masks are not stacked"
    if experiment.dataset.streams:
        return "images that are read as they are needed are not stacked"
    if isinstance(experiment.loss.function, nn.Module):
        return "a loss with a state is not stacked"
    if type(optimizer) not in KINDS or len(optimizer.param_groups) > 1:
        return "only SGD and AdamW with one learning rate for all layers are stacked"
    if any(isinstance(module, _DropoutNd) and module.p > 0 for module in network.modules()):
        return "dropout is not stacked: the runs would drop other units than alone"
    names = {name for name, _ in [*network.named_parameters(), *network.named_buffers()]}
    if not names >= set(network.state_dict()) or not all(weight.requires_grad for weight in network.parameters()):
        return "a model with frozen or shared weights is not stacked"
    if experiment.device.name == "cpu":
        if experiment.device.precision != "fp32":
            return "stacked, bf16 is slower on a CPU"
        convolutional = any(isinstance(module, _ConvNd) for module in network.modules())
        if convolutional and experiment.device.channels_last:
            # In that format cnn's gradients are others than in the contiguous one that a stack is computed in.
            return "convolutions are stacked with device.channels_last=false alone"
        most = CONVOLUTION_FLOPS if convolutional else DENSE_FLOPS
        if step_flops > most:
            what = "convolutions" if convolutional else "layers"
            return (
                f"on a CPU {what} of this size are slower stacked ({step_flops / 1e6:,.0f} million operations a step, "
                f"above {most / 1e6:,.0f})"
            )
    return ""
