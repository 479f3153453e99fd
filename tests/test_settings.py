"""The settings that tell runs apart."""

from __future__ import annotations

from typing import Any

import pytest

from lossbench.settings import flat, sentence, short_names, told_apart, written


def config(loss: str = "focal", seed: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "dataset": {"name": "wine", "root": more.pop("root", None)},
        "model": {"name": "mlp", "hidden": more.pop("hidden", [64])},
        "loss": {"_target_": f"a.{loss}", "name": loss, **more.pop("loss_settings", {})},
        "seed": seed,
        **more,
    }


def test_keys_are_dotted_and_lists_are_json() -> None:
    assert dict(flat({"a": {"b": [1, "c"]}, "d": None})) == {"a.b": '[1, "c"]', "d": None}


def test_what_varies_among_runs_of_one_loss_tells_them_apart() -> None:
    runs = [config(loss_settings={"gamma": 2.0}), config(loss_settings={"gamma": 3.0})]
    assert told_apart(runs) == [{"gamma": 2.0}, {"gamma": 3.0}]


def test_a_hyperparameter_that_one_loss_alone_has_does_not_vary() -> None:
    assert told_apart([config("focal", loss_settings={"gamma": 2.0}), config("brier")]) == [{}, {}]


def test_a_key_that_an_older_run_lacks_is_no_other_value() -> None:
    assert told_apart([config(), config(loss_settings={"gamma": 2.0})]) == [{}, {}]


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},  # stands in the id
        {"root": "/data"},
        {"results_dir": "elsewhere"},
        {"device": {"threads": 2}},
        {"metrics": {"n_bins": 9}},
        {"teacher": {"id": "x"}},
    ],
)
def test_what_cannot_change_the_numbers_or_is_said_elsewhere_tells_nothing(other: dict[str, Any]) -> None:
    there = {"device": {"threads": 1}, "metrics": {"n_bins": 15}, "results_dir": "results", "teacher": {"id": "y"}}
    assert told_apart([config(**there), config(**{**there, **other})]) == [{}, {}]


def test_precision_does_change_the_numbers() -> None:
    runs = [config(device={"precision": "fp32"}), config(device={"precision": "bf16"})]
    assert told_apart(runs) == [{"precision": "fp32"}, {"precision": "bf16"}]


def test_an_unreadable_config_is_told_apart_by_nothing() -> None:
    assert told_apart([{}, config()]) == [{}, {}]


def test_a_name_is_the_last_word_of_its_key_unless_another_has_it_or_it_is_the_teachers() -> None:
    keys = ["loss.first.gamma", "loss.second.gamma", "optimizer.name", "epochs", "teacher.loss.name"]
    assert list(short_names(keys).values()) == [
        "loss.first.gamma", "loss.second.gamma", "optimizer", "epochs", "teacher.loss"
    ]  # fmt: skip


def test_values_are_written_as_the_command_line_takes_them() -> None:
    values = (2.0, 0.1, 1e-05, None, True, "cosine")
    assert [written(value) for value in values] == ["2", "0.1", "1e-05", "null", "true", "cosine"]
    assert sentence({"epsilon": 0.1, "flip": False}) == "epsilon=0.1 flip=false"
