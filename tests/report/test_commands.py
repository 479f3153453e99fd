"""The command of a run makes that run: the same overrides, composed again, give the same run id."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from support import compose

from lossbench.config import run_id
from lossbench.errors import StoreError
from lossbench.report.commands import command_of, is_older, overrides_of, own_configs
from lossbench.store import Store
from lossbench.teacher import with_teacher

EXPERIMENTS = [
    (),
    ("loss=label_smoothing", "loss.epsilon=0.1", "seed=3"),
    ("loss=focal", "loss.gamma=3", "epochs=7", "batch_size=32", "keep=last"),
    ("loss=class_weighted", "loss.class_weights=effective", "dataset.imbalance_factor=50"),
    ("loss=cross_entropy", "loss.class_weights=[1,2.5,1,1,1,1,1,1,1,1]"),
    ("model.hidden=[64,32]", "model.dropout=0.25"),
    ("optimizer=adamw", "optimizer.learning_rate=1e-3", "schedule=step", "schedule.milestones=[0.3]"),
    ("optimizer.layer_learning_rates={head: 0.01}",),
    ("loss=sum", "loss.first=focal", "loss.first.gamma=1", "loss.second=dice", "loss.second_weight=0.5"),
    ("loss=sum", "loss.first=sum", "loss@loss.first.second=brier"),
    ("loss=distillation",),
    ("loss=distillation", "loss.hard=focal", "loss.hard.gamma=1", "loss.temperature=2", "teacher.epochs=9"),
    ("loss=distillation", "model.hidden=[32]"),
    ("loss=distillation", "model.hidden=[32]", "teacher.model.hidden=[32]"),
    ("loss=distillation", "dataset=fashion_mnist", "teacher.model=cnn", "teacher.model.width=32"),
    ("loss=distillation", "teacher.loss=label_smoothing", "teacher.loss.epsilon=0.2", "teacher.optimizer=adamw"),
    ("loss=self_distillation", "model.hidden=[32]", "teacher.keep=last"),
    ("dataset.old_classes=5", "dataset.learn=new", "keep=last", "loss=incremental_distillation", "loss.weight=1"),
    ("dataset.old_classes=5", "dataset.learn=old", "dataset.mixup=0.2"),
    ("dataset=land_cover", "model=unet", "model.width=8", "loss=tversky", "dataset.flip=true"),
    ("dataset=cifar10", "model=torchvision", "model.name=mobilenet_v3_small"),
    ("dataset=cifar10", "model=torchvision"),
    ("dataset=cifar10", "model=resnet18"),
    ("dataset.normalization=none", "dataset.sample_weights=\"it's, a [path] $x \\\\ {1}.npy\""),
    ("dataset.sample_weights='null'",),
    ("dataset.sample_weights='1e3'",),
    ("dataset=image_folder", "dataset.folder='/data/with space/ü#&'"),
    ("device=cpu", "device.precision=bf16", "device.threads=1", "metrics.n_bins=10", "results_dir=elsewhere"),
    ("device=cuda", "device.name=cuda:1"),
]  # fmt: skip


@pytest.mark.parametrize("overrides", EXPERIMENTS, ids=" ".join)
def test_the_command_composes_to_the_same_run(overrides: tuple[str, ...], tmp_path: Path) -> None:
    config = with_teacher(compose(*overrides), Store(tmp_path))
    program, verb, *words = shlex.split(command_of(config))
    assert (program, verb) == ("lossbench", "train")
    again = with_teacher(compose(*words), Store(tmp_path))
    assert run_id(again) == run_id(config)
    assert again == config  # where it runs and how it is measured, too
    assert not is_older(config)


def test_what_ships_as_the_default_is_not_said() -> None:
    assert command_of(compose()) == "lossbench train"
    assert overrides_of(compose("loss=focal", "loss.gamma=2")) == ["loss=focal"]  # 2 is focal's own γ
    assert overrides_of(compose("loss=focal", "loss.gamma=3")) == ["loss=focal", "loss.gamma=3"]


def test_several_seeds_are_one_command() -> None:
    assert command_of(compose("seed=2"), seeds=[2, 0, 1]) == "lossbench train seed=0,1,2"


def test_a_teacher_named_by_its_id_is_named_by_it_again(tmp_path: Path) -> None:
    config = with_teacher(compose("loss=distillation", "teacher.epochs=3"), Store(tmp_path))
    assert "teacher.epochs=3" in overrides_of(config)
    config["teacher"]["id"] = "digits-mlp-focal-s0-12345678"  # a run that these settings do not make
    assert overrides_of(config)[-1] == "teacher.id=digits-mlp-focal-s0-12345678"


def test_a_config_of_the_users_own_is_said_in_full_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    node = {"_target_": "lossbench.losses.focal", "gamma": 2.0}
    (tmp_path / "loss/sharp.yaml").write_text(yaml.safe_dump(node))
    config = compose("loss=sum", "loss.first=sharp", config_dir=tmp_path)
    assert own_configs(config) == ["loss.first=sharp"]
    assert own_configs(compose("loss=sum")) == []
    command = command_of(config)
    assert command.startswith("lossbench train --config-dir FOLDER ")
    words = shlex.split(command)[4:]
    assert "loss.first.gamma=2.0" in words
    assert run_id(compose(*words, config_dir=tmp_path)) == run_id(config)


def test_a_run_older_than_a_setting_leaves_it_to_the_default() -> None:
    config = compose("seed=1")
    del config["dataset"]["mixup"], config["metrics"]
    assert overrides_of(config) == ["seed=1"]


@pytest.mark.parametrize(
    "missing",
    ["dataset.mixup", "loss.ignore_index", "loss.hard", "loss.hard.class_weights", "teacher.optimizer.momentum",
     "device.precision"],
)  # fmt: skip
def test_a_run_without_a_setting_of_today_gets_another_id_from_its_command(missing: str) -> None:
    config = compose("loss=distillation")
    assert config["teacher"]["id"] is None  # so that the teacher is known by its settings
    node = config
    *path, key = missing.split(".")
    for part in path:
        node = node[part]
    del node[key]
    assert is_older(config)


def test_what_makes_no_id_makes_no_run_older(tmp_path: Path) -> None:
    config = compose("dataset=fashion_mnist")
    del config["dataset"]["root"], config["device"]["threads"], config["metrics"]
    assert not is_older(config)
    del config["keep"]
    assert is_older(config)
    student = with_teacher(compose("loss=distillation"), Store(tmp_path))
    student["teacher"]["id"] = "digits-mlp-focal-s0-12345678"  # a teacher by its id may be as old as it likes
    del student["teacher"]["optimizer"]["momentum"]
    assert not is_older(student)


@pytest.mark.parametrize("missing", ["id", "keep"])
def test_a_student_that_says_too_little_of_its_teacher_is_an_error_in_words(missing: str) -> None:
    config = compose("loss=distillation")
    del config["teacher"]["keep"], config["teacher"]["id" if missing == "id" else "epochs"]
    with pytest.raises(StoreError, match="lacks settings of its own or of its teacher"):
        command_of(config)
