"""Numbers of a run that its logits alone do not tell: `beside` in its metrics.json. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench import metrics

MANY, FEW = 100, 20  # training examples: more than MANY, and fewer than FEW
TIGHTNESS = {"class_tightness": "test", "train_class_tightness": "train"}  # by the split that the features are of


def is_long_tailed(dataset: Mapping[str, Any]) -> bool:
    """Whether the settings of a data set cut its training examples to a long tail."""
    return bool(dataset.get("imbalance_factor", 1) != 1)


def is_lost_with_metrics(config: Mapping[str, Any]) -> bool:
    """Whether a run's metrics.json holds what neither its predictions nor its features tell again."""
    dataset = config.get("dataset")
    of_classes = not isinstance(dataset, Mapping) or bool(dataset.get("old_classes")) or is_long_tailed(dataset)
    return of_classes or bool(config.get("teacher"))


def old_and_new(logits: NDArray[np.float32], targets: NDArray[np.int64], old_classes: int) -> dict[str, float]:
    """Return the accuracy on the examples of the old classes and on those of the new ones, among all classes.

    Args:
        logits: of test, [N, K]. Every link keeps their order, so that accuracy needs none.
        targets: class indices, [N].
        old_classes: how many classes, the first ones, came before the others; 0 where all came at once.

    Returns:
        `old_accuracy` and `new_accuracy`, shares in 0..1; none without old classes, nor of what has no example.
    """
    if not old_classes:
        return {}
    parts = {"old_accuracy": targets < old_classes, "new_accuracy": targets >= old_classes}
    return {name: metrics.accuracy(logits[part], targets[part]) for name, part in parts.items() if part.any()}


def by_shots(logits: NDArray[np.float32], targets: NDArray[np.int64], class_counts: ArrayLike) -> dict[str, float]:
    """Return the mean recall of the classes with many, with some and with few training examples, among all classes.

    Over classes and not examples, as the authors' code has it; on their test sets, of equal classes, that is the same.
    At exactly 100 and 20 their code and their text differ: this is the text.

    Args:
        logits: of test, [N, K].
        targets: class indices, [N].
        class_counts: training examples of each class, by the labels that were trained on, integer [K].

    Returns:
        `many_shot_accuracy` of more than 100, `medium_shot_accuracy` of 20 to 100 and `few_shot_accuracy` of 1 to 19,
        shares in 0..1; none of a group without a test example. A class that was never seen is in none of them.

    Source: Liu et al. 2019, "Large-Scale Long-Tailed Recognition in an Open World", section 4.
    """
    shots = np.asarray(class_counts)[targets]
    parts = {
        "many_shot_accuracy": shots > MANY,
        "medium_shot_accuracy": (shots >= FEW) & (shots <= MANY),
        "few_shot_accuracy": (shots >= 1) & (shots < FEW),
    }
    return {name: metrics.balanced_accuracy(logits[part], targets[part]) for name, part in parts.items() if part.any()}


def tightness(features: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Return the class tightness of the features kept with a run.

    Args:
        features: `test_features` [N, D] and `test_targets` [N], and where they were kept those of `train`.

    Returns:
        By the names of TIGHTNESS; nan where an example's features are all zeros, as of a ReLU that lets nothing pass:
        they have no angle.

    Raises:
        RequestError: if features and targets do not fit together, or are not finite.
    """
    return {
        name: metrics.class_tightness(features[f"{split}_features"], features[f"{split}_targets"])
        if features[f"{split}_features"].any(axis=-1).all()
        else math.nan
        for name, split in TIGHTNESS.items()
        if f"{split}_features" in features
    }
