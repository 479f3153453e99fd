"""Functions and modules that a caller gives, as the nodes of a config that would name them."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from lossbench.checking import EXTRAS, target_of
from lossbench.config import Config
from lossbench.errors import ConfigError
from lossbench.given import PREFIX
from lossbench.signature import parameters

NOT_SET = (*EXTRAS, "class_counts", "num_classes")  # what the program passes itself


@dataclass
class Parts:
    """The nodes made so far, and what of them has no import path."""

    held: dict[str, Any] = field(default_factory=dict)  # by its name in `lossbench.given`

    def loss(self, name: str, given: Callable[..., Any]) -> Config:
        """Return the node of a loss: a function, a module, a module's class or a `functools.partial` of one."""
        if not callable(given):
            raise ConfigError(f"losses[{name!r}] must be a function, a module or the name of one; got {given!r}")
        function, values, rest = _parted(given, f"losses[{name!r}]")
        by_program = 0 if isinstance(function, type) else 2  # logits and targets, whatever a function calls them
        needed = [key for key, parameter in parameters(function).items() if _is_needed(parameter)][by_program:]
        if lacking := [key for key in needed if key not in (*values, *rest, *NOT_SET)]:
            raise ConfigError(
                f"losses[{name!r}] may need logits and targets alone; it needs {' and '.join(lacking)}, too: give that "
                "by functools.partial"
            )
        if rest and isinstance(function, type):  # a tensor of class weights, say: no config has that
            function, values, rest = function(**values, **rest), {}, {}
        return self._node(name, _with(function, rest) if rest else function, values, f"loss_{len(self.held)}")

    def model(self, given: Callable[..., Any]) -> Config:
        """Return the node of a model: a function of `(input_shape, num_classes)`, or of nothing, that makes one."""
        if isinstance(given, nn.Module) or not callable(given):
            raise ConfigError(
                "model must be a name, or a function or class that makes a torch.nn.Module anew for each run; got "
                f"{f'a {type(given).__name__} that is made' if isinstance(given, nn.Module) else repr(given)}"
            )
        function, values, rest = _parted(given, "model")
        wanted = [name for name, parameter in parameters(given).items() if _is_needed(parameter)]
        if len(wanted) not in (0, 2):
            raise ConfigError(
                f"model must take (input_shape, num_classes), or nothing; {_name(function)} takes ({', '.join(wanted)})"
            )
        name = _name(function)
        if rest or wanted != ["input_shape", "num_classes"] or _import_path(function) is None:
            return self._node(name, _factory(given, bool(wanted)), {}, "model")
        return self._node(name, function, values, "model")

    def _node(self, name: str, function: Any, values: Config, key: str) -> Config:
        path = _import_path(function)
        if path is None:
            self.held[key] = function
            return {"_target_": PREFIX + key, "name": name, **values}
        # With its defaults, as a yaml has them: a table says ε=0 beside ε=0.1.
        defaults = {
            parameter.name: _plain(parameter.default)
            for parameter in parameters(function).values()
            if parameter.kind is parameter.KEYWORD_ONLY
            and parameter.name not in NOT_SET
            and _is_plain(parameter.default)
        }
        return {"_target_": path, "name": name, **defaults, **values}


def _parted(given: Callable[..., Any], where: str) -> tuple[Any, Config, dict[str, Any]]:
    """What is called, the settings that a config can hold, and those that it cannot."""
    if not isinstance(given, functools.partial):
        return given, {}, {}
    if given.args:
        raise ConfigError(f"{where} must be a functools.partial of keyword arguments; got {given.args[0]!r} by place")
    values = {key: _plain(value) for key, value in given.keywords.items() if _is_plain(value)}
    return given.func, values, {key: value for key, value in given.keywords.items() if key not in values}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | np.integer | np.floating)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return list(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _is_needed(parameter: inspect.Parameter) -> bool:
    variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return not variable and parameter.default is parameter.empty


def _import_path(function: Any) -> str | None:
    """The shortest path that another process finds a function or class by; None where there is none."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return None
    packages = module.split(".")
    for depth in range(1, len(packages) + 1):
        package = ".".join(packages[:depth])
        if vars(sys.modules.get(package, object)).get(name) is function:
            try:
                return f"{package}.{name}" if target_of({"_target_": f"{package}.{name}"}, "it") is function else None
            except ConfigError:
                return None
    return None


def _name(function: Any) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return name if re.fullmatch(r"\w+", name) else "model"  # <lambda>


def _with(function: Callable[..., Any], rest: Mapping[str, Any]) -> Callable[..., Any]:
    """A function with arguments bound that no config can hold; what it declares else, and its link, are its own."""
    bound = functools.partial(function, **rest)

    def call(*arguments: Any, **keywords: Any) -> Any:
        return bound(*arguments, **keywords)

    vars(call).update(vars(function) if inspect.isfunction(function) else {})
    others = [parameter for name, parameter in parameters(function).items() if name not in rest]
    call.__signature__ = inspect.Signature(others)  # type: ignore[attr-defined]
    return call


def _factory(given: Callable[..., Any], wants_shape: bool) -> Callable[..., nn.Module]:
    last: Callable[[], Any] = lambda: None  # noqa: E731

    def make(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        nonlocal last
        try:
            network = given(input_shape, num_classes) if wants_shape else given()
        except TypeError as error:  # nn.Linear, say, takes two arguments that are something else
            raise ConfigError(
                "model must take (input_shape, num_classes), or nothing; called with "
                f"{(input_shape, num_classes) if wants_shape else ()} it says: {error}"
            ) from error
        if not isinstance(network, nn.Module):
            raise TypeError(f"it gave a {type(network).__name__}, not a torch.nn.Module")
        if network is last():
            raise TypeError("it gave the same module twice; each run needs its own, with its own initial weights")
        last = weakref.ref(network)
        return network

    return make
