"""`lossbench evaluate` and `lossbench curve`, as a user types them."""

from __future__ import annotations

import csv
import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import Lossbench, files_below, read_json

from lossbench.store import Store

FAST = ("train", "dataset=wine", "model=linear", "epochs=2", "device=cpu", "-q")


def runs(folder: Path) -> list[Path]:
    return sorted((folder / "results/runs").iterdir())


def write_logits(path: Path, *, val: bool = True, num_examples: int = 200) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("val", "test") if val else ("test",):
        logits = 3 * rng.normal(size=(num_examples, 4))
        arrays[f"{split}_logits"] = logits
        arrays[f"{split}_targets"] = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return arrays


def test_evaluate_changes_nothing_in_what_train_has_just_measured(lossbench: Lossbench, tmp_path: Path) -> None:
    lossbench(*FAST, "seed=range(2)")
    before = [(path / "metrics.json").read_bytes() for path in runs(tmp_path)]
    answer = lossbench("evaluate")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        f"[{number}/2] {path.name}: unchanged" for number, path in enumerate(runs(tmp_path), 1)
    ]
    assert [(path / "metrics.json").read_bytes() for path in runs(tmp_path)] == before


def test_other_bins_are_measured_written_and_reported_and_a_dry_run_writes_nothing(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    lossbench(*FAST)
    (run,) = runs(tmp_path)
    before = (run / "metrics.json").read_bytes()
    dry = lossbench("evaluate", "--n-bins", "4", "--dry-run", "--metrics", "mce")
    assert (run / "metrics.json").read_bytes() == before
    wet = lossbench("evaluate", "--n-bins", "4", "--metrics", "mce")
    assert wet.stdout == dry.stdout
    assert "n_bins 15 → 4, test raw mce " in wet.stdout
    assert "ece" not in wet.stdout
    assert read_json(run / "metrics.json")["options"]["n_bins"] == 4
    assert "ECE: 4 bins of equal width." in lossbench("report").stdout


def test_runs_measured_with_different_bins_are_not_tabulated_together_until_evaluate_has_made_them_alike(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    lossbench(*FAST, "seed=range(2)")
    one, _ = runs(tmp_path)
    lossbench("evaluate", one.name, "--n-bins", "10")
    refused = lossbench("report")
    assert refused.returncode == 2
    assert refused.stderr == (
        "lossbench: these runs were measured with n_bins 10 and 15, which one table cannot hold: "
        "`lossbench evaluate --n-bins 15` measures them alike\n"
    )
    assert lossbench("report", "--metrics", "accuracy,nll").returncode == 0, "these have no bins"
    assert lossbench("report", "--where", "metrics.n_bins=10").returncode == 0
    assert lossbench("evaluate", "--n-bins", "15").returncode == 0
    assert lossbench("report").returncode == 0


def test_train_measures_as_the_config_says_and_does_not_skip_what_was_measured_otherwise(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    assert lossbench(*FAST, "metrics.n_bins=10").returncode == 0
    (run,) = runs(tmp_path)
    assert read_json(run / "metrics.json")["options"] == {"n_bins": 10, "threshold": 0.9}
    refused = lossbench(*FAST)
    assert refused.returncode == 2
    assert "was measured with metrics.n_bins=10: ask for that, or `lossbench evaluate --n-bins 15`" in refused.stderr
    assert lossbench(*FAST, "metrics.n_bins=10").returncode == 0
    assert lossbench("evaluate", "--n-bins", "15").returncode == 0
    assert lossbench(*FAST).returncode == 0
    assert runs(tmp_path) == [run], "how it is measured is no part of a run's id"


@pytest.mark.parametrize("value", ["metrics.n_bins=0", "metrics.n_bins=1.5", "metrics.threshold=2", "metrics.n_bin=3"])
def test_a_wrong_option_of_metrics_is_refused_before_anything_is_trained(
    lossbench: Lossbench, tmp_path: Path, value: str
) -> None:
    answer = lossbench(*FAST, value)
    assert answer.returncode == 2
    assert "n_bins" in answer.stderr or "threshold" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert files_below(tmp_path) == []


def test_a_damaged_run_is_named_and_left_alone_and_the_others_go_on(lossbench: Lossbench, tmp_path: Path) -> None:
    lossbench(*FAST, "seed=range(4)")
    whole, missing, broken, infinite = runs(tmp_path)
    (missing / "predictions.npz").unlink()
    (broken / "predictions.npz").write_bytes(b"PK")
    (infinite / "checksums.json").unlink()  # as of an earlier version
    arrays = dict(np.load(infinite / "predictions.npz"))
    arrays["val_logits"][2, 1] = np.inf
    np.savez(infinite / "predictions.npz", **arrays)
    before = [(run / "metrics.json").read_bytes() for run in (missing, broken, infinite)]
    answer = lossbench("evaluate", "--n-bins", "5")
    assert answer.returncode == 1
    faults = answer.stderr.splitlines()
    assert faults[0].startswith(f"{missing.name}: ")
    assert faults[0].endswith("predictions.npz is missing")
    assert "predictions.npz is not what the run wrote" in faults[1]
    assert "val logits row 2 is not finite" in faults[2]
    assert faults[3] == "3 of 4 runs could not be measured, and nothing is changed there"
    assert [(run / "metrics.json").read_bytes() for run in (missing, broken, infinite)] == before
    assert read_json(whole / "metrics.json")["options"]["n_bins"] == 5


def test_the_numbers_of_a_file_are_those_of_the_metrics_in_every_format(lossbench: Lossbench, tmp_path: Path) -> None:
    from lossbench import metrics

    arrays = write_logits(tmp_path / "their.npz")
    ece = metrics.ece(arrays["test_logits"], arrays["test_targets"], n_bins=10)
    show = ("evaluate", "their.npz", "--n-bins", "10", "--metrics", "nll,ece")
    table = lossbench(*show).stdout
    assert table.splitlines()[0].split() == ["metric", "raw", "T-scaled", "vector-scaled", "isotonic"]
    assert table.splitlines()[2].split()[:3] == ["ece", "↓", f"{ece:.4f}"]
    assert "n_bins 10" in table
    rows = list(csv.DictReader(io.StringIO(lossbench(*show, "--format", "csv").stdout)))
    assert len(rows) == 2 * 4 * 2
    assert float(next(r["value"] for r in rows if r["split"] == "test" and r["metric"] == "ece")) == ece
    content = json.loads(lossbench(*show, "--format", "json").stdout)
    assert content["test"]["raw"]["ece"] == ece
    assert content["temperature"] > 1  # the logits were twice too large
    written = lossbench(*show, "--format", "markdown", "--output", "out/table.md")
    assert (written.returncode, written.stdout) == (0, "")
    assert (tmp_path / "out/table.md").read_text().splitlines()[3].startswith(f"| ece ↓ | {ece:.4f} |")


def test_a_file_without_validation_is_shown_raw(lossbench: Lossbench, tmp_path: Path) -> None:
    write_logits(tmp_path / "their.npz", val=False)
    answer = lossbench("evaluate", "their.npz")
    assert answer.stdout.splitlines()[0].split() == ["metric", "raw"]
    assert "fitted" not in answer.stdout


def test_a_table_of_logits_gives_what_the_same_arrays_give(lossbench: Lossbench, tmp_path: Path) -> None:
    arrays = write_logits(tmp_path / "their.npz")
    with (tmp_path / "their.csv").open("w") as file:
        print("split,a,b,c,d,target", file=file)
        for split in ("val", "test"):
            for logits, target in zip(arrays[f"{split}_logits"].tolist(), arrays[f"{split}_targets"], strict=True):
                print(split, *logits, target, sep=",", file=file)
    table, array = lossbench("evaluate", "their.csv").stdout, lossbench("evaluate", "their.npz").stdout
    assert table.partition("\n\n")[0] == array.partition("\n\n")[0]
    # What was taken for a class is there to be seen: an id among them would be, too.
    assert "Test split: 200 examples, 4 classes (a, b, c, d). Options: n_bins 15," in table
    assert "Test split: 200 examples, 4 classes. Options: n_bins 15," in array


def test_a_metric_without_a_value_is_a_dash_null_or_nothing(lossbench: Lossbench, tmp_path: Path) -> None:
    np.savez(tmp_path / "right.npz", logits=2 * np.eye(3), targets=np.arange(3))
    show = ("evaluate", "right.npz", "--metrics", "confidence_of_errors")
    assert lossbench(*show).stdout.splitlines()[1].split()[-1] == "–"
    assert lossbench(*show, "--format", "csv").stdout.splitlines()[1] == "test,raw,confidence_of_errors,"
    assert json.loads(lossbench(*show, "--format", "json").stdout)["test"]["raw"] == {"confidence_of_errors": None}


def test_probabilities_are_refused_where_logits_are_asked_for(lossbench: Lossbench, tmp_path: Path) -> None:
    """As logits, [0.9, 0.1] would be the probabilities 0.69 and 0.31."""
    probs, targets = np.array([[0.9, 0.1], [0.2, 0.8], [0.3335, 0.6664]]), np.array([0, 1, 1])
    np.savez(tmp_path / "probs.npz", logits=probs, targets=targets)
    answer = lossbench("evaluate", "probs.npz")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == (
        "lossbench: probs.npz: test has probabilities, for rows sum to 1 and none is negative; give logits, or "
        "the logarithms of the probabilities\n"
    )
    np.savez(tmp_path / "probs.npz", logits=np.log(probs), targets=targets)
    assert lossbench("evaluate", "probs.npz").returncode == 0


def test_a_curve_of_a_run_or_a_file_is_a_table_for_a_figure(lossbench: Lossbench, tmp_path: Path) -> None:
    lossbench(*FAST)
    write_logits(tmp_path / "their.npz")
    for source in ((), (runs(tmp_path)[0].name[-8:],), ("their.npz",)):
        for kind in ("reliability", "risk_coverage", "temperature"):
            answer = lossbench("curve", kind, *source)
            assert answer.returncode == 0, answer.stderr
            assert len(list(csv.DictReader(io.StringIO(answer.stdout)))) > 1
    bins = json.loads(lossbench("curve", "reliability", "their.npz", "--equal-mass", "--format", "json").stdout)
    assert sum(bins["n"]) == 200
    printed = lossbench("curve", "reliability", "their.npz", "-o", "-")
    assert printed.stdout == lossbench("curve", "reliability", "their.npz").stdout != ""
    swept = lossbench("curve", "temperature", "their.npz", "--temperatures", "0.5:5:10", "-o", "sweep.csv")
    assert (swept.returncode, swept.stdout) == (0, "")
    points = list(csv.DictReader(io.StringIO((tmp_path / "sweep.csv").read_text())))
    assert len(points) == 10 + 3
    assert {row["point"] for row in points} == {"", "raw", "fitted", "optimum"}
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate",), "no finished runs in results/runs"),
        (("evaluate", "nobody"), "no finished run 'nobody'"),
        (("evaluate", "nobody.npz"), "nobody.npz is not there"),
        (("evaluate", "--n-bins", "0"), "n_bins must lie in [1, 10000]; got 0"),
        (("evaluate", "--threshold", "1.5"), "threshold must lie in [0, 1]; got 1.5"),
        (("evaluate", "--metrics", "acuracy"), "did you mean accuracy?"),
        (("evaluate", "--format", "csv"), "lossbench report tabulates runs"),
        (("evaluate", "a.npz", "b.npz"), "a.npz is a file, which goes alone: leave out b.npz"),
        (("evaluate", "a.csv", "--where", "seed=1"), "a.csv is a file, which goes alone: leave out --where"),
        (("evaluate", "a.csv", "--dry-run"), "a.csv is a file, which goes alone: leave out --dry-run"),
        (("curve", "reliability"), "no finished runs in results/runs"),
        (("curve", "temperature", "--temperatures", "1:2"), "--temperatures must be LOW:HIGH:COUNT"),
        (("curve", "temperature", "--temperatures", "1e-320:1:5"), "--temperatures must lie in [1e-06, 1e+06]"),
    ],
)
def test_wrong_requests_are_one_line_exit_2_and_nothing_written(
    lossbench: Lossbench, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    answer = lossbench(*arguments)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stdout == ""
    assert files_below(tmp_path) == []


def test_metrics_that_are_asked_for_are_shown_changed_or_not(lossbench: Lossbench, tmp_path: Path) -> None:
    lossbench(*FAST)
    (run,) = runs(tmp_path)
    test = read_json(run / "metrics.json")["test"]
    same = [f"test {name} nll {test[name]['nll']:.4f}" for name in ("raw", "temperature_scaled")]
    assert lossbench("evaluate", "--metrics", "nll").stdout == f"[1/1] {run.name}: unchanged, {', '.join(same)}\n"
    other = lossbench("evaluate", "--metrics", "nll,ece", "--n-bins", "3").stdout
    assert "test raw ece " in other
    assert ", ".join(same) in other


def test_evaluate_and_curve_import_no_torch(lossbench: Lossbench, tmp_path: Path) -> None:
    lossbench(*FAST)
    for arguments in (["evaluate"], ["evaluate", "--where", "seed=0"], ["curve", "temperature"]):
        code = (
            f"import sys\nsys.argv = {['lossbench', *arguments]!r}\nfrom lossbench.cli import main\n"
            "try:\n    main()\nexcept SystemExit as end:\n    print(end.code)\n"
            "print('torch' in sys.modules, 'hydra' in sys.modules)"
        )
        answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert answer.stdout.splitlines()[-2:] == ["0", "False False"]


def test_what_is_measured_is_not_written_over(lossbench: Lossbench, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", logits=np.eye(3), targets=np.arange(3))
    before = (tmp_path / "mine.npz").read_bytes()
    answer = lossbench("evaluate", "mine.npz", "--format", "csv", "-o", "mine.npz")
    assert answer.returncode == 2
    assert "is the file that is measured" in answer.stderr
    assert (tmp_path / "mine.npz").read_bytes() == before


def test_a_report_is_not_written_into_a_run(lossbench: Lossbench, tmp_path: Path) -> None:
    lossbench("train", "epochs=1", "device.threads=1")
    (run,) = (tmp_path / "results/runs").iterdir()
    before = (run / "metrics.json").read_bytes()
    answer = lossbench("report", "-o", str(run / "metrics.json"))
    assert answer.returncode == 2
    assert "lies in the folder of a run" in answer.stderr
    assert (run / "metrics.json").read_bytes() == before


def test_a_run_from_before_reliability_was_stored_is_given_it_and_nothing_else(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    lossbench(*FAST)
    (run,) = runs(tmp_path)
    whole = read_json(run / "metrics.json")
    older = {key: value for key, value in whole.items() if key != "reliability"}
    (run / "metrics.json").write_text(json.dumps(older))
    (run / "checksums.json").unlink()
    assert lossbench("evaluate").stdout == f"[1/1] {run.name}: new: reliability\n"
    assert read_json(run / "metrics.json") == whole
    assert lossbench("evaluate").stdout == f"[1/1] {run.name}: unchanged\n"


def test_evaluate_on_a_full_disk_stops_and_says_where(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lossbench(*FAST, "seed=range(3)")
    first, *_ = runs(tmp_path)
    before = files_below(tmp_path / "results")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(first / "metrics.json.tmp"))

    monkeypatch.setattr(Store, "save_metrics", full)
    answer = lossbench("evaluate", "--n-bins", "7")
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        f"{first.name}: No space left on device ({first / 'metrics.json.tmp'})",
        "stopped after 0 of 3 runs; the same command does the rest",
    ]
    assert files_below(tmp_path / "results") == before
