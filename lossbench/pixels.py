"""What a model says about images with masks, in bounded memory: a chunk of images at a time, a sample of its pixels.

All logits of a split, [N, K, H, W], would be K times four bytes for each pixel. What is kept of them looks like the
logits of a classification, [P, K], so that everything after the training takes both alike.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

import torch
from torch import Tensor

from lossbench.data.dataset import IGNORE_INDEX, Examples

# Kept of a split, by a seed of the run. A share of a million pixels has a standard error of 0.0005 or less, which is
# far below what another seed of the training changes; twice the pixels would be twice the file and the time to measure.
MAX_PIXELS = 1_000_000
CHUNK_PIXELS = 2**18  # that go through the model at a time without gradients: 64 images of 64×64


@functools.lru_cache(maxsize=2)  # of validation and of test: every epoch looks at the same pixels
def sample_pixels(labelled: int, seed: int) -> Tensor:
    """Choose which pixels of a split to keep: all with a label, or MAX_PIXELS of them, drawn without replacement.

    Args:
        labelled: how many pixels have a label.
        seed: of the draw.

    Returns:
        Their places among the labelled pixels, rising, int64 [P].
    """
    if labelled <= MAX_PIXELS:
        return torch.arange(labelled)
    # Python's own sample takes memory for what is drawn, a permutation would for what it is drawn from.
    return torch.tensor(sorted(random.Random(seed).sample(range(labelled), MAX_PIXELS)))


def predict_pixels(
    model: Callable[[Tensor], Tensor],
    examples: Examples,
    kept: Tensor,
    loss: Callable[[Tensor, slice], Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a model over images with masks and keep a sample of the pixels.

    Args:
        model: images [B, C, H, W] to logits, float [B, K, H, W], without gradients.
        examples: the images and masks.
        kept: which pixels, as `sample_pixels` returns it.
        loss: of logits [B, K, H, W] and the images they belong to, a scalar; None where it is not wanted.

    Returns:
        Logits [P, K] and targets, int64 [P], of the kept pixels; and the mean of the chunks' losses, each weighed by
        its labelled pixels, which is the loss over all pixels where that is a mean over pixels; nan without a loss.
    """
    kept = kept.to(examples.targets.device)
    images = max(1, CHUNK_PIXELS // examples.targets[0].numel())
    parts: list[tuple[Tensor, Tensor]] = []
    total, passed = torch.zeros((), device=kept.device), 0
    for start in range(0, len(examples), images):
        batch = slice(start, start + images)
        logits, targets = model(examples.inputs[batch]), examples.targets[batch]
        labelled = targets != IGNORE_INDEX
        count = int(labelled.sum())
        here = kept[(kept >= passed) & (kept < passed + count)] - passed
        parts.append((logits.movedim(1, -1)[labelled][here], targets[labelled][here]))
        total += count * (torch.nan if loss is None else loss(logits, batch))
        passed += count
    logits, targets = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return logits, targets, total / passed
