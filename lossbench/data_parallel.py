"""One model in several processes: each has a share of every batch, and all have the logits of the whole of it.

The loss is computed of the whole batch, in each process, so that it is exact for every loss: one that compares
examples, weighs classes by their number or keeps a state needs to know nothing of this. Only the model is divided.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from lossbench.device import Device
from lossbench.errors import ConfigError
from lossbench.processes import number, together


def replicate(model: nn.Module, device: Device) -> Callable[[Tensor], Tensor]:
    """Return what gives a model's logits in training, of whose inputs each process computes its share.

    Args:
        model: inputs [B, ...] to logits [B, K, ...]; the same in each process. Its batch norms become those of the
            whole batch.
        device: this process's own.

    Returns:
        The model itself where one process trains; else a function of the same whole batch in each process, to its
        logits, float32. Gradients of these are those of the whole batch once they are at the parameters.

    Raises:
        ConfigError: for a batch norm that is not torch's own.
    """
    if together() == 1:
        return model
    if device.name.startswith("cuda"):
        torch.cuda.set_device(device.name)
    replica = DistributedDataParallel(_with_whole_batch_norms(model, device))

    def logits_of(inputs: Tensor) -> Tensor:
        seed = torch.initial_seed()
        device.seed((seed + number()) % 2**63)  # for dropout: other masks for other examples
        sizes = shares(len(inputs))
        logits = gather(replica(inputs.split(sizes)[number()]).float(), sizes)
        device.seed(seed)  # a loss that draws numbers draws the same everywhere
        return logits

    return logits_of


def logits_of_shares(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return a model's logits, float32, without gradients; each process computes its share."""
    if together() == 1:
        logits: Tensor = model(inputs).float()
        return logits
    sizes = shares(len(inputs))
    return gather(model(inputs.split(sizes)[number()]).float(), sizes)


def shares(examples: int) -> list[int]:
    """How many of a batch's examples are each process's: as equal as can be, none for some of a very small batch."""
    each, more = divmod(examples, together())
    return [each + (place < more) for place in range(together())]


def gather(share: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the shares of all processes one after another, [B, ...], with the gradient of this one's, [b, ...]."""
    gathered: Tensor = _Gather.apply(share, sizes)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor, sizes: Sequence[int]) -> Tensor:
        ctx.sizes = sizes
        padded = share.new_zeros(max(sizes), *share.shape[1:])
        padded[: len(share)] = share
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Each process has the gradient of the whole loss in its own logits. What the whole batch's gradient in the
        # parameters sums over processes, DistributedDataParallel averages.
        return gradient.split(ctx.sizes)[number()] * len(ctx.sizes), None


def _with_whole_batch_norms(model: nn.Module, device: Device) -> nn.Module:
    norms = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    for name, norm in norms.items():
        if type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) or not norm.track_running_stats:
            raise ConfigError(
                f"several processes train models whose batch norms are torch's own and keep running statistics; "
                f"{name.removeprefix('network.')} is a {type(norm).__name__}: train in one process"
            )
    if device.name.startswith("cuda"):
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for norm in norms.values():
        # torch has its own for CUDA alone.
        norm.forward = functools.partial(_whole_batch_norm, norm, norm.forward)  # type: ignore[method-assign]
    return model


def _whole_batch_norm(norm: _BatchNorm, alone: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Normalise a share by the mean and variance of the whole batch, and take note of these; `alone` in evaluation."""
    if not norm.training:
        return alone(inputs)
    outputs: Tensor
    outputs, mean, variance, values = _Normalise.apply(inputs, norm.weight, norm.bias, norm.eps)
    if values <= 1:
        raise ValueError(f"expected more than 1 value per channel when training; got the input {list(inputs.shape)}")
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    weight = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean), weight)
    norm.running_var.lerp_((variance * values / (values - 1)).to(norm.running_var), weight)
    return outputs


class _Normalise(torch.autograd.Function):
    """y = w (x - μ) / sqrt(σ² + ε) + b, with μ and σ² over the examples and pixels of all processes.

    In the gradient they count as what they are, functions of all examples:

        dL/dx = w / sqrt(σ² + ε) · (g - mean(g) - x̂ · mean(g x̂)),    g = dL/dy,  x̂ = (x - μ) / sqrt(σ² + ε)
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, float]:
        wide = inputs.float()
        values = torch.tensor(float(inputs.numel() // inputs.shape[1]), dtype=torch.float64)
        total, values = _sums(_by_channel(wide), values[None])
        mean = total / values
        centred = wide - _over(mean, wide)
        (squares,) = _sums(_by_channel(centred**2))
        variance = squares / values
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(centred, scale, values, weight)
        ctx.shift = bias is not None
        outputs = centred * _over(scale if weight is None else scale * weight, wide)
        if bias is not None:
            outputs += _over(bias, wide)
        ctx.mark_non_differentiable(mean, variance)
        return outputs.to(inputs.dtype), mean, variance, float(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        centred, scale, values, weight = ctx.saved_tensors
        wide = gradient.float()
        normalised = centred * _over(scale, centred)
        own = _by_channel(wide), _by_channel(wide * normalised)
        sums = _sums(*own)
        mean, slope = (_over(total / values, centred) for total in sums)
        inputs = (wide - mean - normalised * slope) * _over(scale if weight is None else scale * weight, centred)
        of_weight = None if weight is None else own[1].to(weight)
        of_bias = own[0].to(torch.float32) if ctx.shift else None
        return inputs.to(gradient.dtype), of_weight, of_bias, None


def _by_channel(values: Tensor) -> Tensor:
    """Σ over all but the channels, float64 [C]: a large image has more pixels than float32 counts."""
    return values.sum([0, *range(2, values.ndim)], dtype=torch.float64)


def _over(channels: Tensor, values: Tensor) -> Tensor:
    return channels.to(values.dtype).view(1, -1, *[1] * (values.ndim - 2))


def _sums(*values: Tensor) -> list[Tensor]:
    """The sums over processes."""
    joint = torch.cat(values)
    distributed.all_reduce(joint)
    return list(joint.split([len(value) for value in values]))
