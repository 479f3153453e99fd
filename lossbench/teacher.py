"""The run that a student learns from or goes on from: found, or trained first, on the student's own data and split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lossbench import checksums
from lossbench.build import Experiment, build_model
from lossbench.checking import own_model_because
from lossbench.config import Config, run_id, teacher_config
from lossbench.errors import ConfigError, StoreError, TeacherError
from lossbench.identity import HELD
from lossbench.predictions import link_of
from lossbench.store import Store

# What a student's record keeps of its teacher, for the report.
_KEPT = ("model", "loss", "optimizer", "schedule", "epochs", "batch_size", "keep")
# What may differ between the two: where the files are, how they are held, and what only training examples go through.
_MAY_DIFFER = (*HELD, "shift", "flip", "mixup", "cutmix", "label_noise", "normalization", "sample_weights")


def with_teacher(config: Config, store: Store) -> Config:
    """Complete a student's config with its teacher's id and settings.

    A teacher must have learned on the student's own split: one of another seed or other fractions has seen what is
    the student's validation or test.

    Args:
        config: as `lossbench.checking.check` returns it.
        store: where the teacher is, or will be.

    Returns:
        The config; what has no teacher comes back as it is.

    Raises:
        StoreError: for a teacher named by an id that is not there.
        ConfigError: for one that learned other data, another split, or through a link that a student cannot follow.
    """
    if config["teacher"] is None:
        return config
    named = config["teacher"]["id"]
    if named is None:
        settings = teacher_config(config)
        return {**config, "teacher": {"id": run_id(settings), **_kept(settings)}}
    if not named:
        raise ConfigError("teacher.id must name a finished run; it is empty")
    found = store.find(named)
    store.record(found)  # refused here where it is damaged
    settings = store.config(found)
    expected = teacher_config(config)["dataset"]
    for key in sorted({*settings["dataset"], *expected} - {*_MAY_DIFFER}):
        theirs, ours = settings["dataset"].get(key), expected.get(key)
        if theirs != ours:
            raise ConfigError(
                f"teacher.id={named} learned dataset.{key}={theirs}, this run's teacher must have learned {ours}: "
                "it may know other classes, or this run's validation and test examples"
            )
    why = own_model_because(config)
    if why and settings["model"] != config["model"]:
        raise ConfigError(f"teacher.id={named} is another model than this run's: {why} has a teacher of its own model")
    if settings["seed"] != config["seed"]:
        raise ConfigError(
            f"teacher.id={named} learned the split of seed {settings['seed']}, this run's seed is {config['seed']}: "
            "it has seen this run's validation examples. Without teacher.id each seed has a teacher of its own"
        )
    link = link_of(store.path(found), store.metrics(found))["name"]
    if link != "softmax":
        raise ConfigError(f"teacher.id={named} was trained through {link}: its outputs are not logits of a softmax")
    return {**config, "teacher": {"id": found, **_kept(settings)}}


def identified(config: Config) -> tuple[str, Config, Store]:
    """Return a run's id, its config with its teacher's, and the store where both are.

    Raises:
        StoreError: as `with_teacher`.
        ConfigError: as `with_teacher`.
    """
    store = Store(config["results_dir"])
    complete = with_teacher(config, store)
    return run_id(complete), complete, store


def _kept(settings: Config) -> Config:
    dataset = {key: value for key, value in settings["dataset"].items() if key in _MAY_DIFFER and key not in HELD}
    device = {"precision": settings["device"]["precision"]}
    return {**{key: settings[key] for key in _KEPT}, "dataset": dataset, "device": device}


def load_teacher(config: Config, store: Store, experiment: Experiment) -> nn.Module | None:
    """Load a student's teacher from the store, or None where the loss learns from none.

    Args:
        config: as `with_teacher` returns it.
        store: where the teacher is.
        experiment: the student's; its data give the shapes, its device the place.

    Raises:
        TeacherError: if its weights are not those that it wrote.
    """
    if config["teacher"] is None:
        return None
    found: str = config["teacher"]["id"]
    settings: dict[str, Any] = store.config(found)
    model = build_teacher(settings, experiment)
    try:
        model.load_state_dict(store.weights(found))
    except StoreError as error:
        why = str(error).removesuffix(f"; {checksums.TRAIN}")  # which would train the student again
        again = f"remove {store.path(found)}, and its students train it first"
        raise TeacherError(f"its teacher {found} is damaged: {why}; {again}") from error
    link = store.metrics(found)["link"]
    return _Teacher(model, float(link.get("temperature", 1.0)), float(link.get("scale", 1.0)))


def build_teacher(settings: Config, experiment: Experiment) -> nn.Module:
    """Build a teacher's model, with its initial weights, for the classes that a student's teacher knows."""
    dataset = experiment.dataset
    known = replace(dataset, class_names=dataset.class_names[: dataset.teacher_classes])
    return build_model(settings, known, experiment.device)


@torch.no_grad()
def go_on_from(weights: Mapping[str, Tensor], model: nn.Module) -> None:
    """Give a model the weights of one with fewer classes, normalisation of the inputs and batch statistics included.

    What is as large in both is taken over. Of what has a row for each class, the rows of the teacher's classes are,
    and the others keep the model's own initial weights.

    Args:
        weights: of the same model for the first K_old classes.
        model: for K classes; changed in place.

    Raises:
        ConfigError: if a tensor depends on the number of classes in another way.
    """
    for name, own in model.state_dict().items():
        theirs = weights[name]
        rows = own if own.shape == theirs.shape else own[: len(theirs)]
        if rows.shape != theirs.shape:
            raise ConfigError(
                f"this model cannot go on from one with fewer classes: {name} is {list(own.shape)}, and was "
                f"{list(theirs.shape)}"
            )
        rows.copy_(theirs)


class _Teacher(nn.Module):
    """A model seen through its own link: one that was trained with softmax(s z/T) gives s z/T as its logits."""

    def __init__(self, model: nn.Module, temperature: float, scale: float) -> None:
        super().__init__()
        self.model = model
        self.factor = scale / temperature

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs)
        return logits * self.factor
