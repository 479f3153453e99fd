"""A command that cannot be read, in one line: what was expected, what came, the nearest name.

Typer raises what it calls a TyperException, and says in words that are not ours what is wrong. Its text is all that is
relied on here, and the context that it keeps of the command: where another version words it otherwise, its own words
are passed on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer

from lossbench.errors import did_you_mean


def explain(error: typer.TyperException, arguments: Sequence[str]) -> str:
    """Return one line for what Typer could not read.

    Args:
        error: what Typer raised.
        arguments: what was typed after `lossbench`.
    """
    said = " ".join(error.format_message().split())
    context: Any = getattr(error, "ctx", None)
    verb = context.info_name if context is not None else arguments[0]
    see = " (lossbench --help)" if verb == "lossbench" else f" (lossbench {verb} --help)"
    if found := re.match(r"No such option: (\S+)", said):
        known = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
        return f"no option {found[1]}{did_you_mean(found[1], known)}{see}"
    if found := re.match(r"No such command '(.*?)'", said):
        return f"no command {found[1]!r}{did_you_mean(found[1], context.command.commands)}{see}"
    if found := re.match(r"Got unexpected extra argument", said):
        extra = said.rpartition("(")[2].rstrip(")")
        return f"{verb} does not take so many arguments; left over: {extra}{see}"
    if found := re.match(r"Missing (argument|option) '(.*?)'\.?(?: Choose from: (.*))?", said):
        name = found[2] if found[1] == "option" else found[2].strip("[]{}").upper()
        return f"{name} is missing{f': one of {found[3]}' if found[3] else ''}{see}"
    if found := re.match(r"Option '(.*?)' requires an argument", said):
        return f"{found[1]} takes a value{see}"
    if found := re.match(r"Invalid value for '(.*?)': (.*)", said):
        return _wrong_value(found[1].rpartition(" / ")[2].strip("'[]{}"), found[2], arguments) + see
    return f"{said[:1].lower()}{said[1:].rstrip('.')}{see}"


def _wrong_value(name: str, said: str, arguments: Sequence[str]) -> str:
    if found := re.search(r"'(.*)' is not one of (.*)", said):
        known = re.findall(r"'([^']*)'", found[2])
        return f"no {name} {found[1]!r}{did_you_mean(found[1], known)}"
    kinds = {"integer": "a whole number", "number": "a number", "float": "a number", "boolean": "true or false"}
    kind = next((words for kind, words in kinds.items() if f"valid {kind}" in said), None)
    typed = _typed(name, arguments)
    if kind:
        return f"{name} must be {kind}{typed}"
    if found := re.search(r"greater than or equal to (\S+)", said):
        return f"{name} must be {found[1]} or more{typed}"
    return f"{name}: {said.removeprefix('Value error, ').rstrip('.')}"


def _typed(name: str, arguments: Sequence[str]) -> str:
    """What stood behind an option, as far as it can be seen."""
    for place, argument in enumerate(arguments):
        if argument == name and place + 1 < len(arguments):
            return f"; got {arguments[place + 1]}"
        if argument.startswith(f"{name}="):
            return f"; got {argument.partition('=')[2]}"
    return ""
