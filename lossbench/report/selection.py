"""Which stored rows a report is about: `dataset=digits`, `loss.epsilon=0,0.1`, `seed=0`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lossbench.errors import ConfigError, RequestError, did_you_mean

Value = bool | int | float | str | None

WORDS: dict[str, Value] = {"true": True, "false": False, "null": None, "none": None}


def value(cell: Any) -> Value:
    """Return a cell of the frame as a plain value: None where missing, 15.0 as 15.

    pandas holds whole numbers as floats wherever one row lacks the key, and runs that agree must agree here too.
    """
    if pd.isna(cell):
        return None
    plain = cell.item() if isinstance(cell, np.generic) else cell
    if isinstance(plain, float) and plain.is_integer():
        return int(plain)
    return plain  # type: ignore[no-any-return]


def rows_of(frame: pd.DataFrame, settings: Sequence[str], numbers: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a frame: settings as plain values, numbers as floats.

    Settings repeat from row to row: each is made plain once, which is what takes the time.
    """
    made: dict[tuple[type, Any], Value] = {}

    def plain(cell: Any) -> Value:
        kind = type(cell), cell  # to Python True == 1
        if kind not in made:
            made[kind] = value(cell)
        return made[kind]

    columns: list[list[Any]] = [[plain(cell) for cell in frame[key].tolist()] for key in settings]
    columns += [frame[name].to_numpy(dtype=np.float64).tolist() for name in numbers]
    return [dict(zip([*settings, *numbers], row, strict=True)) for row in zip(*columns, strict=True)]


def written(value: Value) -> str:
    """Return a value as the command line writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def select(frame: pd.DataFrame, where: Sequence[str], keys: Sequence[str]) -> pd.DataFrame:
    """Keep the rows that meet every filter.

    Args:
        frame: a row per run × split × calibration.
        where: `key=value` each; a comma means any of; a group's own name stands for it (`loss=focal`).
        keys: the columns that may be filtered on.

    Raises:
        ConfigError: if a filter is no `key=value`, or its key or one of its values is nowhere in the frame.
        RequestError: if the filters hold one by one but no row meets them all.
    """
    keep = pd.Series(True, index=frame.index)
    for condition in where:
        key, wanted = parse(condition, keys)
        cells = frame[key].map(lambda cell: _comparable(value(cell)))
        for text in wanted:
            if not (cells == _comparable(_read(text))).any():
                raise ConfigError(f"no run has {condition.partition('=')[0]}={text}{_what_is_there(text, frame[key])}")
        keep &= cells.isin([_comparable(_read(text)) for text in wanted])
    if not keep.any():
        raise RequestError(f"no run has all of {', '.join(where)}; leave one out, or train it: lossbench train …")
    return frame[keep]


def meets(config: Mapping[str, Value], condition: str) -> bool:
    """Whether a row of the table has what `key=value` asks for; see `select`."""
    key, wanted = parse(condition, list(config))
    return _comparable(config[key]) in [_comparable(_read(text)) for text in wanted]


def parse(condition: str, keys: Sequence[str]) -> tuple[str, list[str]]:
    """Split `loss=focal,dice` into the column `loss.name` and the values asked for.

    Raises:
        ConfigError: if it is no `key=value`, or there is no such key.
    """
    word, _, wanted = condition.partition("=")
    if not word or not wanted:
        raise ConfigError(f"a filter is key=value, such as loss=label_smoothing; got {condition!r}")
    # A comma inside brackets belongs to a list: model.hidden=[64,64],[128] are two values.
    texts = [text for text in re.split(r",(?![^\[{]*[\]}])", wanted) if text]
    for key in (word, f"{word}.name"):
        if key in keys:
            return key, texts
    if ending := [key for key in keys if key.endswith(f".{word}")]:
        raise ConfigError(f"no run has a key {word!r}; did you mean {' or '.join(ending)}?")
    raise ConfigError(f"no run has a key {word!r}{did_you_mean(word, [key.removesuffix('.name') for key in keys])}")


def _read(text: str) -> Value:
    try:
        return value(float(text))
    except ValueError:
        return WORDS.get(text.lower(), text)


def _comparable(value: Value) -> tuple[str, Value]:
    # The kind goes along, since to Python True == 1; a stored list is JSON, which nobody types with its spaces.
    if isinstance(value, str):
        return "text", re.sub(r"[\s\"']", "", value) if value[:1] in "[{" else value
    return ("number" if isinstance(value, int | float) and not isinstance(value, bool) else "word"), value


def _what_is_there(text: str, column: pd.Series[Any]) -> str:
    there = {value(cell) for cell in column}
    names = [name for name in there if isinstance(name, str)]
    if names:
        return did_you_mean(text, names)
    # The nearest spelling of a number is no help: all of them are.
    return f"; there are: {', '.join(map(written, sorted(there, key=order)))}"


def order(value: Value) -> tuple[int, float, str]:
    """Return a sort key: missing first, then numbers by size, then words."""
    if value is None:
        return 0, 0.0, ""
    return (2, 0.0, value) if isinstance(value, str) else (1, float(value), "")
