"""`evaluate` and `curve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lossbench import stopping
from lossbench.cli.options import ConfigDir, Output, ResultsDir, Where, names, put, refuse, terminal
from lossbench.errors import ConfigError, RequestError, counted

if TYPE_CHECKING:
    from lossbench.store import Store


def evaluate(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN… | FILE]", help="Runs by id, or a .npz or .csv of logits; none for all runs."),
    ] = None,
    where: Where = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="Show these alone, such as nll,ece, changed or not.")
    ] = None,
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
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Keep what `plot features`, or of masks `plot panels`, draws.")
    ] = False,
    config_dir: ConfigDir = None,
    format: Annotated[
        Literal["table", "markdown", "csv", "json"],
        typer.Option("--format", help="How to write the numbers of a file, or of --ood and --corruptions."),
    ] = "table",
    output: Output = None,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Measure finished runs again from their predictions, or anyone's logits from a file. Nothing is trained.

    A run's metrics.json is written anew: with the metrics that came since, and with other --n-bins or --threshold
    where they are given. A FILE's metrics are printed. An .npz has the arrays logits [N, K] and targets [N], or
    val_logits, val_targets, test_logits and test_targets. A .csv has a heading: the column target is the class, from
    0, a column split may say val or test, all others are logits in the order of the classes. What has a validation
    part is also shown after post-hoc calibration.

    With --ood or --corruptions the stored models look at other data instead. What comes out is kept in each run's
    shift.json and printed: means over seeds as table and markdown, every run and level as csv and json. With
    --pictures the features of the last layer on test and train are kept, with their class_tightness beside the
    metrics, or of masks a few images.
    """
    from lossbench import evaluation, predictions
    from lossbench.report import measured as written
    from lossbench.store import Store

    options = {key: value for key, value in (("n_bins", n_bins), ("threshold", threshold)) if value is not None}
    shown = names(metrics)
    evaluation.check(options, shown)
    file = next(filter(predictions.is_file, what or []), None)
    if ood or corruptions or pictures:
        if file is not None or options or shown or dry_run:
            raise ConfigError(
                "--ood, --corruptions and --pictures are for runs, and go without --metrics, --n-bins and the like"
            )
        store = Store(results_dir)
        ids = evaluation.select(store, what or [], where or [])
        failed = _keep_pictures(store, ids, config_dir) if pictures else {}
        if ood or corruptions:
            failed |= _look_elsewhere(store, ids, ood or [], corruptions, config_dir, format, output)
        for run_id, message in failed.items():
            print(f"{run_id}: {message}", file=sys.stderr)
        if failed:
            raise typer.Exit(1)
        return
    if file is not None:
        if what != [file] or where or dry_run:
            given = {"--where": bool(where), "--dry-run": dry_run}
            beside = [*(one for one in what or [] if one != file), *(option for option, yes in given.items() if yes)]
            raise ConfigError(f"{file} is a file, which goes alone: leave out {' and '.join(beside) or 'its second'}")
        if output is not None:
            refuse(output, file)
        arrays, names_of = predictions.of_file(Path(file)), predictions.class_names(Path(file))
        content = evaluation.measure(arrays, predictions.SOFTMAX, options, shown)
        put(written.numbers(content, format, written.about(arrays, names_of)), output)
        return
    if format != "table" or output is not None:
        raise ConfigError("--format and --output are for the numbers of a file; lossbench report tabulates runs")
    store = Store(results_dir)
    ids, spoilt = evaluation.select(store, what or [], where or []), 0
    of = f"of {counted(len(ids), 'run')}"
    for number, run_id in enumerate(ids, 1):
        try:
            change = evaluation.measure_again(store, run_id, options)
            if change and not dry_run:
                store.save_metrics(run_id, change.content, of=change.version)
        except RequestError as error:
            spoilt += 1
            print(f"{run_id}: {error}", file=sys.stderr)
            continue
        except OSError as error:  # a full disk, or one that is read alone: it is no other for the next run
            print(f"{run_id}: {error.strerror} ({error.filename or store.path(run_id)})", file=sys.stderr)
            print(
                f"stopped after {number - 1} {of}; the same command does the rest",
                file=sys.stderr,
            )
            raise typer.Exit(1) from None
        except KeyboardInterrupt as stopped:
            code = stopping.ending(stopped)
            print(
                f"\ninterrupted after {number - 1} {of}; the same command does the rest",
                file=sys.stderr,
            )
            raise typer.Exit(code) from None
        print(f"[{number}/{len(ids)}] {written.change(change, shown)}", flush=True)
    if spoilt:
        print(f"{spoilt} {of} could not be measured, and nothing is changed there", file=sys.stderr)
        raise typer.Exit(1)


def _look_elsewhere(
    store: Store,
    ids: list[str],
    ood: list[str],
    corruptions: bool,
    config_dir: Path | None,
    format: str,
    output: Path | None,
) -> dict[str, str]:
    from lossbench import shift
    from lossbench.report import shifted

    failed = shift.examine_all(store, ids, ood=ood, corruptions=corruptions, config_dir=config_dir)
    frame, _ = store.frame()
    shifts = {run_id: store.shift(run_id) for run_id in ids if run_id not in failed}
    frames = [shifted.corrupted(frame, shifts)] if corruptions else []
    frames += [shifted.unknown(frame, shifts, ood)] if ood else []
    width, color = terminal(output)
    put(shifted.render(frames, format, width, color=color), output)
    return failed


def _keep_pictures(store: Store, ids: list[str], config_dir: Path | None) -> dict[str, str]:
    from lossbench import pictures

    failed = pictures.keep_all(store, ids, config_dir)
    kept = f"{len(ids) - len(failed)} of {counted(len(ids), 'run')}"
    print(f"kept with {kept}; lossbench plot features, or of masks plot panels, draws them")
    return failed


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
    output: Output = None,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Print a curve of a run, or of a file of logits, as numbers for a figure."""
    from lossbench import evaluation, predictions
    from lossbench.report import measured as written
    from lossbench.store import Store

    if output is not None:
        refuse(output, source)
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
    put(written.columns(points, format), output)
