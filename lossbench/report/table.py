"""The table between the runs and the formats: values only, no text that a format would write differently."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lossbench.report.selection import Value
from lossbench.statistics import Comparison

TIED = "≈"  # cannot be told from the best
DIFFERS = "†"  # from the baseline, significantly

NAMES = ("dataset.name", "model.name", "loss.name")
PICKED = "picked"  # what stands in a table where a setting was chosen on validation, and may differ from seed to seed
# One temperature never changes which class comes first, so these would be the same column twice.
SAME_AFTER_TEMPERATURE = (
    "accuracy",
    "top5_accuracy",
    "balanced_accuracy",
    "worst_class_accuracy",
    "macro_f1",
    "mean_iou",
    "worst_class_iou",
    "dice_score",
    "pixel_accuracy",
)

# What a post-hoc calibration is called in a heading, and what it is.
CALIBRATED = {
    "temperature_scaled": ("T-scaled", "after one temperature fitted on the validation split."),
    "vector_scaled": ("vector-scaled", "after a weight and a bias of each class fitted on the validation split."),
    "isotonic": ("isotonic", "after isotonic regression of each class on the validation split."),
}

ABBREVIATIONS = {
    "nll": "NLL",
    "ece": "ECE",
    "mce": "MCE",
    "rmsce": "RMSCE",
    "aurc": "AURC",
    "iou": "IoU",
    "auroc": "AUROC",
    "fpr95": "FPR95",
    "ks": "KS",
    "brier": "Brier",
}

# Numbers of a run beside its metrics, that a column can show.
BESIDE = {
    "temperature": "The temperature fitted on the validation split; above 1 the run was overconfident.",
    "teacher_accuracy": "The accuracy of the student's teacher on the test split, of the classes it knows.",
    "teacher_ece": "The expected calibration error of the student's teacher on the test split, through its own link.",
    "old_accuracy": "The accuracy on the test examples of the old classes (dataset.old_classes), all classes allowed.",
    "new_accuracy": "The accuracy on the test examples of the other classes, all classes allowed.",
    "many_shot_accuracy": "The mean recall on test of classes with more than 100 training examples (a long tail's).",
    "medium_shot_accuracy": "The mean recall on test of classes with 20 to 100 training examples (a long tail's).",
    "few_shot_accuracy": "The mean recall on test of classes with 1 to 19 training examples (a long tail's).",
    "class_tightness": "1 − mean cosine distance of features within classes / overall, before the last layer, on test.",
    "train_class_tightness": "The same as class_tightness on the training split, without augmentation.",
}

# How well the probabilities of a run tell its test split from unknown data: what is better, and a definition.
UNKNOWN = {
    "auroc": ("higher", "How often a test example scores higher than an unknown one; a tie counts one half."),
    "fpr95": ("lower", "The share of unknown examples that score as high as the best 95 % of the test split."),
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
class Run:
    """One run of a row, with what must be equal for two runs to be paired."""

    id: str
    seed: Value
    fingerprints: Mapping[str, Value]  # of data, split, initial weights and batch order


@dataclass(frozen=True)
class Cell:
    """Mean, sample standard deviation and 95 % interval over n seeds.

    The mean is nan for n = 0; no deviation and no interval below n = 2, unless test examples were resampled.
    """

    mean: float
    sd: float | None
    n: int
    values: tuple[float, ...] = ()  # one for each of the row's runs, nan where a run has none
    low: float = math.nan
    high: float = math.nan
    resampled: bool = False  # the interval is over test examples, not seeds
    best: bool = False
    tied: bool = False  # cannot be told from the best
    untested: Literal["", "pairs", "spread", "finite"] = ""  # what it lacks to be held against the best
    better_where_shared: bool = False  # significantly, than the best mean, which is over other runs too
    difference: Comparison | None = None  # from the baseline's cell


@dataclass(frozen=True)
class Row:
    """Runs that differ in the seed alone, or in what `picked` says of each seed.

    `config` holds every compared key, None where the runs lack it; `block` numbers the dataset × model.
    """

    config: Mapping[str, Value]
    runs: tuple[Run, ...]
    block: int
    cells: tuple[Cell, ...]
    picked: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)  # run → what validation chose for it

    @property
    def n(self) -> int:
        """The number of runs."""
        return len(self.runs)


@dataclass(frozen=True)
class RankTable:
    """Average ranks over the blocks of a table; rank 1 is the best."""

    metric: MetricColumn
    rows: tuple[tuple[str, float], ...]  # what is ranked, best first
    n: int  # blocks
    p: float  # Friedman
    critical_difference: float  # Nemenyi
    left_out: tuple[str, ...] = ()  # lacks a mean in some block
    unlike: int = 0  # blocks that are left out: their runs of one seed differ in data or initial weights


@dataclass(frozen=True)
class Table:
    """What a renderer needs. `title` holds what is the same for all rows, `n` is None where rows differ in it.

    `across` are settings whose values stand above the metrics where a format has columns for that; a row is one
    combination of all settings all the same.
    """

    title: tuple[str, ...]
    split: str
    columns: tuple[Column, ...]
    metrics: tuple[MetricColumn, ...]
    rows: tuple[Row, ...]
    n: int | None
    notes: tuple[str, ...]
    spread: str = "interval"  # what follows ±: half the 95 % `interval`, or the `sd`
    baseline: str = ""  # what the differences are from: loss=cross_entropy
    ranks: RankTable | None = None
    across: tuple[Column, ...] = ()
    options: Mapping[str, float] = field(default_factory=dict)  # what the metrics were measured with
    asked: frozenset[str] = frozenset()  # of `metrics` and `rows`, what the user named


def leading(columns: Sequence[Column]) -> int:
    """Return how many columns from the left say what a block of lines is: data set and model, where they come first.

    Where another comes before them, that one does.
    """
    of_the_problem = [column.key.startswith(("dataset.", "model.")) for column in columns]
    at_the_start = (*of_the_problem, False).index(False)
    return at_the_start or int(any(of_the_problem))


def short_name(key: str) -> str:
    """Return the last word of a key that says something: `loss.epsilon` is epsilon, `optimizer.name` is optimizer.

    Of a teacher it says so: `teacher.loss.name` is teacher loss.
    """
    last = key.removesuffix(".name").rpartition(".")[2]
    return f"teacher {last}" if key.startswith("teacher.") else last


def metric_name(metric: str, calibration: str = "raw") -> str:
    """Return a metric as prose names it: `confidence gap`, `ECE (T-scaled)`."""
    words = [ABBREVIATIONS.get(word, word) for word in metric.split("_")]
    plain = metric in BESIDE or (calibration == "temperature_scaled" and metric in SAME_AFTER_TEMPERATURE)
    return " ".join(words) + ("" if plain or calibration not in CALIBRATED else f" ({CALIBRATED[calibration][0]})")
