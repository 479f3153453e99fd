"""`lossbench diff`: what differs between two runs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from lossbench.errors import RequestError
from lossbench.links import LINKS
from lossbench.report.commands import overrides_of
from lossbench.screen.drawing import aligned, folded
from lossbench.screen.files import read
from lossbench.screen.portrait import FINGERPRINT, number
from lossbench.settings import counts, flat, written
from lossbench.store import Store

CALIBRATIONS = ("raw", "temperature_scaled")
MISSING = "–"
# Two runs that differ in these alone are compared as losses.
LOSS = ("loss.", "teacher.")


def difference(store: Store, ours: str, theirs: str, width: int, *, everything: bool = False) -> str:
    """Return what differs between two finished runs, and whether they are paired.

    Args:
        store: where they are.
        ours: the id of one; differences are the other's values less its own.
        theirs: the id of the other.
        width: of the lines; ids are not broken.
        everything: also what is the same.

    Raises:
        RequestError: if they are one run, or the files of one are damaged.
    """
    if ours == theirs:
        raise RequestError(f"{ours} is both runs; name two")
    a, b = _Record(store, ours), _Record(store, theirs)
    head = [f"a  {ours}", f"b  {theirs}", *folded(_paired(a, b), width)]
    splits = ("test", "val") if everything else ("test",)
    sections = [
        _section("config", *_settings(a, b, everything), everything, width),
        _section("link", a.link, b.link, everything, width),
        _section("measured with", a.options, b.options, everything, width),
        *(_numbers(f"{split}, {_called(name)}", a.values(split, name), b.values(split, name), everything)
          for split in splits for name in CALIBRATIONS),
        _numbers("beside", a.beside, b.beside, everything),
        _numbers("last epoch", a.last, b.last, everything),
        _section("environment", a.environment, b.environment, everything, width),
        _section("fingerprints", a.fingerprints, b.fingerprints, everything, width),
    ]  # fmt: skip
    tail = [] if everything else ["--all shows validation, and what is the same, too"]
    return "\n\n".join("\n".join(part) for part in [head, *sections, tail] if part) + "\n"


class _Record:
    """What is compared of a run."""

    def __init__(self, store: Store, run_id: str) -> None:
        files = read(store, run_id)
        self.metrics, environment, config = files.metrics, dict(files.environment), files.config
        self.settings = dict(flat(config))
        words = (word.lstrip("+").partition("=")[0] for word in overrides_of(config))
        self.chosen = {key for word in words for key in (word, f"{word}.name")}
        self.seed = self.settings.get("seed")
        self.link = _whole(self.metrics.get("link", {}))
        self.options = self.metrics.get("options", {})
        self.fingerprints = environment.pop("fingerprints", {})
        environment.pop("overrides", None)  # the config has what came of them
        self.environment = {
            key: round(value, 1) if isinstance(value, float) else value for key, value in flat(environment)
        }
        self.last = files.history[-1]
        self.beside = {"temperature": self.metrics.get("temperature"), **self.metrics.get("beside", {})}

    def values(self, split: str, calibration: str) -> Mapping[str, float | None]:
        found: Mapping[str, float | None] = self.metrics.get(split, {}).get(calibration, {})
        return found


def _whole(link: Mapping[str, Any]) -> dict[str, Any]:
    """A link with the arguments that its record leaves to their defaults."""
    function = LINKS.get(link.get("name", ""))
    known = inspect.signature(function).parameters.values() if function else ()
    return {
        **{parameter.name: parameter.default for parameter in known if parameter.default is not parameter.empty},
        **link,
    }


def _paired(a: _Record, b: _Record) -> str:
    """Whether a table would compare the two, and if not why."""
    reasons = [] if a.seed == b.seed else [f"their seeds are {a.seed} and {b.seed}"]
    if not (a.fingerprints and b.fingerprints):
        reasons.append("one has no fingerprints to be paired by")
    else:
        names = [name.replace("_", " ") for name in _keys(a.fingerprints, b.fingerprints)
                 if a.fingerprints.get(name) != b.fingerprints.get(name)]  # fmt: skip
        reasons += [f"they differ in {', '.join(names)}"] if names else []
    if reasons:
        return f"Not paired: {'; '.join(reasons)}."
    other = [
        key for key in _keys(a.settings, b.settings)
        if counts(key) and not key.startswith(LOSS) and a.settings.get(key) != b.settings.get(key)
    ]  # fmt: skip
    if other:
        them = ", ".join(other)
        return f"They share data, split, initial weights and batches, but differ in more than the loss: {them}."
    return "Paired: they share seed, data, split, initial weights and batches, and differ in the loss alone."


def _settings(a: _Record, b: _Record, everything: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """What to compare: what both have, and where a choice gives one of them keys of its own, those that were set."""
    if everything:
        return a.settings, b.settings
    shared = {key for key in a.settings if key in b.settings and not key.endswith("_target_")}
    return tuple(
        {key: value for key, value in run.settings.items() if key in shared or key in run.chosen} for run in (a, b)
    )  # type: ignore[return-value]


def _section(title: str, a: Mapping[str, Any], b: Mapping[str, Any], everything: bool, width: int) -> list[str]:
    """Two columns of text; where they do not fit, a pair of lines for each key."""
    rows = [
        (key, _text(a, key), _text(b, key))
        for key in _keys(a, b)
        if everything or key not in a or key not in b or a[key] != b[key]
    ]
    if not rows:
        return []
    lines = aligned([(title, "a", "b"), *rows], left=3)
    if max(map(len, lines)) <= width:
        return lines
    lines = [title]
    for key, one, other in rows:
        lines += [key, *folded(f"a  {one}", width, "  "), *folded(f"b  {other}", width, "  ")]
    return lines


def _text(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return MISSING
    text = written(values[key])
    return text[:FINGERPRINT] if len(text) == 64 and all(letter in "0123456789abcdef" for letter in text) else text


def _numbers(title: str, a: Mapping[str, float | None], b: Mapping[str, float | None], everything: bool) -> list[str]:
    rows = []
    for key in _keys(a, b):
        one, other = (math.nan if (value := values.get(key)) is None else value for values in (a, b))
        if everything or not (one == other or (math.isnan(one) and math.isnan(other))):
            rows.append((key, number(one), number(other), "" if math.isnan(other - one) else _signed(other - one)))
    return aligned([(title, "a", "b", "b − a"), *rows]) if rows else []


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def _called(calibration: str) -> str:
    return "T-scaled" if calibration == "temperature_scaled" else calibration


def _keys(*mappings: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))
