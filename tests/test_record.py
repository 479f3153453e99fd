"""Configs and metrics that are damaged, foreign or hostile are refused in a line, and nothing in them is run."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lossbench import record as reading
from lossbench.errors import DataError, StoreError
from lossbench.record import read_config, read_json, read_npz, record

CONFIG: dict[str, Any] = {
    "dataset": {"name": "digits"},
    "model": {"name": "mlp", "hidden": [64, 64]},
    "loss": {"name": "focal", "gamma": 2.0},
    "teacher": None,
    "seed": 3,
}
VALUES = {"accuracy": 0.5, "nll": None}
METRICS: dict[str, Any] = {
    "schema": 1,
    "temperature": 1.5,
    "options": {"n_bins": 15},
    "beside": {"old_accuracy": 0.25},
    "val": {"raw": {"accuracy": 0.75}},
    "test": {"raw": VALUES},
}


def bomb(lines: str, line: str) -> str:
    """Each of eleven lines refers nine times to the one before: 9¹⁰ values in 500 characters."""
    names = "abcdefghijk"
    of = [line.format(name=name, refs=",".join([f"*{before}"] * 9)) for before, name in pairwise(names)]
    return lines + "\n" + "\n".join(of)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid yaml"),
        ("- a\n- b\n", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("a: !!python/object/apply:os.mkdir [pwned]", "is not valid yaml"),
        ("a: !!python/name:os.system", "is not valid yaml"),
        (bomb("a: &a [1,2]", "{name}: &{name} [{refs}]"), "settings than any config"),
        (bomb("a: &a {x: 1}", "{name}: &{name} {{<<: [{refs}]}}"), "is not valid yaml"),
        (bomb("a: &a {x: 1}", "{name}: &{name} {{!!merge m: [{refs}]}}"), "is not valid yaml"),
        ("a: &a [*a]", "settings than any config"),
        ("[" * 50_000, "is not valid yaml"),
        ("- " * 40_000, "is not valid yaml"),
        ("? " * 40_000, "is not valid yaml"),
        ("a: " + "[" * 60 + "]" * 60, "deeper nested"),
        ("a: " + "x" * 200_000, "is larger than any config"),
        ("seed: 2020-01-01", "holds a date, which no setting is"),
        ("a: !!set {b}", "holds a set, which no setting is"),
        ("1: a", "holds a key that is no word"),
        (f"a: {'9' * 400}", "holds a number of more than 64 bits"),
        ("a: 'no end", "is not valid yaml"),
    ],
)
def test_a_config_that_is_none_is_refused_in_a_line_and_calls_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(StoreError, match=message):
        read_config(tmp_path / "config.yaml")
    assert not (tmp_path / "pwned").exists()


def test_a_config_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"a: \xff")
    with pytest.raises(StoreError, match="is not valid yaml"):
        read_config(tmp_path / "config.yaml")


def test_a_config_that_names_a_list_twice_is_read(tmp_path: Path) -> None:
    shared = [0.5, 0.5]  # which yaml writes as &id001 and *id001
    text = yaml.safe_dump({**CONFIG, "prior": shared, "loss": {"name": "focal", "prior": shared}})
    assert "*id001" in text
    (tmp_path / "config.yaml").write_text(text)
    assert read_config(tmp_path / "config.yaml")["loss"]["prior"] == shared


def test_arrays_in_which_a_bit_is_turned_over_are_read_or_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, logits=np.eye(3, dtype=np.float32), targets=np.arange(3))
    whole, refused = path.read_bytes(), 0
    flags = whole.index(b"PK\x01\x02") + 8  # of the directory: encrypted, and how it is compressed two bytes on
    for bit in (*range(0, 8 * len(whole), 50), 8 * flags, *range(8 * flags + 16, 8 * flags + 32)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            read_npz(path)
        except DataError as error:
            refused += str(path) in str(error)
    assert refused > 20


def test_both_loaders_read_a_config_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    fast = read_config(tmp_path / "config.yaml")
    monkeypatch.setattr(reading, "MOST_BRACKETS", 0)
    reading._section.cache_clear()
    assert read_config(tmp_path / "config.yaml") == fast == CONFIG


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not valid JSON"), ("[" * 100_000, "not valid JSON"), ("[1]", "must hold a mapping")]
)
def test_a_json_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        read_json(tmp_path / "metrics.json")


def test_a_record_has_dotted_settings_and_a_value_for_each_metric() -> None:
    read = record(CONFIG, METRICS, {"sources": {"my.loss": "1"}, "fingerprints": {"split": "abc"}})
    assert read.settings == {
        "dataset.name": "digits",
        "model.name": "mlp",
        "model.hidden": "[64, 64]",
        "loss.name": "focal",
        "loss.gamma": 2.0,
        "teacher": None,
        "seed": 3,
        "sources": '{"my.loss": "1"}',
        "metrics.n_bins": 15,
        "fingerprint.split": "abc",
    }
    assert read.metrics == ("accuracy", "nll")
    assert read.values == {"val": {"raw": [0.75, None]}, "test": {"raw": [0.5, None]}}
    assert (read.temperature, read.beside) == (1.5, {"old_accuracy": 0.25})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "metrics.json has schema 2, not 1"),
        ({"schema": None}, "schema None"),
        ({"test": {"raw": {"accuracy": "0.5"}}}, "test raw accuracy must be a number; got a str"),
        ({"val": {"raw": {"accuracy": True}}}, "val raw accuracy must be a number; got a bool"),
        ({"val": {"raw": {"accuracy": 10**400}}}, "val raw accuracy must be a number; got a int"),
        ({"val": {"raw": [0.5]}}, "val raw must be a mapping; got a list"),
        ({"test": "0.5"}, "test must be a mapping; got a str"),
        ({"test": None}, "test must be a mapping; got nothing"),
        ({"temperature": "warm"}, "temperature must be a number"),
        ({"options": {"n_bins": [15]}}, "options n_bins must be a number; got a list"),
        ({"beside": [1]}, "beside must be a mapping"),
        ({"test": {"raw": {"seed": 0.5}}}, "has seed where it is none of its own"),
        ({"test": {"raw": {"split": 0.5}}}, "has split where it is none of its own"),
    ],
)
def test_metrics_of_a_wrong_type_are_refused_and_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        record(CONFIG, {**METRICS, **change}, {})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"seed": 0}, "config.yaml lacks dataset.name, model.name, loss.name"),
        ({**CONFIG, "run": "another"}, "has run where it is none of its own"),
        ({**CONFIG, "accuracy": 1.0}, "has accuracy where it is none of its own"),
    ],
)
def test_a_config_that_no_table_could_show_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        record(config, METRICS, {})


def test_a_missing_temperature_and_foreign_fingerprints_are_named() -> None:
    without = {key: value for key, value in METRICS.items() if key != "temperature"}
    with pytest.raises(StoreError, match=r"metrics\.json lacks temperature"):
        record(CONFIG, without, {})
    with pytest.raises(StoreError, match="fingerprints must be a mapping"):
        record(CONFIG, METRICS, {"fingerprints": ["abc"]})


def test_numbers_that_json_does_not_know_are_read_where_another_program_has_written_them() -> None:
    text = json.dumps({**METRICS, "test": {"raw": {"nll": float("inf"), "ece": float("nan")}}})
    assert record(CONFIG, json.loads(text), {}).values["test"]["raw"][1] == float("inf")


@pytest.mark.parametrize(
    "text",
    [
        yaml.safe_dump(CONFIG),
        yaml.safe_dump({**CONFIG, "note": "two\nlines: of text", "class_names": ["a b", "c"]}, width=10),
        yaml.safe_dump({**CONFIG, "note": "a & b"}),
        "# a comment\n" + yaml.safe_dump(CONFIG),
        "seed: 1\n# a comment\nloss: {name: focal}\n\nseed: 2\n",
        'seed: "1\nloss: 2"\n',
        "hidden:\n- 64\n- 64\nseed: 1\n",
    ],
)
def test_a_config_read_section_by_section_is_what_yaml_reads_in_one_go(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert read_config(tmp_path / "config.yaml") == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text", ["seed: 1\n---\nseed: 2\n", "seed: 1\n...\nloss: 2\n", "seed: 1\n  loss: 2\n", "seed: [1,\nloss\n"]
)
def test_what_is_no_config_in_one_go_is_none_section_by_section(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(StoreError, match="is not valid yaml"):
        read_config(tmp_path / "config.yaml")


def test_what_is_done_to_one_config_is_not_done_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    read_config(tmp_path / "config.yaml")["loss"]["gamma"] = 99.0
    assert read_config(tmp_path / "config.yaml") == CONFIG
