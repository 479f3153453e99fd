"""The command line end to end, as a user types it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import Lossbench, files_below

FAST = ("dataset=wine", "model=linear", "epochs=2", "device=cpu")


def run_folders(folder: Path) -> list[str]:
    runs = folder / "results/runs"
    return sorted(path.name for path in runs.iterdir()) if runs.is_dir() else []


def test_a_sweep_trains_reports_and_is_skipped_the_second_time(lossbench: Lossbench, tmp_path: Path) -> None:
    sweep = ("train", *FAST, "loss=label_smoothing", "loss.epsilon=0,0.1", "seed=range(2)")
    first = lossbench(*sweep)
    assert first.returncode == 0, first.stderr
    assert len(run_folders(tmp_path)) == 4
    assert len(first.stdout.splitlines()) == 4
    assert "finished (4/4 runs)" in first.stderr
    second = lossbench(*sweep, "--quiet")
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout == first.stdout

    table = lossbench("report")
    assert table.returncode == 0, table.stderr
    assert "wine · linear · label_smoothing" in table.stdout
    assert "over 2 seeds" in table.stdout

    csv = lossbench("report", "--format", "csv", "--metrics", "accuracy,nll", "--where", "loss.epsilon=0.1")
    assert len(csv.stdout.splitlines()) == 2
    latex = lossbench("report", "--format", "latex", "-o", "out/table.tex")
    assert (latex.returncode, latex.stdout) == (0, "")
    assert r"\toprule" in (tmp_path / "out/table.tex").read_text()
    assert json.loads(lossbench("report", "--format", "json").stdout)

    listed = lossbench("runs")
    assert listed.stdout.count("finished") == 4
    shown = lossbench("show", run_folders(tmp_path)[0])
    assert "balanced_accuracy" in shown.stdout
    assert "initial_weights" in shown.stdout


def test_a_report_compares_stored_runs_with_a_baseline_and_says_what_differs_in_more_than_the_loss(
    lossbench: Lossbench,
) -> None:
    sweep = ("train", *FAST, "-q", "seed=range(3)")
    assert lossbench(*sweep, "loss=cross_entropy,focal").returncode == 0
    assert lossbench(*sweep, "loss=brier", "batch_size=32").returncode == 0
    answer = lossbench("report", "--baseline", "loss=cross_entropy", "--metrics", "nll", "--calibration", "raw")
    assert answer.returncode == 0, answer.stderr
    below = answer.stdout.partition("Difference from loss=cross_entropy")[2]
    rows = {line.split()[0]: line.split() for line in below.splitlines() if line.strip()}
    assert rows["focal"][-1] == "3"
    assert "brier" not in rows
    note = " ".join(answer.stdout.split())
    assert "Not compared, for they differ from loss=cross_entropy in batch_size too: 1 row." in note
    picked = lossbench("report", "--select", "nll", "--where", "loss=focal", "--spread", "sd")
    assert (picked.returncode, "Mean ± standard deviation over 3 seeds." in picked.stdout) == (0, True)
    wrong = lossbench("report", "--baseline", "loss=focl")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.endswith("none has loss=focl; did you mean focal?\n")


def test_multirun_is_accepted_and_changes_nothing(lossbench: Lossbench, tmp_path: Path) -> None:
    assert lossbench("train", "-m", *FAST, "seed=0").returncode == 0
    assert lossbench("train", *FAST, "seed=0", "-q").returncode == 0
    assert len(run_folders(tmp_path)) == 1


def test_force_trains_again(lossbench: Lossbench, tmp_path: Path) -> None:
    lossbench("train", *FAST)
    (name,) = run_folders(tmp_path)
    before = (tmp_path / "results/runs" / name).stat().st_mtime_ns
    again = lossbench("train", *FAST, "--force")
    assert "finished" in again.stderr
    assert (tmp_path / "results/runs" / name).stat().st_mtime_ns > before


def test_one_against_the_rest_sorts_breast_cancer_into_two_classes(lossbench: Lossbench) -> None:
    answer = lossbench("train", "dataset=breast_cancer", "model=linear", "loss=binary_cross_entropy", "epochs=20", "-q")
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout.split()[2]) >= 0.95  # logistic regression reaches 0.97


FASHION_MNIST = ("train", "dataset=fashion_mnist", "model=cnn", "batch_size=128", "device=cpu", "-q")
needs_fashion_mnist = pytest.mark.skipif(
    shutil.which("dpkg") is None
    or subprocess.run(["dpkg", "-L", "dataset-fashion-mnist"], capture_output=True).returncode,
    reason="Debian's dataset-fashion-mnist is not installed",
)


@pytest.mark.slow
@needs_fashion_mnist
def test_the_small_cnn_reaches_80_percent_on_a_fifth_of_fashion_mnist_in_2_epochs(lossbench: Lossbench) -> None:
    answer = lossbench(*FASHION_MNIST, "epochs=2", "dataset.train_fraction=0.2", "device.threads=1")
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout.split()[2]) >= 0.80


@pytest.mark.slow
@needs_fashion_mnist
def test_the_small_cnn_reaches_90_percent_on_fashion_mnist_in_2_epochs(lossbench: Lossbench) -> None:
    answer = lossbench(*FASHION_MNIST, "epochs=2")
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout.split()[2]) >= 0.90


@pytest.mark.slow
@needs_fashion_mnist
def test_the_small_cnn_reaches_92_percent_on_fashion_mnist_in_10_epochs(lossbench: Lossbench) -> None:
    answer = lossbench(*FASHION_MNIST, "epochs=10")
    assert float(answer.stdout.split()[2]) >= 0.92


def test_one_failed_run_does_not_stop_the_others(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("train", *FAST, "optimizer.learning_rate=1e30,0.1", "schedule=constant")
    assert answer.returncode == 1
    assert "1 of 2 runs failed:" in answer.stderr
    assert "the loss became" in answer.stderr
    assert len(answer.stdout.splitlines()) == 1
    assert sum(name.endswith(".partial") for name in run_folders(tmp_path)) == 1
    assert "failed" in lossbench("runs").stdout


def test_a_sweep_of_students_shares_one_teacher(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench(
        "train", *FAST, "loss=distillation", "loss.temperature=1,4", "teacher.model=mlp", "teacher.loss=label_smoothing"
    )
    assert answer.returncode == 0, answer.stderr
    assert len(run_folders(tmp_path)) == 3
    assert len(answer.stdout.splitlines()) == 2


def test_joblib_gives_the_numbers_that_one_process_gives_at_the_same_thread_count(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    sweep = ("train", *FAST, "seed=range(2)", "--quiet")
    parallel = lossbench(
        *sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"results_dir={tmp_path / 'parallel'}"
    )
    assert parallel.returncode == 0, parallel.stderr
    assert parallel.stdout == lossbench(*sweep, "results_dir=one").stdout
    assert len(list((tmp_path / "parallel/runs").iterdir())) == 2


def test_the_results_of_a_sweep_name_what_varies(lossbench: Lossbench) -> None:
    answer = lossbench(
        "train", *FAST, "loss=label_smoothing", "loss.epsilon=0,0.25", "optimizer.momentum=0.5,0.9", "-q"
    )
    assert [line.split("  ")[-1] for line in answer.stdout.splitlines()] == [
        "epsilon=0 momentum=0.5", "epsilon=0 momentum=0.9", "epsilon=0.25 momentum=0.5", "epsilon=0.25 momentum=0.9"
    ]  # fmt: skip


def test_an_experiment_of_ones_own_sweeps_by_its_yaml(lossbench: Lossbench, tmp_path: Path) -> None:
    folder = tmp_path / "conf/experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /loss: label_smoothing\nepochs: 1\n"
        "hydra:\n  sweeper:\n    params:\n      loss.epsilon: 0,0.3\n"
    )
    answer = lossbench("train", "--config-dir", "conf", "+experiment=mine", "dataset=wine", "model=linear", "-q")
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) == 2


def test_a_loss_of_ones_own_needs_one_function_and_one_yaml(lossbench: Lossbench, tmp_path: Path) -> None:
    (tmp_path / "their_losses.py").write_text(
        "from torch.nn.functional import cross_entropy\n\n"
        "def scaled(logits, targets, *, factor: float = 1.0):\n"
        "    return factor * cross_entropy(logits, targets)\n"
    )
    (tmp_path / "conf/loss").mkdir(parents=True)
    (tmp_path / "conf/loss/scaled.yaml").write_text("# factor · CE\n_target_: their_losses.scaled\nfactor: 1.0\n")
    answer = lossbench("train", "--config-dir", "conf", *FAST, "loss=scaled", "loss.factor=0.5,2", "-q")
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) == 2
    wrong = lossbench("train", "--config-dir", "conf", *FAST, "loss=scaled", "loss.factor=fast")
    assert (wrong.returncode, wrong.stderr) == (2, "lossbench: loss.factor must be a number; got 'fast'\n")
    assert "factor · CE" in lossbench("list", "losses", "--config-dir", "conf").stdout


def test_a_finished_run_is_not_skipped_when_its_own_data_have_changed(lossbench: Lossbench, tmp_path: Path) -> None:
    weighted = ("train", *FAST, "dataset.sample_weights=weights.npy", "-q")
    np.save(tmp_path / "weights.npy", np.ones(178))
    assert lossbench(*weighted).returncode == 0
    assert lossbench(*weighted).returncode == 0
    np.save(tmp_path / "weights.npy", np.arange(178.0))
    changed = lossbench(*weighted)
    assert changed.returncode == 2
    assert "its data changed since" in changed.stderr
    assert lossbench(*weighted, "--force").returncode == 0


def test_a_value_typed_twice_is_one_run(lossbench: Lossbench) -> None:
    answer = lossbench("train", *FAST, "seed=0,0")
    assert answer.returncode == 0
    assert len(answer.stdout.splitlines()) == 1
    assert "(2/2 runs)" in answer.stderr


def test_of_a_key_given_twice_the_last_counts_and_the_other_is_named(lossbench: Lossbench) -> None:
    done = lossbench("train", *FAST, "loss=focal", "loss=dice", "seed=1", "seed=1", "epochs=3", "epochs=1")
    assert "loss is given more than once: dice counts, focal does not (loss=focal,dice trains each)" in done.stderr
    assert "epochs is given more than once: 1 counts, 2 and 3 do not (epochs=2,3,1 trains each)" in done.stderr
    assert "seed is given" not in done.stderr
    assert done.stdout.count("linear-dice-") == 1


def test_a_teacher_that_fails_fails_its_students_by_name(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("train", *FAST, "loss=distillation", "teacher.optimizer.learning_rate=1e30")
    assert answer.returncode == 1
    assert "wine-linear-distillation-s0-" in answer.stderr
    assert "its teacher wine-linear-cross_entropy-s0-" in answer.stderr
    assert len(list((tmp_path / "results/runs").glob("*.partial/failure.json"))) == 2


def test_students_side_by_side_wait_for_their_teacher(lossbench: Lossbench, tmp_path: Path) -> None:
    # A path from the root: joblib's workers outlive a test, and stand in the folder of the one that began them.
    answer = lossbench(
        "train", *FAST, "loss=distillation", "loss.temperature=1,4", f"results_dir={tmp_path / 'results'}",
        "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert len(run_folders(tmp_path)) == 3


def test_an_edited_loss_of_ones_own_is_not_skipped(lossbench: Lossbench, tmp_path: Path) -> None:
    (tmp_path / "conf/loss").mkdir(parents=True)
    (tmp_path / "conf/loss/mine.yaml").write_text("# mine\n_target_: their_losses.mine\n")
    body = (
        "from torch.nn.functional import cross_entropy\n\n"
        "def mine(logits, targets):\n    return {} * cross_entropy(logits, targets)\n"
    )
    command = ("train", "--config-dir", "conf", *FAST, "loss=mine", "-q")
    (tmp_path / "their_losses.py").write_text(body.format(1))
    assert lossbench(*command).returncode == 0
    assert lossbench(*command).returncode == 0
    (tmp_path / "their_losses.py").write_text(body.format(2))
    changed = lossbench(*command)
    assert changed.returncode == 2
    assert "their_losses.mine changed since" in changed.stderr


def test_where_a_function_of_ones_own_failed_is_said(lossbench: Lossbench, tmp_path: Path) -> None:
    (tmp_path / "their_models.py").write_text(
        "import torch\n\ndef mine(input_shape, num_classes):\n    return layer(num_classes)\n\n"
        "def layer(width):\n    return torch.zeros(3).reshape(width, 2)\n"
    )
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/mine.yaml").write_text("# mine\n_target_: their_models.mine\n")
    answer = lossbench("train", "--config-dir", "conf", *FAST, "model=mine")
    assert answer.returncode == 2
    assert answer.stderr.startswith(  # the innermost line of theirs, not that of torch
        "lossbench: model=mine cannot be built: RuntimeError at their_models.py:7: shape '[3, 2]' is invalid for input"
    )


def test_a_loss_that_raises_is_refused_before_anything_is_trained(lossbench: Lossbench, tmp_path: Path) -> None:
    (tmp_path / "their_losses.py").write_text("def broken(logits, targets):\n    return logits.nothing\n")
    (tmp_path / "conf/loss").mkdir(parents=True)
    (tmp_path / "conf/loss/broken.yaml").write_text("_target_: their_losses.broken\n")
    answer = lossbench("train", "--config-dir", "conf", *FAST, "loss=broken")
    assert answer.returncode == 2
    assert "fails on two examples: AttributeError at their_losses.py:2: 'Tensor' object" in answer.stderr
    assert run_folders(tmp_path) == []


def test_a_damaged_failure_is_listed_and_not_a_traceback(lossbench: Lossbench, tmp_path: Path) -> None:
    lossbench("train", *FAST, "optimizer.learning_rate=1e30", "schedule=constant")
    (failure,) = (tmp_path / "results/runs").glob("*.partial/failure.json")
    failure.write_text("{")
    answer = lossbench("runs")
    assert answer.returncode == 0
    assert "cannot be read" in answer.stdout


WRONG = [
    ("loss=label_smothing",),
    ("loss=label_smoothing", "loss.epsilon=0,0.1,1.2"),  # the last of three
    ("loss=temperature", "loss.temperature=0"),
    ("loss=class_weighted", "loss.class_weights=[1,2]"),
    ("loss.epsilom=0.1",),
    ("epochs=ten",),
    ("epochs=0",),
    ("dataset=fashion_mnist", "dataset.root=nowhere"),
    ("dataset=cifar10", "dataset.root=nowhere"),
    ("dataset=image_folder", "dataset.folder=nowhere"),
    ("dataset=image_folder",),
    ("loss=distillation", "teacher.id=nobody"),
    ("loss=distillation", "teacher.model=nothing"),
    ("loss=cross_entropy", "teacher.model=mlp"),
    ("loss=distillation", "loss.hard=distillation"),
    ("loss=distillation", "loss.hard=temperature"),
    ("loss=distillation", "teacher.loss=binary_cross_entropy"),
    ("loss=distillation", "teacher.seed=1"),
    ("model=resnet18", "batch_size=1294"),  # of 1,295 digits: batch normalisation over one example of one pixel
    ("results_dir=/proc/nowhere",),
    ("results_dir=/dev/null",),
    ("model=cnn", "dataset=wine"),
    ("dataset=wine", "dataset.cutmix=1"),
    ("device=cuda", "device.name=cuda:99"),
    ("nonsense",),
    ("--config-dir", "nowhere"),
    ("--nonsense",),
]  # fmt: skip


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_wrong_request_is_one_message_exit_2_and_nothing_written(
    lossbench: Lossbench, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    answer = lossbench("train", *arguments)
    assert answer.returncode == 2, answer.stderr
    assert answer.stdout == ""
    assert "Traceback" not in answer.stderr
    assert answer.stderr.strip()
    if arguments != ("--nonsense",):  # Typer draws a box round its own
        assert len(answer.stderr.splitlines()) == 1
    assert files_below(tmp_path) == []


def draw_pets(folder: Path) -> None:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (folder / split / label).mkdir(parents=True)
            for number in range(8):
                colour = (number * 20, 250 * (label == "cat"), 0)
                Image.new("RGB", (8, 8), colour).save(folder / split / label / f"{number}.png")


def test_a_folder_of_ones_own_images_trains(lossbench: Lossbench, tmp_path: Path) -> None:
    draw_pets(tmp_path / "pets")
    answer = lossbench(
        "train", "dataset=image_folder", "dataset.folder=pets", "model=cnn", "loss=class_weighted", "epochs=5"
    )
    assert answer.returncode == 0, answer.stderr
    assert "accuracy 1.0000" in answer.stdout


def test_an_empty_class_is_named(lossbench: Lossbench, tmp_path: Path) -> None:
    draw_pets(tmp_path / "pets")
    (tmp_path / "pets/train/emu").mkdir()
    answer = lossbench("train", "dataset=image_folder", "dataset.folder=pets", "model=linear", "loss=class_weighted")
    assert answer.returncode == 2
    assert "emu" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert run_folders(tmp_path) == []


def test_an_unreadable_image_is_named(lossbench: Lossbench, tmp_path: Path) -> None:
    draw_pets(tmp_path / "pets")
    (tmp_path / "pets/train/dog/1.png").write_bytes(b"not an image")
    answer = lossbench("train", "dataset=image_folder", "dataset.folder=pets", "model=linear")
    assert answer.returncode == 2
    assert str(Path("train/dog/1.png")) in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert run_folders(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report",), "lossbench train"),
        (("report", "--results-dir", "nowhere"), "lossbench train"),
        (("show", "nobody"), "no finished run 'nobody'"),
        (("list", "loses"), "did you mean losses?"),
    ],
)
def test_other_verbs_refuse_in_one_line_too(
    lossbench: Lossbench, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    answer = lossbench(*arguments)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert files_below(tmp_path) == []


def test_an_unknown_metric_or_filter_is_named(lossbench: Lossbench) -> None:
    lossbench("train", *FAST, "-q")
    for arguments in (("--metrics", "acuracy"), ("--where", "los=dice"), ("--where", "loss=dice")):
        answer = lossbench("report", *arguments)
        assert answer.returncode == 2, arguments
        assert len(answer.stderr.splitlines()) == 1, answer.stderr


@pytest.mark.parametrize(
    ("kind", "name"),
    [("losses", "dice_cross_entropy"), ("models", "resnet20"), ("datasets", "fashion_mnist"), ("optimizers", "sgd"),
     ("schedules", "cosine"), ("metrics", "ece"), ("metrics", "old_accuracy"), ("experiments", "epsilon_sweep")],
)  # fmt: skip
def test_list_names_what_there_is(lossbench: Lossbench, kind: str, name: str) -> None:
    answer = lossbench("list", kind)
    assert answer.returncode == 0, answer.stderr
    assert name in answer.stdout
    assert "_split" not in answer.stdout


def test_ctrl_c_exits_130_says_how_to_go_on_and_the_same_command_does(lossbench: Lossbench, tmp_path: Path) -> None:
    arguments = ["train", "dataset=digits", "model=mlp", "epochs=3000", "device=cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lossbench", *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background of a shell, SIGINT is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not any((tmp_path / "results/runs").glob("*.partial/config.yaml")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "lossbench train dataset=digits" in stderr
    assert "interrupted" in lossbench("runs").stdout


def test_a_terminal_shows_bars_on_stderr_and_results_on_stdout(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lossbench", "train", *FAST, "seed=range(2)"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other side has closed
            break
        if not part:
            break
        drawn += part
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"2/2 runs done, 0 failed" in drawn
    assert b"\x1b[" in drawn
    assert len(stdout.splitlines()) == 2


def test_report_imports_no_torch(lossbench: Lossbench, tmp_path: Path) -> None:
    lossbench("train", *FAST, "-q")
    code = (
        "import sys\nsys.argv = ['lossbench', 'report']\nfrom lossbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules, 'hydra' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "False False"


def test_the_distillation_grid_shares_its_teachers_and_names_them_in_the_table(
    lossbench: Lossbench, tmp_path: Path
) -> None:
    grid = ("train", "+experiment=distillation_grid", "dataset=wine", "epochs=2", "teacher.epochs=3", "-q")
    answer = lossbench(*grid, "seed=range(2)", "loss.alpha=0.9")
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) == 2 * 3 * 2
    assert len(run_folders(tmp_path)) == 2 * 3 * 2 + 2 * 2, "a teacher for each loss and seed"
    where = ("report", "--where", "loss=distillation", "--metrics", "accuracy,teacher_accuracy,teacher_ece")
    table = json.loads(lossbench(*where, "--format", "json").stdout)
    assert len(table["rows"]) == 6
    assert {row["config"]["teacher.loss.name"] for row in table["rows"]} == {"cross_entropy", "label_smoothing"}
    teachers = json.loads(lossbench("report", "--where", "loss=cross_entropy", "--format", "json").stdout)["rows"]
    of_plain = next(r for r in table["rows"] if r["config"]["teacher.loss.name"] == "cross_entropy")
    assert of_plain["metrics"]["teacher_accuracy"]["raw"]["mean"] == teachers[0]["metrics"]["accuracy"]["raw"]["mean"]
    shown = lossbench(*where).stdout
    assert "teacher ECE: the expected calibration error" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("ending", "start"), [(".md", "**digits"), (".csv", "dataset.name,"), (".tex", "% "), (".json", "{")]
)
def test_a_report_is_written_as_the_ending_of_its_file_says(
    lossbench: Lossbench, tmp_path: Path, ending: str, start: str
) -> None:
    lossbench("train", "epochs=1", "device.threads=1")
    assert lossbench("report", "-o", f"table{ending}").returncode == 0
    assert (tmp_path / f"table{ending}").read_text().startswith(start)


def test_ctrl_c_after_the_last_line_is_no_traceback() -> None:
    """As when someone is impatient with Python's own end, which takes a moment once torch is imported."""
    program = (
        "import atexit, os, signal, sys; atexit.register(os.kill, os.getpid(), signal.SIGINT); "
        "from lossbench.cli import main; sys.argv = ['lossbench', 'list', 'losses']; main()"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "cross_entropy" in answer.stdout
