"""Residual networks for small images."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from lossbench.errors import ConfigError
from lossbench.models.input_shapes import require_images


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut without parameters (option A of the paper)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Build the block; a stride of 2 halves height and width, rounded up."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.new_channels = outputs - inputs

    def forward(self, maps: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H/stride, W/stride]."""
        residual = F.relu(self.norm1(self.conv1(maps)))
        residual = self.norm2(self.conv2(residual))
        shortcut = maps[:, :, :: self.stride, :: self.stride]
        shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.new_channels))  # the new channels start as zeros
        return F.relu(shortcut + residual)


class GlobalAveragePool(nn.Module):
    """Mean over height and width, [N, C, H, W] -> [N, C].

    A plain mean, because the backward pass of `nn.AdaptiveAvgPool2d` is not deterministic on CUDA.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Average maps [N, C, H, W] to features [N, C]."""
        return maps.mean(dim=(2, 3))


def cifar_resnet(input_shape: tuple[int, ...], num_classes: int, *, depth: int = 20) -> nn.Sequential:
    """Residual network of three stages with 16, 32 and 64 channels, as made for CIFAR.

    Shortcuts are the paper's option A, which it uses on CIFAR: subsample, and pad the new channels with zeros.

    Args:
        input_shape: the shape of one image, [channels, height, width].
        num_classes: K.
        depth: 6n + 2 layers, n blocks a stage: 20, 32, 44, 56, 110.

    Returns:
        A model from float [N, *input_shape] to logits [N, K].

    Raises:
        ConfigError: if the examples are not images or are smaller than 8×8, or if there is no such depth.

    Source: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2.
    """
    if depth < 8 or depth % 6 != 2:
        raise ConfigError(f"model.depth must be 6n + 2 with n ≥ 1 (8, 14, 20, …, 56, …); got {depth}")
    channels, _, _ = require_images(f"resnet{depth}", input_shape, min_side=8)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(channels, 16, 3, padding=1, bias=False), norm=nn.BatchNorm2d(16), relu=nn.ReLU()
    )
    inputs = 16
    for stage, outputs in enumerate((16, 32, 64), start=1):
        blocks = []
        for block in range((depth - 2) // 6):
            stride = 2 if stage > 1 and block == 0 else 1
            blocks.append(BasicBlock(inputs, outputs, stride))
            inputs = outputs
        layers[f"stage{stage}"] = nn.Sequential(*blocks)
    layers["pool"] = GlobalAveragePool()
    layers["head"] = nn.Linear(inputs, num_classes)
    model = nn.Sequential(layers)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def resnet18(input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """ResNet-18 with a stem for small images: 3×3 convolution of stride 1, no max-pooling.

    The rest is torchvision's, `body` and `head`; the stem starts as torchvision's convolutions do.

    Args:
        input_shape: the shape of one image, [channels, height, width].
        num_classes: K.

    Returns:
        A model from float [N, *input_shape] to logits [N, K].

    Raises:
        ConfigError: if the examples are not images, or are smaller than 8×8.

    Source: He et al. 2016, "Deep Residual Learning for Image Recognition", table 1.
    """
    channels, _, _ = require_images("resnet18", input_shape, min_side=8)
    from torchvision.models import resnet18 as full_size  # brings torch's compiler, longer to import than torch

    body = full_size(weights=None, num_classes=num_classes)
    body.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(body.conv1.weight, mode="fan_out", nonlinearity="relu")
    body.maxpool = nn.Identity()
    head, body.fc = body.fc, nn.Identity()
    return nn.Sequential(OrderedDict(body=body, head=head))
