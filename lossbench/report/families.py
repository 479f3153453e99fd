"""Models of one name that different functions make: resnet18 is lossbench's own, timm's and torchvision's."""

from __future__ import annotations

import pandas as pd

MODELS = ("model", "teacher.model")


def with_families(frame: pd.DataFrame) -> pd.DataFrame:
    """Put the family before the name of models that share one: `timm/resnet18`, `torchvision/resnet18`, `resnet18`.

    A function of that very name, as lossbench's own `resnet18`, has no family. Where that tells two of them apart no
    longer, their paths do: `mine.resnet18/resnet18`.

    Args:
        frame: a row per run × split × calibration.

    Returns:
        The frame, the same object where no name is shared.
    """
    new: dict[str, pd.Series] = {}
    for group in MODELS:
        key, target = f"{group}.name", f"{group}._target_"
        if not {key, target} <= {*frame.columns}:
            continue
        made: dict[str, list[str]] = {}  # name → paths of the functions
        for name, path in frame[[key, target]].dropna().drop_duplicates().itertuples(index=False):
            made.setdefault(str(name), []).append(str(path))
        called: dict[tuple[str, str], str] = {}
        for name, targets in made.items():
            if len(targets) == 1:
                continue
            families = {path: path.rpartition(".")[2].removesuffix("_model") for path in targets}
            if len({*families.values()}) < len(families):
                families = {path: path for path in families}
            called |= {(name, path): name if of == name else f"{of}/{name}" for path, of in families.items()}
        if called:
            both = zip(frame[key], frame[target], strict=True)
            new[key] = pd.Series([called.get(pair, pair[0]) for pair in both], index=frame.index)
    return frame.assign(**new) if new else frame
