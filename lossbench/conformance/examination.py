"""All properties, in the order in which they are printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lossbench.conformance import contract, finite, invariance
from lossbench.conformance.audit import scale_audit
from lossbench.conformance.result import Mark, Outcome, Result, does_not_apply, fails
from lossbench.conformance.subject import Subject

Property = Callable[[Subject], Outcome]
NOTHING = "there is no finite scalar to look at"
_OF_TORCH = {  # how torch's message starts: what it means of a loss
    "a leaf Variable that requires grad is being used in an in-place operation": "it writes over its logits, which are "
    "the model's: say `logits = logits - …`, not `logits -= …`",
    "element 0 of tensors does not require grad": "its value has no gradient: it is detached from the logits, or made "
    "of numbers that are no tensors",
}

PROPERTIES: Sequence[Property] = (
    finite.finite_scalar,
    finite.repeats,
    finite.single_precision,
    finite.extreme_logits,
    finite.nan_shows,
    finite.one_class_present,
    finite.one_example,
    finite.many_classes,
    finite.gradient_of_finite_differences,
    finite.autocast,
    invariance.order_of_examples,
    invariance.constant_added,
    invariance.mean_scale,
    invariance.mean_of_examples,
    invariance.ignored_targets,
    invariance.all_ignored,
    invariance.sample_weights,
    invariance.pixels,
    invariance.soft_targets,
    invariance.targets_that_do_not_sum_to_one,
    invariance.identity,
    contract.stacked,
    contract.devices,
    contract.shapes_and_dtypes,
    contract.targets_out_of_range,
    scale_audit,
)


def check(loss: Callable[..., Any], /, **hyperparameters: Any) -> list[Result]:
    """Examine a loss.

    Args:
        loss: a function `loss(logits, targets, *, …)`, or a class of `nn.Module` whose `forward` is one. Class
            counts, `num_classes`, `teacher_logits` and `sample_weights` are generated where they are declared.
        hyperparameters: those that are not at their defaults.

    Returns:
        A result per property, in a fixed order; none of them is `Mark.FAILS` for a loss that keeps the rules.

    Raises:
        TypeError: for a hyperparameter that the loss does not have.
    """
    return examine(Subject.of_callable(loss, hyperparameters))


def examine(subject: Subject) -> list[Result]:
    """Put a loss through every property; where it gives no number at all, the rest is not asked."""
    results: list[Result] = []
    for prop in PROPERTIES:
        is_asked = not results or results[0].mark is not Mark.FAILS
        outcome = _outcome(prop, subject) if is_asked else does_not_apply(NOTHING)
        claim = (prop.__doc__ or prop.__name__).splitlines()[0].removesuffix(".")
        results.append(Result(prop.__name__, claim, outcome.mark, outcome.detail))
    return results


def _outcome(prop: Property, subject: Subject) -> Outcome:
    try:
        return prop(subject)
    except Exception as error:  # a loss may raise anything: that it does is the finding
        said = (str(error).strip().splitlines() or [""])[0]
        known = [meaning for start, meaning in _OF_TORCH.items() if said.startswith(start)]
        return fails(*known or [f"{type(error).__name__}: {said}"])
