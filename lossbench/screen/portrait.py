"""`lossbench show`: one run on a screen or two."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from lossbench import evaluation
from lossbench.curves import Curve
from lossbench.errors import RequestError, StoreError
from lossbench.predictions import of_run
from lossbench.progress import duration
from lossbench.report.commands import command_of, is_older, overrides_of, own_configs
from lossbench.report.table import BESIDE
from lossbench.screen.drawing import DIAGONAL, aligned, folded, reliability, sparkline
from lossbench.screen.files import read
from lossbench.settings import GIVEN, flat
from lossbench.store import Store

SHOWN = [(split, name) for split in ("val", "test") for name in ("raw", "temperature_scaled")]
CURVES = ("train_loss", "val_loss", "val_accuracy")
FINGERPRINT = 12  # of 64 characters: enough to tell two apart


def portrait(store: Store, run_id: str, width: int, *, everything: bool = False) -> str:
    """Return a run's settings, metrics, reliability, training, environment, and the command that repeats it.

    Args:
        store: where it is.
        run_id: its id.
        width: of the lines; what is to be copied is not broken.
        everything: its whole config and environment, too.

    Raises:
        StoreError: if its files are damaged.
    """
    files = read(store, run_id)
    parts = [
        _head(store, run_id, files.config, files.environment, width),
        _settings(files.config, width),
        _metrics(files.metrics, width),
        _reliability(store, run_id, files.metrics, width),
        _training(files.history, width),
        _environment(files.environment, width),
        _command(files.config, width),
    ]
    if everything:
        parts += [["config", *_yaml(files.config)], ["environment", *_yaml(files.environment)]]
    else:
        parts.append(["--all shows the whole config and environment"])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def unfinished(store: Store, run_id: str, width: int, *, everything: bool = False) -> str:
    """Return what is known of a run that has failed, was interrupted or is running, and the command that goes on.

    Args:
        store: where it is.
        run_id: its id.
        width: of the lines; what is to be copied is not broken.
        everything: its whole config, and where in the code it failed, too.

    Raises:
        StoreError: if its files are damaged.
    """
    config, info, failure = store.config(run_id), store.info(run_id), store.failure(run_id)
    age = duration(time.time() - info.changed)
    status = "running" if info.status == "running" else f"{info.status} {age} ago"
    path = store.partial(run_id)
    try:
        parts = [[run_id, str(path), *folded(_choices(config), width), status], _settings(config, width)]
        if failure is not None and info.status == "failed":
            parts.append(folded(failure.message, width))
        how = {"failed": "trains it again", "running": "repeats it"}
        again = " --retry-failed" if info.status == "failed" else ""
        parts.append(_command(config, width, how.get(info.status, "goes on with it"), again))
        if everything:
            trace = "".join(failure.traceback).splitlines() if failure is not None else []
            parts += [["where it failed", *trace]] if trace else []
            parts.append(["config", *_yaml(config)])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is damaged: {type(error).__name__} {error}") from error
    if not everything:
        where = " and where it failed" if failure is not None else ""
        parts.append([f"--all shows the whole config{where}"])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _choices(config: Mapping[str, Any]) -> str:
    named = dict(flat(config))
    choices = " · ".join(str(named[key]) for key in (*GIVEN, "optimizer.name", "schedule.name") if key in named)
    return f"{choices} · seed {config['seed']}"


def _head(
    store: Store, run_id: str, config: Mapping[str, Any], environment: Mapping[str, Any], width: int
) -> list[str]:
    path = store.path(run_id)
    age = duration(time.time() - store.finished_at(run_id))
    made = f"finished {age} ago, took {duration(float(environment['wall_seconds']))}"
    return [run_id, str(path), *folded(_choices(config), width), *folded(made, width)]


def _settings(config: Mapping[str, Any], width: int) -> list[str]:
    words = [word.partition("=") for word in overrides_of(config)]
    if not words:
        return ["all settings are the defaults"]
    longest = max(len(key) for key, _, _ in words)
    lines = ["settings other than the defaults"]
    for key, _, value in words:
        first, *rest = folded(value, width - longest - 4) or [""]
        lines += [f"  {key.ljust(longest)}  {first}", *(" " * (longest + 4) + more for more in rest)]
    return lines


def _metrics(metrics: Mapping[str, Any], width: int) -> list[str]:
    there = [(split, name) for split, name in SHOWN if name in metrics.get(split, {})]
    heading = ["", *(f"{split} {'T-scaled' if name != 'raw' else name}" for split, name in there)]
    rows = [
        [metric, *(number(metrics[split][name].get(metric)) for split, name in there)]
        for metric in metrics["test"]["raw"]
    ]
    lines = aligned([heading, *rows])
    link = "".join(f", {key} {value:g}" for key, value in metrics.get("link", {}).items() if key != "name")
    options = ", ".join(f"{key} {value:g}" for key, value in metrics.get("options", {}).items())
    note = f"Temperature fitted on validation: {number(metrics['temperature'])}."
    note += f" Link: {metrics['link']['name']}{link}." if "link" in metrics else ""
    note += f" Options: {options}." if options else ""
    lines += folded(note, width)
    beside = [f"{key} {number(value)}" for key, value in metrics.get("beside", {}).items() if key in BESIDE]
    return lines + folded(f"On test: {', '.join(beside)}.", width) if beside else lines


def _reliability(store: Store, run_id: str, metrics: Mapping[str, Any], width: int) -> list[str]:
    try:
        curve = _curve(store, run_id, metrics)
    except RequestError as error:
        return folded(f"no reliability diagram: {error}", width)
    ece = number(metrics["test"]["raw"].get("ece"))
    legend = (
        f"Reliability on test, raw (ECE {ece}). Bars: accuracy; {DIAGONAL}: mean confidence in the bin. A bar "
        f"that ends before {DIAGONAL} is overconfident. Gap: confidence − accuracy."
    )
    return [*folded(legend, width), *reliability(curve, width)]


def _curve(store: Store, run_id: str, metrics: Mapping[str, Any]) -> Curve:
    """As it is stored, or of a run that is older from its predictions; the other calibrations need not be fitted."""
    stored = evaluation.stored_reliability(metrics).get("test", {})
    if "raw" in stored:
        return stored["raw"]
    arrays, link = of_run(store, run_id)
    return evaluation.curve("reliability", arrays, link, n_bins=int(evaluation.recorded_options(metrics)["n_bins"]))


def _training(history: Sequence[Mapping[str, float]], width: int) -> list[str]:
    rows = []
    for name in (name for name in CURVES if name in history[0]):
        values = [row[name] for row in history]
        there = [value for value in values if math.isfinite(value)]
        best = (max if name.endswith("accuracy") else min)(there, default=math.nan)
        epoch = f"epoch {int(history[values.index(best)].get('epoch', 0))}" if there else ""
        line = sparkline(values, max(width - 52, 10))
        rows.append([name.replace("_", " "), number(values[0]), line, number(values[-1]), number(best), epoch])
    epochs = f"{len(history)} epoch{'s' if len(history) > 1 else ''}"
    return [f"training, {epochs}", *aligned([["", "first", "", "last", "best", "at"], *rows])]


def _environment(environment: Mapping[str, Any], width: int) -> list[str]:
    """The time and place it was made, and the fingerprints by which it is paired with other runs."""
    versions = environment.get("versions", {})
    where = [f"{name} {version}" for name, version in versions.items()]
    where[:1] = [f"{part} (git {environment['git_revision']})" if environment.get("git_revision") else part
                 for part in where[:1]]  # fmt: skip
    threads = environment.get("threads")
    device = [environment.get("device_description") or environment.get("device"), environment.get("precision")]
    device += [f"{threads} thread{'s' if threads != 1 else ''}"] if threads else []
    if environment.get("peak_memory_bytes"):
        device.append(f"{environment['peak_memory_bytes'] / 2**20:.0f} MiB at most")
    rows = [
        ("made", environment.get("finished_at", "")),
        ("by", ", ".join(where)),
        ("on", ", ".join(str(part) for part in [*device, environment.get("platform")] if part)),
    ]
    if "training_seconds" in environment:
        rows.append(("training", f"{duration(float(environment['training_seconds']))}"))
    rows += [(name, str(value)[:FINGERPRINT]) for name, value in environment.get("fingerprints", {}).items()]
    longest = max(len(name) for name, _ in rows)
    lines = ["environment and fingerprints"]
    for name, text in rows:
        first, *rest = folded(str(text), width - longest - 4) or [""]
        lines += [f"  {name.ljust(longest)}  {first}", *(" " * (longest + 4) + more for more in rest)]
    return lines


def _command(config: Mapping[str, Any], width: int, does: str = "repeats it", more: str = "") -> list[str]:
    lines = [f"the command that {does}"]
    own = own_configs(config)
    if own:
        lines += folded(f"FOLDER is where the configs of {', '.join(own)} are.", width)
    if is_older(config):
        lines += folded("Made by an older lossbench: trains under a new id.", width)
    return lines + continued(command_of(config) + more, width)


def continued(command: str, width: int) -> list[str]:
    """Break a command between its words into lines that a shell puts together again."""
    lines, line = [], " "
    for word in map(shlex.quote, shlex.split(command)):
        if len(line) + len(word) + 3 > width and line.strip():
            lines.append(f"{line} \\")
            line = "   "
        line += f" {word}"
    return [*lines, line]


def number(value: float | None) -> str:
    """Four decimals, or the order of magnitude where they would all be zero; a dash where there is no value."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.0e}" if 0 < abs(value) < 5e-5 else f"{value:.4f}"


def _yaml(content: Mapping[str, Any]) -> list[str]:
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True).rstrip().splitlines()
