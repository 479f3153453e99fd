"""From examples as they came to the data set that training sees."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from lossbench.data.dataset import Dataset, Examples, Source
from lossbench.data.mixing import check_mixing
from lossbench.data.splits import choose, held_out_counts, kept_counts, long_tailed_counts, noisy_labels
from lossbench.data.streaming import Streamed
from lossbench.domains import AT_LEAST_ONE, NON_NEGATIVE, SHARE, UNIT, Interval
from lossbench.errors import ConfigError, DataError
from lossbench.randomness import stream

PART = Interval(0.0, 1.0, open_low=True, open_high=True)  # a share that takes something and leaves something
CHUNK = 256  # images at a time that are looked at before training
TEST_SPLIT_SEED = 0  # fixed, so that runs of different seeds are tested on the same examples


def prepare(
    source: Source,
    *,
    seed: int,
    val_fraction: Annotated[float, PART] = 0.1,
    test_fraction: Annotated[float, PART] = 0.2,
    train_fraction: Annotated[float, SHARE] = 1.0,
    imbalance_factor: Annotated[float, AT_LEAST_ONE] = 1.0,
    label_noise: Annotated[float, UNIT] = 0.0,
    old_classes: Annotated[int, NON_NEGATIVE] = 0,
    learn: Literal["all", "old", "new"] = "all",
    normalization: Literal["standard", "unit", "none"] = "standard",
    shift: Annotated[int, NON_NEGATIVE] = 0,
    flip: bool = False,
    mixup: Annotated[float, NON_NEGATIVE] = 0.0,
    cutmix: Annotated[float, NON_NEGATIVE] = 0.0,
    sample_weights: str | None = None,
) -> Dataset:
    """Split a source, then make its training part smaller, long-tailed or noisy where that is asked for.

    The order: the test split, the validation split, `train_fraction`, `imbalance_factor`, `label_noise`. Every cut is
    stratified and every draw has its own stream of the seed. The last three touch training examples alone:
    validation and test stay clean and keep the source's own class shares. Images with masks are cut at random, since
    an image has no one class; the last two do not apply to them, nor does mixing.

    Args:
        source: the examples.
        seed: the run's seed. The test split does not depend on it.
        val_fraction: share of the examples left after the test split; not used if the source has a validation split.
        test_fraction: share of the examples; not used if the source has a test split.
        train_fraction: share of the training examples to keep, class by class, at least one of each.
        imbalance_factor: the largest class over the smallest, by `splits.long_tailed_counts`.
        label_noise: probability that a training label is replaced by another of the classes learned, drawn uniformly.
        old_classes: how many classes, the first ones, come before the others; 0 where all come at once.
        learn: `old` makes a data set of the old classes only, K of them; `new` leaves the training and
            validation examples of the others, and the test examples of all. Chosen after every cut, so that the
            splits are the same for all three.
        normalization: `standard` takes mean 0 and standard deviation 1 over the training split, per channel of
            images and per feature of tables (a constant feature is only centred); `unit` takes uint8 to [0, 1] and
            leaves floats alone; `none` leaves both alone.
        shift: augmentation by ± this many pixels along each axis; images only.
        flip: augmentation by mirroring left to right; images only.
        mixup: α of the Beta(α, α) by which training batches are mixed; 0 is off. See `lossbench.data.mixing.mix`.
        cutmix: the same for CutMix; images only.
        sample_weights: path of a `.npy` file with one weight per training example of the source, before any split.

    Returns:
        The data set, on the CPU. A class may be left without training examples: `class_counts` shows it.

    Raises:
        DataError: if a split would be empty, all training examples are of one class, or the weights cannot be read or
            do not fit.
        ConfigError: if `shift`, `flip` or `cutmix` does not fit the inputs, or `imbalance_factor`, `label_noise`,
            `mixup` or `cutmix` the targets, or examples are to be both mixed and weighed.
    """
    _check_augmentation(source.train.inputs, shift, flip)
    if source.train.masks:
        _check_masks(
            imbalance_factor=imbalance_factor,
            label_noise=label_noise,
            mixup=mixup,
            cutmix=cutmix,
            old_classes=old_classes,
        )
    _check_old_classes(old_classes, learn, len(source.class_names))
    if len(source.train) == 0:
        raise DataError("the source has no training examples")
    pool = source.train
    if sample_weights is not None:
        pool = replace(pool, sample_weights=read_sample_weights(sample_weights, len(pool)))
    check_mixing(pool, mixup, cutmix)
    targets, num_classes = pool.targets, len(source.class_names)
    if pool.masks:
        targets, num_classes = torch.zeros(len(pool), dtype=torch.int64), 1  # one stratum

    def counts(indices: Tensor) -> Tensor:
        return torch.bincount(targets[indices], minlength=num_classes)

    def cut(indices: Tensor, fraction: float, stream_seed: int, name: str) -> tuple[Tensor, Tensor]:
        out = choose(targets[indices], held_out_counts(counts(indices), fraction), stream_seed)
        if not out.any():
            raise DataError(
                f"{len(indices)} examples are too few to cut a {name} split from: it takes a class with at least two"
            )
        return indices[~out], indices[out]

    train = torch.arange(len(pool))
    if source.test is None:
        train, held_out = cut(train, test_fraction, stream(TEST_SPLIT_SEED, "test split"), "test")
        test, test_origin = _clean(pool, held_out), held_out
    else:
        test, test_origin = source.test, torch.arange(len(source.test))
    if source.val is None:
        train, held_out = cut(train, val_fraction, stream(seed, "split"), "validation")
        val, val_origin = _clean(pool, held_out), held_out
    else:
        val, val_origin = source.val, torch.arange(len(source.val))
    for name, examples in (("validation", val), ("test", test)):
        if len(examples) == 0:
            raise DataError(f"the source's own {name} split has no examples")

    # Not merged into one draw: each choice must stay what it is while the other is changed.
    kept = kept_counts(counts(train), train_fraction)
    train = train[choose(targets[train], kept, stream(seed, "train_fraction"))]
    if not pool.masks:
        tail = long_tailed_counts(counts(train), imbalance_factor)
        train = train[choose(targets[train], tail, stream(seed, "imbalance"))]
        _check_classes(counts(train), source.class_names)
    class_names = source.class_names
    if learn != "all":
        classes = (0, old_classes) if learn == "old" else (old_classes, num_classes)
        train = train[_within(targets[train], classes)]
        val, val_origin = _of_classes(val, val_origin, classes)
        if learn == "old":
            test, test_origin = _of_classes(test, test_origin, classes)
            class_names, num_classes = class_names[:old_classes], old_classes
            _check_classes(counts(train), class_names)
        for name, count in (("training", len(train)), ("validation", len(val)), ("test", len(test))):
            if count == 0:
                raise DataError(f"dataset.learn={learn} leaves no {name} example: none is of the {learn} classes")
    examples = pool.select(train)
    if label_noise:
        first = old_classes if learn == "new" else 0  # a wrong label is another of the classes that are learned
        if num_classes - first < 2:
            raise ConfigError(f"dataset.label_noise={label_noise} needs two classes to learn; there is one new one")
        labels = noisy_labels(examples.targets - first, num_classes - first, label_noise, stream(seed, "label_noise"))
        examples = replace(examples, targets=labels + first)

    mean, scale = normalisation(examples.inputs, normalization)
    seen: list[Tensor | Streamed] = [mean, scale, torch.tensor([shift, flip])]
    for split in (examples, val, test):
        seen += [split.inputs, split.targets]
    if examples.sample_weights is not None:
        seen.append(examples.sample_weights)
    if mixup or cutmix:
        seen.append(torch.tensor([mixup, cutmix], dtype=torch.float64))
    return Dataset(
        train=examples,
        val=val,
        test=test,
        class_names=class_names,
        mean=mean,
        scale=scale,
        shift=shift,
        flip=flip,
        mixup=mixup,
        cutmix=cutmix,
        old_classes=old_classes,
        learn=learn,
        fingerprints={"data": fingerprint(seen), "split": fingerprint([train, val_origin, test_origin])},
    )


def normalisation(inputs: Tensor | Streamed, how: Literal["standard", "unit", "none"]) -> tuple[Tensor, Tensor]:
    """Return what to subtract from inputs and what to divide them by, in the inputs' own units.

    Args:
        inputs: training inputs, uint8 or float32, [N, C, H, W] or [N, D].
        how: as in `prepare`.

    Returns:
        Mean and scale, float32, [C, 1, 1] for images and [D] for tables.
    """
    features = inputs.shape[1]
    shape = (features,) + (1,) * (inputs.ndim - 2)
    if how != "standard":
        full = 255.0 if how == "unit" and inputs.dtype == torch.uint8 else 1.0
        return torch.zeros(shape), torch.full(shape, full)
    if isinstance(inputs, Tensor) and inputs.dtype == torch.float32:
        moments = [_moments(inputs[:, feature]) for feature in range(features)]
    else:
        moments = _integer_moments(inputs)
    mean, deviation = torch.tensor(moments, dtype=torch.float32).T
    return mean.reshape(shape), torch.where(deviation > 0, deviation, 1.0).reshape(shape)


def _integer_moments(inputs: Tensor | Streamed) -> list[tuple[float, float]]:
    # From the histograms, in Python's integers: exact, in parts or whole, and without a float copy of all inputs.
    histograms = torch.zeros(inputs.shape[1], 256, dtype=torch.int64)
    for part in inputs.split(CHUNK):
        for histogram, values in zip(histograms, part.unbind(1), strict=True):
            histogram += torch.bincount(values.flatten(), minlength=256)
    moments = []
    for counts in histograms.tolist():
        n = sum(counts)
        total = sum(value * count for value, count in enumerate(counts))
        squares = sum(value * value * count for value, count in enumerate(counts))
        moments.append((total / n, math.sqrt(n * squares - total * total) / n))
    return moments


def _moments(values: Tensor) -> tuple[float, float]:
    # NumPy sums in one thread: the thread count cannot change a bit.
    array = values.numpy().astype(np.float64)
    constant = bool((values == values.flatten()[0]).all())  # where rounding would leave a tiny deviation
    return float(array.mean()), 0.0 if constant else float(array.std())


def fingerprint(tensors: Iterable[Tensor | Streamed]) -> str:
    """Return the SHA-256 of tensors: their dtypes, shapes and values, in order.

    Args:
        tensors: on the CPU; of images on the disk, as if they were in memory.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
        for part in tensor.split(CHUNK) if isinstance(tensor, Streamed) else [tensor]:
            digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()


def read_sample_weights(path: str, count: int) -> Tensor:
    """Read one weight per example from a `.npy` file.

    Args:
        path: of the file.
        count: N, the number of examples.

    Returns:
        Weights, float32 [N].

    Raises:
        DataError: if the file is missing or no `.npy` of numbers, or if there are not exactly N weights, finite,
            non-negative and not all zero.
    """
    key = f"dataset.sample_weights={path}"
    try:
        weights = np.load(Path(path).expanduser(), allow_pickle=False)
        if not isinstance(weights, np.ndarray):
            raise ValueError("an .npz archive")
        weights = weights.astype(np.float32)
    except FileNotFoundError as error:
        raise DataError(f"{key}: no such file") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{key} must be a .npy file of numbers; could not read it ({error})") from error
    if weights.shape != (count,):
        raise DataError(
            f"{key} must hold one weight for each of the source's {count} training examples, shape [{count}]; "
            f"got {list(weights.shape)}"
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise DataError(f"{key} must hold finite, non-negative weights, not all zero")
    return torch.from_numpy(weights)


def _clean(examples: Examples, indices: Tensor) -> Examples:
    # Weights say what to learn from; validation and test count every example once.
    return replace(examples.select(indices), sample_weights=None)


def _within(targets: Tensor, classes: tuple[int, int]) -> Tensor:
    return (targets >= classes[0]) & (targets < classes[1])


def _of_classes(examples: Examples, origin: Tensor, classes: tuple[int, int]) -> tuple[Examples, Tensor]:
    kept = _within(examples.targets, classes)
    return examples.select(kept), origin[kept]


def _check_classes(counts: Tensor, class_names: tuple[str, ...]) -> None:
    """A class may lack training examples, but of one class alone there is nothing to learn."""
    if (counts > 0).sum() == 1:
        name = class_names[int(counts.argmax())]
        raise DataError(
            f"the training examples should be of at least two classes; all {int(counts.sum())} are of '{name}'"
        )


def _check_old_classes(old_classes: int, learn: str, num_classes: int) -> None:
    if learn != "all" and old_classes == 0:
        raise ConfigError(f"dataset.learn={learn} needs dataset.old_classes, how many classes come first; it is 0")
    # A softmax over the old classes takes two of them.
    if old_classes and not 2 <= old_classes < num_classes:
        raise ConfigError(
            f"dataset.old_classes must be at least 2 and fewer than the {num_classes} classes; got {old_classes}"
        )


def _check_masks(**asked: float) -> None:
    for key, value in asked.items():
        neutral = 1 if key == "imbalance_factor" else 0
        if value != neutral:
            raise ConfigError(
                f"dataset.{key}={value:g} needs one label per example; the labels of this data set are masks: "
                f"set dataset.{key}={neutral}"
            )


def _check_augmentation(inputs: Tensor | Streamed, shift: int, flip: bool) -> None:
    if inputs.ndim != 4 and (shift or flip):
        key = f"dataset.shift={shift}" if shift else "dataset.flip=true"
        raise ConfigError(
            f"{key} needs images, [C, H, W]; the inputs of this data set have the shape {list(inputs.shape[1:])}: "
            "set dataset.shift=0 dataset.flip=false"
        )
    if shift and shift >= min(inputs.shape[2:]):
        height, width = inputs.shape[2:]
        raise ConfigError(f"dataset.shift must be smaller than the images, {height}×{width} pixels; got {shift}")
