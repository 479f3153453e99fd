"""The batches of R runs, drawn once for each seed: what differs in the loss alone sees the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossbench.build import Experiment
from lossbench.data.dataset import Examples
from lossbench.data.mixing import mix
from lossbench.randomness import stream
from lossbench.training import Extras, generator

Batch = tuple[Tensor, Tensor, dict[str, Tensor]]  # normalised inputs, targets, extras; [S, B, …] each


class Batches:
    """The training splits of S seeds."""

    def __init__(self, experiments: Sequence[Experiment], seeds: Sequence[int], extras: Sequence[Extras]) -> None:
        """Lay the splits side by side.

        Args:
            experiments: one of each seed.
            seeds: S, all different.
            extras: of the same runs.
        """
        self.experiments, self.seeds, self.extras = experiments, seeds, extras
        self.device = experiments[0].device.name
        first = experiments[0].dataset
        self.examples = len(first.train)
        # What is drawn anew for each batch is drawn seed by seed; anything else is one lookup for all of them.
        self.drawn = bool(first.shift or first.flip or first.mixes)
        self.mean = torch.stack([experiment.model.get_buffer("mean") for experiment in experiments]).unsqueeze(1)
        self.scale = torch.stack([experiment.model.get_buffer("scale") for experiment in experiments]).unsqueeze(1)
        self.generators: list[torch.Generator] = []
        self.order = torch.empty(0)
        if not self.drawn:
            everything = torch.arange(self.examples, device=self.device)
            self.inputs = _joined([experiment.dataset.train.resident for experiment in experiments])
            self.targets = _joined([experiment.dataset.train.targets for experiment in experiments])
            of_seeds = [
                extra.of(experiment.dataset.train, experiment.dataset.train.inputs, everything)
                for experiment, extra in zip(experiments, extras, strict=True)
            ]
            tensors = [name for name, value in of_seeds[0].items() if isinstance(value, Tensor)]
            self.joined = {name: _joined([of_seed[name] for of_seed in of_seeds]) for name in tensors}

    def begin_epoch(self, epoch: int, augmentation: Sequence[Tensor | None]) -> list[Tensor]:
        """Shuffle.

        Args:
            epoch: from 0.
            augmentation: for each seed, where its generator stood when the epoch was left; None at its beginning.

        Returns:
            The order of each seed, int64 [N].
        """
        self.generators = [generator(seed, "augmentation", epoch) for seed in self.seeds]
        for of_seed, state in zip(self.generators, augmentation, strict=True):
            if state is not None:
                of_seed.set_state(state)
        orders = [torch.randperm(self.examples, generator=generator(seed, "order", epoch)) for seed in self.seeds]
        self.order = torch.stack(orders).to(self.device)
        if not self.drawn:  # all seeds' examples lie in a row
            self.order += torch.arange(len(self.seeds), device=self.device).unsqueeze(1) * self.examples
        return orders

    def at(self, start: int, size: int, step: int) -> Batch:
        """Return the batches that begin at a place in the order.

        Args:
            start: of the batch, in the epoch.
            size: B.
            step: since the beginning of training, for the stream of mixing.
        """
        chosen = self.order[:, start : start + size]
        if self.drawn:
            parts = [self._draw(s, batch, step) for s, batch in enumerate(chosen)]
            inputs, targets = torch.stack([part[0] for part in parts]), torch.stack([part[1] for part in parts])
            extras = {name: torch.stack([part[2][name] for part in parts]) for name in parts[0][2]}
        else:
            inputs, targets = _looked_up(self.inputs, chosen), _looked_up(self.targets, chosen)
            extras = {name: _looked_up(values, chosen) for name, values in self.joined.items()}
        return self.normalised(inputs), targets, extras

    def normalised(self, inputs: Tensor) -> Tensor:
        """Normalise as each seed's model does, [S, B, …]."""
        return (inputs.float() - self.mean) / self.scale

    def _draw(self, s: int, batch: Tensor, step: int) -> Batch:
        dataset = self.experiments[s].dataset
        inputs, targets = dataset.augment(
            dataset.train.resident[batch], dataset.train.targets[batch], self.generators[s]
        )
        inputs, targets = mix(dataset, inputs, targets, stream(self.seeds[s], "mixing", step))
        extras = self.extras[s].of(dataset.train, inputs, batch)
        return inputs, targets, {name: value for name, value in extras.items() if isinstance(value, Tensor)}


def stacked_inputs(splits: Sequence[Examples]) -> Tensor:
    """Return the inputs of a split of each seed, [S, N, …], without a copy where there is one."""
    return splits[0].resident.unsqueeze(0) if len(splits) == 1 else torch.stack([split.resident for split in splits])


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """One tensor for the lookup, [S · N, …], without a copy where there is one seed."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _looked_up(values: Tensor, chosen: Tensor) -> Tensor:
    """Return values[chosen], [S, B, …], of [N, …], in a third of the time."""
    looked_up: Tensor = values.index_select(0, chosen.flatten()).unflatten(0, chosen.shape)
    return looked_up
