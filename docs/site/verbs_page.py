"""The page of the command line, from the functions and options that Typer calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from markdown_table import escaped, table
from typer.models import ArgumentInfo, OptionInfo

from lossbench.cli.verbs import app


def page() -> str:
    """Return the page as Markdown."""
    parts = ["# Command line", "`lossbench VERB --help` says the same. Exit codes: 0 done, 1 some runs failed, "
             "2 the request was wrong, 130 and 143 interrupted."]  # fmt: skip
    for command in app.registered_commands:
        if command.callback is not None and not command.hidden:
            parts += _verb(command.name or command.callback.__name__, command.callback)
    return "\n\n".join(parts) + "\n"


def _verb(name: str, function: Callable[..., Any]) -> list[str]:
    words, rows = [f"lossbench {name}"], []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        annotation, info = get_args(parameter.annotation)
        if info.hidden:
            continue
        if isinstance(info, ArgumentInfo):
            words.append(info.metavar or parameter.name.upper())
        rows.append([_names(parameter, annotation, info), _default(parameter, info), escaped(info.help or "")])
    return [
        f"## `{name}`",
        f"```text\n{' '.join(words)} [OPTIONS]\n```",
        *(escaped(inspect.cleandoc(part)) for part in (inspect.getdoc(function) or "").split("\n\n")),
        table(["option", "default", ""], rows),
    ]


def _names(parameter: inspect.Parameter, annotation: Any, info: ArgumentInfo | OptionInfo) -> str:
    if isinstance(info, ArgumentInfo):
        choices = _choices(annotation)
        return " ".join(f"`{word}`" for word in [info.metavar or parameter.name.upper(), choices] if word)
    names = [info.default, *(info.param_decls or ())]  # Typer's first parameter, which within Annotated is a name
    value = "" if annotation is bool else info.metavar or _choices(annotation) or parameter.name.upper()
    return ", ".join(f"`{name}`" for name in names) + (f" `{value}`" if value else "")


def _choices(annotation: Any) -> str:
    """`one|other` of a Literal, by itself or beside None; else nothing."""
    for part in [annotation, *get_args(annotation)]:
        if get_origin(part) is Literal:
            return "|".join(get_args(part))
    return ""


def _default(parameter: inspect.Parameter, info: ArgumentInfo | OptionInfo) -> str:
    if isinstance(info.show_default, str):
        return f"`{info.show_default}`"
    if parameter.default is inspect.Parameter.empty:
        return "must be given"
    shown = isinstance(parameter.default, (str, Path, int, float)) and parameter.default not in (False, "")
    return f"`{parameter.default}`" if shown else ""
