"""The index is quick, never needed, and never believed where it may be wrong."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support import read_json

from lossbench import index
from lossbench.index import index_of, messages
from lossbench.store import Store


def commit(store: Store, name: str, accuracy: float = 0.5, **others: float) -> None:
    values = {"accuracy": accuracy, "nll": float("nan")}
    store.start(name, {"dataset": {"name": "d"}, "model": {"name": "m"}, "loss": {"name": "focal"}, "seed": 0})
    store.commit(
        name,
        metrics={"val": {"raw": values}, "test": {"raw": values}, "temperature": 1.5, **others},
        predictions={"test_logits": np.zeros((2, 3), np.float32)},
        history=[{"epoch": 1, "train_loss": 0.25}],
        environment={"fingerprints": {"split": "abc"}, "wall_seconds": 1.0},
        weights={"w": torch.zeros(1)},
    )


class Counting(Store):
    """Knows which runs were read from their files."""

    def __init__(self, results_dir: Path) -> None:
        super().__init__(results_dir)
        self.read: list[str] = []

    def record(self, run_id: str) -> index.Record:
        self.read.append(run_id)
        return super().record(run_id)


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    found = Counting(tmp_path / "results")
    for name in ("a", "b", "c"):
        commit(found, name)
    return found


def read_by(store: Counting) -> tuple[list[str], pd.DataFrame]:
    """What the next report reads from the runs' own files, and its table."""
    store.read.clear()
    frame, lines = store.frame()
    assert not lines
    return list(store.read), frame


def test_a_run_is_read_once_and_again_only_when_its_files_have_changed(store: Counting) -> None:
    first, frame = read_by(store)
    assert first == ["a", "b", "c"]
    again, same = read_by(store)
    assert again == []
    pd.testing.assert_frame_equal(same, frame)
    store.save_metrics("b", {**read_json(store.path("b") / "metrics.json"), "temperature": 2.5})
    commit(store, "d")
    changed, frame = read_by(store)
    assert changed == ["b", "d"]
    assert frame.set_index("run").loc["b", "temperature"].tolist() == [2.5, 2.5]
    assert read_by(store)[0] == []


@pytest.mark.parametrize("name", ["config.yaml", "metrics.json", "environment.json"])
def test_any_of_the_files_that_the_index_is_made_from_tells_that_it_is_old(store: Counting, name: str) -> None:
    read_by(store)
    path = store.path("a") / name
    path.write_text(path.read_text() + "\n")
    assert read_by(store)[0] == ["a"]


def test_the_time_alone_tells_that_a_file_has_changed(store: Counting) -> None:
    read_by(store)
    path = store.path("a") / "metrics.json"
    path.write_text(path.read_text().replace("0.5", "0.7"))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    reread, frame = read_by(store)
    assert reread == ["a"]
    assert frame.set_index("run").loc["a", "accuracy"].tolist() == [0.7, 0.7]


def test_a_run_that_is_gone_leaves_the_index(store: Counting) -> None:
    read_by(store)
    store.path("b").rename(store.runs.parent / "elsewhere")
    assert set(read_by(store)[1]["run"]) == {"a", "c"}
    assert index_of(store.runs).read_text().count("\n") == 2


def test_the_index_can_be_deleted(store: Counting) -> None:
    _, frame = read_by(store)
    index_of(store.runs).unlink()
    reread, same = read_by(store)
    assert reread == ["a", "b", "c"]
    pd.testing.assert_frame_equal(same, frame)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: b"",
        lambda text: b"\x00\xff" * 1000,
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(b"0.5", b"0.9"),
        lambda text: text.replace(b"\t", b" "),
        lambda text: b"9" + text.replace(b"\n", b"\n9"),
        lambda text: text.replace(b"\n", b"\n\n"),
        lambda text: b'{"pickle": true}\n' + text[5:],
    ],
    ids=["empty", "bytes", "half", "digit", "tabs", "version", "lines", "start"],
)
def test_a_damaged_index_or_one_of_another_version_is_made_anew_and_changes_no_number(store: Counting, damage) -> None:  # type: ignore[no-untyped-def]
    _, frame = read_by(store)
    path = index_of(store.runs)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    pd.testing.assert_frame_equal(read_by(store)[1], frame)
    assert path.read_bytes() == whole


def test_a_line_whose_checksum_fits_but_which_holds_no_record_is_not_used(store: Counting) -> None:
    _, frame = read_by(store)
    path = index_of(store.runs)
    lines = path.read_bytes().splitlines()
    run_id, stamp, content = lines[0].split(b"\t", 4)[2:]
    whole = json.loads(content)
    wrong = [
        {**whole, "more": 1},
        {**whole, "values": {}},
        {**whole, "values": {"val": {"raw": ["high", 1]}, "test": {}}},
        {**whole, "values": {"val": {"raw": [0.5]}, "test": {}}},
        {**whole, "metrics": [1, 2]},
        {**whole, "settings": None},
        {**whole, "settings": {}},
        {**whole, "settings": {**whole["settings"], "seed": [0]}},
        {**whole, "beside": [1]},
        {**whole, "temperature": "hot"},
    ]
    for made_up in (b"[" * 100_000, b"[]", b"{}", *(json.dumps(content).encode() for content in wrong)):
        line = b"\t".join([run_id, stamp, made_up])
        path.write_bytes(b"%b\t%d\t%b\n" % (index.VERSION, index.zlib.crc32(line), line))
        pd.testing.assert_frame_equal(read_by(store)[1], frame)


def test_a_folder_that_cannot_be_written_to_is_read_every_time(
    store: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert read_by(store)[0] == ["a", "b", "c"]
    assert read_by(store)[0] == ["a", "b", "c"]
    assert [path.name for path in store.runs.parent.iterdir()] == ["runs"]


def test_an_index_that_is_a_folder_harms_nobody(store: Counting) -> None:
    index_of(store.runs).mkdir()
    assert read_by(store)[0] == ["a", "b", "c"]
    assert sorted(path.name for path in store.runs.parent.iterdir()) == ["index.jsonl", "runs"]


def test_reports_at_once_leave_a_whole_index(store: Counting) -> None:
    whole = read_by(store)[1]
    failures: list[Exception] = []

    def report() -> None:
        try:
            for _ in range(5):
                index_of(store.runs).unlink(missing_ok=True)
                pd.testing.assert_frame_equal(Store(store.runs.parent).frame()[0], whole)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=report) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    pd.testing.assert_frame_equal(read_by(store)[1], whole)
    assert sorted(path.name for path in store.runs.parent.iterdir()) in (["index.jsonl", "runs"], ["runs"])


def test_nothing_is_written_where_there_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    assert Store(tmp_path / "results").frame()[0].empty
    assert list((tmp_path / "results").iterdir()) == []


def test_only_the_splits_and_calibrations_that_are_asked_for_become_rows(store: Counting) -> None:
    content = read_json(store.path("a") / "metrics.json")
    for split in ("val", "test"):
        content[split]["isotonic"] = {"ece": 0.1}
    store.save_metrics("a", {**content, "beside": {"old_accuracy": 0.25}})
    whole, _ = store.frame()
    assert len(whole) == 2 + 2 + 2 + 2
    rows = whole[whole["run"] == "a"]
    assert rows["old_accuracy"].tolist()[2:] == [0.25, 0.25], "measured on test"
    assert rows["old_accuracy"].isna().tolist() == [True, True, False, False]
    assert rows["ece"].isna().tolist() == [True, False, True, False]
    part, _ = store.frame(["test"], ["isotonic"])
    assert part[["run", "split", "calibration"]].to_numpy().tolist() == [["a", "test", "isotonic"]]


def test_what_was_skipped_is_a_line_for_each_reason_with_a_count_and_the_first_names() -> None:
    lines = messages({"config.yaml is missing": ["a"], "it is old": ["b", "c"], "gone": [f"r{i}" for i in range(1200)]})
    assert lines == [
        "skipped a: config.yaml is missing",
        "skipped 2: it is old (b, c)",
        "skipped 1,200: gone (r0, r1, r2 and 1,197 more)",
    ]


def test_what_steers_a_terminal_is_not_printed_as_it_is() -> None:
    (line,) = messages({"schema \x1b[2J" + "9" * 1000: ["a\nb"]})
    assert line.isprintable()
    assert line.startswith("skipped a\N{REPLACEMENT CHARACTER}b: schema ")
    assert len(line) < 250


def test_a_bar_is_drawn_where_many_runs_are_read_and_somebody_looks(
    store: Counting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(index, "MANY", 2)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    read_by(store)
    assert "reading runs" in capsys.readouterr().err
    read_by(store)
    assert capsys.readouterr().err == "", "nothing is left to read"


def test_a_file_that_was_replaced_by_one_of_the_same_time_and_size_is_read(store: Counting) -> None:
    read_by(store)
    path = store.path("b") / "metrics.json"
    before, text = path.stat(), path.read_text()
    path.write_text(text.replace("0.5", "0.7"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    again, frame = read_by(store)
    assert again == ["b"]
    assert list(frame[frame["run"] == "b"]["accuracy"]) == [0.7, 0.7]
