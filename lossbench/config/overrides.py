"""What a user types, in Hydra's grammar: which node it is of, how many runs it makes, what is searched."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    OverrideType,
    QuotedString,
    RangeSweep,
)
from hydra.errors import HydraException

from lossbench.config.schema import GROUPS, VALUES
from lossbench.errors import ConfigError
from lossbench.explain import listed_by
from lossbench.search import Searched

MOST_RUNS = 10_000  # of a sweep

WHOLE = ("epochs", "batch_size", "teacher.epochs", "teacher.batch_size")  # numbers of a configuration's own

# Group choices that live inside another node. Users write the key on the left, Hydra wants `group@key`.
NESTED_GROUPS = {
    "teacher.model": "model",
    "teacher.loss": "loss",
    "teacher.optimizer": "optimizer",
    "teacher.schedule": "schedule",
    **{f"{loss}.{part}": "loss" for loss in ("loss", "teacher.loss") for part in ("hard", "first", "second")},
}


def translated(override: Override, swept: set[str]) -> str:
    """Return an override as Hydra takes it; see `lossbench.config.planning.Session`.

    Args:
        override: as it was typed.
        swept: the keys and groups that the request sweeps.
    """
    line, key = str(override.input_line), override.key_or_group
    if override.package is None and key in NESTED_GROUPS:
        return line.replace(key, f"{NESTED_GROUPS[key]}@{key}", 1)
    if key == "tracker" and override.value() is None:
        return "tracker=[]"  # which is how Hydra says it of a group
    plain = not (override.is_sweep_override() or override.is_add() or override.is_force_add() or override.is_delete())
    if plain and any(key.startswith(f"{group}.") for group in swept):
        return f"{key}=choice({override.get_value_element_as_str()})"
    return line


def given_twice(overrides: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each value that counts no more, since another follows for the same key."""
    typed: dict[str, dict[str, None]] = {}  # values in order, one that comes again as the last
    for override in overrides:
        key, _, value = override.removeprefix("+").removeprefix("+").partition("=")
        values = typed.setdefault(key, {})
        values.pop(value, None)
        values[value] = None
    for key, values in typed.items():
        if len(values) > 1:
            *others, last = values
            lost = f"{' and '.join(others)} {'does' if len(others) == 1 else 'do'} not"
            yield f"{key} is given more than once: {last} counts, {lost} ({key}={','.join(values)} trains each)"


def is_plain(override: Override) -> bool:
    """Whether it sets a number, a word or a list of a key that is there, and chooses nothing."""
    first, _, rest = override.key_or_group.partition(".")
    if override.package is not None or override.type != OverrideType.CHANGE or override.is_sweep_override():
        return False
    known = first in (*GROUPS, "teacher", "metrics") if rest else first in VALUES
    return known and "/" not in override.key_or_group and not isinstance(override.value(), dict)


def check_choice(override: Override) -> None:
    """Refuse to choose anything but names, over which Hydra says nothing of the group, or fails."""
    key, value = override.key_or_group, override.value()
    several = key in ("tracker", "experiment")
    is_group = several or key in GROUPS or key in NESTED_GROUPS or key.startswith("hydra/")
    if not is_group or override.is_delete() or isinstance(value, dict):  # whose keys are looked at one by one
        return
    for choice in value.list if isinstance(value, ChoiceSweep) else [value]:
        names = choice if several and isinstance(choice, list) else [choice]
        plain = all(isinstance(name, (str, QuotedString)) for name in names)
        if not (plain or isinstance(choice, Glob) or (key == "tracker" and choice is None)):
            got = str(override.input_line).partition("=")[2]
            raise ConfigError(f"{key} must be one of its choices, by name{listed_by(key)}; got {got}")


def check_size(overrides: Sequence[Override]) -> None:
    """Refuse a sweep that Hydra cannot expand, or not within hours and the memory there is."""
    sizes: dict[str, int] = {}
    for override in overrides:
        line, key = override.input_line, override.get_key_element()
        sizes[key] = 1
        if not override.is_sweep_override():
            continue
        if not override.is_discrete_sweep():
            raise ConfigError(f"{line} takes a sweeper that searches (hydra/sweeper=…); else name values: {key}=0,0.1")
        swept = override.value()
        try:
            values = swept.range() if isinstance(swept, RangeSweep) else override.sweep_string_iterator()
            sizes[key] = sum(1 for _ in islice(values, MOST_RUNS + 1))
        except (HydraException, ValueError) as error:
            raise ConfigError(f"cannot read '{line}': {error}") from error
    if math.prod(sizes.values()) > MOST_RUNS:
        large = " and ".join(key for key, size in sizes.items() if size > 1)
        raise ConfigError(
            f"a sweep has at most {MOST_RUNS:,} runs; this one has more, over {large}: make several of it"
        )


def interval(override: Override, swept: IntervalSweep) -> Searched:
    """Return the interval that an override searches.

    Raises:
        ConfigError: if it cannot be searched.
    """
    line, low, high = override.input_line, swept.start, swept.end
    assert low is not None  # as Hydra reads it
    assert high is not None
    if override.package is not None or override.type != OverrideType.CHANGE or override.is_hydra_override():
        raise ConfigError(f"{line}: only a key that is there can be searched, and none of Hydra's own")
    if swept.tags - {"log"}:
        raise ConfigError(f"{line}: the only tag of an interval is log; got {', '.join(sorted(swept.tags))}")
    key, whole = override.key_or_group, isinstance(low, int)  # by int(interval(…))
    if key == "seed":
        raise ConfigError("seed cannot be searched, for the best of several seeds is luck; list them: seed=0,1,2")
    if key in WHOLE and not whole:
        raise ConfigError(f"{key} must be a whole number: search it by '{key}=int({str(line).partition('=')[2]})'")
    try:
        return Searched(low, high, log="log" in swept.tags, whole=whole)
    except ConfigError as error:
        raise ConfigError(f"{line}: {error}") from error
