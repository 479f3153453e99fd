"""Rows for figures of what `lossbench evaluate --pictures` has kept: features of the last layer, images with masks."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lossbench.beside import tightness
from lossbench.errors import ConfigError, RequestError
from lossbench.predictions import IGNORE_INDEX
from lossbench.report.example_charts import class_colour
from lossbench.report.series import Rows, Series, class_names
from lossbench.store import Store

MOST_OF_A_CLASS = 200  # points of a cloud: more hide one another
SHARP = 200  # pixels that a picture has at least, so that no printer blurs those of the image


KEEP = "lossbench evaluate --pictures"


def projections(
    series: Sequence[Series], classes: Sequence[str] | None = None, split: str = "test", keep: str = KEEP
) -> tuple[Rows, list[dict[str, float]]]:
    """Return the points of `example_charts.features`, of the first run of each series, and its class tightness.

    The plane goes through the templates of three classes, the weights of the last layer: an orthonormal basis of it is
    found by QR, from the first template on, and features are projected onto it.

    Args:
        series: of runs.
        classes: three, by name or number; None for the first three.
        split: `test` or `train`.
        keep: the command that keeps features of all these runs.

    Returns:
        The points, and for each series what `lossbench.beside.tightness` returns, of all classes.

    Raises:
        ConfigError: if they are not three of the classes.
        RequestError: if a run has no features.
    """
    every = _kept(series, "features", keep)
    lacking = [
        (one.store, str(one.sources[0]))
        for one, kept in zip(series, every, strict=True)
        if f"{split}_features" not in kept
    ]
    _check_none(lacking, len(series), f"features of {split}", keep)
    rows: Rows = []
    for one, kept in zip(series, every, strict=True):
        templates, targets = kept["templates"].astype(np.float64), kept[f"{split}_targets"]
        names = class_names(one, len(templates))
        chosen = _three(classes or names[:3], names)
        basis, _ = np.linalg.qr((templates[chosen[1:]] - templates[chosen[0]]).T)
        plane = (kept[f"{split}_features"].astype(np.float64) - templates[chosen[0]]) @ basis
        for k in chosen:
            for x, y in plane[targets == k][:MOST_OF_A_CLASS]:
                rows.append({"series": one.label, "label": names[k], "x": float(x), "y": float(y)})
    if not rows:
        raise RequestError("none of the examples kept is of these classes")
    return rows, [tightness(kept) for kept in every]


def grid(series: Sequence[Series], keep: str = KEEP) -> tuple[Rows, Rows, float]:
    """Return `pictures`, `classes` and `aspect` of `example_charts.panels`, of the first run of each series.

    One series has its confidence beside its prediction; several have their predictions side by side.

    Args:
        series: of runs.
        keep: the command that keeps examples of all these runs.

    Raises:
        RequestError: if they show different images, or a run has none.
    """
    kept = _kept(series, "examples", keep)
    first = kept[0]
    if any(not np.array_equal(first["images"], other["images"]) for other in kept):
        raise RequestError("these runs are of different images; choose one data set with --where dataset=NAME")
    num_classes = 1 + max(int(arrays[name].max()) for arrays in kept for name in ("targets", "predicted"))
    names = class_names(series[0], num_classes)
    columns: dict[str, list[NDArray[np.uint8]]] = {
        "image": [_picture(image) for image in first["images"]],
        "truth": [_mask(mask) for mask in first["targets"]],
    }
    for one, arrays in zip(series, kept, strict=True):
        heading = one.label if len(series) > 1 else "prediction"
        columns[heading] = [_mask(mask) for mask in arrays["predicted"]]
    if len(series) == 1:
        columns["confidence"] = [_picture(255 * sure[..., None]) for sure in first["confidence"]]
    rows: Rows = [
        {"row": i, "column": name, "url": _url(picture)}
        for name, pictures in columns.items()
        for i, picture in enumerate(pictures)
    ]
    height, width = first["targets"].shape[1:]
    return rows, [{"label": name, "colour": class_colour(k)} for k, name in enumerate(names)], height / width


def _kept(series: Sequence[Series], name: str, keep: str) -> list[dict[str, NDArray[Any]]]:
    """The arrays of that name of each series's first run; or why there are none, and what to do."""
    runs = [(one.store, str(one.sources[0])) for one in series]
    lacking = [(store, run_id) for store, run_id in runs if not store.keeps(run_id, name)]
    for store, run_id in lacking:
        masks = _of_masks(store, run_id)
        if masks != (name == "examples"):
            data = store.config(run_id)["dataset"]["name"]
            raise RequestError(
                f"features are of classes, and {data} has masks, which lossbench plot panels draws"
                if masks
                else f"panels are of masks, and {data} has none; lossbench plot features draws its classes, or choose "
                "another data set with --where dataset=NAME"
            )
    _check_none(lacking, len(runs), name, keep)
    return [store.arrays(run_id, name) for store, run_id in runs]


def _check_none(lacking: Sequence[tuple[Store, str]], total: int, what: str, keep: str) -> None:
    if len(lacking) == 1:
        store, run_id = lacking[0]
        raise RequestError(f"{run_id} has no {what} to draw; {KEEP} {run_id}{store.option} makes them")
    if lacking:
        raise RequestError(f"{len(lacking)} of {total} rows have no {what} to draw; {keep} makes them")


def _of_masks(store: Store, run_id: str) -> bool:
    if store.keeps(run_id, "examples") or store.keeps(run_id, "features"):
        return store.keeps(run_id, "examples")
    return "pixels" in store.environment(run_id)


def _three(classes: Sequence[str], names: Sequence[str]) -> list[int]:
    numbers = {**{str(k): k for k in range(len(names))}, **{name: k for k, name in enumerate(names)}}
    chosen = [numbers[name] for name in classes if name in numbers]
    if len(set(chosen)) != 3 or len(classes) != 3:
        raise ConfigError(
            f"--classes must be three of {', '.join(names[:20])}, or their numbers from 0; got {','.join(classes)}"
        )
    return chosen


def _picture(image: NDArray[Any]) -> NDArray[np.uint8]:
    """An image [H, W, C] of bytes or of any other numbers, as RGB."""
    if image.dtype != np.uint8 and not (image.min() >= 0 and 1 < image.max() <= 255):
        image = 255 * (image - image.min()) / max(float(np.ptp(image)), 1e-12)
    channels = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    return np.asarray(channels.round(), dtype=np.uint8)


def _mask(mask: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Class colours; white where there is no label."""
    colours = [tuple(int(class_colour(k)[i : i + 2], 16) for i in (1, 3, 5)) for k in range(int(mask.max()) + 1)]
    palette = np.array([*colours, (255, 255, 255)], dtype=np.uint8)
    return palette[np.where(mask == IGNORE_INDEX, -1, mask)]


def _url(picture: NDArray[np.uint8]) -> str:
    times = -(-SHARP // picture.shape[1])
    buffer = io.BytesIO()
    Image.fromarray(picture.repeat(times, axis=0).repeat(times, axis=1)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
