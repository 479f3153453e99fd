"""`lossbench show`: what is told of one run."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from runs_by_hand import metrics

from lossbench.errors import StoreError
from lossbench.screen.portrait import continued, number, portrait, unfinished
from lossbench.store import Store

NAME = "wine-linear-label_smoothing-s0-aaaaaaaa"


def test_everything_stands_in_80_columns(store: Store, write) -> None:
    write(NAME, config={"loss": {"epsilon": 0.3}, "epochs": 7})
    text = portrait(store, NAME, 80)
    # A path, like what else is to be copied, is not broken.
    assert max(len(line) for line in text.splitlines() if line != str(store.path(NAME))) <= 80
    assert "wine · linear · label_smoothing · sgd · cosine · seed 0" in text
    assert "took 1 min 1 s" in text


def test_the_settings_are_those_that_are_not_the_defaults_and_all_shows_the_whole_config(store: Store, write) -> None:
    write(NAME, config={"loss": {"epsilon": 0.3}, "epochs": 7})
    head, _, rest = portrait(store, NAME, 80).partition("settings other than the defaults\n")
    # label smoothing's own ε is 0.1, a training's 20 epochs; wine, linear and label_smoothing are chosen
    assert [line.split() for line in rest.partition("\n\n")[0].splitlines()] == [
        ["dataset", "wine"], ["model", "linear"], ["loss", "label_smoothing"], ["loss.epsilon", "0.3"],
        ["device", "cpu"], ["device.threads", "1"], ["epochs", "7"],
    ]  # fmt: skip
    assert head.startswith(f"{NAME}\n{store.path(NAME)}\n")
    assert "learning_rate: 0.1" not in rest
    assert "learning_rate: 0.1" in portrait(store, NAME, 80, everything=True)


def test_metrics_stand_for_both_splits_raw_and_after_the_temperature(store: Store, write) -> None:
    write(NAME)
    lines = [line.split() for line in portrait(store, NAME, 80).splitlines()]
    assert ["val", "raw", "val", "T-scaled", "test", "raw", "test", "T-scaled"] in lines
    assert ["nll", "0.5000", "0.2500", "0.5000", "0.2500"] in lines
    assert ["confidence_of_errors", "–", "–", "–", "–"] in lines
    assert "Temperature fitted on validation: 1.2500. Link: softmax. Options: n_bins 4," in portrait(store, NAME, 80)


def test_the_bins_are_those_that_were_stored(store: Store, write) -> None:
    write(NAME)
    lines = [line.split() for line in portrait(store, NAME, 80).splitlines()]
    (first,) = (line for line in lines if line[:1] == ["0.50–0.75"])
    assert (first[1], first[-2:]) == ("4", ["0.50", "+0.25"])  # 4 examples, right half of the time at 0.75


def test_an_older_run_has_its_bins_from_its_predictions(store: Store, write) -> None:
    older = {key: value for key, value in metrics().items() if key != "reliability"}
    write(NAME, metrics=older)
    assert "no reliability diagram: " in portrait(store, NAME, 80)
    # p = (3/4, 1/4), twice right and once wrong: in (0.5, 0.75] of 4 bins
    logits = np.log([[3.0, 1.0]] * 3)
    arrays = {f"{split}_{what}": value for split in ("val", "test")
              for what, value in (("logits", logits), ("targets", np.array([0, 0, 1])))}  # fmt: skip
    np.savez(store.path(NAME) / "predictions.npz", **arrays)
    (line,) = (line.split() for line in portrait(store, NAME, 80).splitlines() if line.startswith("0.50–0.75"))
    assert (line[1], line[-2:]) == ("3", ["0.67", "+0.08"])


def test_training_is_a_line_for_each_curve_with_its_best_epoch(store: Store, write) -> None:
    write(NAME)
    lines = [line.split() for line in portrait(store, NAME, 80).splitlines()]
    assert ["train", "loss", "2.0000", "█▁", "1.0000", "1.0000", "epoch", "2"] in lines
    assert ["val", "loss", "1.5000", "▁█", "1.7500", "1.5000", "epoch", "1"] in lines
    assert ["val", "accuracy", "0.7500", "█▁", "0.5000", "0.7500", "epoch", "1"] in lines


def test_a_run_of_one_epoch_or_without_a_finite_loss_has_its_curves_too(store: Store, write) -> None:
    write(NAME, history=[{"epoch": 1, "train_loss": float("nan"), "val_loss": float("inf"), "val_accuracy": 0.5}])
    text = portrait(store, NAME, 80)
    assert "training, 1 epoch\n" in text
    assert ["train", "loss", "–", "·", "–", "–"] in [line.split() for line in text.splitlines()]


def test_where_and_how_it_was_made_and_the_fingerprints_are_told(store: Store, write) -> None:
    write(NAME)
    lines = portrait(store, NAME, 80).splitlines()
    assert "  made             2026-01-02T03:04:05+0000" in lines
    assert "  by               lossbench 0.1.0 (git abcdef), torch 2.15.0" in lines
    assert "  on               cpu, fp32, 1 thread, Linux" in lines
    assert f"  initial_weights  {'i' * 12}" in lines


def test_the_command_repeats_it_and_a_shell_reads_it_as_one(store: Store, write) -> None:
    write(NAME, config={"loss": {"epsilon": 0.3}})
    # By hand, and so without most settings of today.
    older = "the command that repeats it\nMade by an older lossbench: trains under a new id.\n"
    command = portrait(store, NAME, 60).partition(older)[2].partition("\n\n")[0]
    assert len(command.splitlines()) > 1
    assert shlex.split(command.replace("\\\n", "")) == shlex.split(
        "lossbench train dataset=wine model=linear loss=label_smoothing loss.epsilon=0.3 device=cpu device.threads=1 "
        "epochs=2"
    )


def test_a_command_is_broken_between_words_alone() -> None:
    assert continued("lossbench train 'a=[1, 2]' b=2", 25) == ["  lossbench train \\", "    'a=[1, 2]' b=2"]


def test_a_loss_of_ones_own_says_that_its_configs_are_needed(store: Store, write) -> None:
    write(NAME, config={"loss": {"name": "squared", "_target_": "my_losses.squared"}})
    text = portrait(store, NAME, 80)
    assert "FOLDER is where the configs of loss=squared are." in text
    assert "--config-dir FOLDER" in text


@pytest.mark.parametrize(
    ("file", "content"),
    [("history.csv", "epoch,train_loss\n1,many\n"), ("history.csv", "epoch\n"), ("metrics.json", '{"test": 3}'),
     ("environment.json", '{"wall_seconds": "long"}'), ("environment.json", '{"wall_seconds": NaN}'),
     ("environment.json", '{"wall_seconds": 1, "versions": 3}'), ("config.yaml", "seed: 1\n")],
)  # fmt: skip
def test_a_damaged_run_is_one_message(store: Store, write, file: str, content: str) -> None:
    write(NAME)
    (store.path(NAME) / file).write_text(content)
    with pytest.raises(StoreError, match=f"{NAME} is damaged"):
        portrait(store, NAME, 80)


def test_numbers_have_four_decimals_unless_all_would_be_zero() -> None:
    assert [number(value) for value in (0.12345, 0.0, 3e-6, -2e-6, None, float("nan"), 12.5)] == [
        "0.1235", "0.0000", "3e-06", "-2e-06", "–", "–", "12.5000"
    ]  # fmt: skip


def test_the_command_line_shows_the_newest_run_where_none_is_named(lossbench, write, tmp_path: Path) -> None:
    write(NAME)
    assert lossbench("show").stdout.startswith(NAME)
    assert lossbench("show", "aaaa", "--all").stdout.count("_target_") == 6


@pytest.fixture
def abandoned(store: Store, write) -> Store:
    """A run that was interrupted: its configuration, and nothing of what a finished one has."""
    write(NAME, partial=True, config={"loss": {"epsilon": 0.3}, "epochs": 7})
    return store


def test_of_an_interrupted_run_its_settings_and_what_goes_on_are_shown(abandoned: Store) -> None:
    text = unfinished(abandoned, abandoned.find("aaaaaaaa", unfinished=True), 80)
    assert text.startswith(
        f"{NAME}\n{abandoned.partial(NAME)}\nwine · linear · label_smoothing · sgd · cosine · seed 0\n"
    )
    assert "\ninterrupted " in text
    assert "  loss.epsilon    0.3\n" in text
    assert "\nthe command that goes on with it\n" in text
    assert "  lossbench train dataset=wine model=linear loss=label_smoothing \\\n" in text
    assert "--retry-failed" not in text
    assert text.endswith("--all shows the whole config\n")
    assert "learning_rate: 0.1" in unfinished(abandoned, NAME, 80, everything=True)


def test_of_a_failed_run_its_reason_is_shown_and_all_shows_where(abandoned: Store) -> None:
    try:
        raise ValueError("the loss became nan")
    except ValueError as error:
        abandoned.fail(NAME, error, "the loss became nan at step 1")
    text = unfinished(abandoned, NAME, 80)
    assert "\nfailed " in text
    assert "\nthe loss became nan at step 1\n" in text
    assert "the command that trains it again" in text
    assert "--retry-failed\n\n--all shows the whole config and where it failed\n" in text
    assert "test_portrait.py" not in text
    assert 'raise ValueError("the loss became nan")' in unfinished(abandoned, NAME, 80, everything=True)


def test_a_run_that_is_not_finished_is_told_from_one_that_is_not_there(abandoned: Store) -> None:
    with pytest.raises(StoreError, match=f"{NAME} is interrupted, not finished; lossbench show {NAME} --results-dir"):
        abandoned.find("aaaaaaaa")
    with pytest.raises(StoreError, match="no finished run 'bbbbbbbb'"):
        abandoned.find("bbbbbbbb", unfinished=True)


def test_a_run_that_is_finished_and_trained_again_is_the_finished_one(store: Store, write) -> None:
    write(NAME)
    store.partial(NAME).mkdir()
    assert store.find(NAME, unfinished=True) == NAME
    assert store.info(NAME).status == "finished"


@pytest.mark.parametrize("content", ["{}", "- 1", "seed: [", "loss: 3\ndataset: {"])
def test_a_damaged_configuration_of_an_unfinished_run_is_an_error(abandoned: Store, content: str) -> None:
    (abandoned.partial(NAME) / "config.yaml").write_text(content)
    with pytest.raises(StoreError):
        unfinished(abandoned, NAME, 80)
