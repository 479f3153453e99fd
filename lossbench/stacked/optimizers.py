"""The optimizer of R runs at once, each with its own learning rate and weight decay.

It is torch's own, of rows and not of layers: all parameters of a run lie in one row, and those of all runs in one
tensor, so that a step is one pass over memory however many layers and runs there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lossbench.optimization import stepping_alone

KINDS = (torch.optim.SGD, torch.optim.AdamW)  # which change each weight by its own gradient alone
OWN = ("lr", "weight_decay", "initial_lr", "params")  # what may differ between the runs, of a parameter group


class Optimizer:
    """One optimizer in the place of R."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], weights: Tensor, gradients: Tensor) -> None:
        """Take the settings of the runs' own optimizers.

        Args:
            optimizers: R of one of `KINDS`, each with one parameter group.
            weights: float32 [R, P], all parameters of each run in the order of its optimizer.
            gradients: where they will lie at each step, [R, P].
        """
        groups = [optimizer.param_groups[0] for optimizer in optimizers]
        if any({**group, **dict.fromkeys(OWN)} != {**groups[0], **dict.fromkeys(OWN)} for group in groups):
            raise ValueError("their optimizers differ in more than learning rate and weight decay")
        self.base_rates = [float(group["lr"]) for group in groups]
        # Where all learn alike, in one piece; else run by run.
        alike = len({(group["lr"], group["weight_decay"]) for group in groups}) == 1
        pieces = [(weights, gradients)] if alike else list(zip(weights, gradients, strict=True))
        self.rows = [(0, r) if alike else (r, None) for r in range(len(groups))]  # piece, and row of it
        self.pieces = [piece for piece, _ in pieces]
        for piece, gradient in pieces:
            piece.grad = gradient
        of_pieces = [{**group, "params": [piece]} for group, piece in zip(groups, self.pieces, strict=False)]
        kind: Any = type(optimizers[0])
        self.own: torch.optim.Optimizer = stepping_alone(kind(of_pieces))

    def load(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from checkpoints, R state dicts of torch.optim's."""
        rows = [_row(state["state"]) for state in states]
        of_pieces: dict[int, dict[str, Tensor]] = {}
        for p, piece in enumerate(self.pieces):
            inside = [row for row, (place, _) in zip(rows, self.rows, strict=True) if place == p]
            of_pieces[p] = {
                name: torch.stack([row[name] for row in inside]).reshape(piece.shape) if value.ndim else value
                for name, value in inside[0].items()
            }
        # Which puts each where torch wants it: a count of steps lies on a GPU or not.
        self.own.load_state_dict({"state": of_pieces, "param_groups": self.own.state_dict()["param_groups"]})

    def step(self, factor: float) -> None:
        """Change the weights.

        Args:
            factor: of the schedule, on all learning rates.
        """
        for group, rate in zip(self.own.param_groups, self.base_rates, strict=False):
            group["lr"] = rate * factor
        self.own.step()

    def state(self, r: int) -> dict[str, Tensor]:
        """Return what is kept of a run: a number, or a row of P."""
        place, row = self.rows[r]
        kept = self.own.state.get(self.pieces[place], {})
        return {
            name: value if row is None or not value.ndim else value[row]
            for name, value in kept.items()
            if value is not None
        }


def _row(state: Mapping[int, Mapping[str, Any]]) -> dict[str, Tensor]:
    """What is kept of each layer, as one row; the count of steps is the same for all."""
    layers = [kept for _, kept in sorted(state.items())]
    names = [name for name, value in (layers[0] if layers else {}).items() if value is not None]
    return {
        name: torch.cat([kept[name].flatten() for kept in layers]) if name != "step" else layers[0][name].clone()
        for name in names
    }
