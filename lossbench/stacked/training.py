"""The loop of `lossbench.training`, over R runs at once: tensors in, tensors out."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import vmap

from lossbench import build
from lossbench.build import Experiment
from lossbench.errors import DivergedError
from lossbench.stacked import direct
from lossbench.stacked.batches import Batch, Batches, stacked_inputs
from lossbench.stacked.hyperparameters import bind, differing
from lossbench.stacked.optimizers import Optimizer
from lossbench.stacked.turned import Turned
from lossbench.stacked.weights import Weights
from lossbench.training import Extras, State, Trained, diverged, fingerprint, finish, order_fingerprint


class NotStackedError(Exception):
    """These runs cannot be trained as one model, after all. Says why; each by itself may well be trained."""


@dataclass(frozen=True)
class Run:
    """One of the runs that are trained together."""

    experiment: Experiment
    seed: int
    teacher: nn.Module | None = None
    state: State = field(default_factory=State)  # where to go on from; it is brought up to date in place


class Checkpoints(Protocol):
    """Whoever saves the runs while they are trained; `lossbench.training.Checkpoints` for many."""

    def due(self) -> bool:
        """Whether to save them now; asked between any two steps."""

    def save(self, states: Sequence[State]) -> None:
        """Save them."""


def train_stacked(
    runs: Sequence[Run],
    *,
    epochs: int,
    batch_size: int,
    keep: str = "best",
    on_epoch: Callable[[Mapping[str, float]], None] = lambda row: None,
    checkpoints: Checkpoints | None = None,
) -> list[Trained | DivergedError]:
    """Train runs that `lossbench.stacked.grouping` puts together, as `lossbench.training.train` does one of them.

    Args:
        runs: R, all at the same step of their training. Those of one seed share their data set.
        epochs: times to go through the training split.
        batch_size: examples per step of each run.
        keep: `best` or `last`, of each run for itself.
        on_epoch: called after each epoch with the mean row of history of the runs that have not diverged.
        checkpoints: saves the states.

    Returns:
        What came of each run. One whose loss is no longer finite stops nobody else.

    Raises:
        NotStackedError: if torch.func cannot do it, does something else than a run alone, or memory cannot hold it.
    """
    try:
        stack = Stack(runs, epochs=epochs, batch_size=batch_size, keep=keep)
        stack.rehearse()
    except NotStackedError:
        raise
    except Exception as error:
        raise NotStackedError(said(error)) from error
    for epoch in range(runs[0].state.epoch, epochs):
        try:
            stack.train_epoch(epoch, checkpoints)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise NotStackedError(said(error)) from error
        alive = stack.alive()
        if not alive:
            break
        on_epoch(_mean([state.history[-1] for state in alive]))
        if checkpoints is not None and checkpoints.due():
            checkpoints.save(stack.brought_up_to_date())
    return stack.trained()


class Stack:
    """R runs in training."""

    def __init__(self, runs: Sequence[Run], *, epochs: int, batch_size: int, keep: str = "best") -> None:
        """Stack what the runs have learned so far."""
        self.runs, self.states = runs, [run.state for run in runs]
        self.epochs, self.batch_size, self.keep = epochs, batch_size, keep
        self.experiments = [run.experiment for run in runs]
        self.network, self.device = self.experiments[0].network, self.experiments[0].device
        self.initial = [fingerprint(dict(experiment.network.named_parameters())) for experiment in self.experiments]
        for experiment, state in zip(self.experiments, self.states, strict=True):
            if state.model:
                experiment.model.load_state_dict(state.model)
        self.weights = Weights([experiment.network for experiment in self.experiments])
        optimizers = [experiment.optimizer for experiment in self.experiments]
        self.optimizer = Optimizer(optimizers, self.weights.flat, self.weights.gradients)
        if self.states[0].model:
            self.optimizer.load([state.optimizer for state in self.states])
        self.hyperparameters = differing(
            [experiment.loss.function for experiment in self.experiments], self.device.name
        )

        data = self.experiments[0].dataset
        weighs = data.mixes or data.train.targets.is_floating_point() or data.train.sample_weights is not None
        function = self.experiments[0].loss.function
        self.loss = None if weighs else direct.unweighed(function, self.hyperparameters)
        self.dense = direct.dense(self.network)

        seeds = list(dict.fromkeys(run.seed for run in runs))
        self.first = [next(r for r, run in enumerate(runs) if run.seed == seed) for seed in seeds]  # run of each seed
        self.seed_of = torch.tensor([seeds.index(run.seed) for run in runs], device=self.device.name)
        self.extras = [Extras(runs[r].experiment, runs[r].teacher) for r in self.first]
        of_seeds = [self.experiments[r] for r in self.first]
        self.batches = Batches(of_seeds, seeds, self.extras)
        self.val_inputs = stacked_inputs([experiment.dataset.val for experiment in of_seeds])
        self.val_targets = torch.stack([experiment.dataset.val.targets for experiment in of_seeds])
        self.steps = math.ceil(self.batches.examples / batch_size)
        self.best = self.weights.flat.clone()
        self.best_buffers = copy.deepcopy(self.weights.buffers)
        self.best_accuracy = [state.best_accuracy for state in self.states]
        for r, state in enumerate(self.states):
            if state.best:
                self._load_best(r, state.best)
        self.arranged: Callable[[], AbstractContextManager[object]] = Turned
        self.errors: dict[int, DivergedError] = {}
        self.losses = torch.empty(0)
        self.started = 0.0

    def rehearse(self) -> None:
        """Try a step, and learn nothing from it.

        Raises:
            NotStackedError: if the loss or the gradient of the first run is another than that of the run alone.
            Exception: whatever torch.func cannot do with this model or loss: random numbers, branches on values.
        """
        kept = copy.deepcopy(self.weights.buffers)  # batch norms take note of what they see
        self.network.train()
        for extras in self.extras:
            extras.epoch = 1
        self.batches.begin_epoch(0, [None] * len(self.first))
        batch = self.batches.at(0, min(self.batch_size, self.batches.examples), 0)
        alone = self._look_at_first(batch)
        try:
            self._look_like(alone, batch)
        except Exception:  # code of a user's own, which knows nothing of what lies turned: it views it, say
            self.arranged, self.dense = nullcontext, None
            self._look_like(alone, batch)
        for name, values in kept.items():
            self.weights.buffers[name].copy_(values)

    def train_epoch(self, epoch: int, checkpoints: Checkpoints | None = None) -> None:
        """Go once through the training split, and look at validation."""
        state = self.states[0]
        self.started = time.perf_counter() - state.elapsed * len(self.runs)
        self.network.train()
        for extras in self.extras:
            extras.epoch = epoch + 1
        orders = self.batches.begin_epoch(epoch, [self.states[r].augmentation for r in self.first])
        self.losses = torch.zeros(len(self.runs), self.steps, device=self.device.name)
        first = 0 if state.losses is None else len(state.losses)
        for r, of_run in enumerate(self.states):
            if of_run.losses is not None:
                self.losses[r, :first] = of_run.losses
        total = self.epochs * self.steps
        sizes = [self.batch_size] * (self.steps - 1) + [self.batches.examples - self.batch_size * (self.steps - 1)]
        for done, size in enumerate(sizes[first:], first + 1):
            step = epoch * self.steps + done - 1
            batch = self.batches.at((done - 1) * self.batch_size, size, step)
            losses, gradients = self.look(batch)
            self.losses[:, done - 1] = losses
            if done == self.steps:
                norms = gradients.norm(dim=1)
            factor = self.experiments[0].schedule(step, total)
            self.optimizer.step(factor)
            if done < self.steps and checkpoints is not None and checkpoints.due():
                self._note_diverged(self.losses[:, :done].isfinite().all(1).logical_not(), epoch + 1)
                checkpoints.save(self.brought_up_to_date(done))
        val_losses, accuracies = self._validate()
        mean = (self.losses.double() @ torch.tensor(sizes).to(self.losses.device).double()) / self.batches.examples
        seconds = (time.perf_counter() - self.started) / len(self.runs)
        columns = zip(mean.tolist(), val_losses, accuracies.tolist(), norms.tolist(), strict=True)
        rows = [
            {
                "epoch": epoch + 1,
                "learning_rate": rate * factor,
                "train_loss": train_loss,
                "val_loss": val_loss,
                "val_accuracy": accuracy,
                "gradient_norm": norm,
                "seconds": seconds,
            }
            for rate, (train_loss, val_loss, accuracy, norm) in zip(self.optimizer.base_rates, columns, strict=True)
        ]
        self._end_epoch(rows, orders)

    def look(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the losses of a batch, [R], and their gradients, [R, P], which last until the next."""
        inputs, targets, extras = batch
        logits, targets = self._logits(self._of_runs(inputs)), self._of_runs(targets)
        if self.loss is not None:
            losses = self.loss(logits, targets)
        else:
            more = {name: self._of_runs(values) for name, values in extras.items()}
            losses = vmap(self._in_order(self._loss_of))(logits, targets, more, self.hyperparameters)
        # Each loss depends on its own run's parameters alone, so that the gradient of their sum is that of each.
        gradients = torch.autograd.grad(losses.sum(), list(self.weights.parameters.values()))
        return losses.detach(), self.weights.laid_out(gradients)

    def _logits(self, inputs: Tensor) -> Tensor:
        """Return the logits, [R, N, K], of each run's inputs."""
        if self.dense is not None:
            with self.device.autocast():
                return self.dense(self.weights.parameters, inputs).float()
        logits: Tensor = vmap(self._in_order(self._logits_of))(self.weights.parameters, self.weights.buffers, inputs)
        return logits

    def _in_order(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def ordered(*of_run: Any) -> Tensor:
            with self.arranged():
                return function(*of_run)

        return ordered

    def _logits_of(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the logits of one run."""
        with self.device.autocast():
            return self.weights.call(parameters, buffers, inputs).float()

    def _loss_of(
        self, logits: Tensor, targets: Tensor, extras: dict[str, Tensor], hyperparameters: dict[str, Tensor]
    ) -> Tensor:
        """Return the loss of one run."""
        function = bind(self.experiments[0].loss.function, hyperparameters)
        common = {"epoch": self.extras[0].epoch} if "epoch" in self.extras[0].wanted else {}
        return function(logits, targets, **extras, **common)

    def _look_at_first(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of the first run, and its gradient, [P], computed by itself."""
        inputs, targets, extras = batch
        s = int(self.seed_of[0])
        parameters = {name: values[0].clone() for name, values in self.weights.parameters.items()}
        buffers = {name: values[0].clone() for name, values in self.weights.buffers.items()}
        logits = self._logits_of(parameters, buffers, inputs[s])
        loss = self._loss_of(logits, targets[s], {name: values[s] for name, values in extras.items()}, {})
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        return loss.detach(), torch.cat([gradient.flatten() for gradient in gradients])

    def _look_like(self, alone: tuple[Tensor, Tensor], batch: Batch) -> None:
        """Look at a batch.

        Raises:
            NotStackedError: if the loss and gradient of the first run are others than alone, by more than rounding.
        """
        losses, gradients = self.look(batch)
        loss, gradient = alone
        apart = (gradients[0] - gradient).norm()
        if not losses[0].isclose(loss, rtol=1e-3, atol=1e-4, equal_nan=True) or apart > 0.05 * gradient.norm() + 1e-4:
            raise NotStackedError(
                f"stacked, a step has a loss of {losses[0]:.6g} and a gradient of {gradients[0].norm():.3g}, "
                f"alone {loss:.6g} and {gradient.norm():.3g}"
            )

    def _of_runs(self, values: Tensor) -> Tensor:
        """What is one for each seed, one for each run."""
        if len(values) == 1:
            return values.expand(len(self.runs), *values.shape[1:])
        return values.index_select(0, self.seed_of)

    @torch.no_grad()
    def _validate(self) -> tuple[list[float], Tensor]:
        """Return the validation loss and accuracy of each run."""
        self.network.eval()
        parts = [self.batches.normalised(part) for part in self.val_inputs.split(self.batch_size, 1)]
        logits = torch.cat([self._logits(self._of_runs(part)).contiguous() for part in parts], 1)
        targets = self._of_runs(self.val_targets)
        if self.loss is not None:
            losses = self.loss(logits, targets)
        else:  # one by one: it is once in an epoch, and a loss may compare every example with every other
            found = []
            for experiment, s, of_run in zip(self.experiments, self.seed_of.tolist(), logits, strict=True):
                val = experiment.dataset.val
                more = self.extras[s].of(val, val.inputs, slice(None))
                found.append(experiment.loss.function(of_run, val.targets, **more))
            losses = torch.stack(found)
        return losses.tolist(), (logits.argmax(2) == targets).double().mean(1)

    def _end_epoch(self, rows: Sequence[dict[str, float]], orders: Sequence[Tensor]) -> None:
        better = torch.zeros(len(self.runs), dtype=torch.bool)
        self._note_diverged(torch.tensor([not math.isfinite(row["train_loss"]) for row in rows]), int(rows[0]["epoch"]))
        prints: dict[tuple[str, int], str] = {}
        for r, (row, state, s) in enumerate(zip(rows, self.states, self.seed_of.tolist(), strict=True)):
            state.losses, state.augmentation, state.elapsed = None, None, 0.0  # of the diverged ones, too
            if r in self.errors:
                continue
            if self.keep == "last" or row["val_accuracy"] >= self.best_accuracy[r]:
                self.best_accuracy[r], better[r] = row["val_accuracy"], True
            state.history.append(row)
            state.epoch = int(row["epoch"])
            if (state.order, s) not in prints:
                prints[state.order, s] = order_fingerprint(state.order, self.batch_size, orders[s])
            state.order = prints[state.order, s]
            state.seconds += row["seconds"]
        better = better.to(self.best.device)
        self.best[better] = self.weights.flat[better]
        for name, values in self.weights.buffers.items():
            self.best_buffers[name][better] = values[better]

    def _note_diverged(self, diverged: Tensor, epoch: int) -> None:
        for r in diverged.nonzero().flatten().tolist():
            if r not in self.errors:
                self.errors[r] = self._diverged(r, epoch)

    def _diverged(self, r: int, epoch: int) -> DivergedError:
        history = self.states[r].history
        before = history[-1]["train_loss"] if history else math.nan
        schedule, total = self.experiments[r].schedule, self.epochs * self.steps
        first = (epoch - 1) * self.steps
        rates = [self.optimizer.base_rates[r] * schedule(first + i, total) for i in range(self.steps)]
        return DivergedError(diverged(self.losses[r].tolist(), rates, epoch, before))

    def alive(self) -> list[State]:
        """Return the states of the runs that have not diverged."""
        return [state for r, state in enumerate(self.states) if r not in self.errors]

    def brought_up_to_date(self, done: int = 0) -> list[State]:
        """Write what the runs have learned into their states, as `lossbench.training` would have left them.

        Args:
            done: steps done of an epoch that is under way.

        Returns:
            The states of the runs that have not diverged.
        """
        for r, (run, state, s) in enumerate(zip(self.runs, self.states, self.seed_of.tolist(), strict=True)):
            state.model = self._model(r, self.weights.flat, self.weights.buffers)
            state.best = self._model(r, self.best, self.best_buffers) if self.best_accuracy[r] >= 0 else {}
            state.best_accuracy = self.best_accuracy[r]
            state.optimizer = self._optimizer(r, run.experiment)
            if done:
                state.losses = self.losses[r, :done].clone()
                state.augmentation = self.batches.generators[s].get_state()
                state.elapsed = (time.perf_counter() - self.started) / len(self.runs)
        return self.alive()

    def _model(self, r: int, flat: Tensor, buffers: dict[str, Tensor]) -> dict[str, Tensor]:
        own = self.weights.row(r, flat, buffers)
        whole: dict[str, Tensor] = self.experiments[r].model.state_dict()
        return {name: own.get(name.removeprefix("network."), value) for name, value in whole.items()}

    def _load_best(self, r: int, best: dict[str, Tensor]) -> None:
        names = {f"network.{name}" for name in self.weights.shapes}
        self.best[r] = torch.cat([best[f"network.{name}"].flatten() for name in self.weights.shapes])
        for name, value in best.items():
            if name not in names and name.removeprefix("network.") in self.best_buffers:
                self.best_buffers[name.removeprefix("network.")][r] = value

    def _optimizer(self, r: int, experiment: Experiment) -> dict[str, Any]:
        kept = self.optimizer.state(r)
        layers = {name: self.weights.split(values) for name, values in kept.items() if values.ndim}
        state: dict[int, dict[str, Tensor]] = {}
        for i in range(len(self.weights.shapes) if kept else 0):
            # A counter for each parameter: torch.optim counts each up in place.
            state[i] = {name: layers[name][i] if values.ndim else values.clone() for name, values in kept.items()}
        return {"state": state, "param_groups": experiment.optimizer.state_dict()["param_groups"]}

    def trained(self) -> list[Trained | DivergedError]:
        """Return what came of each run."""
        self.brought_up_to_date()
        results: list[Trained | DivergedError] = []
        for r, (run, initial) in enumerate(zip(self.runs, self.initial, strict=True)):
            if r in self.errors:
                results.append(self.errors[r])
                continue
            try:
                results.append(finish(run.experiment, run.state, run.seed, initial))
            except DivergedError as error:
                results.append(error)
        return results


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def said(error: Exception) -> str:
    """Why runs are not trained as one model, in a line."""
    return f"stacked, {build.said(error)}"
