"""`lossbench plot`, as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import Lossbench, files_below

from lossbench.report import figures
from lossbench.report.figures import KINDS

FAST = ("train", "dataset=wine", "model=linear", "epochs=2", "device=cpu", "-q")


@pytest.fixture
def trained(lossbench: Lossbench) -> Lossbench:
    """Four runs: two ε, two seeds."""
    assert lossbench(*FAST, "loss=label_smoothing", "loss.epsilon=0,0.1", "seed=0,1").returncode == 0
    return lossbench


def test_every_kind_is_drawn_of_stored_runs(trained: Lossbench, tmp_path: Path) -> None:
    trained("evaluate", "--pictures")
    for kind in KINDS.keys() - {"panels"}:
        answer = trained("plot", kind, "-o", f"figures/{kind}.svg")
        assert answer.returncode == 0, answer.stderr
        assert answer.stderr.splitlines()[0] == f"wrote figures/{kind}.svg"
        assert answer.stderr.splitlines()[-1].startswith("wine · linear · label_smoothing")
        assert "ε" in (tmp_path / f"figures/{kind}.svg").read_text()
    masks = (
        "dataset=shapes",
        "model=unet",
        "model.width=4",
        "model.depth=1",
        "dataset.n_train=40",
        "dataset.n_test=20",
    )
    assert trained(*FAST[:1], *masks, "epochs=1", "device=cpu", "-q").returncode == 0
    before = trained("plot", "panels", "--where", "dataset=shapes", "-o", "panels.svg")
    assert "has no examples to draw; lossbench evaluate --pictures" in before.stderr
    trained("evaluate", "--pictures", "--where", "dataset=shapes")
    panels = trained("plot", "panels", "--where", "dataset=shapes", "-o", "panels.svg")
    assert panels.returncode == 0, panels.stderr
    picture = (tmp_path / "panels.svg").read_text()
    assert picture.count("<image") == 4 * 6
    assert all(f">{name}<" in picture for name in ("background", "square", "disc"))


def test_features_are_drawn_of_test_or_of_train_and_the_caption_has_their_tightness(
    trained: Lossbench, tmp_path: Path
) -> None:
    # wine has 178 examples: 36 are of test; of train 127, and all are of the three classes that are drawn.
    trained("evaluate", "--pictures")
    for split, count in (("test", 36), ("train", 127)):
        answer = trained("plot", "features", "--split", split, "-o", "a.json")
        caption = answer.stderr.splitlines()[-1]
        assert caption.startswith(
            f"wine · linear · label_smoothing · {split} split · first seed; features in the plane"
        )
        assert len(json.loads((tmp_path / "a.json").read_text())["datasets"]["points"]) == 2 * count
        # A linear model's features are its inputs, and both losses have the same.
        first, second = re.findall(r"ε=[0.1]+ (0\.\d{3} \(train 0\.\d{3}\))", caption)
        assert first == second
    alone = trained("plot", "features", "--where", "loss.epsilon=0.1", "-o", "a.json").stderr.splitlines()[-1]
    assert alone.endswith(f"templates; class tightness {first}")


def test_rows_are_those_of_the_report_with_their_numbers(trained: Lossbench, tmp_path: Path) -> None:
    trained("plot", "scatter", "-o", "scatter.json")
    points = json.loads((tmp_path / "scatter.json").read_text())["datasets"]["points"]
    rows = json.loads(trained("report", "--metrics", "accuracy,ece", "--calibration", "raw", "--format", "json").stdout)
    means = [(row["metrics"]["ece"]["raw"]["mean"], row["metrics"]["accuracy"]["raw"]["mean"]) for row in rows["rows"]]
    assert [(point["x"], point["y"]) for point in points] == means
    assert [point["series"] for point in points] == ["ε=0", "ε=0.1"]


def test_one_request_writes_several_formats(trained: Lossbench, tmp_path: Path) -> None:
    answer = trained("plot", "reliability", *[f"-oa{ending}" for ending in (".svg", ".pdf", ".png", ".json")])
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "datasets" in json.loads((tmp_path / "a.json").read_text())
    assert not list(tmp_path.glob("*.tmp"))


def test_runs_can_be_named_and_calibrations_compared(trained: Lossbench, tmp_path: Path) -> None:
    (run, *_) = sorted(path.name for path in (tmp_path / "results/runs").iterdir())
    trained("plot", "reliability", run, "--calibration", "raw,temperature_scaled", "-o", "a.json")
    bins = json.loads((tmp_path / "a.json").read_text())["datasets"]["bins"]
    assert {row["series"] for row in bins} == {"label_smoothing (raw)", "label_smoothing (T-scaled)"}


def test_hyperparameters_picked_on_validation_make_one_row(trained: Lossbench, tmp_path: Path) -> None:
    answer = trained("plot", "scatter", "--select", "nll", "-o", "a.json")
    assert "2 seeds, hyperparameters picked on validation" in answer.stderr
    (point,) = json.loads((tmp_path / "a.json").read_text())["datasets"]["points"]
    report = trained("report", "--select", "nll", "--metrics", "accuracy,ece", "--calibration", "raw", "--format=json")
    (row,) = json.loads(report.stdout)["rows"]
    assert point["y"] == row["metrics"]["accuracy"]["raw"]["mean"]


def test_files_of_logits_are_drawn_and_their_names_are_escaped(lossbench: Lossbench, tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(50, 3))
    for name in ("mine.npz", "<script>alert(1)<.npz"):
        np.savez(tmp_path / name, logits=logits, targets=logits.argmax(1))
    for kind in ("reliability", "risk_coverage", "confidence", "confusion"):
        answer = lossbench("plot", kind, "mine.npz", "<script>alert(1)<.npz", "-o", "a.svg")
        assert answer.returncode == 0, answer.stderr
        assert answer.stderr.splitlines()[-1].startswith("test split")
        picture = (tmp_path / "a.svg").read_text()
        assert "<script" not in picture
        assert "&lt;script&gt;alert(1)&lt;" in picture


WRONG = [
    (["reliabilty"], "no kind 'reliabilty'; did you mean reliability? (lossbench plot --help)"),
    (["reliability", "-o", "a.jpg"], "a figure ends in .svg, .pdf, .png, .json; got a.jpg"),
    (["training", "--calibration", "raw"], "--calibration is for reliability, "),
    (["scatter", "--metrics", "accuracy"], "--metrics of a scatter plot are two"),
    (["scatter", "--metrics", "accuracy,eec"], "no metric named 'eec'; did you mean ece?"),
    (["sweep", "--metrics", "acuracy"], "no metric named 'acuracy'; did you mean accuracy?"),
    (["reliability", "--calibration", "isotone"], "no calibration named 'isotone'; did you mean isotonic?"),
    (["features", "mine.npz"], "features is drawn of runs, by id; files such as mine.npz are for reliability, "),
    (["sweep", "mine.npz"], "sweep is drawn of runs, by id"),
    (["reliability", "mine.npz", "--where", "seed=0"], "files of logits go without runs, --where and --select"),
    (["sweep", "--select", "nll"], "--select is for reliability, "),
    (["reliability", "mine.npz"], "mine.npz is not there"),
    (["reliability", "--split", "train"], "--split of reliability must be test or val; got train"),
    (["features", "--split", "val"], "--split of features must be test or train; got val"),
    (["panels", "--split", "test"], "--split is for reliability, sweep, risk_coverage"),
    (["panels"], "panels are of masks, and wine has none; lossbench plot features draws its classes"),
    (
        ["features", "--classes", "0,1"],
        "2 of 2 rows have no features to draw; lossbench evaluate --pictures makes them",
    ),
    (["sweep", "--x", "loss.gamma"], "--x loss.gamma is no number that varies among these runs"),
    (["reliability", "--results-dir", "nowhere"], "no finished runs in nowhere/runs"),
]


def test_a_wrong_request_is_one_line_exit_2_and_nothing_is_written(trained: Lossbench, tmp_path: Path) -> None:
    trained("report")  # which makes the index
    before = files_below(tmp_path)
    for arguments, message in WRONG:
        answer = trained("plot", *arguments)
        assert answer.returncode == 2
        (line,) = answer.stderr.splitlines()
        assert message in line
    assert files_below(tmp_path) == before


def test_nothing_is_written_into_a_run(trained: Lossbench, tmp_path: Path) -> None:
    (run, *_) = sorted((tmp_path / "results/runs").iterdir())
    answer = trained("plot", "training", "-o", "a.svg", "-o", str(run / "a.svg"))
    assert answer.returncode == 2
    assert "lies in the folder of a run" in answer.stderr
    assert not (tmp_path / "a.svg").exists()


def test_too_many_rows_are_refused_with_what_to_do(trained: Lossbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST", 1)
    answer = trained("plot", "reliability")
    assert answer.returncode == 2
    assert "2 rows are too many for one figure, which holds 1; choose some with --where" in answer.stderr


def test_plot_imports_no_torch_and_no_hydra(trained: Lossbench, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.argv = ['lossbench', 'plot', 'reliability', '-o', 'a.svg']\n"
        "from lossbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code\n"
        "print({'torch', 'hydra'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(Path(__file__).parent.parent)},
    )  # fmt: skip
    assert answer.stdout == "set()\n"


@pytest.mark.parametrize(("kind", "file"), [("training", "history.csv"), ("risk_coverage", "predictions.npz")])
def test_a_run_without_what_a_figure_is_drawn_from_is_left_out_and_named(
    lossbench: Lossbench, tmp_path: Path, kind: str, file: str
) -> None:
    lossbench("train", "dataset=wine", "model=linear", "device=cpu", "epochs=1", "seed=0,1")
    first, second = sorted(tmp_path.glob("results/runs/*-s?-*"))
    (first / file).unlink()
    answer = lossbench("plot", kind, "-o", "a.svg")
    assert answer.returncode == 0
    assert f"skipped {Path('results/runs') / first.name / file} is missing" in answer.stderr
    assert "skipped" not in lossbench("plot", kind, "--where", "seed=1", "-o", "a.svg").stderr
    of_none = lossbench("plot", kind, "--where", "seed=0", "-o", "b.svg")
    assert (of_none.returncode, f"{file} is missing" in of_none.stderr) == (2, True)
    (second / file).unlink()
    alone = lossbench("plot", kind, "-o", "b.svg")
    assert alone.returncode == 2
    assert f"{file} is missing" in alone.stderr
