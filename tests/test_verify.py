"""`lossbench verify` names what is damaged, what to do, and nothing else."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import Lossbench, files_below, read_json
from test_checksums import flip
from test_hostile_files import MARK, Evil

from lossbench import checksums, index, verification
from lossbench.store import Store
from lossbench.training import State

A, B = "wine-mlp-dice-s0-aaaaaaaa", "wine-mlp-dice-s1-bbbbbbbb"
OK = "2 finished runs verified: none damaged\n"


def finish(store: Store, name: str) -> None:
    """A run whose three test examples have p = (3/4, 1/4) and are of classes 0, 0 and 1; so has validation."""
    logits, targets = np.log([[3.0, 1.0]] * 3).astype(np.float32), np.array([0, 0, 1])
    # Right twice of three times; -log 3/4 twice and -log 1/4 once, over three.
    values = {"accuracy": 2 / 3, "nll": (2 * np.log(4 / 3) + np.log(4)) / 3}
    loss = {"_target_": "lossbench.losses.dice", "name": "dice"}
    store.start(name, {"dataset": {"name": "wine"}, "model": {"name": "mlp"}, "loss": loss, "seed": 0})
    store.commit(
        name,
        metrics={
            "val": {"raw": values}, "test": {"raw": values}, "temperature": 1.0, "link": {"name": "softmax"},
            "options": {"n_bins": 15, "threshold": 0.9},
        },
        predictions={
            f"{split}_{part}": value for split in ("val", "test")
            for part, value in (("logits", logits), ("targets", targets))
        },
        history=[{"epoch": 1, "train_loss": 0.25}],
        environment={"wall_seconds": 2.5},
        weights={"w": torch.arange(6.0)},
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two finished runs with an index over them, where the commands look for them."""
    made = Store(tmp_path / "results")
    for name in (A, B):
        finish(made, name)
    assert made.frame()[1] == []
    return made


def older(folder: Path) -> None:
    """Make of a run one of a version that kept no checksums."""
    (folder / "checksums.json").unlink()
    (folder / "environment.json").write_text('{"wall_seconds": 2.5}')


def forge(path: Path) -> None:
    """Give a file the checksum of what it holds now."""
    recorded = read_json(path.parent / "checksums.json")
    recorded["sha256"][path.name] = [checksums.digest(path)]
    (path.parent / "checksums.json").write_text(json.dumps(recorded))


def test_a_store_as_it_was_written_is_said_to_be_so(lossbench: Lossbench, store: Store) -> None:
    before = {name: (store.runs.parent / name).stat().st_mtime_ns for name in files_below(store.runs.parent)}
    answer = lossbench("verify")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, OK, "")
    after = {name: (store.runs.parent / name).stat().st_mtime_ns for name in files_below(store.runs.parent)}
    assert after == before


@pytest.mark.parametrize("damage", ["a bit", "the end", "the file", "all of it"])
@pytest.mark.parametrize("name", checksums.OF_A_RUN)
def test_damage_to_any_file_is_one_line_that_names_it(
    lossbench: Lossbench, store: Store, name: str, damage: str
) -> None:
    path = store.path(B) / name
    if damage == "a bit":
        flip(path)
    elif damage == "the end":
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "the file":
        path.unlink()
    else:
        path.write_bytes(b"")
    answer = lossbench("verify", A)
    assert (answer.returncode, answer.stdout) == (0, "1 finished run verified: none damaged\n")
    answer = lossbench("verify", B)
    assert answer.returncode == 1
    line, last = answer.stdout.splitlines()
    assert line.startswith(
        f"results/runs/{B}/{name} is {'missing' if damage == 'the file' else 'not what the run wro'}"
    )
    again = "lossbench evaluate makes it again from the predictions"
    assert line.endswith(f"; {again if name == 'metrics.json' else 'train it again with --force'}")
    assert last == "1 finished run verified: 1 damaged"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", b"a: ["),
        ("metrics.json", b"{"),
        ("environment.json", b"[]"),
        ("history.csv", b"epoch\nfirst\n"),
        ("predictions.npz", b"PK"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}      cut"),
    ],
)
def test_of_a_run_without_checksums_what_cannot_be_read_is_named(
    lossbench: Lossbench, store: Store, name: str, content: bytes
) -> None:
    older(store.path(B))
    store.frame()
    uncompared = "no checksums of 1 run, as of those of earlier versions: read, and not compared\n"
    assert lossbench("verify").stdout == uncompared + OK
    (store.path(B) / name).write_bytes(content)
    answer = lossbench("verify", B)
    assert answer.returncode == 1
    assert answer.stdout.startswith(f"results/runs/{B}/{name}")
    assert len(answer.stdout.splitlines()) == 3


def test_metrics_that_the_predictions_do_not_give_are_named_whatever_their_checksum(
    lossbench: Lossbench, store: Store
) -> None:
    path = store.path(A) / "metrics.json"
    content = read_json(path)
    content["test"]["raw"]["accuracy"] = 0.99
    path.write_text(json.dumps(content))
    forge(path)
    answer = lossbench("verify")
    assert answer.returncode == 1
    assert answer.stdout.splitlines()[0] == (
        f"results/runs/{A}/metrics.json says that test accuracy is 0.99; by the predictions it is 0.666667; lossbench "
        "evaluate makes it again from the predictions"
    )
    assert lossbench("evaluate", A).returncode == 0
    assert lossbench("verify").returncode == 0


def test_files_that_no_run_has_recorded_are_named_and_those_of_others_are_no_damage(
    lossbench: Lossbench, store: Store
) -> None:
    (store.path(A) / "shift.json").write_text("{}")
    for name in ("notes\x1b[2J.txt", "metrics.json.tmp", ".DS_Store"):
        (store.path(B) / name).write_text("")
    answer = lossbench("verify")
    assert answer.returncode == 1
    assert answer.stdout.splitlines() == [
        f"results/runs/{A}/shift.json is none of the files that checksums.json lists; remove it, and lossbench "
        "evaluate --corruptions or --ood makes it again",
        f"results/runs/{B}/metrics.json.tmp was left by a process that died; nothing needs it",
        f"results/runs/{B}/notes\\x1b[2J.txt is no file of a run",
        "2 finished runs verified: 1 damaged",
    ]
    (store.path(A) / "shift.json").unlink()
    assert lossbench("verify").returncode == 0


def test_what_evaluate_has_added_is_verified_and_may_be_removed(lossbench: Lossbench, store: Store) -> None:
    store.save_shift(A, {"ood": {}})
    store.save_arrays(A, "features", {"test_features": np.ones((3, 2))})
    assert lossbench("verify").stdout == OK
    (store.path(A) / "features.npz").unlink()
    answer = lossbench("verify")
    assert answer.returncode == 0
    assert answer.stdout.startswith(f"results/runs/{A}/features.npz was removed; ")


def test_what_is_not_finished_or_left_over_is_counted_and_is_no_damage(lossbench: Lossbench, store: Store) -> None:
    for name in ("x", "y", "z"):
        store.start(name, {})
    store.fail("x", ValueError("no"), "no")
    store.path(A).with_name(f"{A}.replaced.partial").mkdir()
    store.claims.mkdir(exist_ok=True)
    (store.claims / B).write_text("process 1 on nowhere")
    with store.claim("z", wait=True):
        answer = lossbench("verify")
    assert answer.returncode == 0
    assert answer.stdout.splitlines() == [
        "1 in training",
        "1 failed; lossbench runs says why, --retry-failed trains it again",
        "1 interrupted, no damage; the same lossbench train goes on",
        f"results/runs/{A}.replaced.partial is {A} as it was before it was trained again by a process that died; the "
        "same lossbench train tidies up",
        "1 claims of dead processes in results/claims; nothing needs them",
        OK.strip(),
    ]


def test_a_run_of_which_the_checksums_are_gone_is_damaged(lossbench: Lossbench, store: Store) -> None:
    (store.path(B) / "checksums.json").unlink()
    answer = lossbench("verify")
    assert answer.returncode == 1
    assert answer.stdout == (
        f"results/runs/{B}/checksums.json is missing; train it again with --force\n"
        "2 finished runs verified: 1 damaged\n"
    )


@pytest.mark.parametrize("then", ["replaced", "gone", "claimed"])
def test_a_run_that_another_process_replaces_meanwhile_is_not_called_damaged(
    lossbench: Lossbench, store: Store, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    flip(store.path(A) / "model.safetensors")

    def check(path: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(checksums, "check", intact)
            try:
                checksums.check(path)
            finally:
                if path.name == "model.safetensors" and then == "replaced":
                    finish(store, A)
                elif path.name == "model.safetensors" and then == "gone":
                    store.path(A).rename(store.path("elsewhere"))

    intact = checksums.check
    monkeypatch.setattr(checksums, "check", check)
    with store.claim(A, wait=True):
        answer = lossbench("verify", A)
    assert answer.returncode == (1 if then == "claimed" else 0)
    assert (f"{A} was written anew just now" in answer.stdout) == (then != "claimed")


def test_every_file_is_hashed_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    digest = checksums.digest
    monkeypatch.setattr(checksums, "digest", lambda path: hashed.append(path.name) or digest(path))
    assert not verification.verify_run(store, A).damaged
    assert sorted(hashed) == sorted(checksums.OF_A_RUN)


def lying(store: Store) -> None:
    """Let the index say of run A, as it is now, what run A does not say."""
    path = index.index_of(store.runs)
    record = store.record(A)
    false = type(record)(**{**vars(record), "temperature": 7.0})
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if A.encode() not in line]
    path.write_bytes(b"".join([index._encoded(A, index._stamp(store.path(A)), false), *lines]))
    assert set(store.frame()[0]["temperature"]) == {7.0, 1.0}


def test_the_index_is_written_anew_where_it_says_something_else_than_the_runs(
    lossbench: Lossbench, store: Store
) -> None:
    path = index.index_of(store.runs)
    right = path.read_bytes()
    lying(store)
    answer = lossbench("verify")
    said = "results/index.jsonl said something else than 1 of the runs: written anew from the runs\n"
    assert (answer.returncode, answer.stdout) == (0, said + OK)
    assert path.read_bytes() == right
    for wrong in (b"", right[:-9], right + b"more\n"):
        path.write_bytes(wrong)
        answer = lossbench("verify")
        said = "results/index.jsonl was not up to date: written anew from the runs\n"
        assert (answer.returncode, answer.stdout) == (0, said + OK)
        assert path.read_bytes() == right


def test_an_index_that_cannot_be_written_is_said_to_be_wrong_or_only_late(
    lossbench: Lossbench, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(self: Path, content: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    lying(store)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", read_only)
        answer = lossbench("verify")
        assert answer.returncode == 1
        assert "and cannot be written; reports are wrong until it is removed" in answer.stdout
    index.index_of(store.runs).unlink()
    monkeypatch.setattr(Path, "write_bytes", read_only)
    answer = lossbench("verify")
    assert answer.returncode == 0
    assert answer.stdout == "results/index.jsonl was not up to date and cannot be written; reports read the runs " \
        f"instead\n{OK}"  # fmt: skip


@pytest.mark.parametrize("arguments", [("nowhere",), ("--results-dir", "nowhere"), ("--index",)])
def test_a_wrong_request_is_one_line_and_writes_nothing(
    lossbench: Lossbench, store: Store, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    before = files_below(tmp_path)
    answer = lossbench("verify", *arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1
    assert files_below(tmp_path) == before


def test_verify_imports_no_torch_and_unpickles_nothing(store: Store) -> None:
    np.savez(store.path(A) / "predictions.npz", test_logits=np.array([Evil(), 1], dtype=object))
    (store.path(A) / "checksums.json").unlink()
    code = (
        "import sys, pickle\nsys.argv = ['lossbench', 'verify']\nfrom lossbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=store.runs.parent.parent, capture_output=True, text=True, check=True
    )
    assert f"{A}/predictions.npz is no .npz of plain numbers" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "1 False"
    mark = store.runs.parent.parent / MARK
    assert not mark.exists()
    with contextlib.chdir(mark.parent):  # whoever allows pickles makes the mark
        np.load(store.path(A) / "predictions.npz", allow_pickle=True)["test_logits"]
    assert mark.is_dir()


def test_a_damaged_checkpoint_of_an_interrupted_run_is_named(lossbench: Lossbench, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.start("a-b-c-s0-00000000", {"seed": 0})
    store.save_checkpoint("a-b-c-s0-00000000", State(epoch=1))
    assert lossbench("verify").returncode == 0
    path = store.partial("a-b-c-s0-00000000") / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    answer = lossbench("verify")
    assert answer.returncode == 1
    first, *_ = answer.stdout.splitlines()
    assert first.startswith(f"{path.relative_to(tmp_path)} is damaged")
    assert first.endswith("remove it, and the run starts anew")
    assert "no damage" not in answer.stdout
