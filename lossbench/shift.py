"""What a stored model says of what it was not made for: examples of another data set, and worse images of its own."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from lossbench import metrics
from lossbench.build import build_dataset, forget_data
from lossbench.checking import check, split_dataset, target_of, values_of
from lossbench.config import Config, Session, session
from lossbench.corruptions import LEVELS, NOISE_SEED, corruption
from lossbench.data.dataset import Dataset, Examples
from lossbench.data.streaming import Streamed
from lossbench.errors import ConfigError, RequestError, StoreError
from lossbench.identity import HELD, OWN_DATA
from lossbench.metrics.inputs import Predictions
from lossbench.metrics.ranking import auroc, fpr95
from lossbench.pixels import predict_pixels, sample_pixels
from lossbench.progress import counting
from lossbench.randomness import stream
from lossbench.store import Store
from lossbench.stored_model import StoredModel, load
from lossbench.training import EVALUATION_BATCH, forward

MEASURED = ("accuracy", "nll", "ece", "confidence_gap")  # of corrupted images
STEPS = [("clean", 0), *((name, level) for name, amounts in LEVELS.items() for level in range(1, len(amounts) + 1))]
Record = dict[str, Any]  # what was shown, the calibration, and numbers by name


def unknown_data(session: Session, request: str) -> tuple[Config, Dataset]:
    """Load the data set that a user names as unknown to the models.

    Args:
        session: Hydra, with the user's own configs.
        request: a data set's name, and settings of it after that: `svhn dataset.root=/data`.

    Returns:
        Its configuration, and the data set, of which the test split counts.

    Raises:
        RequestError: if that is not what the request says, or the data are not there.
    """
    try:
        name, *overrides = shlex.split(request) or [""]
    except ValueError:  # a quotation mark without its twin
        name, overrides = "", []
    if not name or "=" in name or not all(override.startswith("dataset.") for override in overrides):
        raise ConfigError(
            f"--ood takes the name of a data set and settings of it, such as 'svhn dataset.root=/data'; got {request!r}"
        )
    runs = session.plan([f"dataset={name}", *overrides]).runs
    if runs is None or len(runs) != 1:
        raise ConfigError(f"--ood takes one data set, and may be given again; got {request!r}")
    config = check(runs[0])
    return config["dataset"], build_dataset(config)


def unknown_examples(stored: StoredModel, node: Config, dataset: Dataset) -> Examples:
    """Return the test examples of another data set that a model can be shown.

    Of the model's own data set these are the classes that it has not learned (`dataset.old_classes=5
    dataset.learn=old` leaves some), by their names.

    Args:
        stored: the model.
        node: the configuration of the other data set.
        dataset: the other data set.

    Raises:
        ConfigError: if there are none, or they are not of the kind that the model takes.
    """
    own, others, name = stored.dataset, dataset.test, node["name"]
    if own.test.masks or others.masks:
        raise ConfigError(f"{name}: unknown data are told from known ones by example, and masks have none for each")
    if _names_same_data(node, stored.config["dataset"]):
        unknown = [index for index, label in enumerate(dataset.class_names) if label not in own.class_names]
        others = others.select(torch.isin(others.targets, torch.tensor(unknown, dtype=torch.int64)).nonzero()[:, 0])
        if not len(others):
            raise ConfigError(
                f"{name} is what this run was trained on, and it knows all its classes: name another data set, or "
                "train on some classes alone (dataset.old_classes=5 dataset.learn=old)"
            )
    theirs, ours = others.inputs, own.test.inputs
    if theirs.shape[1:] != ours.shape[1:] or theirs.dtype != ours.dtype:
        raise ConfigError(
            f"{name} has inputs {list(theirs.shape[1:])} of {_kind(theirs)}, this run's model takes "
            f"{list(ours.shape[1:])} of {_kind(ours)}: they are neither resized nor rescaled here"
        )
    return others


def _names_same_data(one: Config, other: Config) -> bool:
    """Whether two configs name one data set: by its function and its own settings, wherever the files are copied to.

    How it is split and augmented, which all data sets have in common, does not make it another.
    """
    if one["_target_"] != other["_target_"]:
        return False
    function = target_of(one, "dataset")
    named, known = (
        {key: value for key, value in split_dataset(values_of(node, function), function)[0].items() if key not in HELD}
        for node in (one, other)
    )
    for own in (named, known):
        for key in OWN_DATA:
            if isinstance(own.get(key), str):
                own[key] = Path(own[key]).expanduser().resolve()
    return named == known


def _kind(inputs: Tensor | Streamed) -> str:
    return str(inputs.dtype).removeprefix("torch.")


def tell_apart(stored: StoredModel, unknown: Examples) -> list[Record]:
    """Measure how well a model's own probabilities tell its test split from unknown data.

    The positive examples are the run's own test split. They are scored by max_k p_k (`confidence`) and by the negative
    entropy Σ_k p_k log p_k (`entropy`).

    Returns:
        A record per score × calibration, with `auroc` and `fpr95`.

    Source: Hendrycks & Gimpel 2017, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural
    Networks".
    """
    logits = forward(stored.model, unknown.inputs.to(stored.device.name), stored.device).cpu().numpy()
    known_log_probs, unknown_log_probs = stored.log_probs(stored.test_logits), stored.log_probs(logits)
    records: list[Record] = []
    for calibration in known_log_probs:
        known, new = _scores(known_log_probs[calibration]), _scores(unknown_log_probs[calibration])
        for score in known:
            numbers = {"auroc": auroc(known[score], new[score]), "fpr95": fpr95(known[score], new[score])}
            records.append({"score": score, "calibration": calibration, **numbers})
    return records


def _scores(log_probs: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Both in an order that is the quantity's own, also where max_k p_k rounds to 1: of it, its log-odds are taken."""
    predictions = Predictions(log_probs, np.empty(0, dtype=np.int64))
    others = log_probs.copy()
    np.put_along_axis(others, predictions.predicted[:, None], -np.inf, axis=1)
    return {"confidence": log_probs.max(axis=1) - special.logsumexp(others, axis=1), "entropy": -predictions.entropy}


def corrupted(stored: StoredModel, name: str, level: int) -> list[Record]:
    """Measure a model on its own test split, corrupted.

    Args:
        stored: the model; of images.
        name: a key of `lossbench.corruptions.LEVELS`.
        level: 1 to 5; 0 is the split as it is, from the stored predictions.

    Returns:
        A record per calibration, with the metrics of MEASURED. The temperature is that of the clean validation split.
    """
    logits, targets = _look(stored, name, level) if level else (stored.test_logits, stored.test_targets)
    return [
        {
            "corruption": name,
            "level": level,
            "calibration": calibration,
            **metrics.evaluate(log_probs, targets, metrics=MEASURED, **stored.options),
        }
        for calibration, log_probs in stored.log_probs(logits).items()
    ]


def _look(stored: StoredModel, name: str, level: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    low, high = _pixel_range(stored.dataset)
    corrupt = corruption(name, level)

    def look(inputs: Tensor | Streamed) -> Tensor:
        parts = []
        for part in inputs.split(EVALUATION_BATCH):
            worse = corrupt((part.float() - low) / (high - low)) * (high - low) + low
            parts.append(forward(stored.model, worse, stored.device))
        return torch.cat(parts)

    examples = stored.dataset.test.to(stored.device.name)
    if examples.masks:  # the pixels that the stored predictions hold
        kept = sample_pixels(examples.labelled, stream(stored.config["seed"], "pixels"))
        logits, targets, _ = predict_pixels(look, examples, kept)
        return logits.cpu().numpy(), targets.cpu().numpy()
    return look(examples.inputs).cpu().numpy(), stored.test_targets


def _pixel_range(dataset: Dataset) -> tuple[float, float]:
    """What black and white are: of bytes by definition, else the ends of the training split."""
    if dataset.train.inputs.dtype == torch.uint8:
        return 0.0, 255.0
    return float(dataset.train.resident.min()), float(dataset.train.resident.max())


def examine(
    store: Store,
    run_id: str,
    *,
    unknown: Mapping[str, tuple[Config, Dataset]],
    corruptions: bool,
    config_dir: Path | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Show a run's model unknown data or worse images, and keep what comes out with the run.

    Args:
        store: where the run is.
        run_id: its id.
        unknown: what `unknown_data` returns, by what the user typed.
        corruptions: whether to corrupt the test split, by everything in LEVELS.
        config_dir: a folder of the user's own configs.
        on_step: called after each data set and each level.

    Raises:
        RequestError: if the run cannot be shown what was asked for. What was kept before stays.
    """
    version = store.version(run_id)
    stored = load(store, run_id, config_dir)
    if not isinstance(store.shift(run_id).get("ood", {}), dict):
        raise StoreError(f"{store.path(run_id) / 'shift.json'} is damaged; remove it")
    if corruptions and stored.dataset.test.inputs.ndim != 4:
        raise ConfigError(f"--corruptions takes images; the inputs of this run are {list(stored.dataset.input_shape)}")
    found: dict[str, Any] = {"ood": {}} if unknown else {}
    chosen = {request: unknown_examples(stored, *there) for request, there in unknown.items()}
    for request, examples in chosen.items():
        about = {"examples": len(examples), "data": unknown[request][1].fingerprints["data"]}
        found["ood"][request] = {
            **about,
            "temperature": stored.temperature,
            "measured": tell_apart(stored, examples),
        }
        on_step()
    if corruptions:
        measured = []
        for name, level in STEPS:
            measured += corrupted(stored, name, level)
            on_step()
        about = {"noise_seed": NOISE_SEED, "amounts": LEVELS, "temperature": stored.temperature}
        found["corruptions"] = {**about, "measured": measured}
    store.save_shift(run_id, found, of=version)


def examine_all(
    store: Store,
    run_ids: Sequence[str],
    *,
    ood: Sequence[str],
    corruptions: bool,
    config_dir: Path | None = None,
) -> dict[str, str]:
    """Examine several runs, one after another, with a bar on a terminal.

    Args:
        store: where they are.
        run_ids: theirs.
        ood: unknown data, each as a user types it: see `unknown_data`.
        corruptions: as for `examine`.
        config_dir: as for `examine`.

    Returns:
        Run id → why that run could not be examined; the others were.

    Raises:
        RequestError: if no run could be, or the unknown data are not there.
    """
    forget_data()
    failed: dict[str, str] = {}
    steps = len(ood) + (len(STEPS) if corruptions else 0)
    with session(config_dir) as hydra, counting("looking", len(run_ids) * steps) as on_step:
        unknown = {request: unknown_data(hydra, request) for request in ood}
        for run_id in run_ids:
            try:
                examine(store, run_id, unknown=unknown, corruptions=corruptions, config_dir=config_dir, on_step=on_step)
            except RequestError as error:
                failed[run_id] = str(error)
    if len(failed) == len(run_ids):
        run_id, message = next(iter(failed.items()))
        others = f" (the first of {len(failed)} runs, none of which can be shown it)" if len(failed) > 1 else ""
        raise ConfigError(f"{run_id}: {message}{others}")
    return failed
