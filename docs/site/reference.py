"""The pages that come from docstrings: what a package exports, under the headings of the modules it is written in."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

import configs_page
from markdown_table import escaped, table

import lossbench.library.compare
import lossbench.library.comparison
import lossbench.trackers
from lossbench import calibration, curves, data, domains, errors, links, losses, metrics, models, statistics
from lossbench.catalogue import catalogue, conf_dir
from lossbench.domains import Interval
from lossbench.losses import checks

BETTER = {"higher": "↑\N{NO-BREAK SPACE}higher", "lower": "↓\N{NO-BREAK SPACE}lower", "zero": "→\N{NO-BREAK SPACE}0"}


def pages() -> dict[str, str]:
    """Return name → Markdown of every page, in the order in which they are to be read."""
    return {
        "losses": _package("Losses", losses, "loss"),
        "metrics": _metrics(),
        "calibration": _modules("Calibration", [calibration, links, curves]),
        "statistics": _modules("Statistics", [statistics]),
        "compare": _modules("compare", [lossbench.library.compare, lossbench.library.comparison]),
        "models": _package("Models", models, "model"),
        "datasets": _package("Data sets", data, "dataset"),
        "own_parts": _own_parts(),
        "errors": _modules("Errors", [errors]),
    }


def _package(title: str, package: ModuleType, group: str) -> str:
    """A page of what a package exports; `group` is that of the configs which call it."""
    things = {name: getattr(package, name) for name in package.__all__}
    rows = [[_link(package, name), escaped(_docstring(thing).partition("\n")[0])] for name, thing in things.items()]
    return _page([f"# {title}", _docstring(package), table(["", ""], rows), *_by_module(package, things, group)])


def _by_module(package: ModuleType, things: dict[str, Any], group: str = "") -> list[str]:
    """What a package exports, under the headings of the modules it is written in."""
    modules = {inspect.getmodule(thing) for thing in things.values()}
    parts: list[str] = []
    for module in sorted(modules, key=lambda module: module.__name__):
        names = [name for name, thing in things.items() if thing.__module__ == module.__name__]
        parts += [] if module is package else _heading(module)
        for name in sorted(names, key=lambda name: _line(things[name])):
            parts += [_directive(package.__name__, name, things[name]), _calls_it(group, package, name)]
    return parts


def _modules(title: str, modules: list[ModuleType]) -> str:
    """A page of the public functions and classes of some modules."""
    parts = [f"# {title}"]
    for module in modules:
        parts += _heading(module) if len(modules) > 1 else [_docstring(module)]
        public = {
            name: thing
            for name, thing in vars(module).items()
            if not name.startswith("_") and getattr(thing, "__module__", "") == module.__name__ and callable(thing)
        }
        parts += [_directive(module.__name__, name, thing) for name, thing in public.items()]
    return _page(parts)


def _metrics() -> str:
    things = {name: getattr(metrics, name) for name in metrics.__all__ if inspect.isfunction(getattr(metrics, name))}
    rows = [
        [_link(metrics, name) if name in things else f"`{name}`", _better(name), escaped(description)]
        for name, description in catalogue("metrics", [])
    ]
    return _page(
        [
            "# Metrics",
            _docstring(metrics),
            table(["metric", "better", ""], rows),
            "Those without a link are of runs, not of logits: of a teacher, a temperature, rare or new classes.",
            *_by_module(metrics, things),
        ]
    )


def _better(name: str) -> str:
    return BETTER.get(getattr(metrics.ALL.get(name), "better", None) or "", "")


def _own_parts() -> str:
    named = {name: value for name, value in vars(domains).items() if isinstance(value, Interval)}
    rows = [[f"`{name}`", f"`{value}`"] for name, value in named.items()]
    return _page(
        [
            "# Parts for what you write yourself",
            "## The checks of a loss",
            *(_directive(checks.__name__, name, getattr(checks, name)) for name in ("check_shapes", "per_class")),
            "## The values that a hyperparameter may take",
            _docstring(domains),
            table(["`lossbench.domains.…`", "holds"], rows),
            "## A tracker",
            _docstring(lossbench.trackers),
            *(
                _directive("lossbench.trackers", name, getattr(lossbench.trackers, name))
                for name in ("Tracker", "Run", "Result")
            ),
        ]
    )


def _directive(package: str, name: str, thing: Any) -> str:
    """What has autodoc write a function or a class."""
    kind = "function" if inspect.isfunction(thing) else "exception" if issubclass(thing, BaseException) else "class"
    options = {"class": "   :members:\n", "exception": "   :show-inheritance:\n"}.get(kind, "")
    return f"```{{eval-rst}}\n.. auto{kind}:: {package}.{name}\n{options}```"


def _calls_it(group: str, package: ModuleType, name: str) -> str:
    """Links to the configs that call a function."""
    target = re.compile(rf"^_target_: {re.escape(package.__name__)}\.{name}$", re.MULTILINE)
    paths = sorted((conf_dir() / group).glob("*.yaml")) if group else []
    found = [path.stem for path in paths if target.search(path.read_text(encoding="utf-8"))]
    calls = ", ".join(f"[`{group}={stem}`](configs.md#{configs_page.anchor(group, stem)})" for stem in found)
    return f"On the command line: {calls}" if calls else ""


def _heading(module: ModuleType) -> list[str]:
    """The first line of a module's docstring as a heading, and the rest."""
    heading, _, rest = _docstring(module).partition("\n")
    return [f"## {heading.rstrip('.')}", rest.strip()]


def _docstring(thing: Any) -> str:
    return inspect.getdoc(thing) or ""


def _link(package: ModuleType, name: str) -> str:
    return f"[`{name}`](#{package.__name__}.{name})"


def _line(thing: Any) -> int:
    return inspect.getsourcelines(thing)[1]


def _page(parts: list[str]) -> str:
    return "\n\n".join(filter(None, parts)) + "\n"
