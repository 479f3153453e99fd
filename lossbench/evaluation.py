"""What stored predictions say: every metric on both splits, raw and after each post-hoc calibration. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossbench import calibration, curves, links, metrics
from lossbench.domains import AT_LEAST_ONE, POSITIVE
from lossbench.errors import ConfigError, DataError, StoreError, did_you_mean
from lossbench.predictions import SPLITS, of_run
from lossbench.store import Store


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
        fitted one.

    Raises:
        RequestError: if the predictions are not finite or do not fit together, or an option or a name is not known.
    """
    settings: dict[str, Any] = {**metrics.OPTIONS, **(options or {})}
    link = {key: value if key == "name" else float(value) for key, value in link.items()}
    log_probs = through(predictions, link)
    measured: dict[str, Any] = {"link": link, "options": settings, **{split: {} for split in log_probs}}
    for name in calibration.CALIBRATIONS if "val" in log_probs else ("raw",):
        calibrate = fit(name, log_probs, predictions)
        if isinstance(calibrate, calibration.TemperatureScaling):
            measured["temperature"] = calibrate.temperature
        for split in log_probs:
            targets = predictions[f"{split}_targets"]
            measured[split][name] = metrics.evaluate(calibrate(log_probs[split]), targets, metrics=names, **settings)
    return measured


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
    return links.softmax if name == "raw" else calibration.FITS[name](log_probs["val"], predictions["val_targets"])


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
    log_probs = through(predictions, link)
    if calibrated not in calibration.CALIBRATIONS:
        raise ConfigError(f"no calibration named {calibrated!r}{did_you_mean(calibrated, calibration.CALIBRATIONS)}")
    if split not in log_probs or (calibrated != "raw" and "val" not in log_probs):
        raise DataError("there is no validation part to show, or to fit a calibration on")
    logits, targets = fit(calibrated, log_probs, predictions)(log_probs[split]), predictions[f"{split}_targets"]
    if kind == "reliability":
        return curves.reliability(logits, targets, n_bins=n_bins, equal_mass=equal_mass)
    if kind == "risk_coverage":
        return curves.risk_coverage(logits, targets)
    points = {"raw": 1.0, "optimum": calibration.fit_temperature(logits, targets)}
    if "val" in log_probs and calibrated == "raw":
        points["fitted"] = calibration.fit_temperature(log_probs["val"], predictions["val_targets"])
    tried = np.geomspace(0.1, 10, 200) if temperatures is None else temperatures
    values = np.unique([*tried, *points.values()])
    marks = [" ".join(name for name, place in sorted(points.items()) if place == value) for value in values]
    return {**curves.temperature(logits, targets, values, n_bins=n_bins), "point": np.array(marks)}


@dataclass(frozen=True)
class Change:
    """What measuring a finished run again changes in its metrics.json. Values are named `test raw ece`."""

    run_id: str
    content: Mapping[str, Any]  # of metrics.json, as it will be
    moved: Mapping[str, tuple[float, float]]  # before and after, of what was measured both times
    new: Sequence[str]
    gone: Sequence[str]
    options: Mapping[str, tuple[float, float]]  # before and after, of those that are set to something else

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return bool(self.moved or self.new or self.gone or self.options)


def check(options: Mapping[str, float], names: Sequence[str] | None) -> None:
    """Hold options and names of metrics against those there are.

    Raises:
        ConfigError: for an unknown one, or a value outside its domain.
    """
    metrics.check_options(options)
    for name in names or ():
        if name not in metrics.ALL:
            raise ConfigError(f"no metric named {name!r}{did_you_mean(name, metrics.ALL)}")


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
    if any(end not in POSITIVE for end in ends) or steps not in AT_LEAST_ONE:
        raise ConfigError(f"--temperatures must lie in {POSITIVE}, and their count in {AT_LEAST_ONE}; got {text}")
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

        frame, _ = store.frame()
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
        RequestError: if the run has no predictions, or they or its metrics.json are damaged.
    """
    content = store.metrics(run_id)
    predictions, link = of_run(store, run_id)
    try:
        recorded = recorded_options(content)
        before = dict(_values(content))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{store.path(run_id) / 'metrics.json'} is damaged: {type(error).__name__} {error}") from error
    known = {option: value for option, value in recorded.items() if option in metrics.OPTIONS}
    measured = {**content, **measure(predictions, link, {**known, **options})}
    after = dict(_values(measured))
    set_before = {option: (recorded.get(option, math.nan), value) for option, value in measured["options"].items()}
    return Change(
        run_id,
        measured,
        {
            name: (before[name], value)
            for name, value in after.items()
            if name in before and not _same(before[name], value)
        },
        [name for name in after if name not in before],
        [name for name in before if name not in after],
        {option: (one, other) for option, (one, other) in set_before.items() if one != other},
    )


def recorded_options(content: Mapping[str, Any]) -> dict[str, float]:
    """Return the options that a metrics.json was measured with: the defaults where it is older than the options."""
    return {**metrics.OPTIONS, **content.get("options", {})}


def _values(content: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for split in reversed(SPLITS):
        for calibrated, values in content[split].items():
            for name, value in values.items():
                # JSON has neither nan nor infinity: both are null.
                number = math.nan if value is None else float(value)
                yield f"{split} {calibrated} {name}", number if math.isfinite(number) else math.nan
    yield "temperature", float(content["temperature"])


def _same(one: float, other: float) -> bool:
    """Another machine rounds differently, and a search ends elsewhere within its tolerance: no change."""
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
