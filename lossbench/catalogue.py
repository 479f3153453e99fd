"""What there is to choose from: the yaml files are the registry, their first line is the description."""

from __future__ import annotations

import re
from pathlib import Path

from lossbench.errors import ConfigError, did_you_mean

KINDS = {
    "losses": "loss",
    "models": "model",
    "datasets": "dataset",
    "optimizers": "optimizer",
    "schedules": "schedule",
    "trackers": "tracker",
    "experiments": "experiment",
    "metrics": "",
}
RECIPE = "recipe"  # the node of an experiment's yaml that says what is claimed of it; no part of its runs


def conf_dir() -> Path:
    """Return the folder of configs: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def conf_dirs(own: Path | None) -> list[Path]:
    """Return the folders of configs: lossbench's and, where there is one, the user's own.

    Raises:
        ConfigError: if that is no folder.
    """
    if own is not None and not own.is_dir():
        raise ConfigError(f"--config-dir must name a folder; {own} is not one")
    return [conf_dir(), *filter(None, [own])]


def catalogue(kind: str, folders: list[Path]) -> list[tuple[str, str]]:
    """Return the names of one kind, each with a line that says what it is.

    Args:
        kind: a key of KINDS.
        folders: where configs are, the first one winning where two have the same name.

    Raises:
        ConfigError: for an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"cannot list '{kind}'{did_you_mean(kind, KINDS)}")
    if kind == "metrics":
        from lossbench import metrics
        from lossbench.report.table import BESIDE

        described = {name: (metric.__doc__ or "").strip().splitlines()[0] for name, metric in metrics.ALL.items()}
        return sorted({**described, **BESIDE}.items())
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted((folder / KINDS[kind]).glob("*.yaml")):
            if not path.name.startswith("_"):
                found.setdefault(path.stem, description(path))
    return sorted(found.items())


def targets(group: str, folders: list[Path]) -> set[str]:
    """Return the functions that the configs of a group, such as `model`, name by `_target_`."""
    texts = [path.read_text(encoding="utf-8") for folder in folders for path in (folder / group).glob("*.yaml")]
    return {name for text in texts for name in re.findall(r"^\s*_target_:\s*['\"]?([\w.]+)", text, re.MULTILINE)}


def description(path: Path) -> str:
    """Return the first comment of a yaml that is not an instruction to Hydra (`# @package …`)."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @"):
            return line.lstrip("# ").strip()
    return ""
