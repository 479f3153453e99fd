import re

import pytest
from rich.cells import cell_len

from lossbench.report import render, tabulate


@pytest.fixture
def table(run, frame):
    """An ε sweep with two seeds: accuracy 0.94 and 0.95, with a deviation of 0.0141 (0.01·√2)."""
    return tabulate(
        frame(
            *[
                run("ls", seed, loss__epsilon=epsilon, accuracy=accuracy + 0.02 * seed, nll=3 * epsilon + 0.2)
                for epsilon, accuracy in ((0.0, 0.93), (0.1, 0.94))
                for seed in (0, 1)
            ]
        ),
        spread="sd",
    )


def without_color(text):
    return re.sub(r"\x1b\[\d+m", "", text)


def test_eighty_columns_hold_the_usual_table(table):
    # Three decimals and no space around ±: digits are given up before columns.
    assert render(table, "table", 80).splitlines()[:7] == [
        "digits · mlp · ls · test split",
        "",
        "                                                confidence    ECE ↓",
        "epsilon  accuracy ↑   NLL ↓        ECE ↓        gap → 0       (T-scaled)",
        "──────────────────────────────────────────────────────────────────────────",
        "0        0.940±0.014  0.200±0.000* 0.100±0.000* +0.050±0.000* 0.100±0.000*",
        "0.1      0.950±0.014* 0.500±0.000  0.100±0.000* +0.050±0.000* 0.100±0.000*",
    ]


def test_without_a_width_every_column_has_four_digits(table):
    text = render(table, "table")
    assert "0.9400 ± 0.0141" in text
    assert "Too narrow" not in text


@pytest.mark.parametrize("width", [40, 60, 72, 80, 100, 140])
@pytest.mark.parametrize("color", [False, True])
def test_no_line_is_longer_than_the_width(table, width, color):
    text = without_color(render(table, "table", width, color=color))
    assert max(map(cell_len, text.splitlines())) <= width


def test_sixty_columns_leave_out_columns_from_the_right_and_name_them(table):
    text = render(table, "table", 60)
    body, note = text.split("Too narrow for ")
    assert "ECE ↓" in body
    assert "gap →" not in body
    assert " ".join(note.split()) == "confidence gap, ECE (T-scaled): widen the terminal or choose another format."


def test_the_first_metric_stays_however_narrow_the_terminal(table):
    text = render(table, "table", 10)
    assert "accuracy" in text
    assert "Too narrow" in text


def test_color_marks_the_best_in_bold_and_plain_text_by_an_asterisk(table):
    colored, plain = (render(table, "table", 80, color=color) for color in (True, False))
    assert "\x1b[1m0.950±0.014" in colored
    assert "\x1b[1m0.940±0.014" not in colored
    assert "*" not in colored
    assert "0.950±0.014*" in plain
    assert "\x1b" not in plain


def test_means_line_up_where_some_rows_have_no_deviation(run, frame):
    table = tabulate(frame(run("a", 0), run("a", 1), run("b", 0)), metrics=["nll"], calibrations=["raw"])
    rows = [line for line in render(table, "table").splitlines() if "0.3" in line]
    assert rows == ["a     2  0.3000 ± 0.0000*", "b     1  0.3000*"]


def test_markup_in_a_name_is_text(run, frame):
    name = "[red]a_b[/red]&%#<c>|\"d'"
    assert name in render(tabulate(frame(run(name), run("plain"))), "table")


def test_a_long_name_is_folded_and_never_cut(run, frame):
    name = "xyz" * 20  # letters that stand nowhere else in the table
    text = render(tabulate(frame(run(name), run("b")), metrics=["accuracy"]), "table", 30).partition("Mean")[0]
    assert "".join(re.findall("[xyz]", text.partition("───")[2])) == name


def test_datasets_stand_apart(run, frame):
    runs = [run("a", dataset__name=name) for name in ("digits", "wine")]
    lines = render(tabulate(frame(*runs), metrics=["accuracy"]), "table").splitlines()
    assert [line[:7].strip() for line in lines[2:8]] == ["dataset", "───────", "digits", "", "wine", ""]
