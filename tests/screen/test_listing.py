"""`lossbench runs`: a line for each run, what tells it apart, why it failed."""

from __future__ import annotations

import json
import os
import time

import pytest

from lossbench.errors import ConfigError
from lossbench.screen.listing import chosen, listing
from lossbench.store import Store


def ids(store: Store, **wanted: object) -> list[str]:
    asked = {"where": [], "status": None, "limit": None, **wanted}
    return [info.run_id for info in chosen(store, **asked)[0]]  # type: ignore[arg-type]


def age(store: Store, run_id: str, seconds: float) -> None:
    then = time.time() - seconds
    if not store.finished(run_id):
        os.utime(store.partial(run_id), (then, then))
        return
    path = store.path(run_id) / "environment.json"
    finished = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(then))
    path.write_text(json.dumps({**json.loads(path.read_text()), "finished_at": finished}))


@pytest.fixture
def four(store: Store, write) -> Store:
    """Two finished, one that failed and one that was interrupted, the newest first."""
    write("wine-linear-label_smoothing-s0-aaaaaaaa", config={"loss": {"epsilon": 0.1}})
    write("wine-linear-label_smoothing-s1-bbbbbbbb", config={"loss": {"epsilon": 0.2}, "seed": 1})
    write("wine-linear-focal-s0-cccccccc", config={"loss": {"name": "focal"}}, partial=True)
    failure = {"message": "the loss became nan in epoch 1 (learning rate 30); a lower learning rate may help"}
    (store.partial("wine-linear-focal-s0-cccccccc") / "failure.json").write_text(json.dumps(failure))
    write("wine-linear-brier-s0-dddddddd", config={"loss": {"name": "brier"}}, partial=True)
    for seconds, name in zip(
        (30, 3 * 60, 3 * 3600, 50 * 3600), sorted(info.run_id for info in store.infos()), strict=True
    ):
        age(store, name, seconds)
    return store


def test_a_wide_terminal_has_a_line_for_each_run_with_its_settings_and_a_narrow_one_has_them_below(four: Store) -> None:
    infos, configs = chosen(four, [], "finished", None)
    wide = listing(infos, configs, 100).splitlines()
    assert wide == [
        "run                                      status    age       took  settings",
        "wine-linear-label_smoothing-s0-aaaaaaaa  finished  3 h  1 min 1 s  epsilon=0.1",
        "wine-linear-label_smoothing-s1-bbbbbbbb  finished  2 d  1 min 1 s  epsilon=0.2",
    ]
    narrow = listing(infos, configs, 70).splitlines()
    assert narrow[1:3] == ["wine-linear-label_smoothing-s0-aaaaaaaa  finished  3 h  1 min 1 s", "  epsilon=0.1"]


def test_the_newest_come_first_and_a_failure_says_why_within_80_columns(four: Store) -> None:
    text = listing(*chosen(four, [], None, None), 80)
    lines = text.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("wine")] == [
        "wine-linear-brier-s0-dddddddd",
        "wine-linear-focal-s0-cccccccc",
        "wine-linear-label_smoothing-s0-aaaaaaaa",
        "wine-linear-label_smoothing-s1-bbbbbbbb",
    ]
    assert [line.split()[1] for line in lines if line.startswith("wine")] == [
        "interrupted", "failed", "finished", "finished"
    ]  # fmt: skip
    assert "  the loss became nan in epoch 1 (learning rate 30); a lower learning rate may" in lines
    assert max(map(len, lines)) <= 80


def test_filters_status_and_limit_choose_among_runs_finished_or_not(four: Store) -> None:
    assert ids(four, status="failed") == ["wine-linear-focal-s0-cccccccc"]
    assert ids(four, limit=1) == ["wine-linear-brier-s0-dddddddd"]
    assert ids(four, where=["loss=focal,brier"]) == ["wine-linear-brier-s0-dddddddd", "wine-linear-focal-s0-cccccccc"]
    assert ids(four, where=["loss.epsilon=0.2"], status="finished") == ["wine-linear-label_smoothing-s1-bbbbbbbb"]
    assert ids(four, status="running") == []
    with pytest.raises(ConfigError, match="no run has loss=focl; did you mean focal"):
        ids(four, where=["loss=focl"])


def test_what_is_beyond_the_limit_is_not_read(four: Store) -> None:
    (four.path("wine-linear-label_smoothing-s1-bbbbbbbb") / "environment.json").unlink()  # the oldest
    infos, _ = chosen(four, [], "finished", 1)
    assert [info.status for info in infos] == ["finished"]
    assert ids(four, status="unreadable") == ["wine-linear-label_smoothing-s1-bbbbbbbb"]


@pytest.mark.parametrize("name", ["config.yaml", "metrics.json"])
def test_a_finished_run_that_is_damaged_is_said_to_be_and_why(four: Store, name: str) -> None:
    damaged = "wine-linear-label_smoothing-s0-aaaaaaaa"
    path = four.path(damaged) / name
    path.write_text("[")
    infos, configs = chosen(four, [], None, None)
    text = listing(infos, configs, 200)
    assert f"{damaged}  unreadable" in text
    assert f"  {path} is not valid " in text
    assert damaged not in ids(four, status="finished")
    assert ids(four, status="unreadable") == [damaged]
    assert damaged not in ids(four, status="failed")


def test_a_run_is_running_while_a_process_claims_it_and_interrupted_after(four: Store) -> None:
    name = "wine-linear-brier-s0-dddddddd"
    with four.claim(name, wait=False):
        assert ids(four, status="running") == [name]
        assert chosen(four, [], "running", None)[0][0].seconds == pytest.approx(0, abs=30)
    assert ids(four, status="interrupted") == [name]


def test_an_earlier_run_that_is_being_replaced_is_no_run(four: Store) -> None:
    (four.runs / "wine-linear-brier-s0-dddddddd.replaced.partial").mkdir()
    assert len(ids(four)) == 4


def test_no_runs_and_none_of_a_status_say_so(lossbench, write) -> None:
    assert lossbench("runs").stdout == "no runs yet: lossbench train loss=label_smoothing\n"
    write("wine-linear-brier-s0-dddddddd")
    answer = lossbench("runs", "--status", "failed")
    assert (answer.returncode, answer.stdout) == (0, "no run is failed\n")
    assert "wine-linear-brier-s0-dddddddd  finished" in lossbench("runs").stdout


def test_a_copy_is_as_old_as_the_run_was(four: Store) -> None:
    os.utime(four.path("wine-linear-label_smoothing-s1-bbbbbbbb"))  # as `cp -r` leaves it
    assert ids(four, status="finished")[-1] == "wine-linear-label_smoothing-s1-bbbbbbbb"
    assert four.newest() == "wine-linear-label_smoothing-s0-aaaaaaaa"


def test_a_finished_run_without_one_of_its_files_is_unreadable(four: Store) -> None:
    (four.path("wine-linear-label_smoothing-s0-aaaaaaaa") / "metrics.json").unlink()
    assert ids(four, status="unreadable") == ["wine-linear-label_smoothing-s0-aaaaaaaa"]
