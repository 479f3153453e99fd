"""Any classifier of timm, by its name."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from lossbench.errors import ConfigError, did_you_mean
from lossbench.models.input_shapes import require_images
from lossbench.models.pretrained import prepared


def timm_model(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    name: str = "resnet18",
    weights: str | None = None,
    freeze: bool = False,
) -> nn.Module:
    """Build a classifier of timm for K classes.

    Args:
        input_shape: the shape of one image, [channels, height, width].
        num_classes: K.
        name: a name from `timm.list_models()`.
        weights: a file of weights to start from, such as `timm` has downloaded; None: random ones. A head for other
            classes is left random.
        freeze: train the head alone.

    Returns:
        A model from float [N, *input_shape] to logits [N, K].

    Raises:
        ConfigError: if the package is not installed, there is no such model, it cannot take such examples, or the
            weights do not fit it.
    """
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError as error:
        raise ConfigError(f"model timm needs timm ({error}): pip install 'lossbench[timm]'") from error
    known = timm.list_models()
    if name not in known:
        raise ConfigError(f"timm has no classifier named '{name}'{did_you_mean(name, known)}")
    channels, height, width = require_images(name, input_shape, min_side=1)
    model = _built(timm, name, num_classes, channels, (height, width))
    try:  # what sizes an architecture takes, only it knows
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_shape))
    except (AssertionError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(
            f"model {name} cannot take images of {height}×{width} pixels ({' '.join(str(error).split())})"
        ) from error
    head = model.get_classifier()
    if not isinstance(head, nn.Module):
        raise ConfigError(f"model {name} has more than one head; lossbench trains models with one")
    return prepared(model, head, weights, freeze).train()


def _built(timm: Any, name: str, num_classes: int, channels: int, size: tuple[int, int]) -> Any:
    """Transformers are built for one size of image, and convolutions know no such argument."""
    try:
        return timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=channels, img_size=size)
    except TypeError:
        return timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=channels)
    except (AssertionError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(
            f"model {name} cannot be built for images of {size[0]}×{size[1]} pixels ({' '.join(str(error).split())})"
        ) from error
