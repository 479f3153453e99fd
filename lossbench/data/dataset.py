"""The values that cross the seams: examples, a source as it came, a data set as training sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from lossbench.data.streaming import Streamed
from lossbench.errors import ConfigError, DataError, ShapeError

IGNORE_INDEX = -100  # the target of a pixel without a label; losses and metrics have the same default


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs with their labels, in memory; or labels in memory and images that are read as they are needed.

    Attributes:
        inputs: uint8 [N, C, H, W] where they came as uint8, else float32 [N, ...].
        targets: class indices, int64 [N], or one mask per image, int64 [N, H, W], with IGNORE_INDEX where a pixel has
            no label.
        sample_weights: one non-negative weight per example, float32 [N], or None.

    Raises:
        ShapeError: if lengths or dtypes disagree with the above.
    """

    inputs: Tensor | Streamed
    targets: Tensor
    sample_weights: Tensor | None = None

    def __post_init__(self) -> None:
        """Hold the tensors against the shapes and dtypes promised above."""
        if self.inputs.dtype not in (torch.uint8, torch.float32) or self.targets.dtype != torch.int64:
            raise ShapeError(
                f"expected uint8 or float32 inputs and int64 targets; got {self.inputs.dtype} and {self.targets.dtype}"
            )
        of_images = self.inputs.ndim == 4 and self.targets.shape[1:] == self.inputs.shape[2:]
        if not (self.targets.ndim == 1 or of_images) or self.inputs.ndim < 2 or len(self.inputs) != len(self.targets):
            raise ShapeError(
                f"expected inputs [N, ...] and targets [N], or images [N, C, H, W] and masks [N, H, W]; "
                f"got {list(self.inputs.shape)} and {list(self.targets.shape)}"
            )
        if self.sample_weights is not None and self.sample_weights.shape != (len(self),):
            raise ShapeError(
                f"expected one sample weight per example, [{len(self)}]; got {list(self.sample_weights.shape)}"
            )

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.targets)

    @property
    def masks(self) -> bool:
        """Whether the targets are a class for each pixel."""
        return self.targets.ndim == 3

    @property
    def labelled(self) -> int:
        """The number of examples, or of pixels with a label."""
        return int((self.targets != IGNORE_INDEX).sum())

    def select(self, indices: Tensor) -> Examples:
        """Return the examples at some indices, int64 [M], in that order."""
        weights = None if self.sample_weights is None else self.sample_weights[indices]
        inputs = self.inputs.pick(indices) if isinstance(self.inputs, Streamed) else self.inputs[indices]
        return Examples(inputs, self.targets[indices], weights)

    def batches(self, indices: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Give inputs and targets at the indices of each batch, int64 [B], in that order."""
        if isinstance(self.inputs, Streamed):
            for inputs, batch in zip(self.inputs.batches(indices), indices, strict=True):
                yield inputs, self.targets.index_select(0, batch)
            return
        for batch in indices:
            # On the CPU this takes a tenth of the time of inputs[batch].
            yield self.inputs.index_select(0, batch), self.targets.index_select(0, batch)

    @property
    def resident(self) -> Tensor:
        """The inputs as a tensor, for what needs all of them at once.

        Raises:
            ConfigError: if they are read as they are needed.
        """
        if isinstance(self.inputs, Streamed):
            raise ConfigError("this takes all inputs in memory: set dataset.streaming=false")
        return self.inputs

    def to(self, device: torch.device | str) -> Examples:
        """Return the same examples on a device."""
        weights = None if self.sample_weights is None else self.sample_weights.to(device)
        return Examples(self.inputs.to(device), self.targets.to(device), weights)


@dataclass(frozen=True, eq=False)
class Source:
    """Examples as they came, before any split, subset or noise.

    Attributes:
        train: the examples to learn from.
        class_names: K names; a target indexes them.
        val: the source's own validation split, or None: it is cut from `train` by the run's seed.
        test: the source's own test split, or None: it is cut from `train` by a fixed seed.

    Raises:
        DataError: if there are fewer than two classes, or a target is not one of them.
    """

    train: Examples
    class_names: tuple[str, ...]
    val: Examples | None = None
    test: Examples | None = None

    def __post_init__(self) -> None:
        """Hold the targets against the class names."""
        num_classes = len(self.class_names)
        if num_classes < 2:
            raise DataError(f"classification needs at least two classes; got {list(self.class_names)}")
        for name, examples in (("train", self.train), ("val", self.val), ("test", self.test)):
            if examples is None or len(examples) == 0:
                continue
            targets = examples.targets
            if examples.masks:
                targets = targets[targets != IGNORE_INDEX]
                if not len(targets):
                    raise DataError(f"no pixel of the {name} masks has a label")
            low, high = int(targets.min()), int(targets.max())
            if low < 0 or high >= num_classes:
                wrong = low if low < 0 else high
                raise DataError(f"the {name} labels must lie in 0..{num_classes - 1}; got {wrong}")


@dataclass(frozen=True, eq=False)
class Dataset:
    """What training sees.

    Attributes:
        train, val, test: the three splits; noise, imbalance and subsets touch `train` alone.
        class_names: K names.
        mean, scale: float32, broadcastable against one input, in the inputs' own units.
        shift: augmentation moves an image by up to ± this many pixels along each axis.
        flip: augmentation mirrors an image left to right with probability ½.
        mixup, cutmix: α of the Beta(α, α) by which training batches are mixed (`lossbench.data.mixing`); 0 is off.
        old_classes: how many of the classes, the first ones, came before the others; 0 where all come at once.
        learn: which classes the training examples are of: `all`, `old` or `new`.
        fingerprints: `data`, of the splits as the model sees them, and `split`, of which source example went where.
    """

    train: Examples
    val: Examples
    test: Examples
    class_names: tuple[str, ...]
    mean: Tensor
    scale: Tensor
    shift: int = 0
    flip: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    old_classes: int = 0
    learn: str = "all"
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """The number of classes K, those without a training example included."""
        return len(self.class_names)

    @property
    def teacher_classes(self) -> int:
        """The number of classes that a teacher knows: all K, or the old ones of a run that learns the new."""
        return self.old_classes if self.learn == "new" else self.num_classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input: (C, H, W) for images, (D,) for tables."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def streams(self) -> bool:
        """Whether images are read as they are needed, and not held in memory."""
        return isinstance(self.train.inputs, Streamed)

    @property
    def mixes(self) -> bool:
        """Whether training batches are mixed, so that their targets are probabilities."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def class_counts(self) -> Tensor:
        """Training examples of each class, or pixels where the targets are masks, int64 [K]."""
        targets = self.train.targets
        return torch.bincount(targets[targets != IGNORE_INDEX], minlength=self.num_classes)

    def to(self, device: torch.device | str) -> Dataset:
        """Return the same data set with all its tensors on a device."""
        return replace(
            self,
            train=self.train.to(device),
            val=self.val.to(device),
            test=self.test.to(device),
            mean=self.mean.to(device),
            scale=self.scale.to(device),
        )

    def normalise(self, inputs: Tensor) -> Tensor:
        """Return `(inputs - mean) / scale` as float32, shaped like the inputs [B, ...]."""
        return (inputs.float() - self.mean) / self.scale

    def augment(self, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Move and mirror a batch of images at random, each its own way; the identity if neither is asked for.

        A mask goes with its image.

            output[b, c, i, j] = inputs[b, c, i + dy_b, j' + dx_b],  j' = W - 1 - j where image b is mirrored, else j

        with dy, dx uniform in -shift..shift. Pixels from outside the image are 0, which is black in raw inputs:
        augment first, then normalise, as the CIFAR recipes do. In a mask they have no label.

        Args:
            inputs: images, any dtype, [B, C, H, W], on any device.
            targets: int64 [B] or [B, H, W], on the same device.
            generator: a CPU generator, so that every device sees the same augmentation.

        Returns:
            Images like `inputs` and targets like `targets`, on the same device.
        """
        if not (self.shift or self.flip):
            return inputs, targets
        batch, channels, height, width = inputs.shape
        rows = torch.arange(height).expand(batch, -1)
        columns = torch.arange(width).expand(batch, -1)
        if self.flip:
            mirrored = torch.rand(batch, 1, generator=generator) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        if self.shift:
            # Offsets of 0..2·shift into the padded image are moves of -shift..shift.
            offsets = torch.randint(0, 2 * self.shift + 1, (2, batch, 1), generator=generator)
            rows, columns = rows + offsets[0], columns + offsets[1]
        padded = pad(inputs, (self.shift,) * 4)
        rows, columns = rows.to(inputs.device), columns.to(inputs.device)
        image = torch.arange(batch, device=inputs.device)[:, None, None, None]
        channel = torch.arange(channels, device=inputs.device)[:, None, None]
        moved = padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
        if targets.ndim == 1:
            return moved, targets
        padded = pad(targets, (self.shift,) * 4, value=IGNORE_INDEX)
        return moved, padded[image[:, 0], rows[:, :, None], columns[:, None, :]]
