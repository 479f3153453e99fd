"""`lossbench diff`: what differs between two runs, and whether a table would compare them."""

from __future__ import annotations

import pytest
from runs_by_hand import environment, metrics

from lossbench.errors import RequestError, StoreError
from lossbench.screen.difference import difference
from lossbench.store import Store

A, B = "wine-linear-label_smoothing-s0-aaaaaaaa", "wine-linear-label_smoothing-s0-bbbbbbbb"
OTHER_PRINTS = {**environment()["fingerprints"], "split": "0" * 64}


def lines(store: Store, *, everything: bool = False) -> list[list[str]]:
    return [line.split() for line in difference(store, A, B, 80, everything=everything).splitlines()]


def test_a_pair_differs_in_its_loss_alone_and_what_is_the_same_is_not_shown(store: Store, write) -> None:
    write(A)
    write(B, config={"loss": {"epsilon": 0.2}}, metrics=metrics(nll=0.75))
    text = difference(store, A, B, 80)
    assert text.startswith(f"a  {A}\nb  {B}\nPaired: they share seed, data, split, initial weights and batches")
    assert ["loss.epsilon", "0.1", "0.2"] in lines(store)
    assert ["nll", "0.5000", "0.7500", "+0.2500"] in lines(store)
    assert ["nll", "0.2500", "0.3750", "+0.1250"] in lines(store)  # T-scaled
    assert "accuracy" not in text
    assert "learning_rate" not in text
    assert "environment" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_run_with_other_threads_is_said_to_have_them(store: Store, write) -> None:
    write(A)
    write(B, environment={"threads": 2})
    text = difference(store, A, B, 80)
    assert "environment" in text
    assert "threads\n  a  1\n  b  2" in text or ["threads", "1", "2"] in lines(store)


def test_all_shows_validation_and_what_is_the_same(store: Store, write) -> None:
    write(A)
    write(B, config={"loss": {"epsilon": 0.2}})
    assert ["accuracy", "0.8000", "0.8000", "0.0000"] in lines(store, everything=True)
    assert "optimizer.learning_rate\n  a  0.1\n  b  0.1\n" in difference(store, A, B, 80, everything=True)
    assert ["val,", "raw", "a", "b", "b", "−", "a"] in lines(store, everything=True)
    assert ["val,", "raw", "a", "b", "b", "−", "a"] not in lines(store)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"config": {"seed": 1}}, "Not paired: their seeds are 0 and 1."),
        ({"environment": {"fingerprints": OTHER_PRINTS}}, "Not paired: they differ in split."),
        ({"environment": {"fingerprints": {}}}, "Not paired: one has no fingerprints to be paired by."),
        ({"config": {"optimizer": {"learning_rate": 0.2}}},
         "They share data, split, initial weights and batches, but differ in more than the loss: "
         "optimizer.learning_rate."),
    ],
)  # fmt: skip
def test_two_that_are_not_compared_say_why(store: Store, write, other: dict[str, object], why: str) -> None:
    write(A)
    write(B, **other)
    assert why in " ".join(difference(store, A, B, 80).split())


def test_of_another_loss_its_own_settings_are_shown_where_they_were_set(store: Store, write) -> None:
    write(A)
    focal = {"_target_": "lossbench.losses.focal", "name": "focal", "gamma": 2.0, "ignore_index": -100}
    write(B, more={"loss": {**focal, "gamma": 3.0}})
    config = difference(store, A, B, 80).partition("config")[2].partition("\n\n")[0]
    assert [line.split() for line in config.splitlines()[1:]] == [
        ["loss.name", "label_smoothing", "focal"], ["loss.gamma", "–", "3"]
    ]  # fmt: skip


def test_a_link_that_leaves_its_temperature_to_the_default_is_the_same_link(store: Store, write) -> None:
    write(A)
    write(B, metrics={**metrics(), "link": {"name": "softmax", "temperature": 1.0}})
    assert "link" not in difference(store, A, B, 80)
    (store.path(B) / "metrics.json").unlink()
    (store.path(B)).rename(store.path("gone"))
    write(B, metrics={**metrics(), "link": {"name": "softmax", "temperature": 2.0}})
    assert ["temperature", "1", "2"] in lines(store)


def test_what_one_run_lacks_is_a_dash(store: Store, write) -> None:
    write(A)
    write(B, metrics={**metrics(), "beside": {"teacher_accuracy": 0.9}})
    assert ["teacher_accuracy", "–", "0.9000"] in lines(store)


def test_values_too_long_for_two_columns_stand_below_each_other(store: Store, write) -> None:
    write(A, config={"model": {"hidden": [1] * 40}})
    write(B, config={"model": {"hidden": [2] * 40}})
    text = difference(store, A, B, 80)
    assert "\nmodel.hidden\n  a  [1, 1," in text
    assert max(map(len, text.splitlines())) <= 80


def test_one_run_twice_a_damaged_one_and_an_unknown_one_are_refused(lossbench, store: Store, write) -> None:
    write(A)
    write(B)
    with pytest.raises(RequestError, match="is both runs; name two"):
        difference(store, A, A, 80)
    (store.path(B) / "metrics.json").write_text('{"test": {"raw": 3}}')
    with pytest.raises(StoreError, match="is damaged"):
        difference(store, A, B, 80)
    for arguments, message in (((A, "nobody"), "no finished run 'nobody'"), ((A, A), "is both runs")):
        answer = lossbench("diff", *arguments)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert message in answer.stderr
        assert len(answer.stderr.splitlines()) == 1


def test_the_command_line_takes_the_ends_of_ids(lossbench, write) -> None:
    write(A)
    write(B, config={"loss": {"epsilon": 0.2}})
    answer = lossbench("diff", "aaaa", "bbbb")
    assert answer.returncode == 0, answer.stderr
    assert "loss.epsilon" in answer.stdout
