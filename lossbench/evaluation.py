"""What stored predictions say: every metric on both splits, raw and after each post-hoc calibration. Needs no torch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from lossbench import beside, calibration, checksums, curves, links, metrics
from lossbench.domains import Interval
from lossbench.errors import ConfigError, DataError, StoreError, check_names
from lossbench.metrics.inputs import read
from lossbench.predictions import IGNORE_INDEX, of_content, of_run
from lossbench.record import SPLITS, numbers
from lossbench.store import Store, Version

TRIED = Interval(1e-6, 1e6)  # temperatures of a curve; logits over a smaller one may be no finite numbers
MOST_TRIED = Interval(1, 10_000)


def get_ready() -> None:
    """Import what only fitting needs, which takes its time at the first measurement."""
    import scipy.optimize  # noqa: F401 - as calibrations do where they fit

    _linear_algebra()


def measure(
    predictions: Mapping[str, NDArray[Any]],
    link: Mapping[str, Any],
    options: Mapping[str, float] | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Compute every metric on both splits, raw and after each calibration that is fitted on validation.

    Args:
        predictions: `val_logits`, `val_targets`, `test_logits`, `test_targets`; without the former two the test split
            is measured alone, raw.
        link: the name of the function in `lossbench.links` that the loss was trained through, and its arguments.
        options: of metrics, such as `n_bins`; those left out have their defaults.
        names: of the metrics to compute; none for all.

    Returns:
        The content of metrics.json: split → calibration → metric → value; `options`, `link`, and `temperature`, the
        fitted one; where all metrics are computed also `reliability`, split → calibration → the columns of
        `lossbench.curves.reliability` as lists.

    Raises:
        RequestError: if the predictions are not finite or do not fit together, or an option or a name is not known.
    """
    settings: dict[str, Any] = {**metrics.OPTIONS, **(options or {})}
    check(settings, names)
    link = {key: value if key == "name" else float(value) for key, value in link.items()}
    log_probs = through(predictions, link)
    measured: dict[str, Any] = {"link": link, "options": settings, **{split: {} for split in log_probs}}
    bins: dict[str, dict[str, Any]] = {split: {} for split in log_probs}
    for name in calibration.CALIBRATIONS if "val" in log_probs else ("raw",):
        calibrate = fit(name, log_probs, predictions)
        if isinstance(calibrate, calibration.TemperatureScaling):
            measured["temperature"] = calibrate.temperature
        for split in log_probs:
            # Read once, so that the metrics and the bins share one softmax and one order by confidence.
            seen = read(calibrate(log_probs[split]), predictions[f"{split}_targets"], IGNORE_INDEX)
            measured[split][name] = metrics.of_predictions(seen, metrics.ALL if names is None else names, settings)
            if names is None:
                curve = curves.reliability(seen, seen.classes, n_bins=int(settings["n_bins"]))
                bins[split][name] = {column: numbers.tolist() for column, numbers in curve.items()}
    return measured if names is not None else {**measured, "reliability": bins}


def through(predictions: Mapping[str, NDArray[Any]], link: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Return the log-probabilities of each split that there are predictions of, nats, shaped like the logits."""
    return {
        split: links.through(link, predictions[f"{split}_logits"])
        for split in SPLITS
        if f"{split}_logits" in predictions
    }


def fit(
    name: str, log_probs: Mapping[str, NDArray[np.float64]], predictions: Mapping[str, NDArray[Any]]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Fit a calibration on validation.

    Args:
        name: one of `lossbench.calibration.CALIBRATIONS`.
        log_probs: by split, as `through` returns them.
        predictions: with the targets.

    Returns:
        A function from log-probabilities to log-probabilities. `raw` makes those of each example sum to 1, which
        what comes through a sigmoid does not.
    """
    if name == "raw":
        return links.softmax
    with _linear_algebra().limit(limits=1, user_api="blas"):
        return calibration.FITS[name](log_probs["val"], predictions["val_targets"])


@functools.lru_cache(maxsize=1)
def _linear_algebra() -> ThreadpoolController:
    """The libraries below numpy and scipy, whose threads wait for each other far longer than a fit of ours takes."""
    import scipy.linalg  # noqa: F401 - it brings one of them

    return ThreadpoolController()


def calibrated_log_probs(
    predictions: Mapping[str, NDArray[Any]], link: Mapping[str, Any], split: str, name: str
) -> NDArray[np.float64]:
    """Return the log-probabilities of one split after a calibration.

    Args:
        predictions: as `measure` takes them.
        link: as `measure` takes it.
        split: `test` or `val`.
        name: one of `lossbench.calibration.CALIBRATIONS`.

    Returns:
        Nats, float64, shaped like the logits.

    Raises:
        RequestError: if there is no such split or calibration, or the predictions are wrong.
    """
    check_names("no calibration named", [name], calibration.CALIBRATIONS)
    if f"{split}_logits" not in predictions or (name != "raw" and "val_logits" not in predictions):
        raise DataError("there is no validation part to show, or to fit a calibration on")
    needed = {split} if name == "raw" else {split, "val"}
    log_probs = through({key: of for key, of in predictions.items() if key.partition("_")[0] in needed}, link)
    return fit(name, log_probs, predictions)(log_probs[split])


def curve(
    kind: str,
    predictions: Mapping[str, NDArray[Any]],
    link: Mapping[str, Any],
    *,
    split: str = "test",
    calibrated: str = "raw",
    n_bins: int = 15,
    equal_mass: bool = False,
    temperatures: NDArray[np.float64] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return a curve of `lossbench.curves` of one split.

    Args:
        kind: `reliability`, `risk_coverage` or `temperature`.
        predictions: as `measure` takes them.
        link: as `measure` takes it.
        split: `test` or `val`.
        calibrated: one of `lossbench.calibration.CALIBRATIONS`.
        n_bins: of reliability, and of the ECE along temperature.
        equal_mass: whether the bins of reliability share the examples out evenly.
        temperatures: those to try, for `temperature`; none for 200 from 0.1 to 10.

    Returns:
        Its columns. Of `temperature` one more, `point`: `raw` marks T = 1, `fitted` the temperature that validation
        chooses, `optimum` that of least NLL on the split itself; the three are among the rows.

    Raises:
        RequestError: if there is no such split or calibration, or the options or predictions are wrong.
    """
    metrics.check_options({"n_bins": n_bins})
    if (equal_mass and kind != "reliability") or (temperatures is not None and kind != "temperature"):
        raise ConfigError(f"--equal-mass is for reliability and --temperatures for temperature; this is {kind}")
    logits, targets = calibrated_log_probs(predictions, link, split, calibrated), predictions[f"{split}_targets"]
    if kind == "reliability":
        return curves.reliability(logits, targets, n_bins=n_bins, equal_mass=equal_mass)
    if kind == "risk_coverage":
        return curves.risk_coverage(logits, targets)
    points = {"raw": 1.0, "optimum": calibration.fit_temperature(logits, targets)}
    if "val_logits" in predictions and calibrated == "raw":
        validation = links.through(link, predictions["val_logits"])
        points["fitted"] = calibration.fit_temperature(validation, predictions["val_targets"])
    tried = np.geomspace(0.1, 10, 200) if temperatures is None else temperatures
    values = np.unique([*tried, *points.values()])
    marks = [" ".join(name for name, place in sorted(points.items()) if place == value) for value in values]
    return {**curves.temperature(logits, targets, values, n_bins=n_bins), "point": np.array(marks)}


def reliability_of(
    store: Store, run_id: str, split: str = "test", names: Sequence[str] | None = None
) -> dict[str, curves.Curve]:
    """Return the reliability bins of a finished run: as they were stored, or from its predictions if it is older.

    Args:
        store: where the run is.
        run_id: its id.
        split: `test` or `val`.
        names: the calibrations to return; none for all. What is not stored is fitted, which takes its time.

    Returns:
        Calibration → the columns of `lossbench.curves.reliability`, with the bins that the run was measured with.

    Raises:
        RequestError: if the run has neither, or they are damaged.
    """
    content = store.metrics(run_id)
    stored = stored_reliability(content)
    if split in stored and set(names or ()) <= set(stored[split]):
        return {name: stored[split][name] for name in names or stored[split]}
    predictions, link = of_run(store, run_id)
    try:
        n_bins = int(recorded_options(content)["n_bins"])
        metrics.check_options({"n_bins": n_bins})
    except (ConfigError, OverflowError, TypeError, ValueError) as error:
        raise StoreError(f"{store.path(run_id) / 'metrics.json'} is damaged: its options: {error}") from error
    targets = predictions.get(f"{split}_targets")
    if targets is None:
        raise DataError(f"{run_id} has no predictions on {split}")
    fitted = calibration.CALIBRATIONS if "val_logits" in predictions else ("raw",)
    return {
        name: curves.reliability(calibrated_log_probs(predictions, link, split, name), targets, n_bins=n_bins)
        for name in names or fitted
    }


def stored_reliability(content: Mapping[str, Any]) -> dict[str, dict[str, curves.Curve]]:
    """Return the reliability bins that a metrics.json holds, split → calibration → columns; none if it is older."""
    try:
        return {
            split: {name: _curve(columns) for name, columns in content["reliability"][split].items()}
            for split in SPLITS
            if split in content["reliability"]
        }
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return {}


def _curve(columns: Mapping[str, Any]) -> curves.Curve:
    rows = zip(*(columns[name] for name in curves.RELIABILITY), strict=True)
    table = np.array([[float(number) for number in row] for row in rows]).reshape(-1, len(curves.RELIABILITY))
    if not np.isfinite(table).all():
        raise ValueError("a bin has numbers")
    return dict(zip(curves.RELIABILITY, table.T, strict=True))


@dataclass(frozen=True)
class Change:
    """What measuring a finished run again changes in its metrics.json. Values are named `test raw ece`."""

    run_id: str
    content: Mapping[str, Any]  # of metrics.json, as it will be
    moved: Mapping[str, tuple[float, float]]  # before and after, of what was measured both times
    new: Sequence[str]
    gone: Sequence[str]
    options: Mapping[str, tuple[float, float]]  # before and after, of those that are set to something else
    version: Version  # of the run that was measured
    mended: bool = False  # the file is not what the run wrote, and is made again

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return bool(self.moved or self.new or self.gone or self.options or self.mended)


def check(options: Mapping[str, float], names: Sequence[str] | None) -> None:
    """Hold options and names of metrics against those there are.

    Raises:
        ConfigError: for an unknown one, or a value outside its domain.
    """
    metrics.check_options(options)
    check_names("no metric named", names or (), metrics.ALL)


def temperatures(text: str) -> NDArray[np.float64]:
    """Read `0.5:5:200`, the least, the largest and how many, evenly spaced in log T.

    Raises:
        ConfigError: if it is something else.
    """
    try:
        low, high, count = text.split(":")
        ends, steps = (float(low), float(high)), int(count)
    except ValueError as error:
        raise ConfigError(f"--temperatures must be LOW:HIGH:COUNT, such as 0.5:5:200; got {text}") from error
    if any(end not in TRIED for end in ends) or steps not in MOST_TRIED:
        raise ConfigError(f"--temperatures must lie in {TRIED}, and their count in {MOST_TRIED}; got {text}")
    return np.geomspace(*ends, steps)


def select(store: Store, names: Sequence[str], where: Sequence[str]) -> list[str]:
    """Return the ids of the finished runs that a user asks for: those named, or all, that meet every filter.

    Args:
        store: where the runs are.
        names: ids, or the starts or ends of some.
        where: filters as `lossbench.report.selection.select` takes them.

    Raises:
        RequestError: if there is none.
    """
    ids = list(dict.fromkeys(map(store.find, names))) or store.run_ids()
    if not ids:
        store.newest()  # says that there are none, and where
    if where:
        from lossbench.report.selection import select as filtered  # pandas, which nothing else here needs

        frame, _ = store.frame(["test"], ["raw"])
        kept = set(filtered(frame, where, [str(key) for key in frame.columns])["run"])
        ids = [run_id for run_id in ids if run_id in kept]
        if not ids:
            raise ConfigError(f"none of the runs named has {' and '.join(where)}; leave one of the two out")
    return ids


def measure_again(store: Store, run_id: str, options: Mapping[str, float]) -> Change:
    """Measure a finished run from its stored predictions, and write nothing.

    Args:
        store: where the run is.
        run_id: its id.
        options: of metrics; those left out are as they were when the run was measured last.

    Raises:
        RequestError: if the run has no predictions, or they or its metrics.json are damaged. Of a metrics.json that is
            not what the run wrote, that is so if it held what neither predictions nor settings tell.
    """
    version = store.version(run_id)
    content, before = _read(store, run_id)
    mended = not before or _check_can_be_mended(store, run_id, content, options)
    predictions, link = of_content(store.path(run_id), content, lambda: store.predictions(run_id))
    recorded = recorded_options(content)
    known = {option: value for option, value in recorded.items() if option in metrics.OPTIONS}
    again = measure(predictions, link, {**known, **options})
    # Of a damaged file nothing else; what follows from the features that are kept is made again, too.
    measured = {**again, "beside": _of_features(store, run_id)} if mended else {**content, **again}
    after = dict(_values(measured))
    set_before = {option: (recorded.get(option, math.nan), value) for option, value in measured["options"].items()}
    return Change(
        run_id,
        measured,
        {
            name: (before[name], value)
            for name, value in after.items()
            if name in before and not same(before[name], value)
        },
        [name for name in after if name not in before] + ([] if stored_reliability(content) else ["reliability"]),
        [name for name in before if name not in after],
        {option: (one, other) for option, (one, other) in set_before.items() if one != other},
        version,
        mended,
    )


def _of_features(store: Store, run_id: str) -> dict[str, float]:
    if not store.keeps(run_id, "features"):
        return {}
    try:
        return beside.tightness(store.arrays(run_id, "features"))
    except (KeyError, TypeError, ValueError) as error:
        path = store.path(run_id) / "features.npz"
        raise StoreError(f"{path} is damaged: {error}; {checksums.remedy(path.name)}") from error


def _read(store: Store, run_id: str) -> tuple[Mapping[str, Any], dict[str, float]]:
    """Read a run's metrics.json.

    Returns:
        Its content, and its values by name. Of one that is gone or no such thing, what it said and no prediction does,
        link and options asked; and no values.

    Raises:
        StoreError: if it held more, or the run does not record its link elsewhere, as those of earlier versions.
    """
    try:
        content = store.metrics(run_id)
        recorded_options(content)
        return content, dict(_values(content))
    except (StoreError, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        config, link = store.config(run_id), store.environment(run_id).get("link")
        if link is None or beside.is_lost_with_metrics(config):
            path = store.path(run_id) / "metrics.json"
            said = error if isinstance(error, StoreError) else f"{path} is damaged: {type(error).__name__} {error}"
            raise StoreError(f"{said}, and the predictions do not tell all that it held; {checksums.TRAIN}") from error
        return {"link": link, "options": config.get("metrics", {})}, {}


def _check_can_be_mended(store: Store, run_id: str, content: Mapping[str, Any], options: Mapping[str, float]) -> bool:
    """Whether a metrics.json is not what the run wrote, and yet all of it follows from the predictions and the config.

    Raises:
        StoreError: if it is not what the run wrote and held more, or its options, which nothing else tells, are not
            those of the config and are not given either.
    """
    path = store.path(run_id) / "metrics.json"
    try:
        store.check(run_id, "metrics.json")
    except StoreError as error:
        config = store.config(run_id)
        link: Any = content.get("link")
        loss: Any = config.get("loss")
        told = isinstance(link, dict) and isinstance(loss, dict)
        held: Any = content.get("beside") or {}
        more = not isinstance(held, dict) or {*held} - {*beside.TIGHTNESS} or beside.is_lost_with_metrics(config)
        if not told or more or any(value != loss.get(key, value) for key, value in link.items() if key != "name"):
            raise StoreError(
                f"{path} is not what the run wrote, and the predictions do not tell all that it held; {checksums.TRAIN}"
            ) from error
        said, asked = recorded_options(content), recorded_options({"options": config.get("metrics", {})})
        for option in metrics.OPTIONS:
            if option not in options and said[option] != asked[option]:
                raise StoreError(
                    f"{path} is not what the run wrote, and says {option} {said[option]} where the config says "
                    f"{asked[option]}; give --{option.replace('_', '-')}"
                ) from error
        return True
    return False


def recorded_options(content: Mapping[str, Any]) -> dict[str, float]:
    """Return the options that a metrics.json was measured with: the defaults where it is older than the options.

    Raises:
        StoreError: if they are damaged.
    """
    given = numbers(content.get("options", {}), "options")
    return {**metrics.OPTIONS, **{option: math.nan if value is None else value for option, value in given.items()}}


def _values(content: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for split in reversed(SPLITS):
        for calibrated, values in content[split].items():
            for name, value in values.items():
                # JSON has neither nan nor infinity: both are null.
                number = math.nan if value is None else float(value)
                yield f"{split} {calibrated} {name}", number if math.isfinite(number) else math.nan
    yield "temperature", float(content["temperature"])


def same(one: float, other: float) -> bool:
    """Whether two values are one: another machine rounds otherwise, and a search ends elsewhere in its tolerance."""
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
