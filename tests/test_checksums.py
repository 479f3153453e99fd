"""A finished run says what its files held when it wrote them, also while one is replaced."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from support import compose, files_below, read_json, tree
from test_crashes import die_at, forked
from test_store import NAME, commit

from lossbench import checksums, evaluation, run
from lossbench.errors import StoreError
from lossbench.predictions import of_run
from lossbench.store import Store, Version

WINE = ("dataset=wine", "model=linear", "epochs=1", "device=cpu", "device.threads=1")


def flip(path: Path) -> None:
    """Turn one bit over, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of one finished run."""
    made = Store(tmp_path)
    commit(made)
    return made


def test_a_finished_run_has_the_sha256_of_each_of_its_files(store: Store) -> None:
    folder = store.path(NAME)
    assert read_json(folder / "checksums.json")["sha256"] == {
        name: [hashlib.sha256((folder / name).read_bytes()).hexdigest()]
        for name in files_below(folder)
        if name != "checksums.json"
    }


WRITES: dict[str, Callable[[Store], None]] = {
    "metrics.json": lambda store: store.save_metrics(NAME, {"val": {}, "test": {}, "new": 1}),
    "shift.json": lambda store: store.save_shift(NAME, {"new": 1}),
    "features.npz": lambda store: store.save_arrays(NAME, "features", {"new": np.ones(3)}),
}


@pytest.mark.parametrize("name", WRITES)
def test_killed_before_any_step_of_replacing_a_file_its_checksums_hold(tmp_path: Path, name: str) -> None:
    killed = 0
    for step in range(100):
        store = Store(tmp_path / str(step))
        commit(store)
        process = forked(lambda store=store, step=step: (die_at(step), WRITES[name](store)))
        process.join()
        path = store.path(NAME) / name
        if path.exists():
            checksums.check(path)
        states = checksums.recorded(store.path(NAME))
        assert states is not None
        assert path.exists() or None in states.get(name, [None])
        if process.exitcode == 0:
            assert states[name] == [checksums.digest(path)]
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
        WRITES[name](store)  # the next process has its way
        assert checksums.recorded(store.path(NAME)) == {**states, name: [checksums.digest(path)]}
    assert killed >= 7  # sync and rename of the file, and of its checksums twice, and the folder between


def test_a_run_of_before_checksums_is_given_none_for_one_of_its_files(store: Store) -> None:
    (store.path(NAME) / "checksums.json").unlink()
    store.save_metrics(NAME, {})
    assert checksums.recorded(store.path(NAME)) is None
    assert not (store.path(NAME) / "checksums.json").exists()


def test_a_file_is_not_replaced_while_another_process_trains_the_run_again(store: Store) -> None:
    store.start(NAME, {})
    before = (store.path(NAME) / "metrics.json").read_bytes()
    with store.claim(NAME, wait=True), pytest.raises(StoreError, match=f"trained again by process {os.getpid()} on"):
        store.save_metrics(NAME, {})
    assert (store.path(NAME) / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    "write",
    [
        lambda store, version: store.save_metrics(NAME, {}, of=version),
        lambda store, version: store.save_beside(NAME, {}, of=version),
        lambda store, version: store.save_shift(NAME, {}, of=version),
        lambda store, version: store.save_arrays(NAME, "features", {}, of=version),
    ],
    ids=["metrics", "beside", "shift", "features"],
)
def test_what_was_computed_from_a_run_is_not_written_into_a_later_one(
    store: Store, write: Callable[[Store, Version], None]
) -> None:
    version = store.version(NAME)
    write(store, version)
    commit(store)
    before = tree(store.path(NAME))
    with pytest.raises(StoreError, match=f"{NAME} was trained again while it was measured: measure it once more"):
        write(store, version)
    assert tree(store.path(NAME)) == before


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"sha256": []}', '{"sha256": {"../other/metrics.json": []}}', '{"sha256": {"a": "00"}}',
     '{"sha256": {"a": ["00"]}}', '{"sha256": {"a": [0]}}'],
)  # fmt: skip
def test_damaged_checksums_are_named_and_lead_nowhere(store: Store, content: str) -> None:
    (store.path(NAME) / "checksums.json").write_text(content)
    with pytest.raises(StoreError, match=r"checksums\.json"):
        store.predictions(NAME)


def test_weights_predictions_and_shift_that_are_not_what_the_run_wrote_are_refused_by_name(store: Store) -> None:
    store.save_shift(NAME, {"ood": {}})
    store.save_arrays(NAME, "features", {"test_features": np.ones((2, 2))})
    reads: dict[str, Callable[[], object]] = {
        "model.safetensors": lambda: store.weights(NAME),
        "predictions.npz": lambda: store.predictions(NAME),
        "shift.json": lambda: store.shift(NAME),
        "features.npz": lambda: store.arrays(NAME, "features"),
    }
    for name, read in reads.items():
        read()
        path = store.path(NAME) / name
        before = checksums.digest(path)
        flip(path)
        message = f"{path} is not what the run wrote: sha256 {checksums.digest(path)[:12]}…, recorded {before[:12]}…; "
        with pytest.raises(StoreError, match=re.escape(message)):
            read()


def test_a_student_of_a_damaged_teacher_fails_by_name_and_learns_once_it_is_mended(tmp_path: Path) -> None:
    config = {**compose(*WINE, "loss=distillation", "teacher.model=linear"), "results_dir": str(tmp_path)}
    student = run.execute(config).run_id
    store = Store(tmp_path)
    teacher = store.config(student)["teacher"]["id"]
    weights = store.path(teacher) / "model.safetensors"
    whole = weights.read_bytes()
    flip(weights)
    again = {**config, "loss": {**config["loss"], "alpha": 0.25}}
    outcome = run.execute(again)
    assert outcome.status == "failed"
    assert outcome.message.startswith(f"its teacher {teacher} is damaged: {weights} is not what the run wrote: sha256 ")
    weights.write_bytes(whole)
    assert run.execute(again).status == "finished"  # without --retry-failed


def test_evaluate_makes_damaged_metrics_again_where_the_predictions_tell_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    name = run.execute({**compose(*WINE, "loss=temperature"), "results_dir": str(tmp_path)}).run_id
    path = store.path(name) / "metrics.json"
    right = read_json(path)
    assert not evaluation.measure_again(store, name, {})
    path.write_text(path.read_text().replace('"temperature": ', '"temperature":  ', 1))  # not a number has changed
    change = evaluation.measure_again(store, name, {})
    assert change
    assert change.mended
    store.save_metrics(name, change.content)
    assert read_json(path) == right
    checksums.check(path)
    path.write_text(json.dumps({**right, "teacher_ece": 0.1}))
    assert evaluation.measure_again(store, name, {}).content == {
        key: value for key, value in right.items() if key != "schema"
    }
    for other in (
        {**right, "link": {"name": "softmax", "temperature": 3.0}},
        {**right, "beside": {"teacher_ece": 0.1}},
    ):
        path.write_text(json.dumps(other))
        with pytest.raises(StoreError, match=r"metrics\.json is not what the run wrote, and the predictions do not"):
            evaluation.measure_again(store, name, {})
    path.write_text(json.dumps({**right, "options": {"n_bins": 14, "threshold": 0.9}}))
    with pytest.raises(StoreError, match=r"says n_bins 14 where the config says 15; give --n-bins"):
        evaluation.measure_again(store, name, {})
    assert evaluation.measure_again(store, name, {"n_bins": 15}).content["options"] == right["options"]
    config = yaml.safe_load((store.path(name) / "config.yaml").read_text())
    path.write_text(json.dumps({**right, "beside": {}}, indent=2))
    for expected in ({"teacher": {"id": "a"}}, {"dataset": {**config["dataset"], "old_classes": 2}}):
        (store.path(name) / "config.yaml").write_text(yaml.safe_dump({**config, **expected}))
        with pytest.raises(StoreError, match=r"metrics\.json is not what the run wrote, and the predictions do not"):
            evaluation.measure_again(store, name, {})
    (store.path(name) / "checksums.json").unlink()  # as of an earlier version: what stands there is taken as it is
    assert not evaluation.measure_again(store, name, {}).mended
    assert of_run(store, name)[1] == {"name": "softmax", "temperature": 2.0}


@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "word"])
@pytest.mark.parametrize("recorded", [True, False], ids=["checksums", "without"])
def test_evaluate_makes_metrics_again_that_are_no_json(tmp_path: Path, damage: str, recorded: bool) -> None:
    store = Store(tmp_path)
    settings = compose(*WINE, "loss=temperature", "loss.temperature=3", "metrics.n_bins=7")
    name = run.execute({**settings, "results_dir": str(tmp_path)}).run_id
    path = store.path(name) / "metrics.json"
    right = path.read_text()
    if not recorded:
        (store.path(name) / "checksums.json").unlink()
    if damage == "gone":
        path.unlink()
    elif damage == "word":
        content = json.loads(right)
        content["test"]["raw"]["accuracy"] = "abc"
        path.write_text(json.dumps(content))
    else:
        path.write_text(right[:-9] if damage == "cut" else "")
    change = evaluation.measure_again(store, name, {})
    assert change
    store.save_metrics(name, change.content, of=change.version)
    assert read_json(path) == json.loads(right)
    checksums.check(path)
    path.write_text("{")
    environment = store.path(name) / "environment.json"
    environment.write_text(json.dumps({**read_json(environment), "link": None}))  # as of an earlier version
    with pytest.raises(StoreError, match=r"metrics\.json is not valid JSON, and the predictions do not tell all that"):
        evaluation.measure_again(store, name, {})
