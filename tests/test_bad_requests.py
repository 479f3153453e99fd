"""Requests as the tired and the malicious type them: each is one line that names what is wrong, exit code 2, no file.

Beside them stand those of test_config.py, test_cli.py, test_usage.py, test_evaluate.py, test_plot.py and test_check.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import Lossbench, compose, tree

from lossbench import run
from lossbench.store import Store

# The values and sweeps of `lossbench train dataset=wine model=linear device=cpu epochs=1 …`, and what is said of them.
TRAIN = [
    # numbers: out of each domain, too large to be read again, no numbers at all
    (["epochs=99999999999999999999"], "a number of more than 64 bits (1e+20)"),
    (["seed=9223372036854775808"], "a number of more than 64 bits (9.22337e+18)"),
    (["seed=" + "9" * 5000], "4300 digits"),
    (["seed=" + "9" * 400], "a number of more than 64 bits (of more than 300 digits)"),
    (["model=mlp", "model.hidden=[999999999999]"], "model=mlp cannot be built: RuntimeError: "),
    (["model=mlp", "model.hidden=[0]"], "model.hidden must lie in [1, ∞); got [0]"),
    (["model=mlp", "model.hidden={a:1}"], "model.hidden: a list cannot stand where a mapping does"),
    (["loss.epsilon=1e400"], "loss.epsilon must lie in [0, 1]; got inf"),
    (["loss.epsilon=1/3"], "loss.epsilon must be a number; got '1/3'"),
    (["loss.class_weights={1:2}"], "a key that is no word"),
    (["loss=sum", "loss.first=dice", "loss.second_weight=-1"], "loss.second_weight must lie in [0, ∞); got -1"),
    (["loss=class_weighted", "loss.class_weights=[1,1,nan]"], "must be finite and not negative; got nan for class 2"),
    (["loss=prior_smoothing", "loss.prior=[0.5,0.5,0.5]"], "prior must sum to 1; got a sum of 1.5"),
    (["epochs={}"], "epochs must be a whole number; got '{}'"),
    (["keep=[best]"], "keep must be text; got ['best']"),
    (["dataset.test_fraction=0"], "dataset.test_fraction must lie in (0, 1); got 0"),
    (["dataset.test_fraction=0.9999"], "too few to cut a validation split from"),
    (["dataset.old_classes=99"], "fewer than the 3 classes; got 99"),
    (["dataset.sample_weights=."], "dataset.sample_weights=. must be a .npy file"),
    (["optimizer.momentum=1"], "optimizer.momentum must lie in [0, 1); got 1"),
    (["optimizer.learning_rate=1e-400"], "optimizer.learning_rate must lie in (0, ∞); got 0.0"),
    (["dataset.train_fraction=0"], "dataset.train_fraction must lie in (0, 1]; got 0"),
    (["device.threads=100000"], "device.threads must lie in [1, 1024]; got 100000"),
    (["device.name=tpu"], "device.name=tpu is not on this machine; there is cpu"),
    (["metrics.threshold=nan"], "metrics.threshold must lie in [0, 1]; got nan"),
    (["metrics=ece"], "metrics must be a mapping"),
    (["checkpoint_seconds=0"], "checkpoint_seconds must lie in (0, ∞), or be null; got 0"),
    (["checkpoint_seconds=often"], "checkpoint_seconds"),
    # what must be there
    (["~seed"], "seed must be given"),
    (["~teacher"], "teacher must be given"),
    (["epochs=???"], "epochs must be given"),
    (["loss.epsilon=???"], "loss.epsilon must be given"),
    (["results_dir='   '"], "results_dir must name a folder"),
    (["loss=distillation", "teacher=null"], "wants a teacher; teacher is null"),
    (["loss=distillation", "teacher=mlp"], "teacher must be a mapping, whose keys are set one by one"),
    (["loss=distillation", "teacher.id=wine"], "'wine' fits 2 runs: wine-linear-label_smoothing-s0-"),
    # sweeps that are empty, endless, or of another sweeper
    (["seed=range(1000000000)"], "a sweep has at most 10,000 runs; this one has more, over seed"),
    (["seed=shuffle(range(1000000000))"], "a sweep has at most 10,000 runs"),
    (["seed=range(200)", "batch_size=range(1,101)"], "this one has more, over seed and batch_size"),
    (["seed=range(0,10,0)"], "cannot read 'seed=range(0,10,0)'"),
    (["seed=range(0.,1.,0.)"], "cannot read 'seed=range(0.,1.,0.)'"),
    (["seed=range(5,1)"], "the sweep is empty"),
    (["loss=glob(zzz*)"], "the sweep is empty"),
    (["seed=interval(0,1)"], "seed=interval(0,1) takes a sweeper that searches"),
    (["seed=foo(1)"], "there is no function 'foo'"),
    (["hydra/sweeper=nothing"], "no hydra/sweeper named 'nothing'"),
    (["hydra.launcher._target_=os.system"], "hydra.launcher._target_=os.system is no launcher"),
    (["hydra.sweeper._target_=os.system"], "hydra.sweeper._target_=os.system is no sweeper"),
    (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "n_jobs must be a number of processes"),
    (["hydra/launcher=joblib", "hydra.launcher.n_jobs=-2"], "n_jobs must be a number of processes"),
    (
        ["hydra/launcher=joblib", "hydra.launcher.n_jobs=some"],
        "hydra.launcher.n_jobs must be a whole number; got 'some'",
    ),
    (["hydra/launcher=joblib", "hydra.launcher.backend=threading"], "hydra.launcher.backend"),
    (["hydra.job.chdir=true"], "hydra.job.chdir must be false"),
    (["+hydra.job.env_set.SCALE=100"], "hydra.job.env_set has no effect"),
    (["hydra.searchpath=[file:///nowhere]"], "path=/nowhere is not available"),
    # interpolations that lead nowhere, or round and round
    (["loss.epsilon=${nothing}"], "loss.epsilon=${nothing} cannot be resolved: Interpolation key 'nothing' not found"),
    (["loss.epsilon=${loss.epsilon}"], "loss.epsilon=${loss.epsilon} cannot be resolved: Recursive interpolation"),
    (["seed=${epochs}", "epochs=${seed}"], "seed=${epochs} and epochs=${seed} cannot be resolved"),
    (["results_dir=${oc.env:NOT_THERE}"], "Environment variable 'NOT_THERE' not found"),
    (["loss.epsilon=${magic:1}"], "Unsupported interpolation type magic"),
    # functions that are none, or not of the kind
    (["loss._target_=builtins.eval"], "cannot be used: Target 'builtins.eval' is bl"),
    (["loss._target_=lossbench.losses"], "cannot be used: it is a module: name a function in it"),
    (["loss._target_="], "loss._target_= cannot be used: Empty path"),
    (["loss._target_=[]"], "loss._target_=[] must be text: the path of a function, with dots"),
    (["loss=sum", "loss.first._target_={a:1}"], "loss.first._target_={'a': 1} must be text"),
    (["loss._target_=.."], "loss._target_=.. cannot be used"),
    (["model._target_=lossbench.losses.dice"], "model.logits has no default and must be given"),
    (["device._target_=builtins.dict"], "device._target_=builtins.dict says nothing of its parameters"),
    (["dataset._target_=sklearn.datasets.load_iris"], "dataset=wine cannot be built: AttributeError at _bunch.py:"),
    (["+loss._args_=[1]"], "loss has no key '_args_'"),
    (["+loss.name=[1]"], "loss.name must be a word of letters, digits and . _ - /; got [1]"),
    (["loss=dice.yaml"], "loss=dice.yaml must be named without its ending: dice"),
    (["loss=../model/mlp"], "../model/mlp"),
    (["loss=/etc/passwd"], "named 'passwd'"),
    # what cannot be read: other alphabets, control characters, line breaks, brackets without end
    (["loss=läbel"], "cannot read 'loss=läbel'"),
    (["seed=３"], "cannot read 'seed=３'"),
    (["loss=\x1b[31mdice"], r"cannot read 'loss=\x1b[31mdice'"),
    (["loss=\u202edice"], r"cannot read 'loss=\u202edice'"),
    (["loss=di\nce"], "cannot read 'loss=di ce'"),
    (["seed='1\n2'"], r"seed must be a whole number; got '1\n2'"),
    (["loss=\udcff"], r"cannot read 'loss=\udcff'"),
    (["seed=" + "[" * 2000 + "]" * 2000], "nested too deeply"),
    (["loss=" + "x" * 5000], "File name too long"),
    (["results_dir=" + "x" * 5000], "File name too long"),
    (["loss = dice"], "cannot read 'loss = dice'"),
    ([""], "cannot read ''"),
    (["LOSS=dice"], "no key 'LOSS'"),
    (["loss@model=dice"], "no key 'model'"),
    (["++loss=dice"], "++loss=dice"),
    (["+seed=3"], "'seed'"),
    (["results_dir=file"], "results_dir must be a folder to write to"),
    (["--config-dir", "file"], "--config-dir must name a folder; file is not one"),
]

OTHERS = [
    (["report", "--metrics", ","], "expected names with commas between them, such as nll,ece; got ','"),
    (["report", "--metrics", "accuracy,,nope"], "no metric named 'nope'"),
    (["report", "--calibration", "nope"], "no calibration named 'nope'; known: isotonic, raw"),
    (["report", "--where", "="], "a filter is key=value, such as loss=label_smoothing; got '='"),
    (["report", "--where", "epsilon>0"], "a filter is key=value, such as loss=label_smoothing; got 'epsilon>0'"),
    (["report", "--where", "seed=abc"], "no run has seed=abc; there are: 0"),
    (["report", "--where", "loss.epsilon=0.5"], "no run has loss.epsilon=0.5; there are: 0, 0.1"),
    (["report", "--where", "a\x1b[2Jb=1"], r"no run has a key 'a\x1b[2Jb'"),
    (["report", "--baseline", "seed=0"], "no run has a key 'seed'"),
    (["report", "--select", "nope"], "no metric named 'nope'"),
    (["report", "--ranks", "accuracy"], "ranks need at least 3 losses"),
    (["report", "--rows", "loss,nope"], "no setting named 'nope'"),
    (["report", "--columns", "nope"], "no setting named 'nope'"),
    (["report", "--sort", "epsilon:down"], "--sort takes KEY, KEY:desc or METRIC; got 'epsilon:down'"),
    (["report", "--format", "tabel"], "no --format 'tabel'; did you mean table?"),
    (["report", "--spread", "range"], "no --spread 'range'; known: interval, sd"),
    (["report", "-o", "file/table.md"], "--output file/table.md cannot be written: File exists"),
    (["report", "-o", "/proc/nowhere/table.md"], "--output /proc/nowhere/table.md cannot be written: No such file"),
    (["report", "-o", "pipe"], "--output must name a file; pipe is something else"),
    (["report", "--results-dir", "file"], "--results-dir: dir 'file' is a file"),
    (["runs", "--results-dir", "file"], "--results-dir: dir 'file' is a file"),
    (["runs", "--where", "nope=1"], "no run has a key 'nope'"),
    (["runs", "--limit", "1.5"], "--limit must be a whole number; got 1.5"),
    (["runs", "--status", "don"], "no --status 'don'"),
    (["show", "wine"], "'wine' fits 2 runs"),
    (["show", "../.."], "no finished run '../..'"),
    (["show", "*"], "no finished run '*'"),
    (["show", "a\nb"], "no finished run 'a b'"),
    (["show", "wine-linear-label_smoothing-s0-00000000"], "did you mean wine-linear-label_smoothing-s0-"),
    (["show", "--results-dir", "nowhere"], "no finished runs in nowhere/runs"),
    (["report", "--results-dir", "nowhere"], "no finished runs in nowhere, which is not there; train some first"),
    (["diff", "a", "b"], "no finished run 'a'"),
    (["diff", "{run}", "{run}"], "{run} is both runs; name two"),
    (["evaluate", "nan.npz"], "nan.npz: test logits row 0 is not finite"),
    (["evaluate", "short.npz"], "short.npz: test targets must be class indices of shape [4] to fit logits [4, 3]"),
    (["evaluate", "words.npz"], "words.npz: test logits must be an array of real numbers"),
    (["evaluate", "text.npz"], "text.npz is no .npz of plain numbers"),
    (["evaluate", "loop.npz"], "loop.npz is not there"),
    (["evaluate", "folder.npz"], "folder.npz is not there"),
    (["evaluate", "empty.csv"], "empty.csv is no table: it is empty"),
    (["evaluate", "good.npz", "-o", "folder.npz"], "--output must name a file; folder.npz is a folder"),
    (["evaluate", "good.npz", "-o", "results/runs/{run}/x"], "lies in the folder of a run; choose another place"),
    (["evaluate", "--where", "seed=77"], "no run has seed=77; there are: 0"),
    (["evaluate", "--ood", "nope"], "no dataset named 'nope'"),
    (["evaluate", "--ood", "digits seed"], "--ood takes the name of a data set and settings of it"),
    (["evaluate", "--corruptions"], "--corruptions takes images"),
    (["evaluate", "--pictures", "--metrics", "nll"], "go without --metrics"),
    (["curve", "reliability", "good.npz", "-o", "good.npz"], "--output good.npz is the file that is measured"),
    (["curve", "reliability", "good.npz", "-o", "link.npz"], "--output link.npz is the file that is measured"),
    (["curve", "reliability", "good.npz", "--n-bins", "-5"], "n_bins must lie in [1, 10000]; got -5"),
    (["curve", "reliability", "good.npz", "--split", "val"], "there is no validation part to show"),
    (["curve", "temperature", "good.npz", "--temperatures", "1:2:99999999999"], "their count in [1, 10000]"),
    (["curve", "temperature", "good.npz", "--temperatures", "nan:2:5"], "--temperatures must lie in [1e-06, 1e+06]"),
    (["curve", "temperature", "good.npz", "--equal-mass"], "--equal-mass is for reliability"),
    (["check", "os.system"], "cannot be used: Target 'os.system' is bl"),
    (["check", "label_smoothing", "epsilon=2"], "loss.epsilon must lie in [0, 1]; got 2"),
    (["check", "label_smoothing", "epsilon=${nope}"], "Interpolation key 'nope' not found"),
    (["check", "label_smothing"], "no loss named 'label_smothing'; did you mean label_smoothing?"),
    (["check", ".."], "got '..'"),
    (["list", "losses", "--config-dir", "file"], "--config-dir must name a folder; file is not one"),
    (["list"], "KIND is missing"),
    (["plot", "reliability", "--calibration", "nope", "-o", "a.svg"], "no calibration named 'nope'"),
    (["plot", "reliability", "text.npz", "-o", "a.svg"], "text.npz is no .npz of plain numbers"),
    (["plot", "sweep", "--baseline", "nope", "-o", "a.svg"], "a filter is key=value"),
    (["plot", "reliability", "-o", ".svg"], "a figure ends in .svg, .pdf, .png, .json; got .svg"),
    (["--verison"], "no option --verison; did you mean --version?"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs with their index, and files that are none of what they are called."""
    folder = tmp_path_factory.mktemp("requests")
    for epsilon in (0, 0.1):
        run.execute(
            compose(
                "dataset=wine", "model=linear", "epochs=1", "device=cpu", "loss=label_smoothing",
                f"loss.epsilon={epsilon}", f"results_dir={folder / 'results'}",
            )
        )  # fmt: skip
    Store(folder / "results").frame()
    logits, targets = 2 * np.eye(4, 3), np.arange(4) % 3
    np.savez(folder / "good.npz", logits=logits, targets=targets)
    np.savez(folder / "nan.npz", logits=logits * np.nan, targets=targets)
    np.savez(folder / "short.npz", logits=logits, targets=targets[:2])
    np.savez(folder / "words.npz", logits=logits.astype(str), targets=targets)
    (folder / "link.npz").symlink_to("good.npz")
    (folder / "loop.npz").symlink_to("loop.npz")
    (folder / "folder.npz").mkdir()
    os.mkfifo(folder / "pipe")
    for name in ("file", "text.npz", "empty.csv"):
        (folder / name).write_text("" if name == "empty.csv" else "text")
    return folder


@pytest.fixture
def tmp_path(folder: Path) -> Path:
    """Where `lossbench` is called: one folder for all requests, since none may change it."""
    return folder


def refused(lossbench: Lossbench, folder: Path, arguments: list[str], message: str) -> None:
    run_id = Store(folder / "results").run_ids()[0]
    before = tree(folder)
    answer = lossbench(*(argument.replace("{run}", run_id) for argument in arguments))
    assert (answer.returncode, answer.stdout) == (2, ""), answer.stderr
    (line,) = answer.stderr.split("\n")[:-1]
    assert line.startswith("lossbench: ")
    assert line.isprintable()
    assert len(line) < 1100
    assert message.replace("{run}", run_id) in line
    assert tree(folder) == before


@pytest.mark.parametrize(("overrides", "message"), TRAIN, ids=[f"train-{number}" for number in range(len(TRAIN))])
def test_a_bad_request_to_train_is_one_line_that_names_it_exit_2_and_nothing_written(
    lossbench: Lossbench, folder: Path, overrides: list[str], message: str
) -> None:
    request = ["train", "dataset=wine", "model=linear", "device=cpu", "epochs=1", *overrides]
    refused(lossbench, folder, request, message)


@pytest.mark.parametrize(
    ("arguments", "message"), OTHERS, ids=[f"{case[0][0]}-{number}" for number, case in enumerate(OTHERS)]
)
def test_a_bad_request_to_another_verb_is_one_line_that_names_it_exit_2_and_nothing_written(
    lossbench: Lossbench, folder: Path, arguments: list[str], message: str
) -> None:
    refused(lossbench, folder, arguments, message)


def test_bad_requests_are_counted() -> None:
    assert len({tuple(arguments) for arguments, _ in TRAIN + OTHERS}) == len(TRAIN) + len(OTHERS) >= 60


def test_what_no_text_encodes_is_refused_as_a_user_types_it(folder: Path) -> None:
    before = tree(folder)
    answer = subprocess.run(
        [sys.executable, "-m", "lossbench", "train", b"loss=\xff"],
        cwd=folder,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith(rb"lossbench: cannot read 'loss=\udcff'")
    assert len(answer.stderr.splitlines()) == 1
    assert tree(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_that_may_not_be_read_or_written_are_named(lossbench: Lossbench, folder: Path) -> None:
    locked = folder / "locked"
    locked.mkdir(mode=0o500)
    try:
        refused(lossbench, folder, ["train", "results_dir=locked"], "results_dir must be a folder to write to")
        refused(lossbench, folder, ["report", "-o", "locked/a.md"], "locked/a.md cannot be written: Permission denied")
        locked.chmod(0)
        refused(lossbench, folder, ["show", "--results-dir", "locked"], "Permission denied")
    finally:
        locked.chmod(0o700)
        locked.rmdir()


def test_an_output_that_is_a_link_stays_one(lossbench: Lossbench, folder: Path) -> None:
    (folder / "linked.md").symlink_to("target.md")
    try:
        assert lossbench("report", "-o", "linked.md").returncode == 0
        assert (folder / "linked.md").is_symlink()
        assert (folder / "target.md").read_text().startswith("**wine")
    finally:
        (folder / "linked.md").unlink()
        (folder / "target.md").unlink(missing_ok=True)
