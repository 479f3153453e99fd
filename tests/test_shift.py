"""Stored models shown unknown data and corrupted images."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from support import Lossbench, compose, read_json

from lossbench import metrics, run, shift
from lossbench.build import build_dataset
from lossbench.config import session
from lossbench.corruptions import LEVELS, corruption
from lossbench.errors import ConfigError, RequestError, StoreError
from lossbench.store import Store
from lossbench.stored_model import load

QUICK = ("epochs=2", "device=cpu", "device.threads=1")
MLP = ("model=mlp", "model.hidden=[8]")
OLD = ("dataset.old_classes=5", "dataset.learn=old")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Store, str]]:
    """Train a run once; every test that asks for it has a copy of its folder."""
    folder = tmp_path_factory.mktemp("runs")
    known: dict[tuple[str, ...], str] = {}
    copies = iter(range(1000))

    def train(*overrides: str) -> tuple[Store, str]:
        if overrides not in known:
            outcome = run.execute(
                compose(
                    *QUICK,
                    *(overrides if any(key.startswith("model=") for key in overrides) else (*MLP, *overrides)),
                    f"results_dir={folder / 'all'}",
                )
            )
            assert outcome.status == "finished", outcome.message
            known[overrides] = outcome.run_id
        store = Store(folder / str(next(copies)))
        shutil.copytree(folder / "all/runs" / known[overrides], store.path(known[overrides]))
        return store, known[overrides]

    return train


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = yaml.safe_load(path.read_text())  # JSON is yaml
    change(content)
    path.write_text(json.dumps(content))


def records(store: Store, run_id: str, **wanted: Any) -> list[dict[str, Any]]:
    return [
        record
        for record in store.shift(run_id)["corruptions"]["measured"]
        if all(record[key] == value for key, value in wanted.items())
    ]


def test_corruptions_give_every_metric_of_every_level_raw_and_scaled(trained: Callable[..., tuple[Store, str]]) -> None:
    store, name = trained()
    assert shift.examine_all(store, [name], ood=[], corruptions=True) == {}
    measured = store.shift(name)["corruptions"]["measured"]
    assert len(measured) == 2 * (1 + 5 * len(LEVELS))
    assert len({(row["corruption"], row["level"], row["calibration"]) for row in measured}) == len(measured)
    assert all(set(shift.MEASURED) <= set(row) for row in measured)
    assert store.shift(name)["corruptions"]["noise_seed"] == 0
    assert store.shift(name)["corruptions"]["amounts"]["contrast"] == [0.75, 0.5, 0.4, 0.3, 0.15]


def test_the_clean_row_is_what_the_run_was_measured_as(trained: Callable[..., tuple[Store, str]]) -> None:
    store, name = trained("loss=temperature")
    shift.examine_all(store, [name], ood=[], corruptions=True)
    for row in records(store, name, corruption="clean"):
        known = store.metrics(name)["test"][row["calibration"]]
        assert {metric: row[metric] for metric in shift.MEASURED} == pytest.approx(
            {metric: known[metric] for metric in shift.MEASURED}, abs=1e-9
        )


@pytest.mark.parametrize("kind", LEVELS)
def test_a_corrupted_row_is_the_model_on_corrupted_pixels_through_its_link(
    trained: Callable[..., tuple[Store, str]], kind: str
) -> None:
    # Pixels of digits lie in [0, 1] already; loss=temperature is evaluated through softmax(z/2).
    store, name = trained("loss=temperature")
    shift.examine_all(store, [name], ood=[], corruptions=True)
    weights, dataset = store.weights(name), build_dataset(store.config(name))
    pixels = corruption(kind, 5)(dataset.test.inputs)
    hidden = torch.relu(((pixels - weights["mean"]) / weights["scale"]).flatten(1) @ weights["network.hidden1.weight"].T
                        + weights["network.hidden1.bias"])  # fmt: skip
    logits = (hidden @ weights["network.head.weight"].T + weights["network.head.bias"]).numpy() / 2
    temperature = store.metrics(name)["temperature"]
    for calibration, scale in (("raw", 1.0), ("temperature_scaled", temperature)):
        (row,) = records(store, name, corruption=kind, level=5, calibration=calibration)
        expected = metrics.evaluate(logits / scale, dataset.test.targets, metrics=shift.MEASURED)
        assert {metric: row[metric] for metric in expected} == pytest.approx(expected, abs=1e-4)


def test_pixels_of_masks_are_those_of_the_stored_predictions(
    trained: Callable[..., tuple[Store, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes are taken to [0, 1] and back: where nothing is done to them between, nothing changes."""
    small = ("dataset.size=16", "dataset.n_train=40", "dataset.n_test=10", "model=unet", "model.width=2")
    store, name = trained("dataset=shapes", *small, "model.depth=2")
    monkeypatch.setattr(shift, "corruption", lambda name, level: lambda images: images)
    shift.examine_all(store, [name], ood=[], corruptions=True)
    (clean,) = records(store, name, corruption="clean", calibration="raw")
    for row in records(store, name, calibration="raw"):
        assert row["nll"] == pytest.approx(clean["nll"], rel=1e-5)


def test_images_lose_accuracy_with_their_contrast(trained: Callable[..., tuple[Store, str]]) -> None:
    store, name = trained()
    shift.examine_all(store, [name], ood=[], corruptions=True)
    (clean,) = records(store, name, corruption="clean", calibration="raw")
    (faint,) = records(store, name, corruption="contrast", level=5, calibration="raw")
    assert faint["accuracy"] < clean["accuracy"] - 0.1


def test_tables_have_no_noise_blur_or_contrast(trained: Callable[..., tuple[Store, str]]) -> None:
    store, name = trained("dataset=wine")
    with pytest.raises(ConfigError, match=r"--corruptions takes images; the inputs of this run are \[13\]"):
        shift.examine_all(store, [name], ood=[], corruptions=True)
    assert not (store.path(name) / "shift.json").exists()


def test_classes_left_out_are_unknown_data_of_the_runs_own_data_set(
    trained: Callable[..., tuple[Store, str]],
) -> None:
    store, name = trained(*OLD)
    shift.examine_all(store, [name], ood=["digits"], corruptions=False)
    everything = build_dataset(compose()).test.targets
    found = store.shift(name)["ood"]["digits"]
    assert found["examples"] == (everything >= 5).sum()
    assert len(found["measured"]) == 4
    for row in found["measured"]:
        assert 0.5 < row["auroc"] < 1
        assert 0 < row["fpr95"] < 1


def test_a_run_that_knows_all_classes_has_no_unknown_data_in_its_own_data_set(
    trained: Callable[..., tuple[Store, str]],
) -> None:
    store, name = trained()
    with pytest.raises(ConfigError, match="digits is what this run was trained on, and it knows all its classes"):
        shift.examine_all(store, [name], ood=["digits"], corruptions=False)


def test_unknown_data_are_scored_by_probability_and_entropy_through_the_runs_link(
    trained: Callable[..., tuple[Store, str]],
) -> None:
    # As in the paper: softmax(z/T) here with the loss's own T = 2, its maximum and its entropy, scikit-learn's AUROC.
    store, name = trained("dataset=wine", "loss=temperature")
    request = "gaussians dataset.dimensions=13 dataset.n_test=300"
    shift.examine_all(store, [name], ood=[request], corruptions=False)
    stored = load(store, name)
    with session() as hydra:
        _, dataset = shift.unknown_data(hydra, request)
    assert len(dataset.test) == 300
    with torch.no_grad():
        unknown = stored.model(dataset.test.inputs).numpy().astype(np.float64)
    probs = softmax(np.concatenate([store.predictions(name)["test_logits"], unknown]) / 2, axis=1)
    known = np.repeat([1, 0], [len(probs) - 300, 300])
    raw = {row["score"]: row for row in store.shift(name)["ood"][request]["measured"] if row["calibration"] == "raw"}
    assert raw["confidence"]["auroc"] == pytest.approx(roc_auc_score(known, probs.max(axis=1)), abs=1e-3)
    entropy = -(probs * np.log(probs)).sum(axis=1)
    assert raw["entropy"]["auroc"] == pytest.approx(roc_auc_score(known, -entropy), abs=1e-3)


def test_confidence_keeps_its_order_where_probabilities_round_to_one() -> None:
    # 1 - p is e^-40 and e^-50: neither differs from 0 beside 1 in float64.
    log_probs = np.array([[0.0, -40.0, -100.0], [0.0, -50.0, -100.0]])
    assert (np.exp(log_probs).sum(axis=1) == 1).all()
    scores = shift._scores(log_probs)
    assert scores["confidence"] == pytest.approx([40.0, 50.0])
    assert scores["entropy"][0] < scores["entropy"][1] < 0


def test_what_was_kept_before_stays(trained: Callable[..., tuple[Store, str]]) -> None:
    store, name = trained(*OLD)
    shift.examine_all(store, [name], ood=[], corruptions=True)
    shift.examine_all(store, [name], ood=["digits"], corruptions=False)
    shift.examine_all(store, [name], ood=["digits dataset.test_fraction=0.5"], corruptions=False)
    kept = store.shift(name)
    assert set(kept) == {"corruptions", "ood"}
    assert kept["ood"]["digits dataset.test_fraction=0.5"]["examples"] > 2 * kept["ood"]["digits"]["examples"]


def test_a_run_stays_as_old_as_its_training(trained: Callable[..., tuple[Store, str]]) -> None:
    store, name = trained()
    before = next(store.infos()).changed
    shift.examine_all(store, [name], ood=[], corruptions=True)
    assert next(store.infos()).changed == before


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("", "--ood takes the name of a data set"),
        ("dataset=svhn", "--ood takes the name of a data set"),
        ("digits loss=focal", "--ood takes the name of a data set"),
        ("digit", "no dataset named 'digit'; did you mean digits?"),
        ("digits dataset.val_fraction=0.1,0.2", "--ood takes one data set, and may be given again"),
        ("digits dataset.size=3", "size"),
        ("digits 'unfinished", "--ood takes the name of a data set"),
        ("gaussians", r"gaussians has inputs [2] of float32, this run's model takes [1, 8, 8] of float32"),
        ("shapes", "masks have none for each"),
    ],
)
def test_unknown_data_that_cannot_be_shown_are_refused(
    trained: Callable[..., tuple[Store, str]], request_: str, message: str
) -> None:
    store, name = trained()
    with pytest.raises(RequestError) as caught:
        shift.examine_all(store, [name], ood=[request_], corruptions=True)
    assert message in str(caught.value)
    assert not (store.path(name) / "shift.json").exists()


def test_bytes_are_not_shown_to_a_model_of_fractions(trained: Callable[..., tuple[Store, str]], tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(4):
                Image.new("L", (8, 8), 40 * number).save(tmp_path / split / label / f"{number}.png")
    store, name = trained()
    with pytest.raises(ConfigError, match=r"inputs \[1, 8, 8\] of uint8, this run's model takes \[1, 8, 8\] of float"):
        shift.examine_all(
            store, [name], ood=[f"image_folder dataset.folder={tmp_path} dataset.grey=true"], corruptions=False
        )


def test_another_folder_of_images_is_another_data_set_and_the_same_one_by_another_path_is_not(
    trained: Callable[..., tuple[Store, str]], tmp_path: Path
) -> None:
    for folder in ("known", "other"):
        for split in ("train", "test"):
            for label in ("cat", "dog"):
                (tmp_path / folder / split / label).mkdir(parents=True)
                for number in range(6):
                    colour = (40 * number, 200 * (label == "cat"), 100 * (folder == "other"))
                    Image.new("RGB", (8, 8), colour).save(tmp_path / folder / split / label / f"{number}.png")
    store, name = trained("dataset=image_folder", f"dataset.folder={tmp_path / 'known'}", "model=linear")
    request = f"image_folder dataset.folder={tmp_path / 'other'}"
    assert shift.examine_all(store, [name], ood=[request], corruptions=False) == {}
    assert store.shift(name)["ood"][request]["examples"] == 12  # of its test split, cats and dogs though they are
    same = f"image_folder dataset.folder={tmp_path / 'other' / '..' / 'known'}"
    with pytest.raises(ConfigError, match="image_folder is what this run was trained on"):
        shift.examine_all(store, [name], ood=[same], corruptions=False)


def test_one_run_that_cannot_be_examined_does_not_stop_the_others(trained: Callable[..., tuple[Store, str]]) -> None:
    store, images = trained()
    other, table = trained("dataset=wine")
    shutil.copytree(other.path(table), store.path(table))
    assert list(shift.examine_all(store, [table, images], ood=[], corruptions=True)) == [table]
    assert "corruptions" in store.shift(images)


@pytest.mark.parametrize("group", ["dataset", "model", "device"])
@pytest.mark.parametrize("target", ["os.system", "lossbench.store.shutil.rmtree", "lossbench.losses.dice"])
def test_a_strangers_config_calls_nothing_but_what_our_configs_name(
    trained: Callable[..., tuple[Store, str]], group: str, target: str
) -> None:
    store, name = trained()
    edit(store.path(name) / "config.yaml", lambda config: config[group].update(_target_=target, path="."))
    with pytest.raises(ConfigError, match=rf"its config names {group}\._target_={target}, which no config of lossb"):
        shift.examine_all(store, [name], ood=[], corruptions=True)


def test_data_that_changed_since_are_refused(trained: Callable[..., tuple[Store, str]]) -> None:
    store, name = trained()
    edit(store.path(name) / "environment.json", lambda record: record["fingerprints"].update(data="0"))
    with pytest.raises(RequestError, match=r"digits is no longer what .* was trained and tested on"):
        shift.examine_all(store, [name], ood=[], corruptions=True)


@pytest.mark.parametrize("file", ["model.safetensors", "metrics.json", "environment.json", "config.yaml"])
def test_a_damaged_run_is_named_and_nothing_written(trained: Callable[..., tuple[Store, str]], file: str) -> None:
    store, name = trained()
    path = store.path(name) / file
    path.write_bytes(b"{}" if file.endswith("json") else path.read_bytes()[:100])
    with pytest.raises(RequestError, match=name):
        shift.examine_all(store, [name], ood=[], corruptions=True)
    assert not (store.path(name) / "shift.json").exists()


def test_a_damaged_record_of_earlier_looks_is_named(trained: Callable[..., tuple[Store, str]]) -> None:
    store, name = trained(*OLD)
    store.save_shift(name, {"ood": 3})
    with pytest.raises(RequestError, match=r"shift\.json is damaged; remove it"):
        shift.examine_all(store, [name], ood=["digits"], corruptions=False)


def test_two_who_look_at_once_keep_what_both_found(trained: Callable[..., tuple[Store, str]]) -> None:
    store, name = trained(*OLD)

    def meanwhile() -> None:
        store.save_shift(name, {"ood": {"another": 1}, "corruptions": 2})

    with session() as hydra:
        unknown = {"digits": shift.unknown_data(hydra, "digits")}
        shift.examine(store, name, unknown=unknown, corruptions=False, on_step=meanwhile)
    assert set(store.shift(name)["ood"]) == {"another", "digits"}
    assert store.shift(name)["corruptions"] == 2


def test_a_run_that_is_trained_again_while_it_is_looked_at_is_given_nothing(
    trained: Callable[..., tuple[Store, str]],
) -> None:
    store, name = trained(*OLD)
    config = {**store.config(name), "results_dir": str(store.runs.parent)}
    with session() as hydra:
        unknown = {"digits": shift.unknown_data(hydra, "digits")}

    def again() -> None:
        assert run.execute(config, force=True).status == "finished"

    with pytest.raises(StoreError, match="was trained again while it was measured"):
        shift.examine(store, name, unknown=unknown, corruptions=False, on_step=again)
    assert store.shift(name) == {}


def test_weights_of_another_model_are_refused(trained: Callable[..., tuple[Store, str]]) -> None:
    store, name = trained()
    edit(store.path(name) / "config.yaml", lambda config: config["model"].update(hidden=[4]))
    with pytest.raises(RequestError, match=r"model.safetensors does not fit its config: size mismatch for network.hid"):
        shift.examine_all(store, [name], ood=[], corruptions=True)


def test_a_run_of_another_machines_device_is_examined_on_what_there_is(
    trained: Callable[..., tuple[Store, str]],
) -> None:
    store, name = trained()
    edit(store.path(name) / "config.yaml", lambda config: config["device"].update(name="cuda:63"))
    assert shift.examine_all(store, [name], ood=[], corruptions=True) == {}
    assert read_json(store.path(name) / "shift.json")["corruptions"]


def test_the_command_line_prints_means_over_seeds_and_keeps_every_number(lossbench: Lossbench, tmp_path: Path) -> None:
    sweep = ("loss=cross_entropy,label_smoothing", "seed=range(2)")
    assert lossbench("train", *QUICK, *MLP, *OLD, *sweep, "-q").returncode == 0
    answer = lossbench("evaluate", "--corruptions", "--ood", "digits", "--format", "markdown")
    assert (answer.returncode, answer.stderr) == (0, "")
    first, second = answer.stdout.split("\n**digits · mlp · unknown digits · test split**\n")
    assert re.findall(r"^\| (\w+) +\| (cross_entropy|label_smoothing) ", first, re.MULTILINE) == [
        (kind, loss)
        for kind in ("clean", "contrast", "gaussian_blur", "gaussian_noise")
        for loss in ("cross_entropy", "label_smoothing")
    ]
    assert re.findall(r"^\| (\w+) +\| (cross_entropy|label_smoothing) ", second, re.MULTILINE) == [
        ("confidence", "cross_entropy"), ("confidence", "label_smoothing"),
        ("entropy", "cross_entropy"), ("entropy", "label_smoothing"),
    ]  # fmt: skip
    assert len(list(tmp_path.glob("results/runs/*/shift.json"))) == 4
    written = lossbench(
        "evaluate", "--corruptions", "--where", "loss=label_smoothing", "--format", "csv", "-o", "out/a.csv"
    )
    assert (written.returncode, written.stdout, written.stderr) == (0, "", "wrote out/a.csv\n")
    lines = (tmp_path / "out/a.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 2 * 16 * len(shift.MEASURED)  # seeds, calibrations, levels


def test_some_runs_that_cannot_be_shown_are_named_and_the_exit_code_is_1(lossbench: Lossbench) -> None:
    assert lossbench("train", *QUICK, "dataset=wine,digits", "model=linear", "-q").returncode == 0
    answer = lossbench("evaluate", "--corruptions")
    assert answer.returncode == 1
    assert re.fullmatch(r"wine-linear-\S+: --corruptions takes images; the inputs .* are \[13\]\n", answer.stderr)
    assert "digits · linear" in answer.stdout


def test_a_named_run_that_a_filter_leaves_out_is_no_request(lossbench: Lossbench, tmp_path: Path) -> None:
    assert lossbench("train", *QUICK, "model=linear", "seed=0,1", "-q").returncode == 0
    (first,) = tmp_path.glob("results/runs/*-s0-*")
    answer = lossbench("evaluate", "--corruptions", first.name, "--where", "seed=1")
    assert answer.returncode == 2
    assert answer.stderr == "lossbench: none of the runs named has seed=1; leave one of the two out\n"


def test_a_model_of_ones_own_is_called_where_its_config_is_named(lossbench: Lossbench, tmp_path: Path) -> None:
    (tmp_path / "their_losses.py").write_text(
        "from torch import nn\n\n"
        "def flat(input_shape, num_classes, *, width: int = 4):\n"
        "    layers = nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, num_classes)\n"
        "    return nn.Sequential(*layers)\n"
    )
    (tmp_path / "conf/model").mkdir(parents=True)
    (tmp_path / "conf/model/flat.yaml").write_text("# mine\n_target_: their_losses.flat\nwidth: 4\n")
    own = ("--config-dir", "conf")
    assert lossbench("train", *QUICK, *own, "model=flat", "-q").returncode == 0
    refused = lossbench("evaluate", "--corruptions")
    assert refused.returncode == 2
    assert "its config names model._target_=their_losses.flat, which no config of lossbench does" in refused.stderr
    assert "--config-dir must name the folder" in refused.stderr
    assert lossbench("evaluate", "--corruptions", *own).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--corruptions", "--n-bins", "10"), "--ood, --corruptions and --pictures are for runs"),
        (("--ood", "svhn", "--dry-run"), "--ood, --corruptions and --pictures are for runs"),
        (("--ood", "svhm"), "no dataset named 'svhm'; did you mean svhn?"),
        (("--corruptions", "nowhere"), "no finished run 'nowhere'"),
        (("--corruptions", "--where", "loss=focal"), "no run has loss=focal"),
        (("--corruptions", "--config-dir", "nowhere"), "--config-dir must name a folder"),
    ],
)
def test_a_wrong_request_is_one_line_and_nothing_is_written(
    lossbench: Lossbench, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    lossbench("train", *QUICK, "model=linear", "-q")
    answer = lossbench("evaluate", *arguments)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("results/runs/*/shift.json"))
