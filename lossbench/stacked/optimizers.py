"""SGD and AdamW over R runs at once, each with its own learning rate and weight decay.

The arithmetic is that of `torch.optim`, whose optimizers take one learning rate for a tensor. All parameters of a run
lie in one row, so that a step is a handful of operations however many layers there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

OWN = ("lr", "weight_decay", "initial_lr", "params")  # what may differ between the runs, of a parameter group


class Optimizer(ABC):
    """What the two have in common: rates, and the moments that a checkpoint keeps."""

    moments: ClassVar[tuple[str, ...]]  # their names in the state of torch.optim's

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], weights: Tensor) -> None:
        """Take the settings of the runs' own optimizers.

        Args:
            optimizers: R of one kind, each with one parameter group; what they have learned is taken over.
            weights: float32 [R, P], all parameters of each run in the order of its optimizer.
        """
        groups = [optimizer.param_groups[0] for optimizer in optimizers]
        if any({**group, **dict.fromkeys(OWN)} != {**groups[0], **dict.fromkeys(OWN)} for group in groups):
            raise ValueError("their optimizers differ in more than learning rate and weight decay")
        self.settings = groups[0]  # those that are the same for all runs
        self.base_rates = [float(group["lr"]) for group in groups]
        self.rates = torch.tensor(self.base_rates, dtype=torch.float64, device=weights.device).unsqueeze(1)
        decays = [float(group["weight_decay"]) for group in groups]
        self.decays = torch.tensor(decays, dtype=torch.float64, device=weights.device).unsqueeze(1)
        self.weights = weights
        self.steps = 0
        self.kept: dict[str, Tensor] = {}

    def load(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from checkpoints, R state dicts of torch.optim's."""
        for name in self.moments:
            rows = [torch.cat([kept[name].flatten() for _, kept in sorted(state["state"].items())]) for state in states]
            self.kept[name] = torch.stack(rows).to(self.weights.device)
        if "step" in states[0]["state"].get(0, {}):
            self.steps = int(states[0]["state"][0]["step"])

    @abstractmethod
    def step(self, gradients: Tensor, factor: float) -> None:
        """Change the weights.

        Args:
            gradients: [R, P]; overwritten.
            factor: of the schedule, on all learning rates.
        """


class SGD(Optimizer):
    """Momentum, dampening, Nesterov and L2 penalty as `torch.optim.SGD` has them."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], weights: Tensor) -> None:
        """As the base; without momentum there is nothing to keep."""
        super().__init__(optimizers, weights)
        self.moments = ("momentum_buffer",) if self.settings["momentum"] else ()  # type: ignore[misc]

    def step(self, gradients: Tensor, factor: float) -> None:
        """Change the weights."""
        momentum, dampening = self.settings["momentum"], self.settings["dampening"]
        gradients.addcmul_(self.weights, self.decays.to(gradients))
        if momentum:
            if "momentum_buffer" in self.kept:
                velocity = self.kept["momentum_buffer"].mul_(momentum).add_(gradients, alpha=1 - dampening)
            else:
                velocity = self.kept["momentum_buffer"] = gradients.clone()
            gradients = gradients.add_(velocity, alpha=momentum) if self.settings["nesterov"] else velocity
        self.weights.addcmul_(gradients, (self.rates * -factor).to(gradients))


class AdamW(Optimizer):
    """As `torch.optim.AdamW`."""

    moments = ("exp_avg", "exp_avg_sq")

    def step(self, gradients: Tensor, factor: float) -> None:
        """Change the weights."""
        beta1, beta2 = self.settings["betas"]
        for name in self.moments:
            self.kept.setdefault(name, torch.zeros_like(gradients))
        self.steps += 1
        rates = self.rates * factor
        self.weights.mul_((1 - rates * self.decays).to(gradients))
        mean = self.kept["exp_avg"].lerp_(gradients, 1 - beta1)
        square = self.kept["exp_avg_sq"].mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
        root = square.sqrt().div_((1 - beta2**self.steps) ** 0.5).add_(self.settings["eps"])
        self.weights.addcmul_(mean.div(root), (rates / (beta1**self.steps - 1)).to(gradients))


KINDS: dict[type[torch.optim.Optimizer], type[Optimizer]] = {torch.optim.SGD: SGD, torch.optim.AdamW: AdamW}
