from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import compose, files_below, read_json

from lossbench import checkpoints, request, run
from lossbench.build import build
from lossbench.config import run_id
from lossbench.errors import ConfigError, StoreError
from lossbench.store import Store
from lossbench.teacher import load_teacher, with_teacher
from lossbench.training import State

NAME = "digits-mlp-dice-s0-12345678"


def small(tmp_path: Path, *overrides: str) -> dict[str, object]:
    return compose(
        "dataset=wine", "model=linear", "epochs=2", "device=cpu", f"results_dir={tmp_path / 'results'}", *overrides
    )


def commit(store: Store, name: str = NAME, schema: int | None = None) -> None:
    values = {"accuracy": 0.5, "confidence_of_errors": math.nan}
    loss = {"_target_": "a.b", "name": "dice", "epsilon": 0.1, "prior": [0.5, 0.5]}
    store.start(name, {"dataset": {"name": "digits"}, "model": {"name": "mlp"}, "loss": loss, "seed": 0})
    store.commit(
        name,
        metrics={"val": {"raw": values}, "test": {"raw": values}, "temperature": 1.5},
        predictions={"test_logits": np.zeros((2, 3), np.float32)},
        history=[{"epoch": 1, "train_loss": 0.25}],
        environment={"wall_seconds": 2.5},
        weights={"w": torch.arange(6.0).reshape(2, 3).t()},
    )
    if schema is not None:
        path = store.path(name) / "metrics.json"
        path.write_text(json.dumps({**read_json(path), "schema": schema}))


def test_a_folder_has_an_id_that_moves_with_it_and_is_nothing_that_a_link_leads_to(tmp_path: Path) -> None:
    store = Store(tmp_path / "a")
    known = store.id()
    assert Store(tmp_path / "b").id() != known
    (tmp_path / "a").rename(tmp_path / "c")
    assert Store(tmp_path / "c").id() == known
    (tmp_path / "secret").write_text("0" * 32)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/id").symlink_to(tmp_path / "secret")
    assert store.id() not in (known, "0" * 32)
    assert (tmp_path / "secret").read_text() == "0" * 32
    (tmp_path / "file").write_text("nothing can be written below it")
    assert Store(tmp_path / "file").id() == Store(tmp_path / "file").id() != Store(tmp_path / "file/b").id()


def test_a_run_has_the_files_that_were_promised(tmp_path: Path) -> None:
    config = small(tmp_path)
    outcome = run.execute(config)
    store = Store(tmp_path / "results")
    assert (outcome.status, outcome.run_id) == ("finished", run_id(config))
    assert files_below(store.path(outcome.run_id)) == [
        "checksums.json", "config.yaml", "environment.json", "history.csv", "metrics.json", "model.safetensors",
        "predictions.npz",
    ]  # fmt: skip
    assert store.config(outcome.run_id) == {key: value for key, value in config.items() if key != "tracker"}
    metrics = store.metrics(outcome.run_id)
    assert metrics["schema"] == 1
    assert set(metrics["test"]) == {"raw", "temperature_scaled", "vector_scaled", "isotonic"}
    assert metrics["options"] == config["metrics"]
    predictions = store.predictions(outcome.run_id)
    assert set(predictions) == {"val_logits", "val_targets", "test_logits", "test_targets"}
    accuracy = (predictions["test_logits"].argmax(1) == predictions["test_targets"]).mean()
    assert metrics["test"]["raw"]["accuracy"] == pytest.approx(accuracy)
    environment = store.environment(outcome.run_id)
    assert set(environment["fingerprints"]) == {"data", "split", "initial_weights", "batch_order"}
    assert environment["device"] == "cpu"


def test_a_loss_with_a_temperature_is_measured_through_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    name = run.execute(small(tmp_path, "loss=temperature", "loss.temperature=4")).run_id
    predictions, metrics = store.predictions(name), store.metrics(name)
    scaled = torch.tensor(predictions["test_logits"]).double() / 4
    nll = torch.nn.functional.cross_entropy(scaled, torch.tensor(predictions["test_targets"]))
    assert metrics["test"]["raw"]["nll"] == pytest.approx(nll.item(), abs=1e-6)
    assert metrics["link"] == {"name": "softmax", "temperature": 4.0}


def test_the_fitted_temperature_never_makes_the_validation_nll_worse(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    val = store.metrics(run.execute(small(tmp_path)).run_id)["val"]
    assert val["temperature_scaled"]["nll"] <= val["raw"]["nll"]


def test_a_finished_run_is_skipped_and_force_trains_it_again(tmp_path: Path) -> None:
    config = small(tmp_path)
    name = run.execute(config).run_id
    store = Store(tmp_path / "results")
    weights = store.path(name) / "model.safetensors"
    before = (weights.stat().st_mtime_ns, weights.read_bytes())
    assert run.execute(config).status == "skipped"
    assert weights.stat().st_mtime_ns == before[0]
    assert run.execute(config, force=True).status == "finished"
    assert weights.stat().st_mtime_ns > before[0]
    assert weights.read_bytes() == before[1], "the same request gives the same bits"
    assert sorted(path.name for path in store.runs.iterdir()) == [name]


def test_a_student_trains_its_teacher_first_and_the_next_one_finds_it(tmp_path: Path) -> None:
    distilled = small(tmp_path, "loss=distillation", "teacher.model=mlp", "teacher.epochs=3")
    first = run.execute(distilled)
    store = Store(tmp_path / "results")
    assert first.status == "finished"
    teacher = store.config(first.run_id)["teacher"]["id"]
    assert sorted(store.run_ids()) == sorted([first.run_id, teacher])
    assert store.config(teacher)["epochs"] == 3
    assert store.config(teacher)["model"]["name"] == "mlp"
    trained_at = store.path(teacher).stat().st_mtime_ns
    second = run.execute(
        small(tmp_path, "loss=distillation", "loss.alpha=0.5", "teacher.model=mlp", "teacher.epochs=3")
    )
    assert store.path(teacher).stat().st_mtime_ns == trained_at
    assert second.run_id != first.run_id
    by_id = run.execute(small(tmp_path, "loss=distillation", f"teacher.id={teacher}"))
    assert by_id == first.__class__(first.run_id, "skipped", "", first.validation, first.summary)


def test_an_unknown_teacher_is_an_error(tmp_path: Path) -> None:
    config = small(tmp_path, "loss=distillation", "teacher.id=nobody")
    with pytest.raises(
        StoreError, match=r"no finished run 'nobody' in .*; lossbench runs --results-dir \S+ lists them"
    ):
        with_teacher(config, Store(tmp_path / "results"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("seed=1",), "learned the split of seed 0, this run's seed is 1"),
        (("dataset.test_fraction=0.3",), "learned dataset.test_fraction=0.2, this run's teacher must have"),
        (("dataset=digits",), "learned dataset."),
    ],
)
def test_a_teacher_that_may_have_seen_the_students_validation_or_test_is_refused(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    teacher = run.execute(small(tmp_path)).run_id
    config = small(tmp_path, "loss=distillation", f"teacher.id={teacher}", *overrides)
    with pytest.raises(ConfigError, match=message):
        with_teacher(config, Store(tmp_path / "results"))


def test_a_teacher_may_have_learned_from_noisier_or_augmented_examples_and_the_record_says_so(tmp_path: Path) -> None:
    teacher = run.execute(small(tmp_path, "dataset.label_noise=0.3")).run_id
    student = run.execute(small(tmp_path, "loss=distillation", f"teacher.id={teacher}")).run_id
    assert Store(tmp_path / "results").config(student)["teacher"]["dataset"]["label_noise"] == 0.3


def test_a_teacher_of_another_link_is_refused(tmp_path: Path) -> None:
    teacher = run.execute(small(tmp_path, "loss=binary_cross_entropy")).run_id
    config = small(tmp_path, "loss=distillation", f"teacher.id={teacher}")
    with pytest.raises(ConfigError, match="trained through sigmoid"):
        with_teacher(config, Store(tmp_path / "results"))


@pytest.mark.parametrize(("loss", "temperature"), [("cross_entropy", 1.0), ("temperature", 2.0)])
def test_the_teacher_that_a_student_hears_is_the_stored_one_through_its_own_link(
    tmp_path: Path, loss: str, temperature: float
) -> None:
    store = Store(tmp_path / "results")
    config = small(tmp_path, "loss=distillation", f"teacher.loss={loss}")
    student = run.execute(config).run_id
    complete = with_teacher(config, store)
    experiment = build(complete)
    teacher = load_teacher(complete, store, experiment)
    assert teacher is not None
    stored = store.predictions(store.config(student)["teacher"]["id"])["test_logits"]
    heard = teacher.eval()(experiment.dataset.test.inputs).detach().numpy()
    np.testing.assert_allclose(heard, stored / temperature, rtol=1e-5, atol=1e-6)


def test_a_failed_run_is_recorded_and_the_next_try_may_succeed(tmp_path: Path) -> None:
    config = small(tmp_path, "optimizer.learning_rate=1e30", "schedule=constant")
    outcome = run.execute(config)
    store = Store(tmp_path / "results")
    assert outcome.status == "failed"
    assert "the loss became" in outcome.message
    failure = read_json(store.partial(outcome.run_id) / "failure.json")
    assert failure["error"] == "DivergedError"
    assert "training.py" in "".join(failure["traceback"])
    assert not store.finished(outcome.run_id)
    (info,) = store.infos()
    assert (info.status, info.message) == ("failed", outcome.message)
    store.start(outcome.run_id, config)
    assert next(store.infos()).status == "interrupted"


def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", math.inf)
    config = small(tmp_path, "epochs=4", "optimizer=adamw")
    store = Store(tmp_path / "results")
    name = run_id(config)

    class Interrupting(run.Silent):
        def epoch(self, row: dict[str, float], epochs: int) -> None:
            if row["epoch"] == 3:  # before this epoch's checkpoint: the second's is the last
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.execute(config, display=Interrupting())
    state = store.load_checkpoint(name)
    assert state is not None
    assert state.epoch == 2
    seen: list[float] = []

    class Watching(run.Silent):
        def epoch(self, row: dict[str, float], epochs: int) -> None:
            seen.append(row["epoch"])

    assert run.execute(config, display=Watching()).status == "finished"
    assert seen == [3, 4]
    resumed = (store.path(name) / "model.safetensors").read_bytes()
    assert not list(store.runs.glob("*.partial"))
    run.execute(config, force=True)
    assert (store.path(name) / "model.safetensors").read_bytes() == resumed


def test_an_unreadable_checkpoint_fails_the_run_and_says_what_to_do(tmp_path: Path) -> None:
    config = small(tmp_path)
    store = Store(tmp_path / "results")
    store.start(run_id(config), config)
    (store.partial(run_id(config)) / "checkpoint.pt").write_bytes(b"not a checkpoint")
    outcome = run.execute(config)
    assert outcome.status == "failed"
    assert "cannot be read" in outcome.message
    assert run.execute(config, force=True).status == "finished"


def test_a_state_survives_its_checkpoint(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.start(NAME, {})
    assert store.load_checkpoint(NAME) is None
    state = State(epoch=2, model={"w": torch.ones(2)}, history=[{"epoch": 1.0}], order="abc", seconds=1.5)
    store.save_checkpoint(NAME, state)
    loaded = store.load_checkpoint(NAME)
    assert loaded is not None
    assert torch.equal(loaded.model["w"], torch.ones(2))
    assert (loaded.epoch, loaded.history, loaded.order, loaded.seconds) == (2, [{"epoch": 1.0}], "abc", 1.5)


def test_undefined_metrics_are_null_on_disk_and_nan_in_the_table(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    assert '"confidence_of_errors": null' in (store.path(NAME) / "metrics.json").read_text()
    frame, skipped = store.frame()
    assert not skipped
    assert frame["confidence_of_errors"].isna().all()


def test_the_table_has_a_row_per_split_and_calibration_with_dotted_config_keys(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    frame, _ = store.frame()
    assert frame[["run", "split", "calibration"]].to_numpy().tolist() == [[NAME, "val", "raw"], [NAME, "test", "raw"]]
    row = frame.iloc[0]
    assert (row["loss.name"], row["loss.epsilon"], row["loss.prior"]) == ("dice", 0.1, "[0.5, 0.5]")
    assert row["temperature"] == 1.5
    assert row["loss._target_"] == "a.b"


def test_what_cannot_be_read_is_named_and_the_rest_is_reported(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("a", "b", "c", "d", "e"):
        commit(store, name)
    commit(store, "f", schema=99)
    (store.path("b") / "metrics.json").write_text("{")
    (store.path("c") / "config.yaml").unlink()
    (store.path("d") / "metrics.json").write_text('{"schema": 1}')
    (store.path("e") / "config.yaml").write_text("a: [")
    (store.runs / "notes.txt").write_text("not a run")
    frame, skipped = store.frame()
    assert set(frame["run"]) == {"a"}
    assert skipped == [
        "skipped b: metrics.json is not valid JSON",
        "skipped c: config.yaml is missing",
        "skipped d: metrics.json: val must be a mapping; got nothing",
        "skipped e: config.yaml is not valid yaml",
        "skipped f: metrics.json has schema 99, not 1: of another lossbench",
        "skipped notes.txt: holds no run",
    ]


def test_folders_of_something_else_are_named_and_hidden_ones_are_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    for name in ("notebooks", ".ipynb_checkpoints"):
        (store.runs / name).mkdir()
    for name in ("notes.txt", ".DS_Store"):
        (store.runs / name).write_text("")
    frame, lines = store.frame()
    assert set(frame["run"]) == {NAME}
    assert lines == ["skipped 2: holds no run (notebooks, notes.txt)"]
    assert store.run_ids() == [NAME, "notebooks"]


def test_runs_that_are_not_finished_are_counted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    commit(store)
    for name in ("b", "c", "d"):
        store.start(name, {})
    store.fail("b", ValueError("no"), "no")
    store.fail("c", ValueError("no"), "no")
    (store.partial("b") / "failure.json").write_text("[" * 100_000)
    frame, lines = store.frame()
    assert set(frame["run"]) == {NAME}
    assert lines == ["left out what is not finished: 2 failed, 1 interrupted (lossbench runs)"]


def test_a_file_that_may_not_be_read_leaves_its_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    for name in ("a", "b"):
        commit(store, name)

    def refuse(self: Store, run_id: str) -> dict[str, object]:
        raise PermissionError(13, "Permission denied", run_id)

    monkeypatch.setattr(Store, "environment", refuse)
    assert store.frame()[1] == ["skipped 2: Permission denied (a, b)"]


def test_an_empty_or_missing_folder_is_no_runs(tmp_path: Path) -> None:
    store = Store(tmp_path / "nowhere")
    assert store.run_ids() == []
    assert list(store.infos()) == []
    assert store.frame()[0].empty
    assert not (tmp_path / "nowhere").exists()


def test_a_run_is_found_by_the_start_or_end_of_its_id(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("wine-mlp-dice-s0-aaaa1111", "wine-mlp-dice-s1-bbbb2222"):
        commit(store, name)
    assert store.find("wine-mlp-dice-s0") == "wine-mlp-dice-s0-aaaa1111"
    assert store.find("bbbb2222") == "wine-mlp-dice-s1-bbbb2222"
    with pytest.raises(StoreError, match="fits 2 runs"):
        store.find("wine")
    both = "did you mean wine-mlp-dice-s1-bbbb2222 or wine-mlp-dice-s0-aaaa1111"
    with pytest.raises(StoreError, match=both):
        store.find("wine-mlp-dice-s1-bbbb2223")
    with pytest.raises(
        StoreError, match=r"no finished run 'x' in .*runs; lossbench runs --results-dir \S+ lists them$"
    ):
        store.find("x")


def test_a_hint_names_the_folder_that_a_command_would_not_look_in_by_itself() -> None:
    assert Store("results").option == Store(Path("results")).option == ""
    assert Store("my results").option == " --results-dir 'my results'"


def test_a_teacher_named_by_nothing_is_refused(tmp_path: Path) -> None:
    run.execute(small(tmp_path))
    with pytest.raises(ConfigError, match=r"teacher\.id must name a finished run"):
        with_teacher(small(tmp_path, "loss=distillation", "teacher.id=''"), Store(tmp_path / "results"))


def test_the_newest_run_is_the_one_finished_last(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="no finished runs"):
        store.newest()
    for name, finished in (("a", 300), ("b", 100), ("c", 200)):
        commit(store, name)
        os.utime(store.path(name), (finished, finished))
    assert store.newest() == "a"


def test_two_versions_of_ones_own_loss_do_not_share_a_row(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, digest in (("a", "1"), ("b", "2")):
        commit(store, name)
        path = store.path(name) / "environment.json"
        path.write_text(json.dumps({**read_json(path), "sources": {"my.loss": digest}}))
    frame, _ = store.frame()
    assert frame.groupby("sources").ngroups == 2


def test_two_processes_may_keep_the_same_data_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, save = Store(tmp_path), np.savez

    def meanwhile(file: Any, **arrays: Any) -> None:
        monkeypatch.setattr(np, "savez", save)
        store.save_data("own", {"inputs": np.ones(3)})
        save(file, **arrays)

    monkeypatch.setattr(np, "savez", meanwhile)
    path = store.save_data("own", {"inputs": np.ones(3)})
    assert np.load(path)["inputs"].tolist() == [1, 1, 1]
    assert files_below(tmp_path) == ["data/own.npz"]


def test_a_copy_of_a_run_is_no_further_seed(tmp_path: Path) -> None:
    results = tmp_path / "results"
    request.train(
        ["dataset=wine", "model=linear", "epochs=1", "seed=0,1", "device=cpu", f"results_dir={results}"],
        config_dir=None, force=False, quiet=True,
    )  # fmt: skip
    store = Store(results)
    first, second = store.run_ids()
    shutil.copytree(store.path(first), store.path(f"{first}-copy"))
    frame, left_out = store.frame(["test"], ["raw"])
    assert sorted(frame["run"]) == [first, second]
    (line,) = left_out
    assert line.startswith(f"skipped {first}-copy: its settings are those of {first}: a copy")
