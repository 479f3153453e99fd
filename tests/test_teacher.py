"""Teachers of a run's own model: those it is distilled from, and those of the old classes it goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import Lossbench, compose, compose_all
from torch import nn

from lossbench import config, run
from lossbench.build import build
from lossbench.errors import ConfigError
from lossbench.rehearsal import rehearse
from lossbench.store import Store
from lossbench.teacher import go_on_from, with_teacher

NEW = ("dataset.old_classes=5", "dataset.learn=new")


def small(tmp_path: Path, *overrides: str) -> config.Config:
    return compose("model=mlp", "model.hidden=[8]", "epochs=2", f"results_dir={tmp_path / 'results'}", *overrides)


def test_self_distillation_has_a_teacher_of_the_students_own_model_under_cross_entropy() -> None:
    student = compose("loss=self_distillation", "model.hidden=[8]", "teacher.epochs=3", "seed=2")
    by_hand = compose("model.hidden=[8]", "epochs=3", "seed=2")
    assert config.run_id(config.teacher_config(student)) == config.run_id(by_hand)


def test_self_distillation_within_a_sum_has_a_teacher_of_the_students_own_model() -> None:
    student = compose("loss=sum", "loss.second=self_distillation", "model.hidden=[8]")
    assert student["teacher"]["model"]["hidden"] == [8]


def test_the_next_generation_learns_from_the_last(tmp_path: Path) -> None:
    first = run.execute(small(tmp_path, "loss=self_distillation")).run_id
    second = run.execute(small(tmp_path, "loss=self_distillation", f"teacher.id={first}"))
    assert second.status == "finished"
    assert second.run_id != first


def test_a_teacher_of_another_model_is_refused_by_id(tmp_path: Path) -> None:
    teacher = run.execute(small(tmp_path, "model.hidden=[4]")).run_id
    student = small(tmp_path, "loss=self_distillation", f"teacher.id={teacher}")
    with pytest.raises(ConfigError, match="another model than this run's: loss=self_distillation has a teacher of its"):
        with_teacher(student, Store(tmp_path / "results"))


def test_the_teacher_of_new_classes_is_the_run_of_the_old_ones_typed_by_hand() -> None:
    student = compose(*NEW, "loss=incremental_distillation", "model.hidden=[8]")
    by_hand = compose("dataset.old_classes=5", "dataset.learn=old", "model.hidden=[8]")
    assert config.run_id(config.teacher_config(student)) == config.run_id(by_hand)


def test_every_loss_on_new_classes_has_a_teacher_and_none_of_cross_entropy_on_all() -> None:
    assert compose(*NEW)["teacher"] is not None
    assert compose("dataset.old_classes=5")["teacher"] is None


def test_going_on_takes_over_the_teachers_rows_and_keeps_the_others() -> None:
    teacher, student = (
        nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)),
        nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3)),
    )
    teacher(torch.randn(5, 2))  # so that the batch statistics are not the initial ones
    initial = student[1].weight[2].tolist(), student[1].bias[2].item()
    go_on_from(teacher.state_dict(), student)
    assert torch.equal(student[1].weight[:2], teacher[1].weight)
    assert torch.equal(student[1].bias[:2], teacher[1].bias)
    assert (student[1].weight[2].tolist(), student[1].bias[2].item()) == initial
    assert torch.equal(student[0].running_mean, teacher[0].running_mean)
    assert student[0].num_batches_tracked == 1


def test_a_model_that_depends_on_the_number_of_classes_elsewhere_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot go on from one with fewer classes: weight is \[1, 3\].*\[1, 2\]"):
        go_on_from(nn.Linear(2, 1).state_dict(), nn.Linear(3, 1))


def test_a_run_on_new_classes_starts_where_its_teacher_ended(tmp_path: Path) -> None:
    """At a learning rate of nothing, the old logits of the stored run are the teacher's."""
    store = Store(tmp_path / "results")
    still = ("optimizer.learning_rate=1e-12", "teacher.optimizer.learning_rate=0.1")
    student = run.execute(small(tmp_path, *NEW, *still)).run_id
    teacher = store.config(student)["teacher"]["id"]
    theirs, ours = store.predictions(teacher), store.predictions(student)
    old = ours["test_targets"] < 5
    assert (ours["test_targets"][old] == theirs["test_targets"]).all()
    torch.testing.assert_close(torch.tensor(ours["test_logits"][old, :5]), torch.tensor(theirs["test_logits"]))
    assert set(ours["val_targets"]) == {5, 6, 7, 8, 9}


def test_losses_on_new_classes_are_paired_and_share_their_teacher(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    names = [
        run.execute(small(tmp_path, *NEW, f"loss={loss}")).run_id
        for loss in ("cross_entropy", "incremental_distillation")
    ]
    prints = [store.environment(name)["fingerprints"] for name in names]
    assert prints[0] == prints[1]
    assert len(store.run_ids()) == 3


def test_the_accuracies_on_old_and_new_classes_make_up_the_whole(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    name = run.execute(small(tmp_path, "dataset.old_classes=7")).run_id
    metrics, targets = store.metrics(name), store.predictions(name)["test_targets"]
    share = (targets < 7).mean()
    parts = metrics["beside"]
    whole = share * parts["old_accuracy"] + (1 - share) * parts["new_accuracy"]
    assert whole == pytest.approx(metrics["test"]["raw"]["accuracy"])
    assert parts["old_accuracy"] != parts["new_accuracy"]


def test_a_run_of_the_old_classes_has_no_accuracy_on_the_new(tmp_path: Path) -> None:
    name = run.execute(small(tmp_path, "dataset.old_classes=5", "dataset.learn=old")).run_id
    metrics = Store(tmp_path / "results").metrics(name)
    assert metrics["beside"] == {"old_accuracy": pytest.approx(metrics["test"]["raw"]["accuracy"])}


def test_a_teacher_of_all_classes_is_refused_by_id(tmp_path: Path) -> None:
    teacher = run.execute(small(tmp_path, "dataset.old_classes=5")).run_id
    student = small(tmp_path, *NEW, f"teacher.id={teacher}")
    with pytest.raises(ConfigError, match=r"learned dataset\.learn=all, this run's teacher must have learned old"):
        with_teacher(student, Store(tmp_path / "results"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            (*NEW, "teacher.model=linear"),
            "dataset.learn=new has a teacher of its own model, mlp; got teacher.model=linear",
        ),
        (("loss=self_distillation", "teacher.model=linear"), "loss=self_distillation has a teacher of its own model"),
        (("dataset.learn=some",), "dataset.learn must be all or old or new; got 'some'"),
        (("dataset.old_classes=-1",), "dataset.old_classes must lie in"),
    ],
)
def test_a_request_that_does_not_compose_is_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_all(*overrides)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((*NEW, "loss=distillation"), "with dataset.learn=new the teacher knows the 5 old classes alone"),
        (("loss=incremental_distillation",), "dataset.old_classes=5 dataset.learn=new"),
        ((*NEW, "loss=class_weighted"), "there is none of 0, 1, 2, 3, 4"),
        ((*NEW, "dataset.old_classes=10"), "fewer than the 10 classes; got 10"),
        ((*NEW, "loss=self_distillation", "teacher.model.hidden=[4]"), "leave out teacher.model.hidden=[4]"),
    ],
)
def test_a_wrong_request_is_one_line_and_nothing_written(
    lossbench: Lossbench, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    answer = lossbench("train", "device=cpu", *overrides)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_a_setting_of_the_teachers_model_in_a_yaml_is_refused_where_it_would_be_dropped(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    mine = (
        "# @package _global_\ndefaults:\n  - override /loss: self_distillation\nteacher:\n  model:\n    hidden: [4]\n"
    )
    (tmp_path / "experiment/mine.yaml").write_text(mine)
    with pytest.raises(ConfigError, match=r"settings and all: leave out teacher\.model\.hidden=\[4\]"):
        compose("+experiment=mine", config_dir=tmp_path)
    # What it has to be may be said.
    assert compose("+experiment=mine", "model.hidden=[4]", config_dir=tmp_path)["teacher"]["model"]["hidden"] == [4]


def test_a_model_that_cannot_go_on_is_refused_before_it_is_trained() -> None:
    settings = compose(*NEW)
    settings["model"] = settings["teacher"]["model"] = {"_target_": "test_teacher.narrowing", "name": "narrowing"}
    with pytest.raises(ConfigError, match="cannot go on from one with fewer classes"):
        rehearse(settings)
    assert build(settings).dataset.num_classes == 10


def narrowing(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A model whose hidden layer is as wide as there are classes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes), nn.ReLU(), nn.Linear(num_classes, num_classes))


def test_the_experiment_shows_that_fine_tuning_forgets_and_distillation_less(lossbench: Lossbench) -> None:
    answer = lossbench("train", "+experiment=class_incremental", "dataset=digits", "seed=0", "device.threads=1", "-q")
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) == 2
    shown = lossbench(
        "report", "--where", "dataset.learn=new", "--metrics", "old_accuracy,new_accuracy", "--format", "json"
    )
    rows: dict[str, Any] = {row["config"]["loss.name"]: row["metrics"] for row in json.loads(shown.stdout)["rows"]}
    old = {loss: metrics["old_accuracy"]["raw"]["mean"] for loss, metrics in rows.items()}
    # The sweep's difference on digits is 0.9; less than a third of it is not what the header promises.
    assert old["cross_entropy"] + 0.3 < old["incremental_distillation"]
    assert "On test: teacher_accuracy 0." in lossbench("show").stdout
