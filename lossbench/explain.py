"""What Hydra and OmegaConf say of a wrong configuration, in the user's words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigKeyError, InterpolationResolutionError, OmegaConfBaseException

from lossbench.errors import ConfigError, RequestError, did_you_mean

_PLUGINS = {
    ("hydra/launcher", "rq"): "hydra-rq-launcher",
    ("hydra/sweeper", "ax"): "hydra-ax-sweeper",
    ("hydra/sweeper", "nevergrad"): "hydra-nevergrad-sweeper",
}


_OF_THE_PARSER = {
    r"\w+ while evaluating '.*': Unknown function '(.*)'": r"there is no function '\1'",
    r"\w+ while evaluating '(.*)': (?:missing a required argument: '(.*)')": r"\1 needs a \2",
    r"\w+ while evaluating '(.*)': mismatch type argument .*?: (\w+) is incompatible with .*": r"\1 takes no \2",
    r"\w+ while evaluating '(.*)': (.*)": r"\1: \2",
    r"(?:mismatched|extraneous) input '(.*?)' expecting .*": r"unexpected '\1'",
    r"LexerNoViableAltException: .*": "it has a quote without its other end, or a character that must be in quotes",
    r"no viable alternative at input '(.*)'": r"'\1' is unfinished, or has an unexpected character",
    r"token recognition error at: '(.*)'": r"unexpected '\1'",
}


@contextmanager
def explained(overrides: Sequence[str] = ()) -> Iterator[None]:
    """Turn what Hydra and OmegaConf raise into a ConfigError with one message.

    Args:
        overrides: what was typed, to name those with an interpolation where one has no value: OmegaConf does not.
    """
    try:
        yield
    except RequestError:
        raise
    except OverrideParseException as error:
        said = [
            line
            for line in str(error).splitlines()
            if not line.startswith(("See http", "Error parsing", "Error when parsing"))
        ]
        typed, reason = str(error.override), _unexpected(said[0].strip()) if said else "it is no override"
        key, equals, _ = typed.partition("=")
        if equals and not re.fullmatch(r"[+~]*\w+([./@:]\w+)*@?", key, re.ASCII):
            reason = f"'{key}' cannot be a key"
        why = reason if equals else "expected key=value"
        raise ConfigError(f"cannot read '{typed}': {why}{_quoted(typed)}") from error
    except MissingConfigException as error:
        raise ConfigError(_missing_choice(error)) from error
    except HydraException as error:
        raise ConfigError(_composition(error, overrides)) from error
    except OmegaConfBaseException as error:
        message, of = _value_error(error), " and ".join(override for override in overrides if "${" in override)
        if of and (not error.full_key or isinstance(error, InterpolationResolutionError)):
            message = f"{of} cannot be resolved: {message.removeprefix(f'{error.full_key}: ')}"
        raise ConfigError(message) from error
    except RecursionError as error:
        raise ConfigError("an override is nested too deeply to be read") from error
    except UserWarning as error:
        raise ConfigError(str(error)) from error
    except ValueError as error:  # how Hydra refuses some values of a group, null among them
        raise ConfigError((str(error) or repr(error)).splitlines()[0]) from error


@contextmanager
def composing(overrides: Sequence[str]) -> Iterator[None]:
    """Turn whatever Hydra raises over what was typed into a ConfigError with one message.

    It meets some overrides unprepared: `dataset=[0]` is a TypeError deep in its defaults list.
    """
    try:
        with explained(overrides):
            yield
    except RequestError:
        raise
    except Exception as error:
        typed = " ".join(overrides)
        said = error.strerror if isinstance(error, OSError) else error  # without the path, which may fill the message
        raise ConfigError(f"cannot compose '{typed}': {type(error).__name__}: {said}") from error


def _unexpected(said: str) -> str:
    """What Hydra's parser says, without the names of its tokens."""
    for pattern, words in _OF_THE_PARSER.items():
        if match := re.fullmatch(pattern, said):
            return match.expand(words).replace("unexpected '<EOF>'", "it ends too soon")
    return said


def _missing_choice(error: MissingConfigException) -> str:
    if not error.missing_cfg_file:
        return str(error).splitlines()[0]
    group, _, choice = error.missing_cfg_file.rpartition("/")
    if (group, choice) in _PLUGINS:
        return f"{group}={choice} needs a plugin that is not installed: pip install {_PLUGINS[group, choice]}"
    options = [option for option in error.options or () if not option.startswith("_")]
    return f"no {group} named '{choice}'{did_you_mean(choice, options)}{listed_by(group)}"


def listed_by(group: str) -> str:
    """The command that lists the choices of a group, in brackets; nothing where there is none."""
    kind = group.rpartition(".")[2]
    kind = {"hard": "loss", "first": "loss", "second": "loss"}.get(kind, kind)
    listed = ("dataset", "model", "loss", "optimizer", "schedule", "tracker", "experiment")
    return f" (lossbench list {kind}{'es' if kind == 'loss' else 's'})" if kind in listed else ""


def _composition(error: HydraException, overrides: Sequence[str]) -> str:
    if isinstance(error.__cause__, OmegaConfBaseException):
        return _value_error(error.__cause__)
    unmatched = re.search(r"Could not override '(?:[^'@]*@)?([^']+)'", str(error))
    if unmatched and unmatched[1] == "experiment":
        return "an experiment is added to the defaults, with a plus: +experiment=…"
    if unmatched:
        return f"no key '{unmatched[1]}' in this configuration"
    twice = re.match(r"Multiple values for (\S+)\.", str(error))
    if twice and any(override.startswith(f"+{twice[1]}=") for override in overrides):
        return f"{twice[1]} has a value already, which is replaced without a plus: {twice[1]}=…"
    lines = str(error).strip().splitlines()
    deleted = re.match(r"Could not delete from config\. The value of '([^']+)' is ", lines[0])  # Hydra 1.4's
    if deleted:
        return f"{deleted[1]} must be given"
    absent = re.match(r"Could not delete '([^']+)'\. No match|Could not delete from config\. '([^']+)' does", lines[0])
    return f"~{absent[1] or absent[2]} takes away what is not there" if absent else lines[0]


def _value_error(error: OmegaConfBaseException) -> str:
    key, said = error.full_key, str(error).partition("\n    full_key:")[0]
    message = " ".join(said.split())
    if isinstance(error, (ConfigKeyError, AttributeError)):
        parent = error.parent_node
        siblings = [str(name) for name in parent if name != "_target_"] if isinstance(parent, DictConfig) else []
        choose = f"; choose it first: tracker={error.key}" if key == f"tracker.{error.key}" else ""
        nearest = did_you_mean(str(error.key), siblings, before=str(key).removesuffix(str(error.key)))
        if target := parent.get("_target_") if isinstance(parent, DictConfig) else None:
            if not str(target).startswith(("lossbench.", "hydra")):  # ours name all of theirs
                nearest += f"; if {target} has it and the yaml does not, add it: +{key}=…"
            elif nearest.startswith("; known"):
                nearest += f"; these are of {target}"
        if part := re.match(r"hydra\.(launcher|sweeper)\.", key or ""):
            choose = nearest or f"; choose what has it first: hydra/{part[1]}=…"
        return f"no key '{key}'{choose or nearest}"
    converted = re.match(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", said, re.DOTALL)
    if converted:
        kind = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
        return f"{key} must be {kind.get(converted[2], converted[2])}; got {converted[1]!r}"
    if came := re.match(r"Cannot convert '\w+' to string: '(.*)'", said, re.DOTALL):
        return f"{key} must be text; got {came[1]}"
    if "Cannot merge DictConfig with ListConfig" in message or "Cannot merge incompatible container" in message:
        return f"{key}: a list cannot stand where a mapping does, nor a mapping where a list does"
    if came := re.search(r"Cannot assign (\w+) to Dict|Invalid type assigned: (\w+) ", message):
        return f"{key} must be a mapping, whose keys are set one by one ({key}.…=…); got {came[1] or came[2]}"
    if message.startswith("Missing mandatory value"):
        return f"{key} must be given"
    if "not Optional" in message:
        return f"{key} must not be null"
    return f"{key}: {message}" if key else message


def _quoted(override: str) -> str:
    """How to write an override so that neither the shell nor Hydra reads anything into its value."""
    key, _, value = override.partition("=")
    if not re.fullmatch(r"[+~]*[\w./@]+", key) or not re.search(r"[/ ]|[^\x00-\x7f]", value):
        return ""
    escaped = value.replace("'", "\\'")
    written = f"{key}='{escaped}'"
    quoted = shlex.quote(written) if re.search(r'["$`\\!]', written) else f'"{written}"'
    return f"; a path or a text with such characters is written {quoted}"
