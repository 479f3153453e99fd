"""`lossbench reproduce` end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import Lossbench, files_below, read_json, tree

from lossbench.catalogue import conf_dir
from lossbench.recipes import pages
from lossbench.recipes.recipe import FAILS, HOLDS, OPEN, recipe

RESULTS = Path(__file__).parent.parent.parent / "results"
MINE = """# @package _global_
# Does training help?
defaults:
  - override /dataset: wine
  - override /model: linear
  - override /loss: label_smoothing
epochs: 5

hydra:
  sweeper:
    params:
      loss.epsilon: 0,0.3
      seed: range(3)

recipe:
  source: nobody
  quick: [epochs=2]
  parts: {all of it: [], in vain: [optimizer.learning_rate=0.0001]}
  figures:
    sweep.svg: {kind: sweep, x: epsilon, metrics: [ece], where: [optimizer.learning_rate=0.1]}
  claims:
    - says: training helps
      metric: accuracy
      of: [loss.epsilon=0, optimizer.learning_rate=0.1]
      than: [loss.epsilon=0, optimizer.learning_rate=0.0001]
      above: 0
    - {metric: accuracy, of: [loss.epsilon=0, optimizer.learning_rate=0.1], published: 0.97, within: 0.2}
"""
FALSE = "    - {says: no use, metric: accuracy, of: [loss.epsilon=0, optimizer.learning_rate=0.1], below: 0.2}\n"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "conf/experiment").mkdir(parents=True)
    path = tmp_path / "conf/experiment/mine.yaml"
    path.write_text(MINE)
    return path


def test_a_recipe_is_trained_judged_and_written_down_and_the_second_time_nothing_is_trained(
    lossbench: Lossbench, mine: Path, tmp_path: Path
) -> None:
    command = ("reproduce", "mine", "--config-dir", "conf", "device=cpu")
    first = lossbench(*command)
    assert first.returncode == 0, first.stderr
    assert "mine, part 2 of 2: in vain" in first.stderr
    assert "Of 2 claims 2 hold." in first.stdout
    made = tmp_path / "results/mine"
    assert files_below(made) == ["README.md", "report.html", "reproduction.json", "sweep.svg", "table.csv"]
    record = read_json(made / "reproduction.json")
    assert [finding["verdict"] for finding in record["findings"]] == [HOLDS, HOLDS]
    assert (record["scale"], len(record["runs"])) == ("full", 12)
    readme = (made / "README.md").read_text()
    assert "lossbench reproduce mine --config-dir conf device=cpu" in readme
    assert "| training helps | – | &gt; 0 | +0." in readme
    assert "`dataset=wine " in readme
    assert " epochs=5 " in readme
    before = tree(tmp_path / "results/runs")
    again = lossbench(*command, "-q")
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert tree(tmp_path / "results/runs") == before

    listed = lossbench("reproduce", "--list", "--config-dir", "conf").stdout
    assert "Does training help? · 2 hold (full, " in listed
    assert "smoothing_resnet" in listed
    (made / "reproduction.json").write_text("{")
    assert "cannot be read" in lossbench("reproduce", "--list", "--config-dir", "conf").stdout


@pytest.mark.slow
def test_a_claim_that_does_not_hold_is_exit_code_1_and_short_trainings_are_marked(
    lossbench: Lossbench, mine: Path, tmp_path: Path
) -> None:
    mine.write_text(MINE + FALSE)
    answer = lossbench("reproduce", "mine", "--config-dir", "conf", "--scale", "quick", "-q", "--results-dir", "other")
    assert answer.returncode == 1, answer.stderr
    record = read_json(tmp_path / "other/mine-quick/reproduction.json")
    assert [finding["verdict"] for finding in record["findings"]] == [HOLDS, OPEN, FAILS]
    assert "**Quick scale" in (tmp_path / "other/mine-quick/README.md").read_text()


@pytest.mark.slow
def test_what_needs_data_that_are_not_there_is_not_testable_and_the_rest_is(
    lossbench: Lossbench, mine: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    claim = "    - {metric: accuracy, of: [dataset=image_folder], above: 0}\n"
    mine.write_text(
        MINE.replace("in vain: [opt", "folder: [dataset=image_folder, dataset.folder=empty], in vain: [opt") + claim
    )
    answer = lossbench("reproduce", "mine", "--config-dir", "conf", "-q")
    assert answer.returncode == 0, answer.stderr
    last = read_json(tmp_path / "results/mine/reproduction.json")["findings"][-1]
    assert last["verdict"] == OPEN
    assert "folder: " in last["why"]
    assert "empty" in last["why"]


@pytest.mark.slow
def test_where_no_data_are_there_at_all_it_is_the_request_that_is_wrong(lossbench: Lossbench, mine: Path) -> None:
    answer = lossbench("reproduce", "mine", "--config-dir", "conf", "dataset=image_folder", "dataset.folder=nowhere")
    assert answer.returncode == 2
    assert "nowhere" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
def test_where_every_run_fails_there_is_nothing_to_judge(lossbench: Lossbench, mine: Path) -> None:
    mine.write_text(MINE.replace("learning_rate=0.1", "learning_rate=1e30").replace("=0.0001", "=1e31"))
    answer = lossbench("reproduce", "mine", "--config-dir", "conf", "optimizer.learning_rate=1e30,1e31", "-q")
    assert answer.returncode == 1
    assert "no run of mine has finished" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nope",), "no recipe named 'nope'"),
        (("epsilon_sweep",), "claims nothing to be held against"),
        (("temperature_in_loss", "results_dir=x"), "say --results-dir"),
        (("--list", "temperature_in_loss"), "--list goes without a name"),
        (("temperature_in_loss", "epoch=3"), "no key 'epoch'"),
        (("temperature_in_loss", "--config-dir", "nowhere"), "nowhere is not one"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(
    lossbench: Lossbench, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    answer = lossbench("reproduce", *arguments)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert not list(tmp_path.iterdir())


def test_a_quick_recipe_made_again_says_what_the_results_say(lossbench: Lossbench, tmp_path: Path) -> None:
    kept = read_json(Path(__file__).parent / "temperature_in_loss-quick.json")
    lossbench("reproduce", "temperature_in_loss", "--scale", "quick", "-q", "device=cpu")
    made = read_json(tmp_path / "results/temperature_in_loss-quick/reproduction.json")
    assert made["runs"] == kept["runs"]
    for ours, theirs in zip(made["findings"], kept["findings"], strict=True):
        assert (ours["says"], ours["n"], ours["verdict"]) == (theirs["says"], theirs["n"], theirs["verdict"])
        # Other processors round otherwise, which five epochs make a little more of.
        close = 0.1 * (theirs["high"] - theirs["low"])
        for number in ("value", "low", "high"):
            assert ours[number] == pytest.approx(theirs[number], abs=close), (ours["says"], number)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/reproduction.json")), ids=lambda path: path.parent.name)
def test_what_the_results_claim_is_what_the_recipe_of_today_claims(path: Path) -> None:
    record = json.loads(path.read_text())
    keys = ("says", "metric", "calibration", "of", "than", "claimed", "published")
    kept = [{key: finding[key] for key in keys} for finding in record["findings"]]
    today = [pages.described(claim) for claim in recipe(record["recipe"], [conf_dir()]).claims]
    assert kept == json.loads(json.dumps(today))


@pytest.mark.slow
def test_each_claim_is_told_why_its_own_runs_are_missing(lossbench: Lossbench, mine: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "conf/dataset").mkdir()
    (tmp_path / "conf/dataset/elsewhere.yaml").write_text("defaults: [image_folder, _self_]\nfolder: empty\n")
    claims = "".join(
        f"    - {{says: of {name}, metric: accuracy, of: [dataset={name}, optimizer.learning_rate={rate}], above: 0}}\n"
        for name, rate in [("elsewhere", 0.1), ("wine", 1e30)]
    )
    text = MINE.replace("  claims:", "  datasets: [wine, elsewhere]\n  claims:")
    text = text.replace("in vain: [opt", "diverged: [optimizer.learning_rate=1e30], in vain: [opt")
    mine.write_text(text + claims)
    answer = lossbench("reproduce", "mine", "--config-dir", "conf", "-q")
    why = {found["says"]: found["why"] for found in read_json(tmp_path / "results/mine/reproduction.json")["findings"]}
    assert "runs failed" in why["of wine"], answer.stderr
    assert "dataset.folder" in why["of elsewhere"]
    assert "runs failed" not in why["of elsewhere"]
    assert (tmp_path / "results/mine/README.md").read_text().count("dataset.folder") == 1


def test_a_place_that_cannot_be_written_is_refused_before_training(
    lossbench: Lossbench, mine: Path, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results/mine").write_text("no folder")
    answer = lossbench("reproduce", "mine", "--config-dir", "conf", "-q")
    assert answer.returncode == 2
    assert "no folder to write to" in answer.stderr
    assert files_below(tmp_path / "results") == ["mine"]


def test_a_recipe_that_was_altered_says_so_and_leaves_what_was_made_of_it_as_it_is(
    lossbench: Lossbench, mine: Path, tmp_path: Path
) -> None:
    assert lossbench("reproduce", "mine", "--config-dir", "conf", "epochs=3", "-q").returncode in (0, 1)
    made = tmp_path / "results/mine-altered"
    assert "**Not as the recipe says: epochs=3.**" in (made / "README.md").read_text()
    record = read_json(made / "reproduction.json")
    assert record["altered"] == ["epochs=3"]
    assert record["findings"][1]["why"] == "of other trainings than the recipe's: epochs=3"
    assert not (tmp_path / "results/mine").exists()
    assert "not made yet" in next(
        line for line in lossbench("reproduce", "--list", "--config-dir", "conf").stdout.splitlines() if "mine" in line
    )


def test_a_run_that_fails_is_exit_code_1_and_its_claim_is_not_judged_by_the_others(
    lossbench: Lossbench, mine: Path, tmp_path: Path
) -> None:
    text = MINE.replace("in vain: [opt", "diverged: [optimizer.learning_rate=1e30], in vain: [opt")
    mine.write_text(text + "    - {says: far, metric: accuracy, of: optimizer.learning_rate=1e30, above: 0}\n")
    answer = lossbench("reproduce", "mine", "--config-dir", "conf", "-q")
    assert answer.returncode == 1
    findings = read_json(tmp_path / "results/mine/reproduction.json")["findings"]
    assert [finding["verdict"] for finding in findings] == [HOLDS, HOLDS, OPEN]
