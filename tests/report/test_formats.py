import csv
import io
import json
import math
import sys
from subprocess import run as run_process

import pytest

from lossbench.errors import ConfigError
from lossbench.report import render, tabulate
from lossbench.report.notation import p_value

NAME = """a_b&50%#<c>|d"e'f"""


@pytest.fixture
def sweep(run, frame):
    """Two losses on digits, two seeds each: mean 0.91 and 0.93, deviation 0.0141 (0.01·√2).

    Half the 95 % interval is 12.706·0.0141/√2 = 0.1271: t_{0.975} with one degree of freedom is tan(0.475π).
    """
    return frame(
        *[
            run(loss, seed, accuracy=base + 0.02 * seed, confidence_gap=gap)
            for loss, base, gap in (("cross_entropy", 0.90, 0.04), ("label_smoothing", 0.92, -0.01))
            for seed in (0, 1)
        ]
    )


@pytest.fixture
def awkward(run, frame):
    return tabulate(frame(run(NAME, accuracy=0.8), run("plain", accuracy=0.9)), metrics=["accuracy"])


def test_markdown_is_a_github_table_with_the_best_in_bold(sweep):
    lines = render(tabulate(sweep, metrics=["accuracy", "confidence_gap"], calibrations=["raw"]), "markdown").split(
        "\n"
    )
    assert lines == [
        "**digits · mlp · test split**",
        "",
        "| loss            | accuracy ↑          | confidence gap → 0   |",
        "| --------------- | ------------------: | -------------------: |",
        "| cross_entropy   | 0.9100 ± 0.1271     | +0.0400 ± 0.0000     |",
        "| label_smoothing | **0.9300 ± 0.1271** | **-0.0100 ± 0.0000** |",
        "",
        "Bold: best mean. Mean ± half the 95 % interval (Student t) over 2 seeds. Not tested: that takes 3 paired "
        "runs. Confidence gap: mean confidence − accuracy; above 0 is overconfident.",
        "",
    ]


def test_csv_has_full_names_and_full_precision(sweep):
    rows = list(csv.DictReader(io.StringIO(render(tabulate(sweep, metrics=["accuracy", "ece"]), "csv"))))
    assert list(rows[0]) == [
        *("dataset.name", "model.name", "loss.name", "split", "n"),
        *(
            f"{metric}.{part}"
            for metric in ("accuracy.raw", "ece.raw", "ece.temperature_scaled")
            for part in ("mean", "sd", "n", "low", "high")
        ),
    ]
    assert [row["loss.name"] for row in rows] == ["cross_entropy", "label_smoothing"]
    assert float(rows[0]["accuracy.raw.sd"]) == pytest.approx(0.01 * math.sqrt(2), rel=1e-12)
    assert float(rows[0]["accuracy.raw.low"]) == pytest.approx(0.91 - 0.01 * math.tan(0.475 * math.pi), rel=1e-12)


def test_csv_leaves_empty_what_is_missing_and_keeps_keys_of_one_loss_alone(run, frame):
    table = tabulate(
        frame(run("a"), run("focal", loss__gamma=2.0)), metrics=["confidence_of_errors"], calibrations=["raw"]
    )
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert [row["loss.gamma"] for row in rows] == ["", "2"]
    assert [rows[0][f"confidence_of_errors.raw.{part}"] for part in ("mean", "sd", "n", "low")] == [*("", "", "0", "")]


def test_csv_has_no_settings_that_repeat_another_or_that_the_loss_decides(run, frame):
    student = {"loss__alpha": 0.5, "loss___target_": "lossbench.losses.distillation", "teacher__epochs": 20}
    runs = [run("cross_entropy", loss__epsilon=0, loss___target_="lossbench.losses.cross_entropy")]
    runs += [
        run("distillation", **student, teacher__loss__name=name, teacher__loss___target_=name, teacher__loss__epsilon=e)
        for name, e in (("cross_entropy", 0.0), ("label_smoothing", 0.1))
    ]
    header = render(tabulate(frame(*runs)), "csv").partition(",split,")[0].split(",")
    # Both of the teacher's loss have a column of the table; its epochs, all 20, come with the loss.
    assert header[:3] == ["dataset.name", "model.name", "loss.name"]
    assert sorted(header[3:]) == ["loss.alpha", "loss.epsilon", "teacher.loss.epsilon", "teacher.loss.name"]


@pytest.mark.parametrize("name", ["=1+1", "+SUM(A1)", "-2+3", "@cmd", "\ttab"])
def test_csv_has_an_apostrophe_before_a_name_that_a_spreadsheet_would_run_and_json_has_it_as_it_is(run, frame, name):
    table = tabulate(frame(run(name, loss__epsilon=-0.5), run("b", loss__epsilon=0.5)))
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    row = next(row for row in rows if row["loss.name"] != "b")
    assert (row["loss.name"], row["loss.epsilon"]) == (f"'{name}", "-0.5")  # a number is no formula
    assert name in [row["config"]["loss.name"] for row in json.loads(render(table, "json"))["rows"]]


def test_csv_and_json_have_a_line_per_combination_whatever_goes_across(run, frame):
    runs = frame(*[run(loss, dataset__name=data) for data in ("digits", "wine") for loss in "ab"])
    plain, across = (tabulate(runs, across=keys) for keys in ((), ["dataset"]))
    rows = [[(row["dataset.name"], row["loss.name"]) for row in csv.DictReader(io.StringIO(render(table, "csv")))]
            for table in (plain, across)]  # fmt: skip
    assert sorted(rows[0]) == sorted(rows[1])
    assert len(json.loads(render(across, "json"))["rows"]) == 4


def test_csv_quotes_so_that_any_name_comes_back(run, frame):
    name = NAME + ",\nnext"
    table = tabulate(frame(run(name), run("plain")))
    assert name in [row["loss.name"] for row in csv.DictReader(io.StringIO(render(table, "csv")))]


def test_json_has_the_whole_config_the_definitions_and_null_for_what_is_missing(sweep):
    report = json.loads(render(tabulate(sweep, metrics=["accuracy", "mce"], calibrations=["raw"]), "json"))
    assert report["title"] == ["digits", "mlp"]
    assert report["metrics"]["accuracy"]["better"] == "higher"
    assert report["metrics"]["accuracy"]["definition"].startswith("Share of examples")
    first = report["rows"][0]
    assert first["config"] == {
        "dataset.name": "digits",
        "model.name": "mlp",
        "loss.name": "cross_entropy",
        "epochs": 20,
    }
    assert first["n"] == 2
    assert first["metrics"]["accuracy"]["raw"]["mean"] == pytest.approx(0.91)
    numbers = {"mean": None, "sd": None, "n": 0, "low": None, "high": None, "interval": None}
    marks = {"best": False, "tied": False, "untested": None, "better_where_shared": False}
    assert first["metrics"]["mce"]["raw"] == {**numbers, **marks}


def test_json_keeps_any_name_as_it_is(awkward):
    names = [row["config"]["loss.name"] for row in json.loads(render(awkward, "json"))["rows"]]
    assert NAME in names


def test_json_has_null_for_an_infinite_mean_which_json_cannot_write(run, frame):
    report = json.loads(render(tabulate(frame(run(nll=math.inf))), "json"))
    assert report["rows"][0]["metrics"]["nll"]["raw"]["mean"] is None


@pytest.mark.parametrize(
    ("nll", "text"),
    [(0.25, "0.2500"), (2.3026, "2.303"), (23.026, "23.03"), (230.26, "230.3"), (math.inf, "inf"), (math.nan, "–")],
)
def test_a_column_has_about_four_digits(run, frame, nll, text):
    table = tabulate(frame(run(nll=nll)), metrics=["nll"], calibrations=["raw"])
    assert f"| {text}" in render(table, "markdown")


@pytest.mark.parametrize("gap", [0.00001, -0.00001, 0.0])
def test_a_gap_that_rounds_to_nothing_has_no_sign(run, frame, gap):
    table = tabulate(frame(run(confidence_gap=gap)), metrics=["confidence_gap"], calibrations=["raw"])
    assert " 0.0000 " in render(table, "markdown")


def test_rows_of_different_n_have_a_column_for_it(run, frame):
    table = tabulate(frame(run("a", 0), run("a", 1), run("b", 0)), metrics=["accuracy"])
    assert "| a    | 2 | **0.9000 ± 0.0000** |" in render(table, "markdown")
    assert "| b    | 1 | **0.9000**          |" in render(table, "markdown")


def test_an_unknown_format_is_answered_with_the_nearest(sweep):
    with pytest.raises(ConfigError, match=r"no format named 'markdwn'; did you mean markdown\?"):
        render(tabulate(sweep), "markdwn")


def test_the_report_does_not_import_torch():
    code = "import sys, lossbench.report; sys.exit('torch' in sys.modules)"
    assert run_process([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("p", "text"),
    [(math.nan, "–"), (0.0009, "<0.001"), (0.034, "0.034"), (0.0498, "0.0498"), (0.04999, "0.04999"), (0.05, "0.050")],
)
def test_a_p_value_is_not_rounded_over_the_line_that_it_is_read_by(p, text):
    assert p_value(p) == text


def test_small_means_have_the_decimals_that_tell_them_apart(run, frame):
    runs = [run(loss, nll=nll) for loss, nll in (("a", 2e-5), ("b", 4.2e-5))]
    shown = render(tabulate(frame(*runs), metrics=["nll"], calibrations=["raw"]), "markdown")
    assert "0.000020" in shown
    assert "0.000042" in shown
    runs = [run(loss, nll=nll) for loss, nll in (("a", 0.0), ("b", 0.0))]
    assert "0.0000" in render(tabulate(frame(*runs), metrics=["nll"], calibrations=["raw"]), "markdown")


def test_a_loss_that_went_astray_does_not_widen_the_table(run, frame):
    runs = [run(loss, nll=nll) for loss, nll in (("a", 0.25), ("b", 0.3), ("c", 1.5e24))]
    shown = render(tabulate(frame(*runs), metrics=["nll"], calibrations=["raw"]), "markdown")
    assert "1.5e+24" in shown
    assert "**0.2500**" in shown
