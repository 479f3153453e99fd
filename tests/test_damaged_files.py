"""Files of real runs, damaged in every way that disks, editors, other versions and strangers damage them.

Whoever looks at many runs leaves a damaged one out and says so; whoever needs the file says what is wrong with it. The
runs' checksums are removed, so that what is damaged has to be found by whoever reads it; test_verification.py has them.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from support import Lossbench, compose, tree

from lossbench import checkpoints, run
from lossbench.config import run_id
from lossbench.store import Store

FAST = ("dataset=wine", "model=linear", "device=cpu", "epochs=2", "loss=label_smoothing", "loss.epsilon=0,0.1", "-q")
Damage = Callable[[Path, Path], None]  # of a file, given that of another run


def cut(share: float) -> Damage:
    return lambda path, other: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)]) and None


def flipped(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80
    path.write_bytes(content)


def zeros(path: Path, other: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def gone(path: Path, other: Path) -> None:
    path.unlink()


def folder(path: Path, other: Path) -> None:
    path.unlink()
    path.mkdir()


def loop(path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def pipe(path: Path, other: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def text(content: str) -> Damage:
    return lambda path, other: path.write_text(content) and None


def json_with(**values: Any) -> Damage:
    def damage(path: Path, other: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return damage


def without(*keys: str) -> Damage:
    def damage(path: Path, other: Path) -> None:
        load, dump = (yaml.safe_load, yaml.safe_dump) if path.suffix == ".yaml" else (json.loads, json.dumps)
        content = load(path.read_text())
        path.write_text(dump({key: value for key, value in content.items() if key not in keys}))

    return damage


def yaml_with(**values: Any) -> Damage:
    def damage(path: Path, other: Path) -> None:
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))

    return damage


def arrays(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Damage:
    def damage(path: Path, other: Path) -> None:
        with np.load(path) as content:
            kept = {name: content[name] for name in content.files}
        np.savez_compressed(path, **{**kept, **change(kept)})

    return damage


def a_terabyte(path: Path, other: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**13, 3)})
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("val_logits", "val_targets", "test_logits", "test_targets"):
            archive.writestr(f"{name}.npy", header.getvalue())


def states(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Damage:
    def damage(path: Path, other: Path) -> None:
        content = torch.load(path, weights_only=True)
        torch.save({**content, **change(content)}, path)

    return damage


# What the report leaves out, with what it says; every other verb that needs it refuses.
SKIPPED: dict[str, tuple[str, Damage, str]] = {
    "config-cut": ("config.yaml", cut(0.5), "config.yaml"),
    "config-cut-to-nothing": ("config.yaml", cut(0), "config.yaml must hold a mapping"),
    "config-zeros": ("config.yaml", zeros, "config.yaml is not valid yaml"),
    "config-flipped": ("config.yaml", flipped, "config.yaml is not valid yaml"),
    "config-gone": ("config.yaml", gone, "config.yaml is missing"),
    "config-folder": ("config.yaml", folder, "config.yaml is missing"),
    "config-loop": ("config.yaml", loop, "config.yaml is missing"),
    "config-pipe": ("config.yaml", pipe, "config.yaml is missing"),
    "config-without-loss": ("config.yaml", without("loss"), "config.yaml lacks loss.name"),
    "config-loss-a-word": ("config.yaml", yaml_with(loss="focal"), "config.yaml lacks loss.name"),
    "config-huge-number": ("config.yaml", yaml_with(seed=10**30), "more than 64 bits"),
    "config-huge": ("config.yaml", yaml_with(note="x" * 200_000), "is larger than any config"),
    "config-extra-key": ("config.yaml", yaml_with(run="another"), "has run where it is none of its own"),
    "metrics-cut": ("metrics.json", cut(0.9), "metrics.json is not valid JSON"),
    "metrics-empty": ("metrics.json", cut(0), "metrics.json is not valid JSON"),
    "metrics-flipped": ("metrics.json", flipped, "metrics.json is not valid JSON"),
    "metrics-gone": ("metrics.json", gone, "metrics.json is missing"),
    "metrics-folder": ("metrics.json", folder, "metrics.json is missing"),
    "metrics-deep": ("metrics.json", text("[" * 100_000), "metrics.json is not valid JSON"),
    "metrics-old-schema": ("metrics.json", json_with(schema=0), "metrics.json has schema 0, not 1"),
    "metrics-future-schema": ("metrics.json", json_with(schema=99), "metrics.json has schema 99, not 1"),
    "metrics-no-schema": ("metrics.json", without("schema"), "metrics.json has schema None, not 1"),
    "metrics-without-test": ("metrics.json", without("test"), "metrics.json: test must be a mapping"),
    "metrics-word": ("metrics.json", json_with(test={"raw": {"nll": "low"}}), "test raw nll must be a number"),
    "metrics-huge": ("metrics.json", json_with(val={"raw": {"nll": 10**400}}), "val raw nll must be a number"),
    "metrics-temperature": ("metrics.json", json_with(temperature="warm"), "temperature must be a number"),
    "environment-cut": ("environment.json", cut(0.5), "environment.json is not valid JSON"),
    "environment-list": ("environment.json", text("[]"), "environment.json must hold a mapping"),
    "environment-prints": ("environment.json", json_with(fingerprints=[1]), "fingerprints must be a mapping"),
}

# What only some verbs read: how to ask for it, the exit code, what is said.
EVALUATE, DRAW, LOOK = (
    ("evaluate", "{run}"),
    ("plot", "training", "-o", "../a.json"),
    ("evaluate", "--pictures", "{run}"),
)
CURVE = ("curve", "reliability", "{run}")
NEEDED: dict[str, tuple[str, Damage, tuple[str, ...], int, str]] = {
    "predictions-cut": ("predictions.npz", cut(0.5), EVALUATE, 1, "predictions.npz is no .npz of plain numbers"),
    "predictions-cut-late": ("predictions.npz", cut(0.99), CURVE, 2, "predictions.npz is no .npz of plain numbers"),
    "predictions-empty": ("predictions.npz", cut(0), CURVE, 2, "predictions.npz is no .npz of plain numbers"),
    "predictions-flipped": ("predictions.npz", flipped, EVALUATE, 1, "predictions.npz"),
    "predictions-folder": ("predictions.npz", folder, EVALUATE, 1, "predictions.npz is missing"),
    "predictions-loop": ("predictions.npz", loop, CURVE, 2, "predictions.npz is missing"),
    "predictions-terabyte": ("predictions.npz", a_terabyte, CURVE, 2, "predictions.npz"),
    "predictions-nan": (
        "predictions.npz", arrays(lambda a: {"test_logits": a["test_logits"] * np.nan}), CURVE, 2,
        "test logits row 0 is not finite",
    ),
    "predictions-huge": (
        "predictions.npz", arrays(lambda a: {"val_logits": a["val_logits"].astype(float) + 1e300}), EVALUATE, 1,
        "val logits row 0 is",
    ),
    "predictions-short": (
        "predictions.npz", arrays(lambda a: {"test_targets": a["test_targets"][:3]}), EVALUATE, 1,
        "test targets must be",
    ),
    "predictions-scalar": (
        "predictions.npz", arrays(lambda a: {"test_logits": np.float32(1)}), EVALUATE, 1, "test logits must be [N, K]",
    ),
    "predictions-words": (
        "predictions.npz", arrays(lambda a: {"test_logits": a["test_logits"].astype(str)}), EVALUATE, 1, "real numbers",
    ),
    "predictions-classes": (
        "predictions.npz", arrays(lambda a: {"val_logits": a["val_logits"][:, :2]}), EVALUATE, 1, "val",
    ),
    "predictions-no-class": (
        "predictions.npz", arrays(lambda a: {"test_targets": a["test_targets"] + 99}), EVALUATE, 1, "is outside 0..2",
    ),
    "metrics-no-link": ("metrics.json", without("link"), EVALUATE, 1, "does not say which link"),
    "metrics-unknown-link": ("metrics.json", json_with(link={"name": "nope"}), EVALUATE, 1, "nope"),
    "metrics-link-a-function": ("metrics.json", json_with(link={"name": "finite_logits"}), EVALUATE, 1, "no link"),
    "metrics-link-temperature": (
        "metrics.json", json_with(link={"name": "softmax", "temperature": "x"}), EVALUATE, 1, "does not say which link",
    ),
    "metrics-options": ("metrics.json", json_with(options={"n_bins": 1e9}), EVALUATE, 1, "n_bins"),
    "history-empty": ("history.csv", cut(0), DRAW, 2, "history"),
    "history-words": ("history.csv", text("epoch,train_loss\n1,low\n"), DRAW, 2, "history"),
    "history-columns": ("history.csv", text("a,b\n1,2\n"), DRAW, 2, "history"),
    "history-zeros": ("history.csv", zeros, DRAW, 2, "history"),
    "weights-cut": ("model.safetensors", cut(0.5), LOOK, 1, "model.safetensors holds no weights"),
    "weights-empty": ("model.safetensors", cut(0), LOOK, 1, "model.safetensors holds no weights"),
    "weights-header": (
        "model.safetensors",
        lambda path, other: path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:]) and None,
        LOOK, 1, "model.safetensors holds no weights",
    ),
    "weights-gone": ("model.safetensors", gone, LOOK, 1, "model.safetensors is missing"),
}  # fmt: skip

# Of a run that was interrupted: `train` names the checkpoint, and the other runs of the sweep are trained.
CHECKPOINTS: dict[str, Damage] = {
    "cut": cut(0.5),
    "cut-late": cut(0.99),
    "empty": cut(0),
    "zeros": zeros,
    "flipped-header": lambda path, other: path.write_bytes(b"\x00" + path.read_bytes()[1:]) and None,
    "flipped": flipped,
    "text": text("state"),
    "a-list": lambda path, other: torch.save([1, 2], path),
    "unknown-key": states(lambda state: {"nothing": 1}),
    "epoch-a-word": states(lambda state: {**state, "epoch": "three"}),
    "history-a-number": states(lambda state: {**state, "history": 3}),
    "optimizer-a-word": states(lambda state: {**state, "optimizer": "sgd"}),
    "of-another-optimizer": states(lambda state: {**state, "optimizer": {"state": {}, "param_groups": []}}),
    "of-another-model": states(lambda state: {**state, "model": {"head.weight": torch.zeros(3, 2)}}),
}

FAILURES: dict[str, Damage] = {
    "cut": text('{"error": "Div'),
    "list": text("[]"),
    "no-message": text('{"error": "E"}'),
    "message-a-list": text('{"error": "E", "message": [1]}'),
    "message-steers": text('{"error": "E", "message": "\\u001b[2J\\u001b]0;x\\u0007"}'),
    "message-huge": text(json.dumps({"error": "E", "message": "x" * 10**6})),
    "binary": lambda path, other: path.write_bytes(b"\xff\xfe\x00") and None,
    "folder": folder,
}

INDEXES: dict[str, Damage] = {
    "cut": cut(0.5),
    "empty": cut(0),
    "flipped": flipped,
    "zeros": zeros,
    "text": text("no index\n" * 1000),
    "folder": folder,
    "loop": loop,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder of two finished runs, one that was interrupted, and the index."""
    top = tmp_path_factory.mktemp("made")
    results = top / "results"
    few = [override for override in FAST if "," not in override and override != "-q"]
    for epsilon in (0, 0.1):
        run.execute(compose(*few, f"loss.epsilon={epsilon}", f"results_dir={results}"))
    config = compose(*few, "loss.epsilon=0.2", f"results_dir={results}")

    class Interrupting(run.Silent):
        def epoch(self, row: dict[str, float], epochs: int) -> None:
            if row["epoch"] == 2:  # after the checkpoint of the first
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "EVERY", 0.0)
        patch.setattr(checkpoints, "SHARE", math.inf)
        with pytest.raises(KeyboardInterrupt):
            run.execute(config, display=Interrupting())
    assert (Store(results).partial(run_id(config)) / "checkpoint.pt").is_file()
    for path in (results / "runs").glob("*/checksums.json"):
        path.unlink()
    Store(results).frame()
    return results


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(made, tmp_path / "results"))


def finished(results: Path) -> tuple[str, str]:
    one, other = Store(results).run_ids()
    return one, other


def checked(lossbench: Lossbench, results: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> tuple[str, str]:
    """Call a verb that may write nothing: what it says is printable, a few lines, and no traceback."""
    before = tree(results / "runs")
    answer = lossbench(*arguments)
    assert answer.returncode in codes, (arguments, answer.stderr)
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr) < 1500
    assert all(line.isprintable() for line in answer.stderr.splitlines() + answer.stdout.splitlines())
    assert bool(answer.returncode) <= bool(answer.stderr.strip())
    assert len(answer.stderr.splitlines()) <= 3
    assert tree(results / "runs") == before
    return answer.stdout, answer.stderr


@pytest.mark.parametrize("name", SKIPPED)
def test_a_run_that_no_table_can_hold_is_left_out_named_and_left_alone(
    lossbench: Lossbench, results: Path, name: str
) -> None:
    file, damage, message = SKIPPED[name]
    one, other = finished(results)
    damage(results / "runs" / one / file, results / "runs" / other / file)
    _, said = checked(lossbench, results, "report")
    (line,) = (line for line in said.splitlines() if line.startswith("skipped "))
    assert line.startswith(f"skipped {one}: ")
    assert message in line
    checked(lossbench, results, "runs")
    checked(lossbench, results, "show", one, codes=(0, 2))
    checked(lossbench, results, "diff", one, other, codes=(0, 2))
    checked(lossbench, results, "curve", "reliability", other)
    checked(lossbench, results, "evaluate", "--dry-run", one, codes=(0, 1, 2))


# What a table can hold and `train` cannot take for finished, beside what no table can.
UNSKIPPED: dict[str, tuple[str, Damage]] = {
    **{name: (file, damage) for name, (file, damage, _) in SKIPPED.items()},
    "environment-nothing": ("environment.json", text("{}")),
    "environment-sources": ("environment.json", json_with(sources=["a"])),
    "metrics-options-word": ("metrics.json", json_with(options="x")),
    "metrics-options-null": ("metrics.json", json_with(options=None)),
}


@pytest.mark.parametrize("name", UNSKIPPED)
def test_train_names_a_damaged_run_that_is_finished_and_goes_on_with_the_others(
    lossbench: Lossbench, results: Path, name: str
) -> None:
    file, damage = UNSKIPPED[name]
    one, other = finished(results)
    damage(results / "runs" / one / file, results / "runs" / other / file)
    before = tree(results / "runs" / one)
    answer = lossbench("train", *FAST)
    assert answer.returncode == 1, answer.stderr
    assert f"{one}: it is finished but damaged (" in answer.stderr
    assert "--force trains it again" in answer.stderr
    assert "1 of 2 runs failed" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stdout.splitlines()) == 1
    assert tree(results / "runs" / one) == before


@pytest.mark.parametrize("damage", [text("{}"), json_with(fingerprints=[1])], ids=["nothing", "prints"])
def test_a_damaged_run_on_the_users_own_data_stops_no_sweep(
    lossbench: Lossbench, tmp_path: Path, damage: Damage
) -> None:
    np.savez(tmp_path / "mine.npz", inputs=np.eye(30, dtype=np.float32), targets=np.arange(30) % 2)
    request = ("train", "dataset=arrays", "dataset.file=mine.npz", *FAST[1:])
    assert lossbench(*request).returncode == 0
    one, _ = finished(tmp_path / "results")
    damage(tmp_path / "results/runs" / one / "environment.json", tmp_path)
    answer = lossbench(*request)
    assert answer.returncode == 1
    assert f"{one}: it is finished but damaged (" in answer.stderr
    assert "1 of 2 runs failed" in answer.stderr


@pytest.mark.parametrize("name", ["metrics-no-link", "environment-list", "config-without-loss"])
def test_a_damaged_run_is_no_teacher_and_named(lossbench: Lossbench, results: Path, name: str) -> None:
    file, damage = (SKIPPED.get(name) or NEEDED[name])[:2]
    one, other = finished(results)
    damage(results / "runs" / one / file, results / "runs" / other / file)
    request = ("train", *FAST[:-3], "-q", "loss=distillation", f"teacher.id={one}")
    _, said = checked(lossbench, results, *request, codes=(2,))
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", NEEDED)
def test_a_damaged_file_is_named_by_whoever_needs_it_and_left_alone(
    lossbench: Lossbench, results: Path, name: str
) -> None:
    file, damage, verb, code, message = NEEDED[name]
    one, other = finished(results)
    damage(results / "runs" / one / file, results / "runs" / other / file)
    _, said = checked(lossbench, results, *(word.replace("{run}", one) for word in verb), codes=(code,))
    assert message in said
    checked(lossbench, results, "report", codes=(0, 2))
    checked(lossbench, results, "runs")
    checked(lossbench, results, "show", one, codes=(0, 2))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_damaged_checkpoint_is_named_with_what_to_do_and_the_other_runs_are_trained(
    lossbench: Lossbench, results: Path, name: str
) -> None:
    (partial,) = (results / "runs").glob("*.partial")
    CHECKPOINTS[name](partial / "checkpoint.pt", partial)
    before = (partial / "checkpoint.pt").read_bytes()
    sweep = [override.replace("=0,0.1", "=0.2,0.3") for override in FAST]
    answer = lossbench("train", *sweep)
    assert answer.returncode == 1, answer.stderr
    assert "1 of 2 runs failed" in answer.stderr
    assert "checkpoint.pt" in answer.stderr
    assert "--force" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stdout.splitlines()) == 1
    assert (partial / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("name", FAILURES)
def test_a_damaged_failure_is_listed_in_printable_words(lossbench: Lossbench, results: Path, name: str) -> None:
    (partial,) = (results / "runs").glob("*.partial")
    (partial / "failure.json").write_text("{}")
    FAILURES[name](partial / "failure.json", partial)
    listed, _ = checked(lossbench, results, "runs")
    assert "failed" in listed or name == "folder"
    checked(lossbench, results, "report")


@pytest.mark.parametrize("name", INDEXES)
def test_a_damaged_index_changes_no_number(lossbench: Lossbench, results: Path, name: str) -> None:
    table, _ = checked(lossbench, results, "report", "--format", "csv")
    INDEXES[name](results / "index.jsonl", results)
    assert checked(lossbench, results, "report", "--format", "csv")[0] == table


def test_damages_are_counted() -> None:
    assert len(SKIPPED) + len(NEEDED) + len(CHECKPOINTS) + len(FAILURES) + len(INDEXES) >= 40
