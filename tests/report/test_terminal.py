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


def test_sixty_columns_leave_out_the_gap_which_the_ece_nearly_repeats_and_name_it(table):
    text = render(table, "table", 60)
    body, note = text.split("Too narrow for ")
    assert body.count("ECE ↓") == 2
    assert "gap →" not in body
    assert " ".join(note.split()) == "confidence gap: widen the terminal or choose another format."


def test_what_goes_first_is_what_does_not_judge_then_the_gap_then_other_calibrations_then_the_right_most(run, frame):
    metrics = ["accuracy", "nll", "ece", "confidence_gap", "mean_confidence"]
    table = tabulate(frame(run("a"), run("b")), metrics=metrics)
    headings = ["mean confidence (T-scaled)", "mean confidence", "confidence gap (T-scaled)", "confidence gap"]
    headings += ["ECE (T-scaled)", "NLL (T-scaled)", "ECE", "NLL"]
    left_out = [
        set(re.findall(r"(?:Too narrow for|,) ([^,:]+)(?=[,:])", " ".join(("Too narrow for" + rest).split())))
        for width in range(120, 10, -1)
        for rest in [render(table, "table", width).partition("Too narrow for")[2]]
        if rest
    ]
    for names in left_out:
        assert names == set(headings[: len(names)])
    assert len(left_out[-1]) == len(headings)


def test_settings_that_repeat_another_go_before_metrics_do_and_names_never(run, frame):
    # The rate is another for each loss: it says nothing that the loss does not. γ is swept.
    runs = [
        run(loss, optimizer__learning_rate=rate, loss__gamma=gamma)
        for loss, rate, gamma in (("cross_entropy", 0.1, None), ("focal", 0.2, 1), ("focal", 0.2, 2))
    ]
    text = render(tabulate(frame(*runs), calibrations=["raw"]), "table", 66)
    assert " ".join(text.partition("Too narrow for ")[2].split()).startswith("learning_rate: widen")
    assert text.splitlines()[3].split()[:3] == ["loss", "gamma", "accuracy"]


def test_what_a_setting_without_room_held_is_said(run, frame):
    runs = [run(loss, optimizer__learning_rate=rate) for loss, rate in (("a", 0.1), ("b", 0.2), ("c", 0.2))]
    text = " ".join(render(tabulate(frame(*runs), calibrations=["raw"]), "table", 50).split())
    assert "learning_rate: 0.1 (a), 0.2 (b, c)." in text


def test_many_settings_share_a_column_before_the_nll_or_the_ece_goes(run, frame):
    # 6 + 14 + 8 + 6 characters of settings and 3 × 13 of numbers, 80 with spaces; each setting varies by itself.
    runs = [
        run("label_smoothing", seed, loss__epsilon=e, epochs=epochs, batch_size=size, optimizer__learning_rate=rate)
        for e in (0, 0.1) for epochs in (1, 2) for size in (16, 32) for rate in (0.1, 0.2) for seed in (0, 1)
    ]  # fmt: skip
    runs += [run("cross_entropy", seed, batch_size=16, optimizer__learning_rate=0.1) for seed in (0, 1)]
    text = render(tabulate(frame(*runs)), "table", 72)
    heading = next(line for line in text.splitlines() if line.startswith("loss"))
    assert heading.split()[:8] == ["loss", "settings", "accuracy", "↑", "NLL", "↓", "ECE", "↓"]
    assert "ε=0.1" in text
    assert "cross_entropy: epochs=20, learning_rate=0.1, batch_size=16." in " ".join(text.split())


@pytest.mark.parametrize("width", [50, 60, 70])
def test_what_rows_asked_for_stays_though_another_repeats_it_and_metrics_go(run, frame, width):
    runs = [run("a", model__name=model, epochs=epochs) for model, epochs in (("cnn", 2), ("mlp", 30))]
    wanted = tabulate(frame(*runs), rows=["model", "epochs"])
    assert "model  epochs" in render(wanted, "table", width)
    assert "confidence gap" in render(wanted, "table", 50).partition("Too narrow for")[2]


def test_metrics_that_were_asked_for_stay_longer_than_settings_do(run, frame):
    runs = [run(loss, optimizer__learning_rate=rate) for loss, rate in (("a", 0.1), ("b", 0.2))]
    shown = {"metrics": ["accuracy", "confidence_gap", "mean_confidence"], "calibrations": ["raw"]}
    text = render(tabulate(frame(*runs), **shown), "table", 46)
    assert text.partition("Too narrow for ")[2].split(":")[0] == "learning_rate"


def test_notes_define_no_metric_that_is_left_out(table):
    assert "Confidence gap:" in render(table, "table", 80)
    narrow = render(table, "table", 40)
    assert "Confidence gap:" not in narrow
    assert "T-scaled:" not in narrow


def test_differences_keep_interval_p_and_n_whole_words_and_settings_that_vary(run, frame):
    runs = [
        run(loss, seed, loss__epsilon=e, dataset__imbalance_factor=1, nll=0.3 + 0.01 * i * seed)
        for i, (loss, e) in enumerate([("cross_entropy", None), ("distillation", 0.1), ("focal", 0.1), ("focal", 0.2)])
        for seed in range(3)
    ]
    runs += [run("cross_entropy", dataset__imbalance_factor=50)]
    sheet = render(tabulate(frame(*runs), baseline=["loss=cross_entropy"]), "table", 66).partition("Difference from")[2]
    heading = next(line for line in sheet.splitlines() if line.startswith("loss"))
    assert heading.split() == ["loss", "epsilon", "difference", "95", "%", "interval", "p", "n"]
    assert "distillation" in sheet
    text = " ".join(sheet.split())
    assert "imbalance_factor: 1." in text
    assert "Cohen" not in text


def test_a_long_setting_is_folded_at_its_joints(run, frame):
    runs = [run(loss) for loss in ("dice_cross_entropy_with_margins", "b")]
    lines = render(tabulate(frame(*runs), calibrations=["raw"]), "table", 62).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("dice"))
    assert [line.split()[0] for line in lines[first : first + 2]] == ["dice_cross_entropy_", "with_margins"]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("across", [(), ("dataset",)])
def test_no_line_of_a_table_with_everything_is_longer_than_the_width(run, frame, width, across):
    runs = [
        run(
            "sum_of_losses",
            seed,
            dataset__name=data,
            loss__first__name=first,
            loss__first__class_weights="[1.0, 2.5, 3.25, 4.125]",
            teacher__loss__name="label_smoothing",
            teacher__optimizer__learning_rate=rate,
        )
        for data in ("breast_cancer", "fashion_mnist", "land_cover", "wine")
        for first, rate in (("focal", 0.1), ("dice_cross_entropy", 0.2))
        for seed in range(3)
    ]
    runs += [run("cross_entropy", seed, dataset__name="wine") for seed in range(3)]
    table = tabulate(frame(*runs), across=across, baseline=["loss.first=focal"])
    text = render(table, "table", width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "Too narrow for" in text or width == 120


def test_what_goes_across_stands_above_its_metrics(run, frame):
    runs = [run(loss, dataset__name=data) for data in ("wine", "digits") for loss in ("a", "b")]
    runs += [run("c", dataset__name="wine")]
    table = tabulate(frame(*runs), metrics=["accuracy", "nll"], calibrations=["raw"], across=["dataset"])
    assert render(table).splitlines()[2:8] == [
        "      digits ───────────  wine ─────────────",
        "loss  accuracy ↑  NLL ↓   accuracy ↑  NLL ↓",
        "─────────────────────────────────────────────",
        "a     0.9000*     0.3000* 0.9000*     0.3000*",
        "b     0.9000*     0.3000* 0.9000*     0.3000*",
        "c                         0.9000*     0.3000*",
    ]


def test_a_name_cannot_move_the_cursor_or_turn_the_reading_direction(run, frame):
    text = render(tabulate(frame(run("a\x1b[2Jb\nc\u202ed"), run("plain"))), "table")
    assert r"a\x1b[2Jb c\u202ed" in text
    assert not set(text) & set("\x1b\u202e")


def test_the_first_metric_stays_however_narrow_the_terminal(table):
    text = render(table, "table", 10)
    assert "accuracy" in text
    assert "Too narrow" in text


def test_on_a_terminal_too_narrow_for_words_they_stay_whole_and_the_end_says_how_wide_it_must_be(run, frame):
    table = tabulate(frame(*(run("cross_entropy", seed) for seed in range(3)), *(run("dice", s) for s in range(3))))
    text = render(table, "table", 10)
    # A column of 6 letters and a space, and one of `0.900±0.000`, its mark and the space between: 20.
    assert "\ncross_  0.900±0.000*\nentrop\ny\n" in text
    assert text.endswith("\n\nThis takes 20 characters and has 10: widen the terminal.\n")
    assert "This takes" not in render(table, "table", 20)


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
