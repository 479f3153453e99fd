"""The table between the runs and the formats: values only, no text that a format would write differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lossbench.report.selection import Value

NAMES = ("dataset.name", "model.name", "loss.name")
# One temperature never changes which class comes first, so these would be the same column twice.
SAME_AFTER_TEMPERATURE = ("accuracy", "balanced_accuracy", "mean_iou", "dice_score", "pixel_accuracy")

ABBREVIATIONS = {"nll": "NLL", "ece": "ECE", "mce": "MCE", "rmsce": "RMSCE", "aurc": "AURC", "iou": "IoU"}

# Numbers of a run beside its metrics, that a column can show.
BESIDE = {
    "temperature": "The temperature fitted on the validation split; above 1 the run was overconfident.",
    "teacher_accuracy": "The accuracy of the student's teacher on the test split.",
    "teacher_ece": "The expected calibration error of the student's teacher on the test split, through its own link.",
    "old_accuracy": "The accuracy on the test examples of the old classes (dataset.old_classes), all classes allowed.",
    "new_accuracy": "The accuracy on the test examples of the other classes, all classes allowed.",
}


@dataclass(frozen=True)
class Column:
    """A config key that tells rows apart, and the shortest name that is not taken."""

    key: str
    heading: str


@dataclass(frozen=True)
class MetricColumn:
    """A metric, the calibration it was computed under, and which way is better."""

    metric: str
    calibration: str
    better: str | None


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation over n seeds; the mean is nan for n = 0, no deviation below n = 2."""

    mean: float
    sd: float | None
    n: int
    best: bool = False


@dataclass(frozen=True)
class Row:
    """Runs that differ in the seed alone.

    `config` holds every compared key, None where the runs lack it; `block` numbers the dataset × model.
    """

    config: Mapping[str, Value]
    n: int
    block: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """What a renderer needs. `title` holds what is the same for all rows, `n` is None where rows differ in it."""

    title: tuple[str, ...]
    split: str
    columns: tuple[Column, ...]
    metrics: tuple[MetricColumn, ...]
    rows: tuple[Row, ...]
    n: int | None
    notes: tuple[str, ...]

    def ends_block(self, index: int) -> bool:
        """Whether another dataset × model follows this row."""
        return index + 1 < len(self.rows) and self.rows[index + 1].block != self.rows[index].block


def short_name(key: str) -> str:
    """Return the last word of a key that says something: `loss.epsilon` is epsilon, `optimizer.name` is optimizer.

    Of a teacher it says so: `teacher.loss.name` is teacher loss.
    """
    last = key.removesuffix(".name").rpartition(".")[2]
    return f"teacher {last}" if key.startswith("teacher.") else last


def metric_name(metric: str, calibration: str = "raw") -> str:
    """Return a metric as prose names it: `confidence gap`, `ECE (T-scaled)`."""
    words = [ABBREVIATIONS.get(word, word) for word in metric.split("_")]
    scaled = calibration == "temperature_scaled" and metric not in (*SAME_AFTER_TEMPERATURE, *BESIDE)
    return " ".join(words) + (" (T-scaled)" if scaled else "")
