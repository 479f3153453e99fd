"""Models: factories `factory(input_shape, num_classes, *, hyperparameters…) -> nn.Module`.

The module maps float [N, *input_shape] to logits [N, K], or [N, K, H, W] for segmentation. Where the model is our
own, the last layer is an `nn.Linear` (a 1×1 convolution) named `head`, so that what goes into it are the penultimate
features. Initial weights are drawn from PyTorch's global CPU generator, which the caller seeds.
"""

from lossbench.models.convolutional import cnn
from lossbench.models.dense import linear, mlp
from lossbench.models.residual import cifar_resnet, resnet18
from lossbench.models.timm_models import timm_model
from lossbench.models.torchvision_models import torchvision_model
from lossbench.models.unet import smp_model, unet

__all__ = ["cifar_resnet", "cnn", "linear", "mlp", "resnet18", "smp_model", "timm_model", "torchvision_model", "unet"]
