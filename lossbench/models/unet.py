"""A class for each pixel: a small U-Net, and the architectures of segmentation_models_pytorch by name."""

from __future__ import annotations

import importlib
from collections import OrderedDict
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.domains import AT_LEAST_ONE, Interval
from lossbench.errors import ConfigError, did_you_mean
from lossbench.models.input_shapes import require_images

DEPTHS = Interval(1.0, 6.0)


class EncoderDecoder(nn.Module):
    """The U-Net without its head: images of any size [N, C, H, W] to features [N, width, H, W]."""

    def __init__(self, channels: int, width: int, depth: int) -> None:
        """Build it; each of the `depth` halvings of height and width doubles the channels."""
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.multiple = 2**depth
        self.down = nn.ModuleList(
            _double_convolution(inputs, outputs) for inputs, outputs in zip([channels, *widths], widths, strict=False)
        )
        # Transposed, not interpolated: the backward pass of interpolation is not deterministic on CUDA.
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * narrow, narrow, 2, stride=2) for narrow in widths[:-1])
        self.join = nn.ModuleList(_double_convolution(2 * narrow, narrow) for narrow in widths[:-1])

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to features [N, width, H, W]."""
        height, width = images.shape[2:]
        # Zeros on the right and below up to a multiple of 2^depth, cut off again at the end.
        maps = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))
        skipped = []
        for level, block in enumerate(self.down):
            maps = block(maps if level == 0 else F.max_pool2d(maps, 2))
            skipped.append(maps)
        for level in reversed(range(len(self.up))):
            maps = self.join[level](torch.cat([skipped[level], self.up[level](maps)], dim=1))
        return maps[:, :, :height, :width]


def unet(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    width: Annotated[int, AT_LEAST_ONE] = 16,
    depth: Annotated[int, DEPTHS] = 3,
) -> nn.Sequential:
    """U-Net with padded convolutions and batch norm, for images of any height and width.

    Differs from the paper in size (the paper has 64 channels and a depth of 4), in padding, so that the logits have
    the size of the image, and in the norm.

    Args:
        input_shape: the shape of one image, [channels, height, width].
        num_classes: K.
        width: the channels at full resolution.
        depth: how often height and width are halved and the channels doubled.

    Returns:
        A model from float [N, *input_shape] to logits [N, K, height, width].

    Raises:
        ConfigError: if the examples are not images, or are smaller than 2^(depth+1) pixels on a side.

    Source: Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation", figure 1.
    """
    # 2×2 at the bottom give the last batch norm a variance to estimate, even in a last batch of one.
    channels, _, _ = require_images("unet", input_shape, min_side=2 ** (depth + 1))
    return nn.Sequential(
        OrderedDict(body=EncoderDecoder(channels, width, depth), head=nn.Conv2d(width, num_classes, kernel_size=1))
    )


def _double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),  # the norm that follows has the bias
            norm1=nn.BatchNorm2d(outputs),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            norm2=nn.BatchNorm2d(outputs),
            relu2=nn.ReLU(),
        )
    )


def smp_model(
    input_shape: tuple[int, ...], num_classes: int, *, architecture: str = "Unet", encoder: str = "resnet18"
) -> nn.Module:
    """Build a model of segmentation_models_pytorch for K classes, with random weights.

    Args:
        input_shape: the shape of one image, [channels, height, width]; most architectures want multiples of 32.
        num_classes: K.
        architecture: a name such as Unet, FPN, DeepLabV3Plus, Segformer.
        encoder: a name from `segmentation_models_pytorch.encoders.get_encoder_names()`, or `tu-` and one of timm's.

    Returns:
        A model from float [N, *input_shape] to logits [N, K, height, width].

    Raises:
        ConfigError: if the package is not installed, there is no such architecture or encoder, or it cannot take
            such examples.
    """
    package = "segmentation_models_pytorch"
    try:
        smp: Any = importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"model smp needs {package} ({error}): pip install 'lossbench[smp]'") from error
    names = [str(model.__name__) for model in smp.MODEL_ARCHITECTURES_MAPPING.values()]
    if architecture not in names:
        raise ConfigError(f"{package} has no architecture '{architecture}'{did_you_mean(architecture, names)}")
    encoders = smp.encoders.get_encoder_names()
    if encoder not in encoders and not encoder.startswith("tu-"):
        raise ConfigError(f"{package} has no encoder '{encoder}'{did_you_mean(encoder, encoders)}")
    channels, height, width = require_images("smp", input_shape, min_side=1)
    # Build and try one image: which encoders an architecture takes, and which sizes, only it knows.
    try:
        model: nn.Module = smp.create_model(
            architecture, encoder, encoder_weights=None, in_channels=channels, classes=num_classes
        )
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_shape))
    except (AssertionError, KeyError, RuntimeError, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"model smp: {architecture} with {encoder} cannot take images of {height}×{width} pixels with {channels} "
            f"channels ({reason})"
        ) from error
    return model.train()
