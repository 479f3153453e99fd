"""What a report needs of one run, read from its files, which may be damaged, foreign or hostile."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from lossbench.errors import DataError, StoreError
from lossbench.settings import flat

SCHEMA = 1  # of metrics.json
SPLITS = ("val", "test")
NEEDED = ("seed", "dataset.name", "model.name", "loss.name")  # of a config, for a table to name its rows
TAKEN = ("run", "split", "calibration", "temperature")  # columns of a table that no setting and no metric may have
# Bounds on a config; ours have about 60 settings in 2,000 characters, at most four deep.
LARGEST_CONFIG, MOST_SETTINGS, DEEPEST, MOST_BRACKETS = 100_000, 10_000, 50, 1000
LARGEST_NUMBER = 2**63

Setting = str | int | float | bool | None


@dataclass(frozen=True)
class Record:
    """A run's settings and numbers."""

    settings: Mapping[str, Setting]  # the config with dotted keys, `metrics.<option>`, `fingerprint.<of>`, `sources`
    metrics: tuple[str, ...]
    values: Mapping[str, Mapping[str, list[float | None]]]  # split → calibration → a value for each of the metrics
    temperature: float | None  # the fitted one
    beside: Mapping[str, float | None]  # other numbers of the test split


def record(config: Mapping[str, Any], metrics: Mapping[str, Any], environment: Mapping[str, Any]) -> Record:
    """Read a run's config and the contents of its metrics.json and environment.json.

    Raises:
        StoreError: if something is missing or is not what it should be; it says what.
    """
    if metrics.get("schema") != SCHEMA:
        raise StoreError(f"metrics.json has schema {metrics.get('schema')}, not {SCHEMA}: of another lossbench")
    settings: dict[str, Setting] = dict(flat(config))
    missing = [key for key in NEEDED if key not in settings]
    if missing:
        raise StoreError(f"config.yaml lacks {', '.join(missing)}")
    # What the user's own functions were when the run was trained: the same name may mean another loss.
    sources = _mapping(environment.get("sources") or {}, "environment.json: sources")
    settings["sources"] = json.dumps(sources or None, sort_keys=True)
    options = numbers(metrics.get("options", {}), "options")
    settings |= {f"metrics.{option}": value for option, value in options.items()}
    fingerprints = _mapping(environment.get("fingerprints", {}), "environment.json: fingerprints")
    settings |= {f"fingerprint.{of}": str(value) for of, value in fingerprints.items()}

    by_name: dict[str, dict[str, dict[str, float | None]]] = {}
    for split in SPLITS:
        measured = _mapping(metrics.get(split), f"metrics.json: {split}")
        by_name[split] = {
            calibration: numbers(values, f"{split} {calibration}") for calibration, values in measured.items()
        }
    names = tuple(dict.fromkeys(name for split in by_name.values() for values in split.values() for name in values))
    beside = numbers(metrics.get("beside", {}), "beside")
    if "temperature" not in metrics:
        raise StoreError("metrics.json lacks temperature")
    twice = sorted({*settings} & {*names, *beside, *TAKEN} | {*names, *beside} & {*TAKEN} | {*names} & {*beside})
    if twice:
        raise StoreError(f"config.yaml or metrics.json has {twice[0]} where it is none of its own")
    values = {
        split: {calibration: [numbers.get(name) for name in names] for calibration, numbers in measured.items()}
        for split, measured in by_name.items()
    }
    temperature = numbers({"temperature": metrics["temperature"]}, "fitted")["temperature"]
    return Record(settings, names, values, temperature, beside)


def _mapping(content: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise StoreError(f"{where} must be a mapping; got {_kind(content)}")
    return content


def numbers(content: Any, where: str) -> dict[str, float | None]:
    """Hold values against what a metric can be; null is nan, or infinite."""
    for name, value in _mapping(content, f"metrics.json: {where}").items():
        whole = type(value) is int and abs(value) < LARGEST_NUMBER  # which a bool is not
        if not (type(value) is float or value is None or whole):
            raise StoreError(f"metrics.json: {where} {name} must be a number; got {_kind(value)}")
    return dict(content)


def _digits(value: int) -> str:
    """The start of a whole number, of which Python writes no more than 4,300 digits."""
    return f"{float(value):g}" if abs(value) < 10**300 else "of more than 300 digits"


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds a mapping.

    Raises:
        StoreError: if it does not.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not valid JSON") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} must hold a mapping")
    return content


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read arrays by name, and nothing that would have to be unpickled.

    Raises:
        DataError: if that is not what the file holds.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (
        # RuntimeError: one bit of a zip file says that it is encrypted, others how it is compressed.
        *(AttributeError, EOFError, MemoryError, OSError, RuntimeError, TypeError, ValueError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        # A pickle among the arrays could run anything; numpy refuses it by a ValueError, which says how to allow it.
        raise DataError(f"{path} is no .npz of plain numbers, as numpy.savez writes it") from error


def read_config(path: Path) -> dict[str, Any]:
    """Read a config: a mapping of names to numbers, words, lists and mappings, of a config's size.

    No tag makes it anything else, nothing in it is called, and it cannot grow by references to itself.

    Raises:
        StoreError: if it is something else.
    """
    with path.open(encoding="utf-8") as file:
        try:
            text = file.read(LARGEST_CONFIG + 1)
            if len(text) > LARGEST_CONFIG:
                raise StoreError(f"{path} is larger than any config")
            config = _parsed(text)
        except (yaml.YAMLError, ValueError, RecursionError, AttributeError, TypeError) as error:
            raise StoreError(f"{path} is not valid yaml") from error
    if not isinstance(config, dict):
        raise StoreError(f"{path} must hold a mapping")
    try:
        check_plain(config)
    except ValueError as error:
        raise StoreError(f"{path} holds {error}") from error
    return config


class _Safe(yaml.SafeLoader):
    """yaml's safe loader without merge keys (`<<`), which no config of ours has and which can be made to explode."""

    def flatten_mapping(self, node: Any) -> None:
        """Leave it as it is; the key `<<` is an error then."""


class _Fast(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same in C where yaml was built with libyaml, seven times as fast."""

    flatten_mapping = _Safe.flatten_mapping


def _parsed(text: str) -> Any:
    """What yaml makes of a config: runs of a sweep share most of it word for word, and a section is parsed once."""
    if re.match(r"[a-z]", text) and not re.search(r"[&*]|^(---|\.\.\.|%)", text, re.MULTILINE):
        with contextlib.suppress(yaml.YAMLError, ValueError):  # of a part alone: what the whole is, is said below
            sections = [_section(section) for section in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE) if section]
            if all(isinstance(section, dict) for section in sections):
                return copy.deepcopy({key: value for section in sections for key, value in section.items()})
    return yaml.load(text, _loader(text))


@functools.lru_cache(maxsize=4096)
def _section(text: str) -> Any:
    return yaml.load(text, _loader(text))


def _loader(text: str) -> type:
    # libyaml goes down into nested nodes by recursion in C and crashes where that has no end. Python's own raises an
    # error. Every level takes one of these characters, or a line more deeply indented than the one before.
    return _Fast if sum(map(text.count, "[{-?")) < MOST_BRACKETS else _Safe


def check_plain(config: Mapping[str, Any]) -> None:
    """Hold a config against what can be read again. References to itself count as often as they are made.

    Raises:
        ValueError: at what no config holds; it says what.
    """
    waiting: list[tuple[Any, int]] = [(config, 0)]
    count = 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if count > MOST_SETTINGS or depth > DEEPEST:
            raise ValueError("more, or deeper nested, settings than any config")
        if isinstance(value, dict):
            if any(type(key) is not str for key in value):
                raise ValueError("a key that is no word")
            waiting += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]
        elif type(value) not in (str, int, float, bool, type(None)):
            raise ValueError(f"a {type(value).__name__}, which no setting is")
        elif type(value) is int and abs(value) >= LARGEST_NUMBER:
            raise ValueError(f"a number of more than 64 bits ({_digits(value)})")
