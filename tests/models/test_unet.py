"""Models that give a class for each pixel."""

import sys

import pytest
import torch
from torch import nn

from lossbench import models
from lossbench.errors import ConfigError


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("input_shape", [(1, 32, 32), (3, 64, 48), (3, 17, 31)], ids=str)
def test_logits_have_the_height_and_width_of_the_image(input_shape: tuple[int, ...]) -> None:
    logits = models.unet(input_shape, 5, width=4)(torch.zeros(2, *input_shape))
    assert logits.shape == (2, 5, *input_shape[1:])
    assert logits.dtype == torch.float32


def test_an_image_of_another_size_is_padded_with_zeros_on_the_right_and_below() -> None:
    # 24 is a multiple of 2³ and 20 is not.
    torch.manual_seed(0)
    model = models.unet((1, 24, 24), 2, width=4).eval()
    images = torch.zeros(1, 1, 24, 24)
    images[:, :, :20, :20] = torch.randn(1, 1, 20, 20)
    torch.testing.assert_close(model(images[:, :, :20, :20]), model(images)[:, :, :20, :20])


def test_unet_has_the_parameter_count_of_its_layers() -> None:
    # width 2, depth 1, one channel, three classes; a norm has two numbers per channel.
    # Down: 9·(1·2 + 2·2) + 2·2·2 = 62 at full size, 9·(2·4 + 4·4) + 2·2·4 = 232 below. Up: 4·2·2·2 + 2 = 34.
    # Join: 9·(4·2 + 2·2) + 2·2·2 = 116. Head: 2·3 + 3 = 9.
    assert parameter_count(models.unet((1, 16, 16), 3, width=2, depth=1)) == 62 + 232 + 34 + 116 + 9


def test_unet_ends_in_a_head_that_sees_one_pixel() -> None:
    name, head = list(models.unet((3, 32, 32), 7).named_children())[-1]
    assert name == "head"
    assert isinstance(head, nn.Conv2d)
    assert (head.in_channels, head.out_channels, head.kernel_size) == (16, 7, (1, 1))


def test_a_pixel_sees_its_neighbourhood_through_every_level() -> None:
    # At full size the four convolutions reach 4 pixels; a 3×3 convolution at the bottom reaches 8 to 16 of them.
    torch.manual_seed(0)
    model = models.unet((1, 32, 32), 2, width=4).eval()
    image = torch.randn(1, 1, 32, 32, requires_grad=True)
    model(image)[0, 0, 0, 0].backward()
    assert image.grad is not None
    assert image.grad[0, 0, 16:, 16:].any()


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    model = models.unet((3, 32, 32), 3, width=4)
    targets = torch.randint(0, 3, (4, 32, 32))
    nn.functional.cross_entropy(model(torch.randn(4, 3, 32, 32)), targets).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_same_seed_gives_the_same_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(models.unet((3, 32, 32), 3).parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_channels_last_gives_the_same_logits() -> None:
    torch.manual_seed(0)
    model, images = models.unet((3, 32, 32), 3, width=4).eval(), torch.randn(2, 3, 32, 32)
    expected = model(images)
    model = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images.contiguous(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_smallest_images_train_in_a_batch_of_one_and_smaller_ones_are_refused(depth: int) -> None:
    side = 2 ** (depth + 1)
    model = models.unet((1, side, side), 2, depth=depth)
    assert model(torch.randn(1, 1, side, side)).isfinite().all()
    with pytest.raises(ConfigError, match=f"unet needs images of at least {side}×{side} pixels"):
        models.unet((1, side, side - 1), 2, depth=depth)


def test_tables_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unet needs images \[channels, height, width\]; this data set gives \[13\]"):
        models.unet((13,), 3)


def test_without_the_extra_one_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ConfigError, match=r"^model smp needs segmentation_models_pytorch .*lossbench\[smp\]'$"):
        models.smp_model((3, 32, 32), 3)


@pytest.mark.parametrize(("architecture", "channels"), [("Unet", 3), ("FPN", 1), ("DeepLabV3Plus", 3)])
def test_smp_models_give_logits_of_the_size_of_the_image(architecture: str, channels: int) -> None:
    model = models.smp_model((channels, 64, 32), 5, architecture=architecture)
    assert all(module.training for module in model.modules())
    assert model(torch.zeros(2, channels, 64, 32)).shape == (2, 5, 64, 32)
    pointers = [tensor.data_ptr() for tensor in model.state_dict().values() if tensor.numel()]
    assert len(set(pointers)) == len(pointers)  # safetensors refuses shared memory


@pytest.mark.parametrize(
    ("input_shape", "options", "message"),
    [
        ((13,), {}, "smp needs images"),
        ((3, 64, 64), {"architecture": "UNet"}, "no architecture 'UNet'; did you mean Unet"),
        ((3, 64, 64), {"encoder": "resnet19"}, "no encoder 'resnet19'; did you mean resnet1"),
        (
            (3, 30, 30),
            {"architecture": "FPN"},
            "smp: FPN with resnet18 cannot take images of 30×30 pixels with 3 channels",
        ),
    ],
)
def test_what_smp_cannot_build_is_refused_in_one_line(
    input_shape: tuple[int, ...], options: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        models.smp_model(input_shape, 3, **options)
    assert "\n" not in str(caught.value)
