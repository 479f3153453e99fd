"""The run that a student learns from: found, or trained first, and always on the student's own data and split."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lossbench.build import Experiment, build_model
from lossbench.config import Config, run_id, teacher_config
from lossbench.errors import ConfigError
from lossbench.store import Store

# What a student's record keeps of its teacher, for the report.
_KEPT = ("model", "loss", "optimizer", "schedule", "epochs", "batch_size", "keep")
# What may differ between the two: where the files are, and what only the training examples go through.
_MAY_DIFFER = ("root", "shift", "flip", "label_noise", "normalization", "sample_weights")


def with_teacher(config: Config, store: Store) -> Config:
    """Complete a student's config with its teacher's id and settings.

    A teacher must have learned on the student's own split: one of another seed or other fractions has seen what is
    the student's validation or test.

    Args:
        config: as `lossbench.build.check` returns it.
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
    settings = store.config(found)
    for key in sorted({*settings["dataset"], *config["dataset"]} - {*_MAY_DIFFER}):
        theirs, ours = settings["dataset"].get(key), config["dataset"].get(key)
        if theirs != ours:
            raise ConfigError(
                f"teacher.id={named} learned dataset.{key}={theirs}, this run {ours}: "
                "it may have seen this run's validation and test examples"
            )
    if settings["seed"] != config["seed"]:
        raise ConfigError(
            f"teacher.id={named} learned the split of seed {settings['seed']}, this run's seed is {config['seed']}: "
            "it has seen this run's validation examples. Without teacher.id each seed has a teacher of its own"
        )
    link = store.metrics(found)["link"]["name"]
    if link != "softmax":
        raise ConfigError(f"teacher.id={named} was trained through {link}: its outputs are not logits of a softmax")
    return {**config, "teacher": {"id": found, **_kept(settings)}}


def _kept(settings: Config) -> Config:
    dataset = {key: value for key, value in settings["dataset"].items() if key in _MAY_DIFFER and key != "root"}
    device = {"precision": settings["device"]["precision"]}
    return {**{key: settings[key] for key in _KEPT}, "dataset": dataset, "device": device}


def load_teacher(config: Config, store: Store, experiment: Experiment) -> nn.Module | None:
    """Load a student's teacher from the store, or None where the loss learns from none.

    Args:
        config: as `with_teacher` returns it.
        store: where the teacher is.
        experiment: the student's; its data give the shapes, its device the place.
    """
    if config["teacher"] is None:
        return None
    found: str = config["teacher"]["id"]
    settings: dict[str, Any] = store.config(found)
    model = build_model(settings, experiment.dataset, experiment.device)
    model.load_state_dict(store.weights(found))
    return _Teacher(model, float(store.metrics(found)["link"].get("temperature", 1.0)))


class _Teacher(nn.Module):
    """A model seen through its own link: one that was trained with softmax(z/T) gives z/T as its logits."""

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs)
        return logits / self.temperature
