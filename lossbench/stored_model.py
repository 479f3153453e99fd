"""A finished run's model, built again from what was stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from lossbench import links
from lossbench.build import build_dataset, build_device, build_model
from lossbench.checking import check_stored
from lossbench.config import Config
from lossbench.data.dataset import Dataset
from lossbench.device import ONE_THREAD_FLOPS, Device
from lossbench.errors import DeviceError, StoreError
from lossbench.store import Store


@dataclass(frozen=True)
class StoredModel:
    """A finished run's model as it was evaluated: its data, its device, and how its logits become probabilities."""

    run_id: str
    config: Config
    dataset: Dataset
    model: nn.Module
    device: Device
    link: Mapping[str, Any]
    temperature: float  # fitted on the validation split, clean as it is
    options: Mapping[str, Any]  # of metrics, as the run was measured with
    test_logits: NDArray[np.float32]
    test_targets: NDArray[np.int64]

    def log_probs(self, logits: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Return log-probabilities, [N, K], through the run's link: raw, and after the temperature."""
        return links.raw_and_scaled(self.link, logits, self.temperature)


def load(store: Store, run_id: str, config_dir: Path | None = None) -> StoredModel:
    """Build a finished run's model and data again.

    Args:
        store: where the run is.
        run_id: its id.
        config_dir: a folder of the user's own configs, for models and data sets that are not lossbench's.

    Raises:
        StoreError: if the run is damaged, or the data are no longer those it was trained on.
        RequestError: if its data are not there or its config names what may not be called.
    """
    config, measured, predictions = store.config(run_id), store.metrics(run_id), store.predictions(run_id)
    check_stored(config, config_dir)
    try:
        dataset = build_dataset(config)
        if dataset.fingerprints["data"] != store.environment(run_id)["fingerprints"]["data"]:
            raise StoreError(f"{config['dataset']['name']} is no longer what {run_id} was trained and tested on")
        device = _device(config)
        model = build_model(config, dataset, device)
        _load(model, store.weights(run_id))
        stored = StoredModel(
            run_id,
            config,
            dataset,
            model.eval(),
            device,
            measured["link"],
            float(measured["temperature"]),
            measured.get("options", {}),
            predictions["test_logits"],
            predictions["test_targets"],
        )
        stored.log_probs(stored.test_logits[:1])
    except (AttributeError, KeyError, SafetensorError, TypeError, ValueError) as error:
        raise StoreError(f"{store.path(run_id)} is damaged: {type(error).__name__} {error}") from error
    return stored


def _load(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # a line for each tensor
        raise StoreError(
            f"its model.safetensors does not fit its config: {str(error).splitlines()[1].strip()}"
        ) from error


def _device(config: Config) -> Device:
    """The run's own, or the best there is where another machine trained it."""
    try:
        device = build_device(config)
    except DeviceError:
        device = build_device({"device": {**config["device"], "name": "auto"}})
    device.use(ONE_THREAD_FLOPS)  # batches are large here
    return device
