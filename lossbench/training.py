"""The loop: tensors in, tensors out."""

from __future__ import annotations

import hashlib
import math
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import get_total_norm

from lossbench.build import Experiment
from lossbench.data.dataset import Examples
from lossbench.data.mixing import mix
from lossbench.data.streaming import Streamed
from lossbench.data_parallel import logits_of_shares, replicate
from lossbench.device import Device
from lossbench.errors import CheckpointError, DivergedError, one_line
from lossbench.pixels import predict_pixels, sample_pixels
from lossbench.processes import together
from lossbench.randomness import stream

EVALUATION_BATCH = 256  # examples at a time without gradients: as fast as more, and less memory than a step


@dataclass
class State:
    """All that is needed to go on from between two steps, bit for bit."""

    epoch: int = 0  # epochs done
    model: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)  # weights of the best epoch so far
    best_accuracy: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)
    loss: dict[str, Tensor] = field(default_factory=dict)  # of a loss that has a state
    order: str = ""  # fingerprint of the batches of the epochs done
    seconds: float = 0.0
    made_of: dict[str, str] = field(default_factory=dict)  # hashes of what it may not go on without
    together: list[str] = field(default_factory=list)  # the ids of all runs that are trained as one model with it
    # Of an epoch that is under way:
    losses: Tensor | None = None  # of its steps so far
    augmentation: Tensor | None = None  # the state of its generator
    elapsed: float = 0.0  # seconds

    @property
    def resumed(self) -> bool:
        """Whether a step of it has been done before."""
        return self.step > (0, 0)

    @property
    def step(self) -> tuple[int, int]:
        """Epochs done, and steps of the next."""
        return self.epoch, 0 if self.losses is None else len(self.losses)


class Checkpoints(Protocol):
    """Whoever saves a training while it goes on."""

    def due(self) -> bool:
        """Whether to save it now; asked between any two steps."""

    def save(self, state: State) -> None:
        """Save it. The tensors are the live ones."""


@dataclass(frozen=True)
class Trained:
    """What a training gives."""

    weights: dict[str, Tensor]
    history: list[dict[str, float]]  # a row per epoch
    val_logits: Tensor  # [N, K], as the model gave them, before any link; of masks, of a sample of the pixels, [P, K]
    test_logits: Tensor
    val_targets: Tensor  # [N] or [P]
    test_targets: Tensor
    fingerprints: dict[str, str]
    seconds: float  # of training, without data set and evaluation on test


def train(
    experiment: Experiment,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    keep: str = "best",
    teacher: nn.Module | None = None,
    state: State | None = None,
    on_epoch: Callable[[State], None] = lambda state: None,
    checkpoints: Checkpoints | None = None,
) -> Trained:
    """Train a model and look at its validation and test splits.

    Every random number comes from a stream named by the seed, its purpose and the epoch or step, so that neither the
    loss nor an interruption can shift the batches, the augmentation or dropout.

    Args:
        experiment: data set, model, loss, optimizer, schedule and device.
        epochs: times to go through the training split.
        batch_size: examples per step; the last batch of an epoch may have fewer.
        seed: of the streams.
        keep: the epoch whose weights are kept: `best` by validation accuracy (the later of two equal ones), or `last`.
        teacher: gives `teacher_logits` to a loss that declares them.
        state: where to go on from; it is brought up to date in place.
        on_epoch: called with the state after each epoch. Its tensors are the live ones: copy or save them there.
        checkpoints: saves the state.

    Returns:
        Weights, history, logits and fingerprints.

    Raises:
        DivergedError: when the training loss is no longer finite.
    """
    model, optimizer, device = experiment.model, experiment.optimizer, experiment.device
    dataset = experiment.dataset
    initial = fingerprint(dict(experiment.network.named_parameters()))
    state = state or State()
    base_rates = [group["lr"] for group in optimizer.param_groups]
    parameters = list(model.parameters())
    if state.model:
        go_on(experiment, state)
    logits_of = replicate(model, device)
    extras = Extras(experiment, teacher)
    steps = math.ceil(len(dataset.train) / batch_size)  # in an epoch

    def bring_up_to_date() -> State:
        state.model, state.optimizer, state.loss = model.state_dict(), optimizer.state_dict(), experiment.loss.state
        return state

    def astray(losses: Sequence[float], epoch: int) -> DivergedError:
        before = state.history[-1]["train_loss"] if state.history else math.nan
        rates = [base_rates[-1] * experiment.schedule(epoch * steps + i, epochs * steps) for i in range(steps)]
        return DivergedError(diverged(losses, rates, epoch + 1, before))

    for epoch in range(state.epoch, epochs):
        started = time.perf_counter() - state.elapsed
        model.train()
        experiment.loss.begin_epoch()
        extras.epoch = epoch + 1
        order = torch.randperm(len(dataset.train), generator=generator(seed, "order", epoch))
        augmentation = generator(seed, "augmentation", epoch)
        losses: list[Tensor] = []  # of each step, on the device
        if state.losses is not None and state.augmentation is not None:
            losses = list(state.losses.to(device.name))
            augmentation.set_state(state.augmentation)
        first = len(losses)
        # Now, and not step by step, where a hash in cold memory takes several times as long.
        draws = [stream(seed, "dropout", epoch * steps + i) for i in range(first, steps)]
        batches = order.to(device.name).split(batch_size)
        seen = zip(draws, batches[first:], dataset.train.batches(batches[first:]), strict=True)
        for done, (draw, batch, (inputs, targets)) in enumerate(seen, first + 1):
            step = epoch * steps + done - 1
            factor = experiment.schedule(step, epochs * steps)
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * factor
            inputs, targets = dataset.augment(inputs, targets, augmentation)
            if dataset.mixes:
                inputs, targets = mix(dataset, inputs, targets, stream(seed, "mixing", step))
            for parameter in parameters:  # before a step's activations, which they would lie among
                parameter.grad = None  # what zero_grad does, in a thirtieth of the time
            device.seed(draw)  # anew each step: a loss may draw numbers too
            with device.autocast():
                logits = logits_of(inputs)
            loss = experiment.loss.function(logits.float(), targets, **extras.of(dataset.train, inputs, batch))
            loss.backward()
            losses.append(loss.detach())
            if done == steps:
                # Once an epoch, of its last step: a norm at every step costs a small model more than it tells.
                gradient_norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
            optimizer.step()
            if done < steps and checkpoints is not None and checkpoints.due():
                so_far = torch.stack(losses)
                if not so_far.isfinite().all():
                    raise astray(so_far.tolist(), epoch)
                state.losses, state.augmentation = so_far, augmentation.get_state()
                state.elapsed = time.perf_counter() - started
                checkpoints.save(bring_up_to_date())

        experiment.loss.end_epoch()
        val_logits, val_targets, val_loss = predict(experiment, dataset.val, seed, extras)
        by_step = torch.stack(losses).tolist()
        row = {
            "epoch": epoch + 1,
            "learning_rate": optimizer.param_groups[0]["lr"],
            "train_loss": sum(map(operator.mul, by_step, map(len, batches))) / len(dataset.train),
            "val_loss": val_loss.item(),
            "val_accuracy": (val_logits.argmax(1) == val_targets).double().mean().item(),
            "gradient_norm": gradient_norm.item(),
            "seconds": time.perf_counter() - started,
        }
        if not math.isfinite(row["train_loss"]):
            raise astray(by_step, epoch)
        if keep == "last" or row["val_accuracy"] >= state.best_accuracy:
            state.best_accuracy = row["val_accuracy"]
            state.best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        state.history.append(row)
        state.epoch, state.losses, state.augmentation, state.elapsed = epoch + 1, None, None, 0.0
        state.order = order_fingerprint(state.order, batch_size, order)
        state.seconds += row["seconds"]
        on_epoch(bring_up_to_date())
        if checkpoints is not None and checkpoints.due():
            checkpoints.save(state)

    return finish(experiment, state, seed, initial)


def go_on(experiment: Experiment, state: State) -> None:
    """Give an experiment what a checkpoint kept of it.

    Raises:
        CheckpointError: if it is of another one.
    """
    try:
        experiment.model.load_state_dict(state.model)
        experiment.optimizer.load_state_dict(state.optimizer)
        experiment.loss.load_state(state.loss)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"its checkpoint.pt is damaged, or of another run ({one_line(str(error))}); --force trains it again"
        ) from error


def finish(experiment: Experiment, state: State, seed: int, initial: str) -> Trained:
    """Look at validation and test with the weights that are kept.

    Args:
        experiment: as `train` takes it.
        state: at the end of training.
        seed: of the sample where the targets are masks.
        initial: the fingerprint of the initial weights.

    Raises:
        DivergedError: if what the model says is not finite.
    """
    experiment.model.load_state_dict(state.best)
    val_logits, val_targets, _ = predict(experiment, experiment.dataset.val, seed)
    test_logits, test_targets, _ = predict(experiment, experiment.dataset.test, seed)
    if not (val_logits.isfinite().all() and test_logits.isfinite().all()):
        raise DivergedError(
            f"after epoch {state.epoch}, at learning rate {state.history[-1]['learning_rate']:g}, the model's outputs "
            "are not finite; a lower learning rate or a warm-up may help"
        )
    return Trained(
        weights={name: tensor.cpu() for name, tensor in state.best.items()},
        history=state.history,
        val_logits=val_logits.cpu(),
        test_logits=test_logits.cpu(),
        val_targets=val_targets.cpu(),
        test_targets=test_targets.cpu(),
        fingerprints={**experiment.dataset.fingerprints, "initial_weights": initial, "batch_order": state.order},
        seconds=state.seconds,
    )


def diverged(losses: Sequence[float], rates: Sequence[float], epoch: int, before: float) -> str:
    """Say at which step of an epoch the loss went astray, and what it was until then."""
    first = next(i for i, value in enumerate(losses) if not math.isfinite(value))
    last = losses[first - 1] if first else before
    history = f"it was {last:.4g} a step before" if first else f"its mean was {last:.4g} in the epoch before"
    return (
        f"the loss became {losses[first]} at step {first + 1} of {len(rates)} in epoch {epoch}, at learning rate "
        f"{rates[first]:g}{'' if math.isnan(last) else f'; {history}'}; a lower learning rate or a warm-up may help"
    )


class Extras:
    """What a loss declares beside logits and targets, and nothing else."""

    def __init__(self, experiment: Experiment, teacher: nn.Module | None) -> None:
        """Keep what the extras are computed from."""
        self.wanted = experiment.loss.extras
        self.epoch = 0  # from 1; the loop counts it up
        self.device = experiment.device
        self.teacher = teacher.eval() if teacher is not None else None
        self.teacher_logits: dict[int, Tensor] = {}  # by split; what is neither augmented nor mixed is computed once
        # Images with masks are not kept either: a split's logits of every pixel may not fit.
        dataset = experiment.dataset
        self.masks = dataset.train.masks
        self.changing = dataset.train if dataset.shift > 0 or dataset.flip or dataset.mixes else None

    def of(self, examples: Examples, inputs: Tensor | Streamed, batch: Tensor | slice) -> dict[str, Any]:
        """Return the extras of one batch.

        Args:
            examples: the split that the batch is from.
            inputs: the batch as the model sees it, after augmentation and mixing: the teacher sees the same. Not read
                where the teacher's answers are kept, which is where neither is done.
            batch: which examples, int64 [B] or all of them.
        """
        extras: dict[str, Any] = {}
        if "epoch" in self.wanted:
            extras["epoch"] = self.epoch
        if "sample_weights" in self.wanted and examples.sample_weights is not None:
            extras["sample_weights"] = examples.sample_weights[batch]
        if "teacher_logits" in self.wanted and self.teacher is not None:
            if self.masks or examples is self.changing:
                extras["teacher_logits"] = forward(self.teacher, inputs, self.device)
            else:
                if id(examples) not in self.teacher_logits:
                    self.teacher_logits[id(examples)] = forward(self.teacher, examples.inputs, self.device)
                extras["teacher_logits"] = self.teacher_logits[id(examples)][batch]
        return extras


def predict(
    experiment: Experiment, examples: Examples, seed: int, extras: Extras | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Look at a split without gradients and with dropout off.

    Args:
        experiment: with the model.
        examples: the split.
        seed: of the sample where the targets are masks.
        extras: what the loss declares; None where the loss is not wanted.

    Returns:
        Logits, float32 [N, K], and targets, int64 [N], or those of a sample of the pixels; the mean loss, nan where
        it is not wanted.
    """
    experiment.model.eval()

    def look(inputs: Tensor | Streamed) -> Tensor:
        return forward(experiment.model, inputs, experiment.device)

    def loss(logits: Tensor, batch: slice) -> Tensor:
        assert extras is not None
        inputs = examples.inputs[batch] if examples.masks else examples.inputs
        more = extras.of(examples, inputs, batch)
        return experiment.loss.function(logits, examples.targets[batch], **more)

    if examples.masks:
        kept = sample_pixels(examples.labelled, stream(seed, "pixels"))
        return predict_pixels(look, examples, kept, loss if extras else None)
    logits = look(examples.inputs)
    return logits, examples.targets, loss(logits, slice(None)) if extras else torch.tensor(math.nan)


@torch.no_grad()
def forward(model: nn.Module, inputs: Tensor | Streamed, device: Device) -> Tensor:
    """Return a model's logits, float32, for inputs of any number, a batch at a time and without gradients."""
    with device.autocast():
        logits, first = torch.empty(0), 0
        for part in inputs.split(EVALUATION_BATCH * together()):
            some = logits_of_shares(model, part)
            # Into one tensor: small ones kept between large ones that come and go leave holes, more with each batch.
            logits = some.new_empty(len(inputs), *some.shape[1:]) if first == 0 else logits
            logits[first : first + len(some)] = some
            first += len(some)
        return logits


def step_flops(experiment: Experiment, batch_size: int) -> int:
    """Count the floating-point operations of the linear layers and convolutions in one forward pass over a batch."""
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(layer.weight, Tensor)
        # Each number of the output, or of the input where that is what is spread, meets the weights of its channel.
        positions = (inputs[0] if isinstance(layer, _ConvTransposeNd) else output).numel() // layer.weight.shape[0]
        counts.append(2 * layer.weight.numel() * positions)

    # PyTorch's FlopCounterMode imports its compiler, which takes longer than a small run.
    layers = [module for module in experiment.model.modules() if isinstance(module, nn.Linear | _ConvNd)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        forward(experiment.model.eval(), experiment.dataset.train.inputs[:1], experiment.device)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts) * batch_size


def generator(seed: int, name: str, epoch: int) -> torch.Generator:
    """Return the generator of one stream and epoch. On the CPU, so that every device draws the same numbers."""
    return torch.Generator().manual_seed(stream(seed, name, epoch))


def order_fingerprint(before: str, batch_size: int, order: Tensor) -> str:
    """Return a hash of the batches seen so far.

    Args:
        before: the hash at the end of the epoch before; empty for the first.
        batch_size: examples per step.
        order: of this epoch's examples, int64 [N], on the CPU.
    """
    return hashlib.sha256(f"{before}/{batch_size}/".encode() + order.numpy().tobytes()).hexdigest()


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """Return a hash of tensors by name, equal where they are equal bit for bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
