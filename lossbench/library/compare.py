"""`lossbench.compare`: what the command line does, for losses, models and data that a program holds."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lossbench import build, checking, config, given, sweep
from lossbench.config import Config
from lossbench.data.dataset import Source
from lossbench.data.in_memory import from_memory, to_arrays
from lossbench.data.prepare import fingerprint
from lossbench.errors import ConfigError, RunError, did_you_mean
from lossbench.library.comparison import Comparison
from lossbench.library.parts import Parts
from lossbench.report.commands import in_hydras_grammar
from lossbench.store import Store

ARGUMENTS = ("dataset", "model", "loss", "seed", "epochs", "results_dir")  # what overrides leave to arguments
NAME = re.compile(r"[^\W\d][\w./-]{0,99}")  # as lossbench.config wants it; not a number, which a filter could not tell


def compare(
    losses: Mapping[str, str | Callable[..., Any]],
    model: str | Callable[..., Any] = "mlp",
    data: Any = "digits",
    *,
    seeds: int | Sequence[int] = 3,
    epochs: int | None = None,
    baseline: str | None = None,
    overrides: Sequence[str] = (),
    results_dir: str | Path | None = None,
    force: bool = False,
    quiet: bool = False,
) -> Comparison:
    """Train one model under several losses, everything else held equal, and compare what comes out.

    For each seed all losses have the same split, initial weights, batches and augmentation. It is `lossbench train` in
    this process, one run after another: the same numbers, bit for bit.

    Args:
        losses: name → loss. A function `loss(logits, targets)` that returns a scalar, ours, torch's or your own; a
            torch.nn.Module, copied for each run, or its class; a functools.partial of one; or what the command line
            calls it, such as `"focal"` or `"label_smoothing epsilon=0.1"`.
        model: a function of `(input_shape, num_classes)`, or of nothing, that makes a torch.nn.Module anew; or a name,
            such as `"mlp hidden=[64,64]"`.
        data: `(inputs, targets)`, a torch Dataset or DataLoader; `{"train": …, "val": …, "test": …}` of them; or a
            name, such as `"digits"`. What is given without val or test is split; labels may be numbers or words. See
            `lossbench.data.in_memory.from_memory`.
        seeds: how many, from 0, or which.
        epochs: times to go through the training split; none for the config's.
        baseline: the name of the loss that the others are compared with.
        overrides: all other settings, as the command line takes them: `["optimizer.learning_rate=0.05",
            "batch_size=128", "dataset.test_fraction=0.3", "device=cpu"]`. One that sweeps makes more rows.
        results_dir: where to keep the runs, as `lossbench train` does: finished ones are skipped when asked for again.
            For losses and models that can be imported. Trackers write below it. None for a folder that goes when the
            comparison does; a tracker then wants to be told where (`"tracker.tensorboard.directory=events"`).
        force: train finished and failed runs again.
        quiet: show no progress.

    Returns:
        The comparison. Runs that failed, because their loss diverged say, are in its `failures`.

    Raises:
        RequestError: if anything asked for is wrong, before anything is trained.
        RunError: if every run failed.
    """
    held = [*([] if isinstance(model, str) else ["model."]), *([] if isinstance(data, str) else ["dataset.file"])]
    _check(losses, baseline, overrides, held)
    checking.forget_functions()
    folder = Path(tempfile.mkdtemp(prefix="lossbench-") if results_dir is None else results_dir)
    try:
        store = Store(folder)
        parts = Parts()
        nodes = {name: parts.loss(name, loss) for name, loss in losses.items() if not isinstance(loss, str)}
        network = None if isinstance(model, str) else parts.model(model)
        if results_dir is not None and parts.held:
            raise ConfigError(_cannot_be_stored(parts, [*nodes.values(), *([network] if network else [])]))
        source = None if isinstance(data, str) else from_memory(data)
        common = [
            *(["dataset=arrays", "dataset.file=given"] if source else _words("dataset", str(data))),
            *([] if network else _words("model", str(model))),
            *overrides,
            f"seed={','.join(map(str, _seeds(seeds)))}",
            *([] if epochs is None else [f"epochs={epochs}"]),
            f"results_dir={in_hydras_grammar(str(folder))}",
        ]
        own_teacher = network is not None and not any("teacher.model" in word for word in overrides)
        runs = []
        if source is not None and results_dir is None:
            parts.held["data"] = source
        with given.holding(parts.held), _as_it_was():
            with config.session() as hydra:
                for name, loss in losses.items():
                    plan = hydra.plan([*common, *(_words("loss", loss) if isinstance(loss, str) else [])])
                    for settings in plan.runs or ():
                        if results_dir is None:
                            _check_trackers(settings["tracker"], folder)
                        settings |= {"model": network} if network else {}
                        settings["loss"] = nodes.get(name, {**settings["loss"], "name": name})
                        if own_teacher and settings["teacher"] is not None:
                            settings["teacher"] = {**settings["teacher"], "model": network}
                        checking.check(settings)
                        runs.append(settings)
            if source is not None:  # written last: what is refused until here leaves nothing behind
                dataset = _dataset(source, store if results_dir is not None else None)
                for settings in runs:
                    settings["dataset"] = _with_data(settings["dataset"], dataset)
            outcomes = sweep.train_composed(runs, force=force, quiet=quiet)
        failures = {outcome.run_id: outcome.message for outcome in outcomes if outcome.status == "failed"}
        if len(failures) == len(outcomes):
            what = f"all {len(failures)} runs failed, the first" if len(failures) > 1 else "the run failed"
            raise RunError(f"{what}: {next(iter(failures.values()))}")
    except BaseException:
        if results_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    ids = [outcome.run_id for outcome in outcomes if outcome.status != "failed"]
    comparison = Comparison(store, ids, failures, baseline)
    if results_dir is None:
        weakref.finalize(comparison, shutil.rmtree, folder, ignore_errors=True)
    return comparison


def _check(losses: Mapping[str, Any], baseline: str | None, overrides: Sequence[str], held: Sequence[str]) -> None:
    if not isinstance(losses, Mapping) or not losses:
        raise ConfigError(f"losses must be a dictionary of names and losses; got {losses!r}")
    for name in losses:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ConfigError(f"the name of a loss must be a word of letters, digits and . _ - /; got {name!r}")
    if baseline is not None and baseline not in losses:
        raise ConfigError(f"baseline must be one of the losses; got {baseline!r}{did_you_mean(str(baseline), losses)}")
    if isinstance(overrides, str):
        raise ConfigError(f"overrides must be a list of words; got the text {overrides!r}")
    for word in overrides:
        key = word.lstrip("+~").partition("=")[0]
        if key in ARGUMENTS or key.startswith("loss."):
            argument = {"dataset": "data", "seed": "seeds", "loss": "losses"}.get(key.partition(".")[0], key)
            raise ConfigError(f"overrides has {word}; give that as {argument}")
        if key.startswith(tuple(held)):
            argument = "model, as functools.partial does" if key.startswith("model.") else "data"
            raise ConfigError(f"overrides has {word}, which no config holds: give that with {argument}")
        if key.startswith("hydra"):
            raise ConfigError(f"overrides has {word}; launchers and sweepers are for the command line")


def _check_trackers(trackers: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Refuse a tracker that would write into a folder that goes."""
    for name, node in trackers.items():
        if places := [f"'tracker.{name}.{key}=…'" for key, value in node.items() if str(folder) in str(value)]:
            raise ConfigError(
                f"tracker={name} writes below results_dir, and without one that goes with the comparison: give "
                f"results_dir, or overrides=[{', '.join(places)}]"
            )


def _seeds(seeds: int | Sequence[int]) -> Sequence[int]:
    found = range(seeds) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds
    if not isinstance(found, Sequence) or not found or not all(type(seed) is int for seed in found):
        raise ConfigError(f"seeds must be how many, or a list of whole numbers; got {seeds!r}")
    if len(set(found)) < len(found):
        raise ConfigError(f"seeds must all be different; got {seeds!r}")
    return found


def _words(group: str, text: str) -> list[str]:
    """`label_smoothing epsilon=0.1` as the overrides `loss=label_smoothing loss.epsilon=0.1`."""
    choice, *settings = text.split() or [""]
    if "=" in choice or not all("=" in setting for setting in settings):
        raise ConfigError(f"{group} is a name and its settings, such as 'label_smoothing epsilon=0.1'; got {text!r}")
    return [f"{group}={choice}", *(f"{group}.{setting}" for setting in settings)]


def _dataset(source: Source, store: Store | None) -> Config:
    """What of a data set's config says where the arrays are: in a file where they are kept, else here."""
    if store is None:
        return {"_target_": f"{given.PREFIX}arrays"}
    content = to_arrays(source)
    tensors = [torch.from_numpy(array) for name, array in sorted(content.items()) if name != "class_names"]
    name = fingerprint([*tensors, torch.tensor([ord(c) for c in "\n".join(source.class_names)])])[:16]
    return {"file": str(store.save_data(name, content))}


def _with_data(node: Config, dataset: Config) -> Config:
    return {**{key: value for key, value in node.items() if key != "file"}, **dataset}


def _cannot_be_stored(parts: Parts, nodes: Sequence[Config]) -> str:
    names = [node["name"] for node in nodes if node["_target_"].removeprefix(given.PREFIX) in parts.held]
    return (
        f"results_dir keeps runs of what can be imported again, and {', '.join(names)} cannot: move it to a module as "
        "a function (a model of input_shape and num_classes), or leave results_dir out"
    )


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Leave torch as it was found: random numbers, threads, deterministic algorithms; and keep no data."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only, tuned = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        torch.backends.cudnn.benchmark = tuned
        build.forget_data()
        checking.forget_functions()
