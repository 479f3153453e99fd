"""The loss under examination: bound to any number of classes, with what it declares, accepts and claims."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from lossbench.build import Loss, build_loss
from lossbench.checking import EXTRAS
from lossbench.config import Config
from lossbench.conformance.batch import Batch, generate, value
from lossbench.data.dataset import Dataset, Examples
from lossbench.domains import Interval
from lossbench.losses.claims import Claims
from lossbench.signature import parameters

NUM_CLASSES = 4
FORMS: tuple[tuple[int, ...], ...] = ((), (2, 2))  # [N, K] and [N, K, 2, 2]


class Subject:
    """A loss with its hyperparameters, to be called with batches that are generated for it.

    Attributes:
        function: the loss itself, or the class of a loss with state.
        hyperparameters: as they reach the function, names resolved and losses within it bound, or its defaults.
        claims: what the loss says of itself, as far as the losses within it say so too.
        extras: what it declares beside logits and targets.
        fixed_classes: K, where a hyperparameter has a number for each class; None where any K will do.
        num_classes: K of the batches, unless a property asks for another.
    """

    def __init__(self, bind: Callable[[Dataset], Loss], hyperparameters: Mapping[str, Any]) -> None:
        """Bind the loss once to learn what it is.

        Args:
            bind: gives the loss for a training split, from whose class counts it may take something.
            hyperparameters: as the user gave them.

        Raises:
            ConfigError: if they do not fit the loss.
        """
        numbers = [hyperparameters.get(name) for name in ("class_weights", "prior")]
        self.fixed_classes = next((len(entry) for entry in numbers if isinstance(entry, (list, Tensor))), None)
        self.num_classes = self.fixed_classes or NUM_CLASSES
        self._bind = bind
        bound = bind(split(self.num_classes))
        function = getattr(bound.function, "func", bound.function)
        self.function: Callable[..., Any] = type(function) if isinstance(function, nn.Module) else function
        called: Callable[..., Any] = getattr(self.function, "forward", self.function)
        self.extras = bound.extras or tuple(name for name in EXTRAS if name in parameters(called))
        settable = parameters(self.function).items()
        defaults = {name: known.default for name, known in settable if known.default is not known.empty}
        self.hyperparameters: Config = {**defaults, **hyperparameters, **getattr(bound.function, "keywords", {})}
        self.claims = _claims(self.function, self.hyperparameters)

    @classmethod
    def of_node(cls, node: Config) -> Subject:
        """Take a loss from its config, as a training would build it."""
        return cls(lambda dataset: build_loss(node, dataset), node)

    @classmethod
    def of_callable(cls, loss: Callable[..., Any], hyperparameters: Mapping[str, Any]) -> Subject:
        """Take a function, or a class of losses with state.

        Raises:
            TypeError: if it has no such parameters.
        """

        def bind(dataset: Dataset) -> Loss:
            counts = {"class_counts": dataset.class_counts} if "class_counts" in parameters(loss) else {}
            return Loss(functools.partial(loss, **counts, **hyperparameters), (), {"name": "softmax"})

        unknown = [name for name in hyperparameters if name not in parameters(loss)]
        if unknown:
            raise TypeError(f"{loss} has no parameter {unknown[0]!r}; it has {', '.join(parameters(loss))}")
        return cls(bind, hyperparameters)

    @property
    def has_state(self) -> bool:
        """Whether it is an `nn.Module`."""
        return isinstance(self.function, type)

    def loss(
        self, num_classes: int | None = None, dataset: Dataset | None = None, device: str = "cpu"
    ) -> Callable[..., Tensor]:
        """Bind the loss anew, with fresh state where it has some.

        Args:
            num_classes: K; None is the subject's own.
            dataset: whose training split it is bound to; None is a generated one with K classes.
            device: where its tensors are to be.
        """
        dataset = dataset or split(num_classes or self.num_classes)
        loss = _called(self._bind(dataset.to(device)).function, dataset)
        return loss.to(device) if isinstance(loss, nn.Module) else loss

    def cross_entropy(self) -> Callable[..., Tensor]:
        """Bind the loss to the hyperparameters at which it claims to be cross-entropy, the others at their defaults."""
        return Subject.of_callable(self.function, self.claims.cross_entropy_at).loss(self.num_classes)

    def batch(
        self,
        pixels: tuple[int, ...] | None = None,
        num_classes: int | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Batch:
        """Generate a batch for it.

        Args:
            pixels: () or (H, W); None is the first form that the loss takes.
            num_classes: K; None is the subject's own.
            dtype: of the logits and extras.
        """
        pixels = self.forms[0] if pixels is None else pixels
        return self.fitted(generate(num_classes or self.num_classes, pixels, self.extras, dtype))

    def fitted(self, batch: Batch) -> Batch:
        """Cut the teacher's logits to the first half of the classes, where the loss wants a teacher of old classes."""
        if "teacher_logits" not in batch.extras or not self._learns_classes_anew:
            return batch
        return _of_old_classes(batch)

    def batches(self) -> Iterator[Batch]:
        """Generate a batch of each form that the loss takes."""
        return (self.batch(pixels) for pixels in self.forms)

    @functools.cached_property
    def forms(self) -> tuple[tuple[int, ...], ...]:
        """Those of [N, K] and [N, K, H, W] that the loss takes; the first where it takes none, for its error."""
        taken = tuple(pixels for pixels in FORMS if self._takes(self.batch(pixels)))
        return taken or FORMS[:1]

    @functools.cached_property
    def _learns_classes_anew(self) -> bool:
        batches = [generate(self.num_classes, pixels, self.extras, torch.float64) for pixels in FORMS]
        return not any(map(self._takes, batches)) and any(self._takes(_of_old_classes(batch)) for batch in batches)

    def _takes(self, batch: Batch) -> bool:
        try:
            value(self.loss(), batch)
        except Exception:  # which one it was is for the properties to say
            return False
        return True

    def real_hyperparameters(self) -> dict[str, tuple[float, ...]]:
        """Real-valued hyperparameters by name, each with its value and up to two near it within its domain."""
        hints = get_type_hints(self.function, include_extras=True)
        near = {}
        for name, number in self.hyperparameters.items():
            if type(number) in (int, float) and _has_float(hints.get(name)):
                interval = _interval(hints[name])
                steps = (number + step for step in (0.0, 0.03, 0.1, -0.03, -0.1))
                near[name] = tuple(step for step in steps if interval is None or step in interval)[:3]
        return near


def _of_old_classes(batch: Batch) -> Batch:
    few = batch.logits.shape[1] // 2
    return replace(batch, extras={**batch.extras, "teacher_logits": batch.extras["teacher_logits"][:, :few]})


def split(num_classes: int) -> Dataset:
    """Make a training split whose classes have 1 to 7 examples, for what a loss takes from class counts."""
    return dataset_of(torch.arange(num_classes).repeat_interleave(1 + torch.arange(num_classes) % 7), num_classes)


def dataset_of(targets: Tensor, num_classes: int) -> Dataset:
    """Make a data set of labels, int64 [N], whose inputs do not matter."""
    examples = Examples(torch.zeros(len(targets), 1), targets)
    names = tuple(str(k) for k in range(num_classes))
    return Dataset(examples, examples, examples, names, torch.zeros(1), torch.ones(1))


def _called(bound: Callable[..., Any], dataset: Dataset) -> Callable[..., Tensor]:
    """Make an instance where what is bound is a class of losses with state."""
    kind = getattr(bound, "func", None)
    if not isinstance(kind, type):
        return bound
    loss: Callable[..., Tensor] = bound(
        **{"num_classes": dataset.num_classes} if "num_classes" in parameters(kind) else {}
    )
    return loss


def _claims(function: Callable[..., Any], hyperparameters: Mapping[str, Any]) -> Claims:
    """What a loss claims, less what a loss within it, such as the hard part of distillation, does not."""
    claims: Claims = getattr(function, "claims", Claims())
    for inner in filter(callable, hyperparameters.values()):
        own = _claims(getattr(inner, "func", inner), getattr(inner, "keywords", {}))
        claims = replace(
            claims,
            shift_invariant=claims.shift_invariant and own.shift_invariant,
            soft_targets=claims.soft_targets and own.soft_targets,
            mean_of_examples=claims.mean_of_examples and own.mean_of_examples,
        )
    return claims


def _has_float(hint: Any) -> bool:
    return hint is float or any(_has_float(argument) for argument in _alternatives(hint))


def _interval(hint: Any) -> Interval | None:
    if get_origin(hint) is Annotated:
        return next((item for item in get_args(hint)[1:] if isinstance(item, Interval)), None)
    return next((found for argument in _alternatives(hint) if (found := _interval(argument)) is not None), None)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """What a union or an annotated type is made of; a list of numbers is not a number."""
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        return arguments[:1]
    return () if get_origin(hint) in (list, dict, tuple) else arguments
