"""Models of timm and torchvision that start from weights on the disk, and of which the head alone is trained."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lossbench import models
from lossbench.errors import ConfigError

IMAGE = (3, 32, 32)
FACTORIES = [(models.timm_model, "fc"), (models.torchvision_model, "fc")]
both = pytest.mark.parametrize(("factory", "head"), FACTORIES, ids=["timm", "torchvision"])


def saved(folder: Path, model: nn.Module, suffix: str = ".pth") -> str:
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    return str(path)


@both
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_model_starts_from_the_weights_of_a_file(factory, head, suffix, tmp_path):
    source = factory(IMAGE, 5)
    model = factory(IMAGE, 5, weights=saved(tmp_path, source, suffix))
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in source.state_dict().items())


@both
def test_a_head_for_other_classes_stays_random(factory, head, tmp_path):
    source = factory(IMAGE, 1000)
    model = factory(IMAGE, 5, weights=saved(tmp_path, source))
    own, given = model.state_dict(), source.state_dict()
    assert own[f"{head}.weight"].shape == (5, 512)
    assert all(torch.equal(own[name], given[name]) for name in own if not name.startswith(head))


def test_a_checkpoint_of_a_training_script_holds_its_weights_under_state_dict(tmp_path):
    source = models.timm_model(IMAGE, 5)
    path = tmp_path / "epoch3.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, path)
    model = models.timm_model(IMAGE, 5, weights=str(path))
    assert torch.equal(model.state_dict()["conv1.weight"], source.state_dict()["conv1.weight"])


@both
@pytest.mark.parametrize("channels", [1, 3])
def test_frozen_all_but_the_head_learns_nothing(factory, head, channels):
    torch.manual_seed(0)
    model = factory((channels, 32, 32), 5, freeze=True).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    model(torch.randn(4, channels, 32, 32)).sum().backward()
    optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[-2:][0] for name in changed} == {head}  # its weight and bias, and no statistic of a norm
    assert len(changed) == 2


def test_a_frozen_model_is_in_training_where_its_head_is():
    model = models.timm_model(IMAGE, 5, freeze=True)
    assert model.training
    assert not any(module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert not model.eval().training


def test_timm_models_take_the_size_and_channels_of_the_images():
    assert models.timm_model((1, 28, 28), 7)(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
    transformer = models.timm_model((3, 32, 32), 7, name="vit_tiny_patch16_224")
    assert transformer(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    ("input_shape", "name", "message"),
    [
        (IMAGE, "resnet19", "timm has no classifier named 'resnet19'; did you mean resnet18"),
        ((13,), "resnet18", "needs images"),
        ((3, 1, 1), "vgg11", "vgg11 cannot"),
        (IMAGE, "deit_tiny_distilled_patch16_224", "more than one head"),
    ],
)
def test_what_timm_cannot_build_is_refused_in_one_line(input_shape, name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        models.timm_model(input_shape, 3, name=name)
    assert "\n" not in str(caught.value)


def test_timm_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ConfigError, match=r"^model timm needs timm .*lossbench\[timm\]'$"):
        models.timm_model(IMAGE, 3)


@both
def test_weights_of_another_architecture_are_refused(factory, head, tmp_path):
    path = saved(tmp_path, models.cnn(IMAGE, 5))
    with pytest.raises(ConfigError, match=r"another architecture: \d+ missing \(conv1.weight, …\), \d+ unknown"):
        factory(IMAGE, 5, weights=path)
    path = saved(tmp_path, factory(IMAGE, 5, name="resnet34"))
    with pytest.raises(ConfigError, match=r"another architecture: .* unknown"):
        factory(IMAGE, 5, weights=path)


@pytest.mark.parametrize(("theirs", "ours", "channels"), [(3, 1, "3 channels"), (1, 3, "1 channel")])
def test_weights_for_images_of_other_channels_are_refused_as_such(theirs, ours, channels, tmp_path):
    path = saved(tmp_path, models.timm_model((theirs, 32, 32), 5))
    with pytest.raises(ConfigError, match=rf"are for images of {channels}; this data set gives {ours}$"):
        models.timm_model((ours, 32, 32), 5, weights=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"no weights", "is not a file of weights"),
        (pickle.dumps(nn.Linear(2, 2)), "is not a file of weights"),
        (b"", "is not a file of weights"),
        ([1, 2], "should hold a state dict"),
        (
            nn.Linear(2, 2),
            r"more than tensors \(torch.nn.modules.linear.Linear\), .* save the model's state_dict\(\) alone",
        ),
    ],
    ids=["nothing", "text", "pickle", "empty", "list", "model"],
)
def test_a_file_without_weights_is_refused(content, message, tmp_path):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ConfigError, match=message) as caught:
        models.torchvision_model(IMAGE, 5, weights=str(path))
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_a_model_without_a_linear_layer_has_no_head_to_train():
    from lossbench.models.pretrained import last_linear

    with pytest.raises(ConfigError, match="no last linear layer"):
        last_linear(nn.Sequential(nn.ReLU()), "mine")
