"""Shapes and dtypes of what a loss is given; the values were checked where the config became objects."""

from __future__ import annotations

import torch
from torch import Tensor

from lossbench.domains import SUM_TOLERANCE
from lossbench.errors import ConfigError, DataError, ShapeError


def check_shapes(logits: Tensor, targets: Tensor, *, soft: bool = True, one_label: bool = True) -> None:
    """Raise unless the targets fit the logits.

    Args:
        logits: float [N, K] or [N, K, H, W].
        targets: class indices, int64 [N] or [N, H, W], or probabilities shaped like the logits.
        soft: whether the loss is defined for probabilities too.
        one_label: whether these sum to 1 over the classes; else each is the probability of a label of its own.

    Raises:
        ShapeError: if a shape or a dtype is another.
        DataError: if the targets are no probabilities. They are looked at on the CPU alone, since on a GPU every step
            would wait for the answer, and not under `torch.func.vmap`: there the formula takes them as they are.
    """
    if logits.ndim < 2 or not logits.is_floating_point():
        raise ShapeError(f"logits must be float [N, K] or [N, K, H, W]; got {_describe(logits)}")
    positions = (logits.shape[0], *logits.shape[2:])
    is_indices = targets.dtype == torch.int64 and targets.shape == positions
    is_probabilities = targets.is_floating_point() and targets.shape == logits.shape
    if is_probabilities and not soft:
        raise ShapeError(
            f"this loss is defined for class indices alone, int64 {list(positions)}; "
            f"got probabilities {_describe(targets)}"
        )
    if not (is_indices or is_probabilities):
        raise ShapeError(
            f"targets must be int64 class indices {list(positions)} or float probabilities {list(logits.shape)}; "
            f"got {_describe(targets)}"
        )
    if is_probabilities and targets.device.type == "cpu" and targets.numel():
        _check_probabilities(targets, one_label)


def _check_probabilities(targets: Tensor, one_label: bool) -> None:
    sums = targets.detach().sum(1, dtype=torch.promote_types(targets.dtype, torch.float32))
    off = (sums - 1).abs().flatten()
    summary = torch.stack(
        [targets.min().float(), targets.max().float(), sums.flatten().gather(0, off.argmax(0, True))[0].float()]
    )
    try:
        low, high, worst = summary.tolist()
    except RuntimeError:  # the targets of many models at once, of which torch.func.vmap lets nothing be asked
        return
    tolerance = max(SUM_TOLERANCE, torch.finfo(targets.dtype).eps)  # 0.008 for bf16
    if not (low >= 0 and high <= 1 + tolerance):  # nan too
        found = "nan" if low != low else f"{low if low < 0 else high:g}"
        raise DataError(f"targets given as probabilities must lie in [0, 1]; got {found}")
    if one_label and abs(worst - 1) > tolerance:
        raise DataError(f"targets given as probabilities must sum to 1 over the classes; got a sum of {worst:g}")


def check_classes(logits: Tensor, least: int) -> None:
    """Raise unless there are enough classes for the loss to be defined.

    Args:
        logits: float [N, K] or [N, K, H, W].
        least: the smallest K.

    Raises:
        ShapeError: if K is less.
    """
    if logits.shape[1] < least:
        raise ShapeError(f"this loss is defined for {least} classes or more; got logits {list(logits.shape)}")


def per_class(name: str, values: Tensor | list[float] | str, logits: Tensor) -> Tensor:
    """Lay one number per class along the class axis of the logits.

    Args:
        name: the hyperparameter, for the message.
        values: K numbers.
        logits: float [N, K] or [N, K, H, W]; gives device, dtype and K.

    Returns:
        [K] or [K, 1, 1]: broadcasts against the logits.

    Raises:
        ShapeError: if there are not K numbers.
        ConfigError: if `values` is a name that was not resolved from the training split.
    """
    if isinstance(values, str):
        raise ConfigError(
            f"{name}={values!r} must be resolved from the training split's class counts before the loss is called: "
            "see class_weights and class_frequencies in lossbench.losses.weights"
        )
    values = torch.as_tensor(values, dtype=logits.dtype, device=logits.device)
    num_classes = logits.shape[1]
    if values.shape != (num_classes,):
        entries = values.numel() if values.ndim == 1 else f"shape {list(values.shape)}"
        raise ShapeError(f"{name} must have one entry per class ({num_classes}); got {entries}")
    return values.reshape(num_classes, *(1 for _ in logits.shape[2:]))


def check_teacher(logits: Tensor, teacher_logits: Tensor) -> None:
    """Raise unless the teacher gives a logit for each of the student's.

    Args:
        logits: the student's.
        teacher_logits: the teacher's.

    Raises:
        ShapeError: if the shapes differ.
    """
    if teacher_logits.shape != logits.shape:
        raise ShapeError(
            f"teacher_logits must be shaped like the logits {list(logits.shape)}; got {list(teacher_logits.shape)}"
        )


def per_position(sample_weights: Tensor, losses: Tensor) -> Tensor:
    """Lay the weights of examples, or of pixels, along the losses.

    Args:
        sample_weights: [N] or shaped like the losses.
        losses: [N] or [N, H, W]; gives device and dtype.

    Returns:
        [N], [N, 1, 1] or [N, H, W]: broadcasts against the losses.

    Raises:
        ShapeError: if the shape is another.
    """
    if sample_weights.shape == losses.shape:
        return sample_weights.to(losses)
    if sample_weights.shape != losses.shape[:1]:
        shapes = " or ".join(dict.fromkeys((str(list(losses.shape[:1])), str(list(losses.shape)))))
        raise ShapeError(f"sample_weights must have shape {shapes}; got {list(sample_weights.shape)}")
    return sample_weights.to(losses).reshape(-1, *(1 for _ in losses.shape[1:]))


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
