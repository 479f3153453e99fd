"""`--rows`, `--columns` and `--sort`: which settings make rows, which go across, and in what order the rows stand."""

import pytest

from lossbench.cli import options
from lossbench.errors import ConfigError, RequestError
from lossbench.report import render, tabulate
from lossbench.report.layout import lines
from lossbench.report.terminal import terminal


@pytest.fixture
def grid(run, frame):
    """Two data sets × two losses, one of which is swept over ε; digits alone is shifted."""
    return frame(
        *[
            run(loss, dataset__name=data, dataset__shift=shift, loss__epsilon=epsilon, accuracy=accuracy)
            for data, shift, gain in (("digits", 2, 0.0), ("wine", 0, 0.01))
            for loss, epsilon, accuracy in (
                ("cross_entropy", None, 0.8 + gain),
                ("ls", 0.1, 0.9 - 3 * gain),
                ("ls", 0.2, 0.85),
            )
        ]
    )


def headings(columns):
    return [column.heading for column in columns]


def order(table, *keys):
    return [tuple(row.config[key] for key in keys) for row in table.rows]


def test_rows_are_the_settings_asked_for_in_the_order_asked_for(grid):
    table = tabulate(grid, rows=["loss", "epsilon", "dataset"])
    assert headings(table.columns) == ["loss", "epsilon", "dataset"]
    assert order(table, "loss.name", "loss.epsilon", "dataset.name")[:3] == [
        ("cross_entropy", None, "digits"),
        ("cross_entropy", None, "wine"),
        ("ls", 0.1, "digits"),
    ]


def test_the_best_is_that_of_a_dataset_and_model_however_the_rows_stand(grid):
    plain, turned = tabulate(grid), tabulate(grid, rows=["loss", "epsilon", "dataset"])
    best = [{(*order_, row.cells[0].best) for order_, row in zip(order(table, "dataset.name", "loss.name",
            "loss.epsilon"), table.rows, strict=True)} for table in (plain, turned)]  # fmt: skip
    assert best[0] == best[1]
    assert ("digits", "ls", 0.1, True) in best[0]


def test_a_block_is_ruled_off_by_dataset_and_model_or_by_the_setting_before_them(grid):
    assert [line.starts_block for line in lines(tabulate(grid))] == [False, False, False, True, False, False]
    turned = lines(tabulate(grid, rows=["loss", "epsilon", "dataset"]))
    assert [line.starts_block for line in turned] == [False, False, True, False, False, False]


@pytest.mark.parametrize("word", ["epsilon", "loss.epsilon"])
def test_a_setting_goes_by_its_heading_or_in_full(run, frame, word):
    runs = frame(*[run("ls", loss__epsilon=e, optimizer__rate=r) for e, r in ((0.1, 1), (0.2, 2))])
    assert [column.key for column in tabulate(runs, rows=[word]).columns] == ["loss.epsilon"]


def test_a_setting_that_does_not_vary_may_be_shown(run, frame):
    table = tabulate(frame(run("a"), run("b")), rows=["dataset", "loss", "epochs"])
    assert [line.settings for line in lines(table)] == [("digits", "a", "20"), ("digits", "b", "20")]


def test_rows_that_would_look_alike_are_refused_and_what_tells_them_apart_is_named(grid):
    with pytest.raises(RequestError) as caught:
        tabulate(grid, rows=["dataset", "loss"])
    assert str(caught.value) == (
        "rows that look alike by dataset, loss differ in epsilon; add it to --rows or --columns, or leave some out: "
        "--where loss.epsilon=…"
    )


def test_columns_go_across_and_what_goes_with_them_is_no_column_but_a_note(grid):
    table = tabulate(grid, across=["dataset"])
    assert (headings(table.columns), headings(table.across)) == (["loss", "epsilon"], ["dataset"])
    found = lines(table)
    assert [line.settings for line in found] == [("cross_entropy", ""), ("ls", "0.1"), ("ls", "0.2")]
    assert [[row.config["dataset.name"] for row in line.rows] for line in found] == [["digits", "wine"]] * 3
    assert {"digits: dataset.shift=2.", "wine: dataset.shift=0."} <= set(table.notes)
    assert not any("dataset.shift" in note for note in tabulate(grid).notes)


def test_what_goes_across_names_its_setting_and_a_loss_or_a_data_set_itself(run, frame):
    runs = [
        run("focal", loss__gamma=gamma, loss__class_weights=weights, optimizer__name=rule)
        for gamma, rule in ((0, "sgd"), (2, "adam"))
        for weights in (None, "inverse")
    ]
    table = tabulate(frame(*runs), across=["gamma"], metrics=["accuracy"], calibrations=["raw"])
    assert "γ=0 ────" in render(table, "table")
    assert "| γ=0: accuracy ↑ | γ=2: accuracy ↑ |" in render(table, "markdown")
    assert r"{$\gamma$=0} & \multicolumn{1}{c}{$\gamma$=2}" in render(table, "latex")
    assert {"γ=0: optimizer.name=sgd.", "γ=2: optimizer.name=adam."} <= set(table.notes)
    weighted = tabulate(frame(*runs), across=["class_weights"], metrics=["accuracy"], calibrations=["raw"])
    assert "class_weights=null: accuracy ↑" in render(weighted, "markdown")


def test_columns_are_as_wide_as_what_goes_across_them_where_the_terminal_is(run, frame):
    runs = [run(batch_size=size) for size in (32, 64)]
    table = tabulate(frame(*runs), across=["batch_size"], rows=["loss"], metrics=["accuracy"], calibrations=["raw"])
    assert "batch_size=32   batch_size=64" in terminal(table, 60)
    assert "32 ───────  64 ───────" in terminal(table, 40)


def test_a_place_without_a_run_is_empty(run, frame):
    runs = [run("a"), run("b"), run("a", dataset__name="wine")]
    second = lines(tabulate(frame(*runs), across=["dataset"]))[1]
    assert [row and row.config["loss.name"] for row in second.rows] == ["b", None]


def test_several_settings_may_go_across(grid):
    assert "digits: cross_entropy: accuracy ↑" in render(tabulate(grid, across=["dataset", "loss"]), "markdown")


def test_two_rows_in_one_place_are_refused_even_where_their_code_alone_differs(run, frame):
    runs = frame(run("a"), run("a"), run("a", dataset__name="wine"))
    runs["sources"] = [f"{i // 4 % 2}" for i in range(len(runs))]
    with pytest.raises(RequestError, match="rows that look alike by dataset differ in sources"):
        tabulate(runs, across=["dataset"])


def test_the_number_of_seeds_of_a_line_is_one_or_all_there_are(run, frame):
    runs = [run(loss, seed) for loss in "ab" for seed in (0, 1)] + [run("a", 0, dataset__name="wine")]
    assert [line.n for line in lines(tabulate(frame(*runs), across=["dataset"]))] == ["1, 2", "2"]


def test_differences_from_a_baseline_name_what_goes_across_too(run, frame):
    runs = [
        run(loss, s, dataset__name=d) for d in ("digits", "wine") for loss in ("cross_entropy", "b") for s in (0, 1)
    ]
    text = render(tabulate(frame(*runs), across=["dataset"], baseline=["loss=cross_entropy"]), "markdown")
    assert "| metric             | dataset | loss | difference |" in text


def test_what_is_no_setting_is_answered_with_the_nearest(grid):
    for wrong in ({"rows": ["epsilom"]}, {"across": ["epsilom"]}):
        with pytest.raises(ConfigError, match=r"no setting named 'epsilom'; did you mean epsilon\?"):
            tabulate(grid, **wrong)


def test_a_short_name_of_several_settings_asks_which(run, frame):
    runs = frame(run("a", loss__alpha=1, optimizer__alpha=1), run("b", loss__alpha=2, optimizer__alpha=2))
    with pytest.raises(ConfigError, match=r"'alpha' fits several settings; say which: loss\.alpha, optimizer\.alpha"):
        tabulate(runs, rows=["alpha"])
    assert headings(tabulate(runs, rows=["loss.alpha"]).columns) == ["loss.alpha"]


def test_a_setting_cannot_be_on_both_sides(grid):
    with pytest.raises(ConfigError, match="loss cannot be both in --rows and in --columns"):
        tabulate(grid, rows=["loss", "epsilon"], across=["loss"])


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        ("accuracy", [0.1, 0.2, None, 0.1, 0.2, None]),  # digits 0.9, 0.85, 0.8; wine 0.87, 0.85, 0.81
        ("epsilon", [None, 0.1, 0.2, None, 0.1, 0.2]),
        ("loss.epsilon:desc", [0.2, 0.1, None, 0.2, 0.1, None]),
        ("ece", [None, 0.1, 0.2, None, 0.1, 0.2]),  # all equal: as they were
    ],
)
def test_rows_are_sorted_within_their_dataset_and_model(grid, by, wanted):
    table = tabulate(grid, sort=by)
    assert order(table, "dataset.name", "loss.epsilon") == [
        (data, epsilon) for data, epsilon in zip(["digits"] * 3 + ["wine"] * 3, wanted, strict=True)
    ]


def test_best_first_is_nearest_zero_for_a_gap_and_least_for_an_error_of_any_calibration(run, frame):
    values = {"a": (-0.3, 0.1, 0.3), "b": (0.2, 0.2, 0.2), "c": (-0.1, 0.3, 0.1)}
    runs = [run(loss, confidence_gap=g, ece=e, scaled={"ece": s}) for loss, (g, e, s) in values.items()]
    for by, wanted in (("confidence_gap", "cba"), ("ece", "abc"), ("ece.temperature_scaled", "cba")):
        assert [loss for (loss,) in order(tabulate(frame(*runs), sort=by), "loss.name")] == list(wanted)


def test_a_metric_that_does_not_judge_goes_from_the_least(run, frame):
    runs = frame(run("a", mean_confidence=0.9), run("b", mean_confidence=0.8))
    table = tabulate(runs, metrics=["mean_confidence"], sort="mean_confidence")
    assert order(table, "loss.name") == [("b",), ("a",)]


def test_where_datasets_go_across_a_metric_is_averaged_and_what_lacks_one_comes_last(run, frame):
    # Means of a and b: (0.9 + 0.5)/2 = 0.7 and (0.8 + 0.7)/2 = 0.75; c has digits alone.
    accuracies = {("digits", "a"): 0.9, ("wine", "a"): 0.5, ("digits", "b"): 0.8, ("wine", "b"): 0.7}
    accuracies |= {("digits", "c"): 0.99}
    runs = [run(loss, dataset__name=data, accuracy=value) for (data, loss), value in accuracies.items()]
    table = tabulate(frame(*runs), across=["dataset"], sort="accuracy")
    assert [line.settings for line in lines(table)] == [("b",), ("a",), ("c",)]


def test_a_setting_of_a_metrics_name_is_the_setting_where_it_is_a_column(run, frame):
    runs = frame(*[run("t", loss__temperature=t) for t in (2, 1)])
    assert order(tabulate(runs, metrics=["nll", "temperature"], sort="temperature:desc"), "loss.temperature") == [
        (2,),
        (1,),
    ]


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("acuracy", "--sort acuracy is neither a setting nor a metric of this table; did you mean accuracy?"),
        ("epsilom", "--sort epsilom is neither a setting nor a metric of this table; did you mean epsilon?"),
        ("epsilon:down", "--sort takes KEY, KEY:desc or METRIC; got 'epsilon:down'"),
        ("accuracy:desc", "--sort accuracy puts the best first; :desc is for settings"),
    ],
)
def test_a_wrong_order_is_refused(grid, by, message):
    with pytest.raises(ConfigError) as caught:
        tabulate(grid, sort=by)
    assert str(caught.value) == message


def test_the_command_line_takes_rows_columns_and_sort(lossbench):
    quick = ("dataset=wine,breast_cancer", "model=linear", "epochs=1", "device.threads=1", "-q")
    assert lossbench("train", "loss=label_smoothing", "loss.epsilon=0,0.1", *quick).returncode == 0
    asked = ("--rows", "epsilon", "--columns", "dataset", "--sort", "epsilon:desc", "--metrics", "accuracy")
    answer = lossbench("report", *asked, "--format", "markdown")
    assert [line.split()[1] for line in answer.stdout.splitlines() if line.startswith("| ")] == [
        "epsilon",
        "-------",
        "0.1",
        "0",
    ]
    assert "| breast_cancer: accuracy ↑ | wine: accuracy ↑ |" in " ".join(answer.stdout.split())
    wrong = lossbench("report", "--rows", "epsilom")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean epsilon" in wrong.stderr


def test_what_is_piped_on_is_as_wide_as_columns_says_or_as_it_needs(monkeypatch):
    for columns, width in (("61", 61), ("", None), ("wide", None)):
        monkeypatch.setenv("COLUMNS", columns)
        assert options.terminal(None) == (width, False)
