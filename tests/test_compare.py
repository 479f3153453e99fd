"""`lossbench.compare`: what the command line does, for losses, models and data that a program holds."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support import Lossbench, files_below
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
)

import lossbench as library
from lossbench import compare, given, losses, progress
from lossbench.data.in_memory import from_memory
from lossbench.errors import ConfigError, DataError, RequestError, RunError
from lossbench.library.comparison import Comparison
from lossbench.models import mlp
from lossbench.progress import Outcome
from lossbench.report import render, tabulate
from lossbench.store import Store

ONE_THREAD = ("device=cpu", "device.threads=1")


def clouds(n: int = 120) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Two classes of points in the plane, called a and b, half of n each."""
    generator = np.random.default_rng(0)
    words = np.array(["a", "b"])[np.arange(n) % 2]
    return generator.normal(size=(n, 2)) + (words == "b")[:, None] * 2.0, words


def linear(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return nn.Linear(input_shape[0], num_classes)


def shifted(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits, targets) + 1


def quick(of: dict[str, Any], model: Any = linear, data: Any = None, **options: Any) -> Comparison:
    return compare(
        of,
        model,
        clouds() if data is None else data,
        **{"seeds": 2, "epochs": 2, "quiet": True, "overrides": ONE_THREAD, **options},
    )


def logits_of(comparison: Any, loss: str, seed: int = 0) -> np.ndarray[Any, Any]:
    rows = comparison.frame.query("`loss.name` == @loss and seed == @seed")
    logits: np.ndarray[Any, Any] = comparison.store.predictions(rows["run"].iloc[0])["test_logits"]
    return logits


def test_its_numbers_and_table_are_those_of_the_command_line_bit_for_bit(lossbench: Lossbench, tmp_path: Path) -> None:
    common = ("epochs=2", *ONE_THREAD)
    names = "cross_entropy,label_smoothing"
    assert lossbench("train", "-q", "dataset=digits", "model=mlp", f"loss={names}", "seed=0,1", *common).returncode == 0
    typed = lossbench("report", "--baseline", "loss=cross_entropy", "-o", "table.txt")
    assert typed.returncode == 0
    names_of = {name: name for name in names.split(",")}
    found = compare(names_of, seeds=2, epochs=2, baseline="cross_entropy", overrides=ONE_THREAD, quiet=True)
    theirs = Store(tmp_path / "results")
    assert sorted(found.run_ids) == theirs.run_ids()
    for run_id in theirs.run_ids():
        for name, array in theirs.predictions(run_id).items():
            assert np.array_equal(found.store.predictions(run_id)[name], array)
        assert theirs.metrics(run_id) == found.store.metrics(run_id)
    assert f"{found!r}\n" == (tmp_path / "table.txt").read_text()


def test_arrays_give_what_the_same_arrays_give_from_a_file(lossbench: Lossbench, tmp_path: Path) -> None:
    inputs, words = clouds()
    np.savez(tmp_path / "own.npz", inputs=inputs, targets=words == "b")  # a is 0, b is 1
    command = ("dataset=arrays", "dataset.file=own.npz", "model=linear", "epochs=2", "seed=0", *ONE_THREAD)
    assert lossbench("train", "-q", *command).returncode == 0
    store = Store(tmp_path / "results")
    theirs = store.predictions(store.newest())["test_logits"]
    ours = quick({"cross_entropy": "cross_entropy"}, "linear", (inputs.tolist(), words.tolist()))
    assert np.array_equal(logits_of(ours, "cross_entropy"), theirs)


def test_a_loss_may_be_a_name_a_function_a_module_its_class_or_a_partial_of_one() -> None:
    weights = torch.tensor([1.0, 3.0])
    found = quick(
        {
            "name": "label_smoothing epsilon=0.1",
            "ours": functools.partial(losses.cross_entropy, epsilon=0.1),
            "torchs": functools.partial(cross_entropy, label_smoothing=0.1),
            "lambda": lambda z, t: cross_entropy(z, t, label_smoothing=0.1),
            "module": nn.CrossEntropyLoss(label_smoothing=0.1),
            "class": functools.partial(nn.CrossEntropyLoss, label_smoothing=0.1),
            "weighed": functools.partial(nn.CrossEntropyLoss, weight=weights),
            "weighed_function": functools.partial(cross_entropy, weight=weights),
            "plain": cross_entropy,
        },
        seeds=1,
    )
    for name in ("ours", "torchs", "lambda", "module", "class"):  # the same loss, by other names
        assert np.allclose(logits_of(found, name), logits_of(found, "name"), atol=1e-5), name
    assert np.array_equal(logits_of(found, "weighed"), logits_of(found, "weighed_function"))
    for name in ("weighed", "plain"):
        assert not np.allclose(logits_of(found, name), logits_of(found, "name"), atol=1e-3), name


def test_a_partials_link_is_that_of_its_settings_whatever_else_it_binds() -> None:
    """A loss trained through softmax(z/T) is evaluated so, also where its class weights are a tensor."""
    both = {"temperature": 4.0, "class_weights": torch.ones(2)}
    found = quick({"tempered": functools.partial(losses.cross_entropy, **both)}, seeds=1)
    assert found.store.metrics(found.run_ids[0])["link"] == {"name": "softmax", "temperature": 4.0}


def test_all_losses_of_a_seed_start_alike_and_see_the_same_batches() -> None:
    found = quick({"plain": cross_entropy, "shifted": shifted}, baseline="plain")
    prints = [f"fingerprint.{of}" for of in ("data", "split", "initial_weights", "batch_order")]
    for _, rows in found.frame.groupby("seed"):
        assert (rows[prints].nunique() == 1).all()
    assert found.frame["fingerprint.initial_weights"].nunique() == 2  # one for each seed
    # A constant added to the loss has no gradient: the runs are the same, and the table says so.
    assert np.array_equal(logits_of(found, "plain"), logits_of(found, "shifted"))
    (row,) = (row for row in found.table().table.rows if row.config["loss.name"] == "shifted")
    assert [cell.difference.difference for cell in row.cells if cell.difference] == [0.0] * 5


def test_a_module_with_a_memory_is_another_one_for_each_run() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            self.calls += self.training
            return cross_entropy(logits, targets) * (1 + self.calls)

    mine = Counting()
    found = quick({"counting": mine, "again": mine})
    assert np.array_equal(logits_of(found, "counting"), logits_of(found, "again"))
    assert mine.calls == 0


def test_a_loss_that_diverges_is_reported_while_the_others_finish() -> None:
    def exploding(logits: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(logits, targets) * torch.inf

    found = quick({"plain": cross_entropy, "exploding": exploding})
    assert set(found.frame["loss.name"]) == {"plain"}
    assert len(found.failures) == 2
    assert all("-exploding-" in run_id and "the loss became" in why for run_id, why in found.failures.items())
    assert repr(found).count("failed: the loss became") == 2
    assert found._repr_html_().count("failed: the loss became") == 2
    with pytest.raises(RunError, match="all 2 runs failed, the first: the loss became"):
        quick({"exploding": exploding})


class Squares(Dataset[tuple[Tensor, int]]):
    """The points of `clouds`, one by one."""

    def __init__(self, noise: float = 0.0, hole: bool = False) -> None:
        inputs, words = clouds()
        inputs[3] = np.nan if hole else inputs[3]
        self.inputs, self.words, self.noise = torch.tensor(inputs, dtype=torch.float32), words, noise

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index] + self.noise * torch.rand(()), int(self.words[index] == "b")


@pytest.mark.parametrize(
    "wrapped",
    [
        Squares,
        lambda: DataLoader(Squares(), batch_size=7, shuffle=True, drop_last=True),
        lambda: DataLoader(Squares(), batch_sampler=BatchSampler(RandomSampler(Squares()), 7, False)),
    ],
    ids=["Dataset", "DataLoader", "batch_sampler"],
)
def test_a_data_set_or_loader_of_torch_is_the_arrays_it_gives(wrapped: Callable[[], Any]) -> None:
    inputs, words = clouds()
    ours, theirs = from_memory(wrapped()), from_memory((inputs, (words == "b").astype(int)))
    assert torch.equal(ours.train.inputs, theirs.train.inputs)
    assert torch.equal(ours.train.targets, theirs.train.targets)
    tensors = from_memory(TensorDataset(ours.train.inputs, ours.train.targets))
    assert torch.equal(tensors.train.inputs, theirs.train.inputs)


def test_classes_are_the_labels_in_order_and_splits_that_are_given_stay() -> None:
    source = from_memory({"train": ([[0.0], [1.0], [2.0], [3.0]], [7, 3, 7, 3]), "test": ([[4.0]], [7.0])})
    assert source.class_names == ("3", "7")
    assert source.train.targets.tolist() == [1, 0, 1, 0]
    assert source.val is None
    assert source.test is not None
    assert source.test.targets.tolist() == [1]
    masks = from_memory((np.zeros((2, 1, 2, 2), np.uint8), np.array([[[0, 1], [1, -100]]] * 2)))
    assert masks.train.masks
    assert masks.train.inputs.dtype == torch.uint8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"test": clouds()}, "must have the split train"),
        ({"train": clouds(), "valid": clouds()}, "'valid'; did you mean val?"),
        ((Squares(), Squares()), 'Splits of your own are {"train": …, "val": …, "test": …}'),
        ([1.0, 2.0, 3.0], "got a list of 3"),
        (([[1.0], [2.0, 3.0]], [0, 1]), "rows of different lengths"),
        (([["x"], ["y"]], [0, 1]), "should be numbers"),
        ((np.array([["x"], [None]], object), [0, 1]), "encode words first"),
        (([[1.0], [2.0]], [[0], [1]]), r"got \[2, 1\]: y.ravel\(\)"),
        (([[1.0], [2.0]], [[0, 1], [1, 0]]), r"y.argmax\(1\)"),
        (([[1.0], [2.0]], [0.5, 1.0]), "for a regression"),
        (([[1.0], [2.0]], [0.0, float("nan")]), r"data: targets\[1\] is nan; leave out what has no label"),
        ((np.zeros((10, 1)), np.arange(10)), "10 different labels of 10 examples are no classes"),
        (([[1.0], [2.0]], np.array(["a", 1], object)), "of one kind"),
        (([[1.0], [2.0]], [0]), "one for each of the 2 inputs"),
        (([[1.0], [np.nan]], [0, 1]), r"data: inputs\[1\] is not finite"),
        ({"train": clouds(), "test": ([[0.0, 0.0]], ["c"])}, r"data\['test'\] has the label 'c', which train has not"),
        (Squares(noise=1.0), "another one each time"),
        (Squares(hole=True), r"data: inputs\[3\] is not finite"),
        (DataLoader(Squares(), sampler=SubsetRandomSampler(range(9))), "SubsetRandomSampler chooses examples"),
        (DataLoader(Squares(), sampler=RandomSampler(Squares(), num_samples=9)), "RandomSampler chooses examples"),
        (DataLoader(Squares(), sampler=RandomSampler(Squares(), replacement=True)), "RandomSampler chooses examples"),
        (DataLoader(Squares(), sampler=SequentialSampler(range(9))), "SequentialSampler chooses examples"),
        (DataLoader(Squares(), batch_sampler=BatchSampler(range(9), 3, False)), "range chooses examples"),
        (DataLoader(Squares(), batch_sampler=[[0, 1], [2, 3]]), "list chooses examples"),
        (TensorDataset(torch.zeros(4, 1)), "got a tuple of 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "given",
)
def test_data_that_are_none_are_refused_in_words(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_memory(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"losses": {}}, "losses must be a dictionary"),
        ({"losses": {"a b": cross_entropy}}, "the name of a loss must be a word"),
        ({"losses": {"x": 3}}, r"losses\['x'\] must be a function"),
        ({"losses": {"x": "label_smothing"}}, "did you mean label_smoothing"),
        ({"losses": {"x": "label_smoothing epsilon=2"}}, r"loss.epsilon must lie in \[0, 1\]; got 2"),
        ({"losses": {"x": "label_smoothing 0.1"}}, "loss is a name and its settings"),
        ({"losses": {"x": functools.partial(cross_entropy, torch.zeros(2, 2))}}, "of keyword arguments"),
        ({"losses": {"x": lambda z, t: (z.sum(1), t)}}, "loss=x must return a scalar tensor; got tuple"),
        ({"losses": {"x": lambda z, t: z.nowhere}}, "loss=x fails on two examples: AttributeError"),
        ({"losses": {"x": lambda z, t, w: z.sum()}}, r"losses\['x'\] may need logits and targets alone; it needs w"),
        ({"losses": {"x": lambda z, t, *, w: z.sum()}}, "it needs w, too: give that by functools.partial"),
        ({"losses": {"x": nn.ConstantPad1d}}, "it needs padding and value, too"),
        ({"model": nn.Linear(2, 2)}, "got a Linear that is made"),
        ({"model": nn.Linear}, r"model must take \(input_shape, num_classes\), or nothing; called with \(\(2,\), 2\)"),
        ({"model": lambda shape: nn.Linear(2, 2)}, r"model must take \(input_shape, num_classes\), or nothing"),
        ({"model": lambda: nn.Linear(2, 3)}, r"must give logits \[2, 2\] for 2 examples; got \[2, 3\]"),
        ({"model": lambda: "mlp"}, "it gave a str, not a torch.nn.Module"),
        ({"model": "mlpp"}, "did you mean mlp"),
        ({"model": "mpl"}, r"did you mean mlp\?"),  # and not smp, which is as near: two letters of three, in order
        ({"data": "digit"}, "did you mean digits"),
        ({"seeds": 0}, "seeds must be how many"),
        ({"seeds": [0.5]}, "seeds must be how many"),
        ({"seeds": 1.5}, "seeds must be how many"),
        ({"seeds": "01"}, "seeds must be how many"),
        ({"seeds": [3, 3]}, "seeds must all be different"),
        ({"epochs": 0}, "epochs must lie in"),
        ({"baseline": "plane"}, "did you mean plain"),
        ({"overrides": "seed=1"}, "must be a list of words"),
        ({"overrides": ["seed=1"]}, "give that as seeds"),
        ({"overrides": ["loss.epsilon=1"]}, "give that as losses"),
        ({"overrides": ["model.bias=false"]}, "give that with model, as functools.partial does"),
        ({"overrides": ["dataset.file=own.npz"]}, "give that with data"),
        ({"overrides": ["hydra/launcher=joblib"]}, "for the command line"),
        ({"overrides": ["batchsize=3"]}, "batchsize"),
    ],
    ids=lambda value: value if isinstance(value, str) else "given",
)
def test_a_wrong_request_is_refused_before_anything_is_trained(
    change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    request = {"losses": {"plain": cross_entropy}, "model": linear, "data": clouds(), "seeds": 1, "quiet": True}
    with pytest.raises(RequestError, match=message):
        compare(**{**request, **change})
    assert files_below(tmp_path) == []


def test_a_factory_that_gives_one_module_twice_is_refused() -> None:
    network = nn.Linear(2, 2)
    with pytest.raises(RequestError, match="the same module twice"):
        quick({"plain": cross_entropy, "other": shifted}, lambda: network)


def test_a_model_may_be_a_class_or_a_partial_and_is_made_anew_for_each_run() -> None:
    class Network(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(2, 2))

    of_class, of_partial = (
        quick({"plain": cross_entropy}, model) for model in (Network, functools.partial(mlp, hidden=[4]))
    )
    assert set(of_class.frame["model.name"]) == {"Network"}
    assert of_class.frame["fingerprint.initial_weights"].nunique() == 2
    assert set(of_partial.frame["model.hidden"]) == {"[4]"}


def test_a_distilled_students_teacher_has_the_model_given() -> None:
    found = quick({"distilled": "distillation alpha=0.5"}, seeds=1)
    assert set(found.frame["teacher.model._target_"]) == set(found.frame["model._target_"])
    assert found.frame["teacher_accuracy"].notna().any()


def test_overrides_set_what_has_no_argument_and_may_sweep() -> None:
    rates = "optimizer.learning_rate=0.01,0.1"
    found = quick({"plain": cross_entropy}, seeds=[3], overrides=[*ONE_THREAD, rates, "metrics.n_bins=5"])
    assert sorted(found.frame["optimizer.learning_rate"].unique()) == [0.01, 0.1]
    assert set(found.frame["seed"]) == {3}
    assert set(found.frame["metrics.n_bins"]) == {5}


def test_stored_runs_are_skipped_when_finished_and_trained_again_with_force(tmp_path: Path) -> None:
    request: dict[str, Any] = {"model": "linear", "results_dir": tmp_path / "kept"}
    first = quick({"plain": cross_entropy}, **request)
    ages = [first.store.finished_at(run_id) for run_id in first.run_ids]
    more = quick({"plain": cross_entropy, "ours": losses.focal}, **request)
    assert [more.store.finished_at(run_id) for run_id in first.run_ids] == ages
    assert set(more.frame["loss.name"]) == {"plain", "ours"}
    assert set(quick({"plain": cross_entropy}, **request).frame["loss.name"]) == {"plain"}  # its own runs alone
    again = quick({"plain": cross_entropy}, force=True, **request)
    assert all(again.store.finished_at(run_id) > age for run_id, age in zip(first.run_ids, ages, strict=True))
    (kept,) = (tmp_path / "kept/data").iterdir()  # the arrays, once
    assert np.load(kept)["class_names"].tolist() == ["a", "b"]


def test_what_cannot_be_imported_again_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="results_dir keeps runs of what can be imported again, and mine cannot"):
        quick({"plain": cross_entropy, "mine": lambda z, t: cross_entropy(z, t)}, "linear", results_dir=tmp_path)
    with pytest.raises(ConfigError, match="and model cannot: move it to a module"):
        quick({"plain": cross_entropy}, lambda s, k: linear(s, k), results_dir=tmp_path)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("wrong", ["optimizer.learning_rat=1", "optimizer.learning_rate=-1"])
def test_a_refused_request_keeps_no_data(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(RequestError):
        quick({"plain": cross_entropy}, results_dir=tmp_path / "kept", overrides=[*ONE_THREAD, wrong])
    assert files_below(tmp_path) == []


def test_trackers_write_below_the_folder_that_the_runs_are_kept_in(tmp_path: Path) -> None:
    kept = tmp_path / "it's kept, here"
    found = quick({"plain": cross_entropy}, seeds=1, results_dir=kept, overrides=[*ONE_THREAD, "tracker=tensorboard"])
    assert [path.name for path in (kept / "tensorboard").iterdir()] == list(found.run_ids)


def test_without_such_a_folder_a_tracker_is_told_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"give results_dir, or overrides=\['tracker.tensorboard.directory=…'\]"):
        quick({"plain": cross_entropy}, seeds=1, overrides=[*ONE_THREAD, "tracker=tensorboard"])
    assert list(tmp_path.iterdir()) == []
    said = [*ONE_THREAD, "tracker=tensorboard", "tracker.tensorboard.directory=events"]
    found = quick({"plain": cross_entropy}, seeds=1, overrides=said)
    assert [path.name for path in (tmp_path / "events").iterdir()] == list(found.run_ids)


def test_the_folder_of_a_comparison_goes_with_it() -> None:
    found = quick({"plain": cross_entropy}, seeds=1)
    folder = found.store.runs.parent
    assert folder.is_dir()
    del found
    gc.collect()
    assert not folder.exists()


def test_torch_is_left_as_it_was_found() -> None:
    before = torch.get_rng_state(), torch.get_num_threads()
    quick({"plain": cross_entropy}, seeds=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_a_function_of_a_module_that_was_loaded_again_is_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    text = "from torch.nn.functional import cross_entropy\ndef own(z, t):\n    return {} * cross_entropy(z, t)\n"
    (tmp_path / "own_module.py").write_text(text.format(1))
    monkeypatch.syspath_prepend(tmp_path)
    own = importlib.import_module("own_module")
    first = quick({"own": own.own}, seeds=1)
    (tmp_path / "own_module.py").write_text(text.format(1000))  # another length: importlib looks at size and seconds
    second = quick({"own": importlib.reload(own).own}, seeds=1)
    assert set(first.frame["loss._target_"]) == set(second.frame["loss._target_"]) == {"own_module.own"}
    assert not np.allclose(logits_of(first, "own"), logits_of(second, "own"), atol=0.1)


@pytest.fixture(scope="module")
def found() -> Any:
    return quick({"plain": cross_entropy, "smoothed": "label_smoothing"}, seeds=3, baseline="plain")


def test_the_frame_has_a_row_per_run_split_and_calibration(found: Any) -> None:
    assert len(found.frame) == 2 * 3 * 2 * 4  # losses × seeds × splits × calibrations
    assert found.frame[["run", "split", "calibration"]].duplicated().sum() == 0


def test_the_table_is_what_the_report_makes_of_the_frame(found: Any) -> None:
    table = tabulate(found.frame, baseline=["loss=plain"], metrics=["nll"], store=found.store)
    assert found.table(metrics=["nll"]).render("markdown") == render(table, "markdown")
    assert found.table(metrics=["nll"], baseline="smoothed").table.baseline == "loss=smoothed"


def test_a_notebook_shows_verdict_numbers_and_differences(found: Any) -> None:
    shown = found._repr_html_()
    assert shown.count("<table>") == 2
    assert "smoothed against loss=plain, n = 3" in shown
    for cell in found.table().table.rows[0].cells:
        assert f"{cell.mean:.4f} ±" in shown


def test_what_a_notebook_shows_of_names_is_text() -> None:
    from lossbench.report.fragment import _part

    assert _part("<b>", ["&"], [], "<script>") == (
        "<table>\n<caption>&lt;b&gt;</caption>\n<thead><tr><th>&amp;</th></tr></thead>\n<tbody>\n\n</tbody>\n"
        "</table>\n<p><small>&lt;script&gt;</small></p>"
    )


def test_reports_and_figures_are_written_by_the_ending(found: Any, tmp_path: Path) -> None:
    for ending, start in ((".html", "<!"), (".tex", "%"), (".csv", "dataset"), (".txt", "arrays")):
        found.report(tmp_path / f"table{ending}")
        assert (tmp_path / f"table{ending}").read_text().lower().startswith(start), ending
    plot = found.plot("reliability")
    assert plot._repr_svg_().startswith("<svg")
    assert plot.caption.startswith("arrays · linear · test split · 3 seeds")
    plot.save(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"a report ends in .*; got table.doc"):
        found.report(tmp_path / "table.doc")
    with pytest.raises(ConfigError, match=r"a figure ends in"):
        plot.save(tmp_path / "plot.bmp")


def test_progress_in_a_notebook_is_one_line_that_ends_with_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, data: dict[str, str], raw: bool) -> None:
            shown.append(data["text/plain"])

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=lambda *_, **options: Handle()))
    with progress.display(quiet=False) as line:
        line.begin(2)
        line.run("one", 5)
        line.epoch({"epoch": 1, "train_loss": 1.0, "val_accuracy": 0.5}, 5)  # too soon after the last
        line.done(Outcome("one", "finished"))
        line.done(Outcome("two", "failed", "it broke"))
    assert shown[0] == "0/2 runs done; one"
    assert len(shown) == 2
    assert shown[1].startswith("2/2 runs in 0.0 s\ntwo failed: it broke")


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'comparison_of'"):
        library.comparison_of  # noqa: B018
    with pytest.raises(AttributeError, match="its comparison is over"):
        given.loss_0  # noqa: B018
