"""What training relies on: stacked models, other devices, and errors that say what was wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import grad, vmap

from lossbench.conformance.batch import Batch, disagreement, value, value_and_gradient
from lossbench.conformance.result import Outcome, does_not_apply, fails, holds
from lossbench.conformance.subject import Subject
from lossbench.errors import ShapeError


def stacked(subject: Subject) -> Outcome:
    """Stacked models, each with a value of a real hyperparameter, give what a loop gives (torch.func.vmap)."""
    if subject.has_state:
        return does_not_apply("a loss with state is not stacked")
    for batch in subject.batches():
        for name, numbers in {"": (0.0, 0.0, 0.0), **subject.real_hyperparameters()}.items():
            wrong = _stacked(subject.loss(), batch, name, numbers)
            if wrong:
                return fails(f"{name or 'models'}: {wrong}")
    return holds(", ".join(subject.real_hyperparameters()))


def _stacked(loss: Callable[..., Tensor], batch: Batch, name: str, numbers: tuple[float, ...]) -> str:
    """Say how vmap over as many models as there are numbers differs from a loop; empty where it does not."""

    def of(logits: Tensor, number: float | Tensor) -> Tensor:
        return loss(logits, batch.targets, **batch.extras, **({name: number} if name else {}))

    # Models r = 0, 1, 2 whose logits are of different sizes and signs.
    logits = torch.stack([batch.logits * factor for factor in (1.0, -0.5, 2.0)[: len(numbers)]])
    values = torch.tensor(numbers, dtype=logits.dtype)
    try:
        together = vmap(of)(logits, values)
        gradients = vmap(grad(of))(logits, values)
    except Exception as error:  # whatever vmap cannot do
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    for r, number in enumerate(numbers):
        alone = (of(logits[r], number), grad(of)(logits[r], number))
        wrong = disagreement((together[r], gradients[r]), alone)
        if wrong:
            return f"{wrong}" + (f" at {number:g}" if name else "")
    return ""


def devices(subject: Subject) -> Outcome:
    """CPU and CUDA agree."""
    if not torch.cuda.is_available():
        return does_not_apply("no CUDA device")
    return agreement(subject, "cuda")


def agreement(subject: Subject, device: str) -> Outcome:
    """Compare what a device gives with what the CPU gives, in float32."""
    for batch in subject.batches():
        here = batch.to(torch.float32)
        there = here.each(lambda tensor: tensor.to(device))
        result, gradient = value_and_gradient(subject.loss(device=device), there)
        wrong = disagreement((result.cpu(), gradient.cpu()), value_and_gradient(subject.loss(), here), rtol=1e-4)
        if wrong:
            return fails(f"on {device} {wrong}")
    return holds()


def shapes_and_dtypes(subject: Subject) -> Outcome:
    """Tensors that do not fit together are a ShapeError."""
    unheard = []
    for what, batch in _misfits(subject.batch()):
        try:
            value(subject.loss(), batch)
        except ShapeError:
            continue
        except Exception as error:
            unheard.append(f"{what} {type(error).__name__}")
        else:
            unheard.append(f"{what} no error")
    if unheard:
        return fails(f"{', '.join(unheard)} (lossbench.losses.checks.check_shapes finds them)")
    return holds()


def _misfits(batch: Batch) -> Iterator[tuple[str, Batch]]:
    """Batches with one tensor wrong, each with what is wrong."""
    logits, targets = batch.logits, batch.targets
    yield "a target too few:", replace(batch, targets=targets[1:])
    yield "int32 targets:", replace(batch, targets=targets.int())
    yield "float targets:", replace(batch, targets=targets.double())
    yield "a class too few in soft targets:", replace(batch, targets=logits.softmax(1)[:, 1:])
    yield "logits without a class axis:", replace(batch, logits=logits[:, 0])
    yield "integer logits:", replace(batch, logits=logits.long())
    for name, extra in batch.extras.items():
        yield f"an example too few in {name}:", replace(batch, extras={**batch.extras, name: extra[1:]})


def targets_out_of_range(subject: Subject) -> Outcome:
    """A class index outside 0..K-1 is an error, on the CPU."""
    batch = subject.batch()
    for index in (subject.num_classes, -1):
        if index == subject.hyperparameters.get("ignore_index"):
            continue
        targets = batch.targets.clone()
        targets[0] = index
        try:
            result = value(subject.loss(), replace(batch, targets=targets))
        except Exception:  # torch's own index error will do: on a GPU there can be no better one without waiting
            continue
        return fails(f"target {index} of {subject.num_classes} classes gives {result.item():.4g}")
    return holds()
