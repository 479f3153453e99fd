"""What every classifier, and each one, promises. Configurations are found by globbing conf/model.

Models that give a class for each pixel have tests of their own, in test_unet.py.
"""

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_method
from omegaconf import OmegaConf
from torch import nn

from lossbench import models
from lossbench.errors import ConfigError

SEGMENTATION = {"unet", "smp"}
FILES = sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))
CONFIGS = [path for path in FILES if path.stem not in SEGMENTATION]
DIGITS, FASHION, CIFAR = (1, 8, 8), (1, 28, 28), (3, 32, 32)

every_model = pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)


def build(config: Path, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    # Not by Hydra's instantiate, which wraps our errors in its own.
    values: Any = OmegaConf.to_container(OmegaConf.load(config))
    model = get_method(values.pop("_target_"))(input_shape, num_classes, **values)
    assert isinstance(model, nn.Module)
    return model


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_there_is_a_configuration_for_each_model() -> None:
    assert {path.stem for path in CONFIGS} >= {
        "linear",
        "mlp",
        "cnn",
        "resnet20",
        "resnet56",
        "resnet18",
        "torchvision",
    }


@pytest.mark.parametrize("config", FILES, ids=lambda path: path.stem)
def test_yaml_holds_exactly_the_options_of_the_factory_and_their_defaults(config: Path) -> None:
    values: Any = OmegaConf.to_container(OmegaConf.load(config))
    signature = inspect.signature(get_method(values.pop("_target_")))
    options = {p.name: p.default for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    if config.stem == "resnet56":
        options["depth"] = 56  # the one yaml that exists to change a default
    assert values == options


@every_model
@pytest.mark.parametrize("input_shape", [DIGITS, FASHION, CIFAR], ids=str)
def test_logits_have_one_column_per_class(config: Path, input_shape: tuple[int, ...]) -> None:
    logits = build(config, input_shape, 7)(torch.zeros(2, *input_shape))
    assert logits.shape == (2, 7)
    assert logits.dtype == torch.float32


@every_model
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(config: Path) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build(config, CIFAR, 10).parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@every_model
def test_gradients_reach_every_parameter(config: Path) -> None:
    torch.manual_seed(0)
    model = build(config, CIFAR, 10)
    nn.functional.cross_entropy(model(torch.randn(4, *CIFAR)), torch.arange(4)).backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    if (
        config.stem == "timm"
    ):  # the last norm of its residual branches starts at zero, and hides them from the first step
        dead = [name for name in dead if not name.startswith("layer")]
    assert dead == []


@every_model
def test_a_new_model_is_in_training_mode(config: Path) -> None:
    assert all(module.training for module in build(config, FASHION, 10).modules())


@pytest.mark.parametrize(
    "config", [path for path in CONFIGS if path.stem not in ("torchvision", "timm")], ids=lambda path: path.stem
)
def test_our_own_models_end_in_a_linear_head(config: Path) -> None:
    model = build(config, CIFAR, 10)
    assert isinstance(model, nn.Sequential)
    name, head = list(model.named_children())[-1]
    assert name == "head"
    assert isinstance(head, nn.Linear)
    assert head.out_features == 10


@every_model
def test_weights_share_no_memory(config: Path) -> None:
    # safetensors refuses tensors that do, and a head registered twice would.
    pointers = [tensor.data_ptr() for tensor in build(config, CIFAR, 10).state_dict().values()]
    assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize("config", [path for path in CONFIGS if path.stem in ("linear", "mlp")], ids=lambda p: p.stem)
def test_dense_models_take_tables(config: Path) -> None:
    assert build(config, (13,), 3)(torch.zeros(2, 13)).shape == (2, 3)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        pytest.param(path, {"torchvision": "resnet18", "timm": "resnet18"}.get(path.stem, path.stem), id=path.stem)
        for path in CONFIGS
        if path.stem not in ("linear", "mlp")
    ],
)
def test_image_models_refuse_tables(config: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(config, (13,), 3)
    assert str(caught.value) == f"model {name} needs images [channels, height, width]; this data set gives [13]"


@pytest.mark.parametrize("factory", [models.cnn, models.cifar_resnet, models.resnet18])
def test_too_small_images_are_refused_with_the_minimum(factory: Callable[..., nn.Module]) -> None:
    with pytest.raises(ConfigError, match="needs images of at least 8×8 pixels; this data set gives 8×7"):
        factory((1, 8, 7), 10)


@pytest.mark.parametrize("factory", [models.cnn, models.cifar_resnet])
def test_the_smallest_images_train_in_a_batch_of_one(factory: Callable[..., nn.Module]) -> None:
    assert factory((1, 8, 8), 10)(torch.randn(1, 1, 8, 8)).isfinite().all()


def test_linear_has_a_weight_per_pixel_and_class() -> None:
    assert parameter_count(models.linear((1, 28, 28), 10)) == 784 * 10 + 10


def test_mlp_has_the_published_parameter_count() -> None:
    # 784·1200 + 1200, 1200·1200 + 1200, 1200·10 + 10: the teacher of Hinton et al. 2015 on MNIST.
    assert parameter_count(models.mlp(FASHION, 10, hidden=[1200, 1200])) == 942_000 + 1_441_200 + 12_010


def test_mlp_without_hidden_layers_is_linear() -> None:
    torch.manual_seed(0)
    without_hidden = models.mlp((5,), 3, hidden=[])
    torch.manual_seed(0)
    linear = models.linear((5,), 3)
    examples = torch.randn(4, 5)
    assert torch.equal(without_hidden(examples), linear(examples))


def test_init_std_sets_the_spread_of_weights_and_biases() -> None:
    torch.manual_seed(0)
    model = models.mlp(FASHION, 10, hidden=[1200], init_std=0.5)
    for parameter in (model.hidden1.weight, model.hidden1.bias):
        # The standard error of a standard deviation is σ/√(2n): 0.0102 for the 1,200 biases; 4 of them.
        tolerance = 4 * 0.5 / math.sqrt(2 * parameter.numel())
        assert parameter.std().item() == pytest.approx(0.5, abs=tolerance)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = models.mlp((5,), 3, hidden=[64], dropout=0.5)
    examples = torch.randn(4, 5)
    assert not torch.equal(model(examples), model(examples))
    model.eval()
    assert torch.equal(model(examples), model(examples))


def test_cnn_has_the_parameter_count_of_its_layers() -> None:
    # Convolutions 9·(1·4 + 4·8 + 8·16) = 1,476; a scale and a shift for each of 4 + 8 + 16 channels = 56;
    # 28 → 14 → 7 → 3 pixels: hidden 16·3·3·32 + 32 = 4,640; head 32·10 + 10 = 330.
    assert parameter_count(models.cnn(FASHION, 10, width=4)) == 1_476 + 56 + 4_640 + 330


def test_cifar_resnet20_has_the_papers_quarter_million_parameters() -> None:
    # Convolutions: stem 3·16·9 = 432; stage 1 six of 16·16·9 = 13,824; stage 2 16·32·9 + five of 32·32·9 = 50,688;
    # stage 3 32·64·9 + five of 64·64·9 = 202,752. Norms 2·(7·16 + 6·32 + 6·64) = 1,376. Head 64·10 + 10 = 650.
    # 269,722, the paper's 0.27M; shortcuts of option A have none (option B would add 2,752).
    assert parameter_count(models.cifar_resnet(CIFAR, 10)) == 432 + 13_824 + 50_688 + 202_752 + 1_376 + 650


def test_cifar_resnet_gains_ninety_seven_thousand_parameters_per_block_and_stage() -> None:
    # One more block in each stage: 2·9·(16² + 32² + 64²) = 96,768, and norms 4·(16 + 32 + 64) = 448. From 20 to 56
    # layers it is six more, and 269,722 + 6·97,216 = 853,018 is the paper's 0.85M.
    assert parameter_count(models.cifar_resnet(CIFAR, 10, depth=56)) == 269_722 + 6 * (96_768 + 448)


def test_a_residual_block_whose_convolutions_are_zero_passes_its_input_on() -> None:
    block = models.cifar_resnet((1, 8, 8), 2, depth=8).stage2[0].eval()
    for norm in (block.norm1, block.norm2):
        nn.init.zeros_(norm.weight)
    maps = torch.arange(16 * 4 * 4.0).reshape(1, 16, 4, 4)
    out = block(maps)
    assert torch.equal(out[:, :16], maps[:, :, ::2, ::2])  # subsampled
    assert torch.equal(out[:, 16:], torch.zeros(1, 16, 2, 2))  # and padded


@pytest.mark.parametrize("depth", [2, 18, 21])
def test_depths_that_do_not_exist_are_refused(depth: int) -> None:
    with pytest.raises(ConfigError, match=rf"model.depth must be 6n \+ 2 .*; got {depth}$"):
        models.cifar_resnet(CIFAR, 10, depth=depth)


def test_resnet18_keeps_the_resolution_in_its_stem() -> None:
    # Stride 1 and no pooling: 32 pixels after the stem, then 32, 16, 8, 4 in the four stages.
    body = models.resnet18(CIFAR, 10).body
    sides = []
    body.layer1.register_forward_hook(lambda _module, _inputs, out: sides.append(out.shape[-1]))
    body.layer4.register_forward_hook(lambda _module, _inputs, out: sides.append(out.shape[-1]))
    body(torch.zeros(2, *CIFAR))
    assert sides == [32, 4]


def test_resnet18_differs_from_torchvisions_in_the_stem_alone() -> None:
    # torchvision publishes 11,689,512 for 1,000 classes; 7·7 − 3·3 = 40 fewer weights for each of 3·64 filters.
    assert parameter_count(models.resnet18(CIFAR, 1000)) == 11_689_512 - 40 * 3 * 64


def test_torchvision_models_see_grey_images_as_three_equal_channels() -> None:
    torch.manual_seed(0)
    grey = models.torchvision_model(FASHION, 10).eval()
    torch.manual_seed(0)
    colour = models.torchvision_model((3, 28, 28), 10).eval()
    images = torch.randn(2, *FASHION)
    assert torch.equal(grey(images), colour(images.repeat(1, 3, 1, 1)))


def test_torchvision_models_refuse_other_channels() -> None:
    with pytest.raises(ConfigError, match="resnet18 needs images of 1 or 3 channels; this data set gives 4"):
        models.torchvision_model((4, 32, 32), 10)


def test_torchvision_models_with_auxiliary_outputs_give_logits_alone() -> None:
    assert models.torchvision_model(CIFAR, 10, name="googlenet")(torch.zeros(2, *CIFAR)).shape == (2, 10)


def test_an_unknown_torchvision_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no classifier named 'resnet19'; did you mean resnet18"):
        models.torchvision_model(CIFAR, 10, name="resnet19")


def test_images_too_small_for_a_torchvision_model_are_refused_with_its_minimum() -> None:
    with pytest.raises(ConfigError, match="squeezenet1_1 cannot take images of 8×8 pixels; torchvision names 17×17"):
        models.torchvision_model(DIGITS, 10, name="squeezenet1_1")
