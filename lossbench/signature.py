"""The signature of a function, held against the values a user gave for it.

A yaml names a function and its hyperparameters; the function's own annotations say what each may be. There is no
second schema to keep in step: `epsilon: Annotated[float, UNIT]` is what rejects `loss.epsilon=1.2`.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lossbench.domains import Interval
from lossbench.errors import ConfigError, did_you_mean

T = TypeVar("T")


def _cached(look: Callable[[Any], T]) -> Callable[[Any], T]:
    """Look at each function once: a sweep asks the same few thousands of times."""
    cached = functools.lru_cache(maxsize=1024)(look)

    @functools.wraps(look)
    def ask(function: Any) -> T:
        try:
            hash(function)
        except TypeError:
            return look(function)
        return cached(function)

    return ask


@_cached
def parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return a function's parameters by name."""
    return inspect.signature(function).parameters


@_cached
def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    annotated: Any = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    try:
        return get_type_hints(annotated, include_extras=True) if inspect.isroutine(annotated) else {}
    except NameError:  # annotations of a user's own that only a type checker can read
        return {}


def takes_any(function: Callable[..., Any]) -> bool:
    """Whether a function takes keyword arguments that it does not name."""
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters(function).values())


def check(function: Callable[..., Any], values: Mapping[str, Any], where: str, given: Collection[str] = ()) -> None:
    """Hold values against a function's signature.

    Args:
        function: what will be called.
        values: its keyword arguments as the user wrote them.
        where: the config key they stand under, such as `loss`, for the message.
        given: names of parameters that the program passes itself.

    Raises:
        ConfigError: for an unknown or missing name, a wrong type or a value outside its domain.
    """
    known = parameters(function)
    settable = [name for name in known if name not in given]
    hints = _hints(function)
    for name, value in values.items():
        if name not in settable and not takes_any(function):
            raise ConfigError(f"{where} has no key '{name}'{did_you_mean(name, settable)}")
        if name in hints:
            _check_value(value, hints[name], f"{where}.{name}")
    for name in settable:
        missing = name not in values and known[name].default is inspect.Parameter.empty
        if missing and known[name].kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            raise ConfigError(f"{where}.{name} has no default and must be given")


def _check_value(value: Any, hint: Any, path: str) -> None:
    if not _has_type(value, hint):
        meant = did_you_mean(value, _words(hint)) if isinstance(value, str) else ""
        raise ConfigError(
            f"{path} must be {_describe(hint)}; got {value!r}{meant if meant.startswith('; did') else ''}"
        )
    interval = _violated(value, hint)
    if interval is not None:
        raise ConfigError(f"{path} must lie in {interval}; got {value}")


def _words(hint: Any) -> list[str]:
    """The words that a value may be."""
    if get_origin(hint) is Literal:
        return [argument for argument in get_args(hint) if isinstance(argument, str)]
    unions = (Annotated, Union, types.UnionType)
    return [word for part in get_args(hint) for word in _words(part)] if get_origin(hint) in unions else []


def _has_type(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _has_type(value, arguments[0])
    if origin in (Union, types.UnionType):
        return any(_has_type(value, argument) for argument in arguments)
    if origin is Literal:
        return any(value == argument and type(value) is type(argument) for argument in arguments)
    if origin in (list, Sequence, tuple):
        items = [argument for argument in arguments if argument is not Ellipsis]
        return isinstance(value, list) and all(_has_type(item, items[0]) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            _has_type(key, arguments[0]) and _has_type(item, arguments[1]) for key, item in value.items()
        )
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str, types.NoneType):
        return isinstance(value, hint)
    if hint is Any:
        return True
    # Whatever else a function may take, a tensor or another function, a config can only say by a `_target_`.
    return isinstance(value, Mapping) and "_target_" in value


def _violated(value: Any, hint: Any) -> Interval | None:
    """The interval that a number, or a number in a list, lies outside of; None if there is none."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        intervals = [item for item in arguments[1:] if isinstance(item, Interval)]
        numbers = value if isinstance(value, list) else [value]
        for interval in intervals:
            if any(isinstance(number, (int, float)) and number not in interval for number in numbers):
                return interval
        return _violated(value, arguments[0])
    if origin in (Union, types.UnionType):
        outcomes = [_violated(value, argument) for argument in arguments if _has_type(value, argument)]
        return None if None in outcomes else outcomes[0]
    if origin in (list, Sequence, tuple) and arguments:
        return next((found for item in value if (found := _violated(item, arguments[0])) is not None), None)
    return None


def _describe(hint: Any) -> str:
    """The type in the words of a config file."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _describe(arguments[0])
    if origin in (Union, types.UnionType):
        words = sorted(map(_describe, arguments), key=lambda word: word.startswith(("a list", "a mapping")))
        return " or ".join(dict.fromkeys(word for word in words if word))
    if origin is Literal:
        return " or ".join(str(argument) for argument in arguments)
    if origin in (list, Sequence, tuple):
        each = _describe(arguments[0])
        return (
            f"a list of {each.partition(' ')[2]}s" if each in ("a number", "a whole number") else f"a list, each {each}"
        )
    if origin in (dict, Mapping):
        return f"a mapping, each value {_describe(arguments[1])}"
    if origin is Callable:
        return "a function, which a yaml of your own gives by its _target_"
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", types.NoneType: "null"}
    return names.get(hint, "")
