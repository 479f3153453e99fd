"""A caller's own data: arrays, tensors, lists, or torch's data sets and loaders. Labels of any kind are classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

from lossbench.data.arrays import PREFIXES, from_arrays
from lossbench.data.dataset import Source
from lossbench.errors import DataError, did_you_mean

READ_AT_ONCE = 256  # examples
READ_TWICE = 8  # examples, to find out whether they are the same each time

Array = NDArray[Any]


def from_memory(data: Any) -> Source:
    """Read data that a caller holds.

    Args:
        data: `(inputs, targets)`, or a map-style `torch.utils.data.Dataset` of such pairs or a `DataLoader` over one,
            which is then all of the data, to be split; or a dictionary of them, `train` and perhaps `val` and `test`.
            Inputs are numbers [N, D], [N, C, H, W] or grey images [N, H, W]; uint8 stays uint8, others become float32.
            Targets are one label per example [N], numbers or words: the classes are the different ones in order; or
            masks [N, H, W], int, of classes 0..K-1 and -100 for no label.

    Returns:
        The examples, with the labels as names of the classes.

    Raises:
        DataError: if they are something else, do not fit together, or are no classes.
    """
    parts = data if isinstance(data, Mapping) else {"train": data}
    for name in parts:
        if name not in PREFIXES:
            raise DataError(f"data has a split {name!r}{did_you_mean(str(name), PREFIXES)}")
    if "train" not in parts:
        raise DataError("data must have the split train; val and test are cut from it where they are not given")
    pairs = {name: _pair(part, f"data[{name!r}]" if parts is data else "data") for name, part in parts.items()}
    content: dict[str, Array] = {}
    if pairs["train"][1].ndim == 1:
        pairs, content["class_names"] = _numbered(pairs)
    for name, (inputs, targets) in pairs.items():
        content |= {f"{PREFIXES[name]}inputs": inputs, f"{PREFIXES[name]}targets": targets}
    return from_arrays(content, "data")


def to_arrays(source: Source) -> dict[str, Array]:
    """Return a source as `lossbench.data.arrays` reads it from a file."""
    content: dict[str, Array] = {"class_names": np.array(source.class_names)}
    for prefix, examples in zip(PREFIXES.values(), (source.train, source.val, source.test), strict=True):
        if examples is not None:
            content |= {f"{prefix}inputs": examples.resident.numpy(), f"{prefix}targets": examples.targets.numpy()}
    return content


def _pair(part: Any, where: str) -> tuple[Array, Array]:
    if isinstance(part, torch.utils.data.Dataset | DataLoader):
        part = _read(part, where)
    if not isinstance(part, tuple | list) or len(part) != 2 or isinstance(part[0], torch.utils.data.Dataset):
        raise DataError(
            f"{where} must be (inputs, targets), a torch Dataset or a DataLoader; got {_kind(part)}. Splits of your "
            'own are {"train": …, "val": …, "test": …}'
        )
    return _inputs(part[0], where), _labels(part[1], where)


def _kind(part: Any) -> str:
    return f"a {type(part).__name__}" + (f" of {len(part)}" if isinstance(part, tuple | list) else "")


def _read(part: Any, where: str) -> tuple[Tensor, Tensor]:
    """Read a torch data set once, in its own order: batches are drawn by the seeds, the same for every loss."""
    dataset, options = part, {}
    if isinstance(part, DataLoader):
        name = _chooses(part)
        if name is not None:
            raise DataError(
                f"{where}: its {name} chooses examples; lossbench draws its own batches: give the data set, or "
                "torch.utils.data.Subset of it"
            )
        dataset = part.dataset
        options = {"collate_fn": part.collate_fn, "num_workers": part.num_workers}
    if not hasattr(dataset, "__len__") or isinstance(dataset, torch.utils.data.IterableDataset):
        raise DataError(f"{where}: {type(dataset).__name__} has no length; lossbench wants one that it can look into")
    if type(dataset) is TensorDataset and type(part) is TensorDataset:
        return dataset.tensors  # type: ignore[return-value]
    first = torch.utils.data.Subset(dataset, range(min(READ_TWICE, len(dataset))))
    once, again = (_batches(first, where, {**options, "num_workers": 0}) for _ in range(2))
    if not all(_equal(one, other) for one, other in zip(once, again, strict=True)):
        raise DataError(
            f"{where}: an example is another one each time it is read, by a random transform perhaps. Leave that out: "
            "losses are compared on the same examples (overrides=['dataset.flip=true', 'dataset.shift=2'] augment)"
        )
    return _batches(dataset, where, options)


def _chooses(loader: Any) -> str | None:
    """Return the sampler of a loader that may not give each example once, by its name."""
    sampler, batches = loader.sampler, loader.batch_sampler
    if batches is not None:
        sampler = batches.sampler if type(batches) is BatchSampler else batches
    all_of_them = type(sampler) is SequentialSampler or (type(sampler) is RandomSampler and not sampler.replacement)
    return None if all_of_them and len(sampler) == len(loader.dataset) else type(sampler).__name__


def _equal(one: Tensor, other: Tensor) -> bool:
    """As `torch.equal`, but NaN is NaN: what is not finite is told afterwards, where it stands."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _batches(dataset: Any, where: str, options: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    try:
        batches = list(DataLoader(dataset, batch_size=READ_AT_ONCE, **options))
        inputs, targets = zip(*batches, strict=True)
        return torch.cat(inputs), torch.cat(targets)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{where} must give pairs of an input and a target, tensors of one shape: {error}") from error


def _array(values: Any, where: str) -> Array:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{where} have rows of different lengths ({error})") from error
    return np.require(array, requirements="W")  # torch warns of memory that it may not write to


def _inputs(values: Any, where: str) -> Array:
    array = _array(values, f"{where}: inputs")
    if array.dtype == object:  # a table whose columns are of several kinds
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: inputs should be numbers: {error}; encode words first") from error
    return array


def _labels(values: Any, where: str) -> Array:
    array = _array(values, f"{where}: targets")
    if array.ndim == 2:
        instead = "y.ravel()" if array.shape[1] == 1 else "y.argmax(1), if each row is one-hot"
        raise DataError(f"{where}: targets should be one label per example, [N]; got {list(array.shape)}: {instead}")
    if array.dtype.kind == "f":
        if np.isnan(array).any():
            raise DataError(f"{where}: targets[{int(np.isnan(array).argmax())}] is nan; leave out what has no label")
        if not np.isfinite(array).all() or (array != array.round()).any():
            raise DataError(f"{where}: targets should be classes; got fractions, which are for a regression")
        array = array.astype(np.int64)
    return array


def _numbered(pairs: Mapping[str, tuple[Array, Array]]) -> tuple[dict[str, tuple[Array, Array]], Array]:
    """Number the classes, the different labels in their order, from 0."""
    try:
        classes, numbers = np.unique(pairs["train"][1], return_inverse=True)
    except TypeError as error:
        raise DataError(f"data: targets should be of one kind, numbers or words: {error}") from error
    if len(classes) > max(2, len(numbers) // 2):
        raise DataError(
            f"data: {len(classes)} different labels of {len(numbers)} examples are no classes; lossbench compares "
            "classifiers"
        )
    found = {"train": (pairs["train"][0], numbers)}
    for name in [name for name in pairs if name != "train"]:
        inputs, targets = pairs[name]
        unknown = [label for label in dict.fromkeys(targets.ravel().tolist()) if label not in classes.tolist()]
        if unknown:
            raise DataError(f"data[{name!r}] has the label {unknown[0]!r}, which train has not")
        found[name] = inputs, np.searchsorted(classes, targets)
    return found, np.array([str(label) for label in classes.tolist()])
