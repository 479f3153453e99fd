"""Any classifier of torchvision, by its name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lossbench.errors import ConfigError, did_you_mean
from lossbench.models.input_shapes import require_images
from lossbench.models.pretrained import last_linear, prepared

# These two train auxiliary classifiers and return tuples unless told otherwise, and warn unless told how to start.
_EXTRA_ARGUMENTS: dict[str, dict[str, bool]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


class GreyToColour(nn.Module):
    """Repeat the one channel of grey images three times, [N, 1, H, W] -> [N, 3, H, W]."""

    def forward(self, images: Tensor) -> Tensor:
        """Expand grey images [N, 1, H, W] to [N, 3, H, W]."""
        return images.expand(-1, 3, -1, -1)


def torchvision_model(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    name: str = "resnet18",
    weights: str | None = None,
    freeze: bool = False,
) -> nn.Module:
    """Build a classifier of `torchvision.models` for K classes.

    These architectures were made for colour images of about 224×224. Grey images have their channel repeated
    three times. For small images, `cnn`, `cifar_resnet` and `resnet18` of this package are better choices.

    Args:
        input_shape: the shape of one image, [channels, height, width], with 1 or 3 channels.
        num_classes: K.
        name: a name from `torchvision.models.list_models(module=torchvision.models)`.
        weights: a file of weights to start from, such as torchvision has downloaded; None: random ones. A head for
            other classes is left random.
        freeze: train the last linear layer alone.

    Returns:
        A model from float [N, *input_shape] to logits [N, K].

    Raises:
        ConfigError: if there is no such model, it cannot take such examples, or the weights do not fit it.
    """
    import torchvision  # brings torch's compiler, longer to import than torch

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ConfigError(f"torchvision has no classifier named '{name}'{did_you_mean(name, known)}")
    channels, height, width = require_images(name, input_shape, min_side=1)
    if channels not in (1, 3):
        raise ConfigError(f"model {name} needs images of 1 or 3 channels; this data set gives {channels}")
    model: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=num_classes, **_EXTRA_ARGUMENTS.get(name, {})
    )
    if weights is not None or freeze:
        model = prepared(model, last_linear(model, name), weights, freeze)
    if channels == 1:
        model = nn.Sequential(GreyToColour(), model)
    # Try one image: torchvision only documents sizes for its weights, where some architectures take smaller ones
    # (swin) and others no other size at all (vit).
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_shape))
    except (AssertionError, RuntimeError, ValueError) as error:
        min_side = min(min(weights.meta["min_size"]) for weights in torchvision.models.get_model_weights(name))
        raise ConfigError(
            f"model {name} cannot take images of {height}×{width} pixels; torchvision names {min_side}×{min_side} as "
            f"its smallest ({error})"
        ) from error
    return model.train()
