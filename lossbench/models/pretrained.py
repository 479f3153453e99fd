"""Start from weights of a local file, and train the head alone."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lossbench.errors import ConfigError, counted


class HeadOnly(nn.Module):
    """A network of which nothing but the head is trained: a linear probe.

    The rest has no gradients, and stays as in evaluation: batch norms keep their statistics, dropout is off.
    """

    def __init__(self, network: nn.Module, head: nn.Module) -> None:
        """Freeze what is not the head.

        Args:
            network: the model.
            head: the part of it that is trained.
        """
        super().__init__()
        self.network = network.requires_grad_(False)
        head.requires_grad_(True)
        self._heads = (head,)  # in a tuple: it is a part of the network already, and not a second module

    def train(self, mode: bool = True) -> HeadOnly:
        """Switch the head alone."""
        super().train(False)
        self._heads[0].train(mode)
        self.training = mode
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the network's logits."""
        logits: Tensor = self.network(inputs)
        return logits


def read_weights(path: str) -> dict[str, Tensor]:
    """Read a state dict from a file, and nothing that would have to be unpickled.

    Args:
        path: a `.safetensors` file, or one that `torch.save` has written of a state dict.

    Raises:
        ConfigError: if it cannot be read, or holds something else.
    """
    place = Path(path).expanduser()
    try:
        if place.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(place)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle that it then refuses
            content = torch.load(place, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"model.weights={path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch, pickle and zip files have no error in common
        # What torch says at length is how to load it all the same, which runs whatever code the file holds.
        if found := re.search(r"Unsupported (?:global: GLOBAL|class) ([\w.]+)", str(error)):
            raise ConfigError(
                f"model.weights={path} holds more than tensors ({found[1]}), which would run code as it is read: save "
                "the model's state_dict() alone"
            ) from error
        raise ConfigError(
            f"model.weights={path} is not a file of weights, or is damaged: it should be a .safetensors, or what "
            "torch.save writes of a model's state_dict()"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]  # as training scripts write it beside the epoch and the optimizer
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ConfigError(f"model.weights={path} should hold a state dict: names and tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def start_from(network: nn.Module, head: nn.Module, path: str) -> None:
    """Give a network the weights of a file.

    A head for other classes than ours keeps its random weights; everything else must fit.

    Args:
        network: the model.
        head: its last layer, a part of it.
        path: of the file.

    Raises:
        ConfigError: if the file cannot be read, or is of another architecture or for other channels.
    """
    weights, own = read_weights(path), network.state_dict()
    of_head = {name for name, module in network.named_modules() if module is head}
    in_head = [name for name in own if any(name == part or name.startswith(f"{part}.") for part in of_head)]
    if any(name not in weights or weights[name].shape != own[name].shape for name in in_head):
        weights = {**weights, **{name: own[name] for name in in_head}}
    missing, unknown = [name for name in own if name not in weights], [name for name in weights if name not in own]
    other = [name for name in own if name in weights and weights[name].shape != own[name].shape]
    if len(other) == 1 and not (missing or unknown):
        theirs, ours = weights[other[0]].shape, own[other[0]].shape
        # The first convolution, which differs in its input channels alone: it is the data that do not fit.
        if other[0] == next((name for name in own if own[name].ndim == 4), None) and (theirs[:1], theirs[2:]) == (
            ours[:1],
            ours[2:],
        ):
            raise ConfigError(
                f"model.weights={path} are for images of {counted(theirs[1], 'channel')}; this data set gives {ours[1]}"
            )
    if missing or unknown or other:
        counts = [f"{len(names)} {what} ({names[0]}, …)" for what, names in
                  (("missing", missing), ("unknown", unknown), ("of another shape", other)) if names]  # fmt: skip
        raise ConfigError(f"model.weights={path} are of another architecture: {', '.join(counts)}")
    network.load_state_dict(weights)


def prepared(network: nn.Module, head: nn.Module, weights: str | None, freeze: bool) -> nn.Module:
    """Apply both settings to a model; see `start_from` and `HeadOnly`."""
    if weights is not None:
        start_from(network, head, weights)
    return HeadOnly(network, head) if freeze else network


def last_linear(network: nn.Module, name: str) -> nn.Module:
    """Return a network's last linear layer, or 1×1 convolution: its head.

    Raises:
        ConfigError: if it has none.
    """
    for module in reversed(list(network.modules())):
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)):
            return module
    raise ConfigError(f"model {name} has no last linear layer to take for its head")
