"""The weights of R models of one architecture, and each model's own again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Weights:
    """Parameters in one tensor with a row for each run, and buffers, stacked."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        """Copy the weights of R networks."""
        self.network = networks[0]  # whose code is run, with weights from here
        self.shapes = {name: parameter.shape for name, parameter in self.network.named_parameters()}
        with torch.no_grad():
            rows = [torch.cat([parameter.flatten() for parameter in network.parameters()]) for network in networks]
        self.flat = torch.stack(rows)  # [R, P]
        self.gradients = torch.empty_like(self.flat)
        of_runs = [dict(network.named_buffers()) for network in networks]
        self.buffers = {name: torch.stack([buffers[name] for buffers in of_runs]) for name in of_runs[0]}

    def parameters(self) -> dict[str, Tensor]:
        """Return the parameters by name, [R, …], as leaves of a new graph that share memory with `flat`."""
        return {name: part.detach().requires_grad_() for name, part in self._parts(self.flat).items()}

    def laid_out(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the gradients of the parameters as `flat` has these, [R, P]; the next ones take their place."""
        for part, gradient in zip(self._parts(self.gradients).values(), gradients, strict=True):
            part.copy_(gradient)
        return self.gradients

    def row(self, r: int, flat: Tensor, buffers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return one run's state dict, copied.

        Args:
            r: the run.
            flat: [R, P], those of now or of another time.
            buffers: of the same time.
        """
        found = {**self._parts(flat), **buffers}
        return {name: found[name][r].clone() for name in self.network.state_dict()}

    def split(self, row: Tensor) -> list[Tensor]:
        """Return what has the shape of one run's parameters, [P], parameter by parameter, copied."""
        return [part[0].clone() for part in self._parts(row.unsqueeze(0)).values()]

    def _parts(self, flat: Tensor) -> dict[str, Tensor]:
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = zip(self.shapes.items(), flat.split(sizes, 1), strict=True)
        return {name: part.unflatten(1, shape) if shape else part.squeeze(1) for (name, shape), part in parts}
