"""The command line: parse, call, print, exit code. Knows no maths.

torch, pandas and Hydra are imported by the commands that need them, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from lossbench.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from lossbench.store import Store

app = typer.Typer(
    name="lossbench",
    help="What does this loss do to my model, next to that one?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="OVERRIDE…", help="Hydra overrides: loss=label_smoothing loss.epsilon=0,0.1 'seed=range(3)'"
    ),
]
ConfigDir = Annotated[
    Path | None, typer.Option("--config-dir", help="A folder of your own configs, laid out like lossbench's.")
]
ResultsDir = Annotated[Path, typer.Option("--results-dir", help="Where the runs are.")]
Where = Annotated[
    list[str] | None, typer.Option("--where", help="Keep runs with KEY=VALUE, such as dataset=digits. Repeatable.")
]


@app.command()
def train(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    force: Annotated[bool, typer.Option("--force", help="Train finished runs again.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the results and nothing else.")] = False,
    multirun: Annotated[
        bool, typer.Option("--multirun", "-m", help="Accepted for Hydra's sake: a sweep is whatever sweeps.")
    ] = False,
) -> None:
    """Train a run, or every run of a sweep.

    What defines an experiment is a Hydra override: groups (dataset, model, loss, optimizer, schedule, device) and
    values (seed, epochs, batch_size, keep, results_dir). Several values make a sweep. Finished runs are skipped,
    interrupted ones go on.
    """
    from lossbench import sweep

    try:
        outcomes = sweep.train(overrides or [], config_dir=config_dir, force=force, quiet=quiet)
    except KeyboardInterrupt:
        again = shlex.join(["lossbench", *sys.argv[1:]])
        then = "starts them again" if force else "goes on"
        print(f"\ninterrupted; finished runs are kept, the same command {then}:\n  {again}", file=sys.stderr)
        raise typer.Exit(130) from None
    for outcome in outcomes:
        if outcome.status != "failed":
            print(outcome.summary)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        print(f"{len(failed)} of {len(outcomes)} runs failed:", file=sys.stderr)
        for outcome in failed:
            print(f"  {outcome.run_id}: {outcome.message}", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def report(
    where: Where = None,
    metrics: Annotated[str | None, typer.Option("--metrics", help="Columns, such as accuracy,nll,ece.")] = None,
    calibration: Annotated[
        str,
        typer.Option("--calibration", help="Before or after: raw, temperature_scaled, vector_scaled, isotonic."),
    ] = "raw,temperature_scaled",
    split: Annotated[Literal["test", "val"], typer.Option("--split", help="Which examples.")] = "test",
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="Compare with the rows of KEY=VALUE, such as loss=cross_entropy. Repeatable."),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option("--select", help="For each loss and seed the hyperparameters best by this metric on validation."),
    ] = None,
    ranks: Annotated[
        str | None, typer.Option("--ranks", help="Rank the losses by this metric over several datasets.")
    ] = None,
    spread: Annotated[
        Literal["interval", "sd"], typer.Option("--spread", help="After ±: half the 95 % interval, or the deviation.")
    ] = "interval",
    format: Annotated[
        Literal["table", "markdown", "csv", "json", "latex"] | None,
        typer.Option("--format", help="How to write it; by the ending of --output, and else a table for the terminal."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Tabulate finished runs: mean ± 95 % interval over seeds, the best marked and what cannot be told from it."""
    from lossbench.report import render, tabulate
    from lossbench.store import Store

    store = Store(results_dir)
    frame, skipped = store.frame()
    for message in skipped:
        print(f"skipped {message}", file=sys.stderr)
    table = tabulate(
        frame,
        where=where or [],
        metrics=_names(metrics),
        calibrations=_names(calibration) or (),
        split=split,
        baseline=baseline or [],
        select=select,
        ranks=ranks,
        spread=spread,
        store=store,
    )
    width, color = _terminal(output)
    _put(render(table, format or _by_ending(output), width, color=color), output)


@app.command()
def evaluate(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN… | FILE]", help="Runs by id, or a .npz or .csv of logits; none for all runs."),
    ] = None,
    where: Where = None,
    metrics: Annotated[str | None, typer.Option("--metrics", help="Show these alone, such as nll,ece.")] = None,
    n_bins: Annotated[int | None, typer.Option("--n-bins", help="Bins of ece and its kin.")] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Confidence above which an error is a confident one.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, write nothing.")] = False,
    ood: Annotated[
        list[str] | None,
        typer.Option(
            "--ood", help="Tell the test split from another dataset: svhn, 'svhn dataset.root=…'. Repeatable."
        ),
    ] = None,
    corruptions: Annotated[
        bool, typer.Option("--corruptions", help="Measure on the test images under noise, blur and low contrast.")
    ] = False,
    config_dir: ConfigDir = None,
    format: Annotated[
        Literal["table", "markdown", "csv", "json"],
        typer.Option("--format", help="How to write the numbers of a file, or of --ood and --corruptions."),
    ] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write them to this file.")] = None,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Measure finished runs again from their predictions, or anyone's logits from a file. Nothing is trained.

    A run's metrics.json is written anew: with the metrics that came since, and with other --n-bins or --threshold
    where they are given. A FILE's metrics are printed. An .npz has the arrays logits [N, K] and targets [N], or
    val_logits, val_targets, test_logits and test_targets. A .csv has a heading: the column target is the class, from
    0, a column split may say val or test, all others are logits in the order of the classes. What has a validation
    part is also shown after post-hoc calibration.

    With --ood or --corruptions the stored models look at other data instead. What comes out is kept in each run's
    shift.json and printed: means over seeds as table and markdown, every run and level as csv and json.
    """
    from lossbench import evaluation, predictions
    from lossbench.report import measured as written
    from lossbench.store import Store

    options = {key: value for key, value in (("n_bins", n_bins), ("threshold", threshold)) if value is not None}
    shown = _names(metrics)
    evaluation.check(options, shown)
    file = next(filter(predictions.is_file, what or []), None)
    if ood or corruptions:
        if file is not None or options or shown or dry_run:
            raise ConfigError("--ood and --corruptions are for runs, and go without --metrics, --n-bins and the like")
        store = Store(results_dir)
        ids = evaluation.select(store, what or [], where or [])
        _look_elsewhere(store, ids, ood or [], corruptions, config_dir, format, output)
        return
    if file is not None:
        if what != [file] or where or dry_run:
            raise ConfigError(f"{file} is a file, which goes alone, without --where and --dry-run")
        if output is not None and output.resolve() == Path(file).resolve():
            raise ConfigError(f"--output {output} is the file that is measured; choose another name")
        content = evaluation.measure(predictions.of_file(Path(file)), predictions.SOFTMAX, options, shown)
        _put(written.numbers(content, format), output)
        return
    if format != "table" or output is not None:
        raise ConfigError("--format and --output are for the numbers of a file; lossbench report tabulates runs")
    store = Store(results_dir)
    ids, failed = evaluation.select(store, what or [], where or []), 0
    for number, run_id in enumerate(ids, 1):
        try:
            change = evaluation.measure_again(store, run_id, options)
            if change and not dry_run:
                store.save_metrics(run_id, change.content)
        except RequestError as error:
            failed += 1
            print(f"{run_id}: {error}", file=sys.stderr)
            continue
        except KeyboardInterrupt:
            print(
                f"\ninterrupted after {number - 1} of {len(ids)} runs; the same command does the rest", file=sys.stderr
            )
            raise typer.Exit(130) from None
        print(f"[{number}/{len(ids)}] {written.change(change, shown)}", flush=True)
    if failed:
        print(f"{failed} of {len(ids)} runs could not be measured and are as they were", file=sys.stderr)
        raise typer.Exit(1)


def _look_elsewhere(
    store: Store,
    ids: list[str],
    ood: list[str],
    corruptions: bool,
    config_dir: Path | None,
    format: str,
    output: Path | None,
) -> None:
    from lossbench import shift
    from lossbench.report import shifted

    failed = shift.examine_all(store, ids, ood=ood, corruptions=corruptions, config_dir=config_dir)
    frame, _ = store.frame()
    shifts = {run_id: store.shift(run_id) for run_id in ids if run_id not in failed}
    frames = [shifted.corrupted(frame, shifts)] if corruptions else []
    frames += [shifted.unknown(frame, shifts, ood)] if ood else []
    width, color = _terminal(output)
    _put(shifted.render(frames, format, width, color=color), output)
    for run_id, message in failed.items():
        print(f"{run_id}: {message}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


@app.command()
def curve(
    kind: Annotated[
        Literal["reliability", "risk_coverage", "temperature"],
        typer.Argument(
            help="Accuracy against confidence, errors against coverage, or ECE and NLL against temperature."
        ),
    ],
    source: Annotated[
        str, typer.Argument(metavar="[RUN | FILE]", help="As for evaluate; none for the newest run.")
    ] = "",
    split: Annotated[Literal["test", "val"], typer.Option("--split", help="Which examples.")] = "test",
    calibration: Annotated[
        Literal["raw", "temperature_scaled", "vector_scaled", "isotonic"],
        typer.Option("--calibration", help="Before or after which calibration."),
    ] = "raw",
    n_bins: Annotated[int, typer.Option("--n-bins", help="Bins of reliability, and of the ECE.")] = 15,
    equal_mass: Annotated[
        bool, typer.Option("--equal-mass", help="Bins of reliability that share the examples out evenly.")
    ] = False,
    temperatures: Annotated[
        str | None,
        typer.Option(
            "--temperatures", metavar="LOW:HIGH:COUNT", help="Evenly spaced in log T.", show_default="0.1:10:200"
        ),
    ] = None,
    format: Annotated[Literal["csv", "json"], typer.Option("--format", help="How to write it.")] = "csv",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Print a curve of a run, or of a file of logits, as numbers for a figure."""
    from lossbench import evaluation, predictions
    from lossbench.report import measured as written
    from lossbench.store import Store

    tried = None if temperatures is None else evaluation.temperatures(temperatures)
    arrays, link = predictions.of_either(Store(results_dir), source)
    points = evaluation.curve(
        kind,
        arrays,
        link,
        split=split,
        calibrated=calibration,
        n_bins=n_bins,
        equal_mass=equal_mass,
        temperatures=tried,
    )
    _put(written.columns(points, format), output)


def _names(text: str | None) -> list[str] | None:
    """The names in a comma-separated option; None where it was not given."""
    return [name.strip() for name in (text or "").split(",") if name.strip()] or None


def _by_ending(output: Path | None) -> str:
    """How to write to a file of this name."""
    endings = {".md": "markdown", ".csv": "csv", ".json": "json", ".tex": "latex"}
    return endings.get(output.suffix, "table") if output is not None else "table"


def _terminal(output: Path | None) -> tuple[int | None, bool]:
    """How wide a table may be, and whether in colour: as the terminal has it, where one is written to."""
    if output is not None or not sys.stdout.isatty():
        return None, False
    return shutil.get_terminal_size().columns, "NO_COLOR" not in os.environ


def _put(text: str, output: Path | None) -> None:
    """Print, or write to a file."""
    if output is None:
        print(text, end="")
        return
    if (output.parent / "metrics.json").exists() and (output.parent / "predictions.npz").exists():
        raise ConfigError(f"--output {output} lies in the folder of a run; choose another place")
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(output.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(output)
    print(f"wrote {output}", file=sys.stderr)


@app.command()
def runs(results_dir: ResultsDir = Path("results")) -> None:
    """List runs with their status, age and duration, the newest first."""
    from lossbench import screen
    from lossbench.store import Store

    screen.print_runs(Store(results_dir).infos())


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run id, or the start or end of one; none for the newest.")] = "",
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Show one run: metrics, config, environment."""
    from lossbench import screen
    from lossbench.store import Store

    store = Store(results_dir)
    screen.print_run(store, store.find(run) if run else store.newest())


@app.command()
def check(
    loss: Annotated[str, typer.Argument(help="A name (lossbench list losses), or my_package.my_loss.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="OVERRIDE…", help="Its hyperparameters: epsilon=0.3")
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Check that a loss keeps the rules that a fair comparison rests on, and how large its gradients are."""
    from lossbench import conformance
    from lossbench.conformance.screen import print_results

    failed = False
    for title, subject in conformance.subjects(loss, overrides or [], config_dir):
        results = conformance.examine(subject)
        print_results(title, results)
        print()
        failed = failed or any(result.mark is conformance.Mark.FAILS for result in results)
    if failed:
        raise typer.Exit(1)


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help="losses, models, datasets, optimizers, schedules, metrics, experiments")],
    config_dir: ConfigDir = None,
) -> None:
    """List what there is to choose from."""
    from lossbench import screen
    from lossbench.catalogue import catalogue, conf_dir

    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"--config-dir must name a folder; {config_dir} is not one")
    screen.print_list(catalogue(kind, [conf_dir(), *([config_dir] if config_dir else [])]))


def main() -> NoReturn:
    """Run the command line."""
    try:
        app()
    except (RequestError, OSError) as error:
        print(f"lossbench: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
