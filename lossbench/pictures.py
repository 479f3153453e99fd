"""What figures need of a stored model beyond its predictions: penultimate features, images with their masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lossbench import beside, links
from lossbench.build import forget_data
from lossbench.data.dataset import Examples
from lossbench.errors import ConfigError, RequestError
from lossbench.progress import counting
from lossbench.store import Store
from lossbench.stored_model import StoredModel, load
from lossbench.training import forward

MAX_FEATURES = 2_000  # examples of a split, evenly spaced: a cloud of more points is no clearer
MAX_IMAGES = 6
Arrays = dict[str, NDArray[Any]]


def features(stored: StoredModel) -> Arrays:
    """Return what the last linear layer of a classifier is given on test and on train, and its weights.

    Training examples are taken as the data set holds them: with the labels trained on, and without augmentation.

    Returns:
        `test_features` and `train_features`, float32 [N, D]; `test_targets` and `train_targets`, int64 [N];
        `templates`, float32 [K, D], the weights that each class's logit is the product with.

    Raises:
        ConfigError: if the model's logits are not what its last linear layer gives.

    Source: Müller et al. 2019, "When Does Label Smoothing Help?", which projects the features onto the plane through
    the templates of three classes.
    """
    layers = [module for module in stored.model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise _no_last_layer(stored)
    arrays = {"templates": layers[-1].weight.detach().float().cpu().numpy()}
    for split, of in (("test", stored.dataset.test), ("train", stored.dataset.train)):
        chosen = _evenly_spaced(of, torch.arange(len(of)), MAX_FEATURES)
        arrays[f"{split}_features"] = _given_to(layers[-1], stored, chosen).cpu().numpy()
        arrays[f"{split}_targets"] = chosen.targets.cpu().numpy()
    return arrays


def _given_to(last: nn.Linear, stored: StoredModel, examples: Examples) -> Tensor:
    """What a layer is given, float32 [N, D], if what it answers are the logits."""
    seen: list[tuple[Tensor, Tensor]] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        seen.append((given[0].float(), answer.float()))

    hook = last.register_forward_hook(note)
    logits = forward(stored.model, examples.inputs.to(stored.device.name), stored.device)
    hook.remove()
    if not seen or not torch.equal(torch.cat([answer for _, answer in seen]), logits):
        raise _no_last_layer(stored)
    return torch.cat([given for given, _ in seen])


def _no_last_layer(stored: StoredModel) -> ConfigError:
    name = stored.config["model"]["name"]
    return ConfigError(f"model={name} does not end in a linear layer, whose inputs would be the features to draw")


def examples(stored: StoredModel) -> Arrays:
    """Return a few test images with masks, chosen among those that show the most classes, and what the model says.

    Returns:
        `images`, as the data set holds them, [n, H, W, C]; `targets` and `predicted`, int64 [n, H, W], targets with
        IGNORE_INDEX where a pixel has no label; `confidence`, float32 [n, H, W], raw, through the run's link.
    """
    test = stored.dataset.test
    shown = torch.stack([(test.targets == k).flatten(1).any(1) for k in range(stored.dataset.num_classes)]).sum(0)
    chosen = _evenly_spaced(test, (shown == shown.max()).nonzero()[:, 0], MAX_IMAGES)
    logits = forward(stored.model, chosen.inputs.to(stored.device.name), stored.device).cpu().numpy()
    log_probs = links.softmax(links.through(stored.link, logits))
    return {
        "images": chosen.resident.movedim(1, -1).numpy(),
        "targets": chosen.targets.numpy(),
        "predicted": log_probs.argmax(axis=1),
        "confidence": np.exp(log_probs.max(axis=1)).astype(np.float32),
    }


def _evenly_spaced(examples: Examples, among: Tensor, count: int) -> Examples:
    """The same ones for every run on these data, so that runs can be laid side by side."""
    places = torch.linspace(0, len(among) - 1, min(count, len(among))).round().long()
    return examples.select(among[places])


def keep_all(store: Store, run_ids: Sequence[str], config_dir: Path | None = None) -> dict[str, str]:
    """Keep with each run what `lossbench plot features`, or of masks `lossbench plot panels`, draws.

    The class tightness of the features goes beside the run's metrics.

    Args:
        store: where the runs are.
        run_ids: theirs.
        config_dir: a folder of the user's own configs, for models and data sets that are not lossbench's.

    Returns:
        Run id → why nothing could be kept of it.
    """
    forget_data()
    failed: dict[str, str] = {}
    with counting("looking", len(run_ids)) as on_step:
        for run_id in run_ids:
            try:
                version = store.version(run_id)
                stored = load(store, run_id, config_dir)
                if stored.dataset.test.masks:
                    store.save_arrays(run_id, "examples", examples(stored), of=version)
                else:
                    kept = features(stored)
                    store.save_arrays(run_id, "features", kept, of=version)
                    store.save_beside(run_id, beside.tightness(kept), of=version)
            except RequestError as error:
                failed[run_id] = str(error)
            on_step()
    return failed
