"""The weights of R models of one architecture, and each model's own again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
        # By name, [R, …]: leaves of every graph, and where their gradients go, which share memory with the rows.
        self.parameters = {name: part.requires_grad_() for name, part in self._parts(self.flat).items()}
        self._gradients = list(self._parts(self.gradients).values())
        self._places = list(_places(self.network))

    def call(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Run the network with other weights, by name, as `torch.func.functional_call` does.

        That one looks for the place of each weight anew at every step; here the network stays what it is.

        Raises:
            ValueError: if it puts another tensor in the place of one, and does not write into that: it would be lost.
        """
        given = {**parameters, **buffers}
        own = [holder[key] for holder, key, _ in self._places]
        try:
            for holder, key, name in self._places:
                holder[key] = given[name]
            outputs: Tensor = self.network(inputs)
            for holder, key, name in self._places:
                if holder.get(key) is not given[name]:
                    raise ValueError(f"the network replaces its {name}, and does not write into it")
        finally:
            for (holder, key, _), tensor in zip(self._places, own, strict=True):
                holder[key] = tensor
        return outputs

    def laid_out(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the gradients of the parameters as `flat` has these, [R, P]; the next ones take their place."""
        for part, gradient in zip(self._gradients, gradients, strict=True):
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


def _places(network: nn.Module) -> Iterator[tuple[dict[str, Tensor | None], str, str]]:
    """Where a network's weights are kept, each with the name that it goes by: one that is shared is at several."""
    names: dict[int, str] = {}
    for prefix, module in network.named_modules(remove_duplicate=True):
        for holder in (module._parameters, module._buffers):
            for key, tensor in holder.items():
                if tensor is not None:
                    yield holder, key, names.setdefault(id(tensor), f"{prefix}.{key}" if prefix else key)
