import math
import statistics

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossbench import metrics as library
from lossbench.errors import ConfigError, RequestError
from lossbench.report import render, tabulate


def headings(table):
    return [column.heading for column in table.columns]


def best(table, index=0):
    return [row.cells[index].best for row in table.rows]


def test_runs_that_differ_in_the_seed_are_one_row_with_their_mean_and_sample_deviation(run, frame):
    runs = [run("cross_entropy", seed, accuracy=accuracy) for seed, accuracy in enumerate((0.90, 0.92, 0.97))]
    (row,) = tabulate(frame(*runs)).rows
    # Mean 2.79/3 = 0.93; deviations -0.03, -0.01, 0.04; (9 + 1 + 16)e-4 / 2 = 13e-4.
    assert row.cells[0].mean == pytest.approx(0.93)
    assert row.cells[0].sd == pytest.approx(math.sqrt(13e-4))
    assert (row.n, row.cells[0].n) == (3, 3)


def test_one_seed_has_no_deviation(run, frame):
    table = tabulate(frame(run()))
    assert table.rows[0].cells[0].sd is None
    assert table.n == 1
    assert "One seed each: no spread to show." in table.notes


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_mean_and_deviation_are_those_of_the_statistics_module(run, frame, accuracies):
    runs = [run("focal", seed, accuracy=a) for seed, a in enumerate(accuracies)]
    cell = tabulate(frame(*runs)).rows[0].cells[0]
    assert cell.mean == pytest.approx(statistics.fmean(accuracies))
    assert cell.sd == pytest.approx(statistics.stdev(accuracies), abs=1e-12)


def test_the_split_is_test_unless_asked_for(run, frame):
    runs = frame(run(accuracy=0.9))
    assert tabulate(runs).rows[0].cells[0].mean == 0.9
    assert tabulate(runs, split="val").rows[0].cells[0].mean == 0.0
    assert tabulate(runs, split="val").split == "val"


def test_an_unknown_split_names_those_there_are(run, frame):
    with pytest.raises(RequestError, match=r"no run has the split 'train'; there are: test, val"):
        tabulate(frame(run()), split="train")


def test_a_key_that_varies_is_a_column_under_its_short_name(run, frame):
    table = tabulate(frame(run("ls", loss__epsilon=0.1), run("ls", loss__epsilon=0.2)))
    assert headings(table) == ["epsilon"]
    assert [row.config["loss.epsilon"] for row in table.rows] == [0.1, 0.2]
    assert table.title == ("digits", "mlp", "ls")


def test_a_group_that_varies_is_a_column_under_the_groups_name(run, frame):
    table = tabulate(frame(run(optimizer__name="sgd"), run(optimizer__name="adamw")))
    assert headings(table) == ["optimizer"]


def test_two_keys_of_one_short_name_are_shown_in_full(run, frame):
    table = tabulate(
        frame(run("ls", loss__alpha=0.1, optimizer__alpha=1), run("ls", loss__alpha=0.2, optimizer__alpha=2))
    )
    assert headings(table) == ["loss.alpha", "optimizer.alpha"]


def test_the_teacher_that_a_run_on_new_classes_goes_on_from_is_no_column_where_all_have_the_same(run, frame):
    runs = [run(dataset__learn="all"), run(dataset__learn="new", teacher__epochs=5)]
    assert headings(tabulate(frame(*runs))) == ["learn"]


def test_a_teachers_model_is_not_confused_with_the_students(run, frame):
    students = [run("distillation", teacher__model__name=name) for name in ("mlp", "cnn")]
    assert headings(tabulate(frame(*students))) == ["teacher model"]


@pytest.mark.parametrize(
    "key",
    ["teacher.id", "results_dir", "dataset.root", "device.name", "device.threads"],
)
def test_what_cannot_change_the_numbers_or_follows_the_seed_splits_no_row(run, frame, key):
    runs = frame(*[run("distillation", seed) for seed in range(3)])
    runs[key] = "value " + runs["seed"].astype(str)
    assert [row.n for row in tabulate(runs).rows] == [3]


def test_precision_can_change_the_numbers_and_splits_rows(run, frame):
    table = tabulate(frame(run(device__precision="fp32"), run(device__precision="bf16")))
    assert headings(table) == ["precision"]


def test_a_key_of_one_loss_alone_is_named_in_a_note_and_takes_no_column(run, frame):
    table = tabulate(frame(run("cross_entropy"), run("focal", loss__gamma=2.0)))
    assert headings(table) == ["loss"]
    assert "focal: gamma=2." in table.notes


def test_a_key_that_only_some_rows_of_one_loss_have_tells_them_apart(run, frame):
    table = tabulate(frame(run("ls", loss__prior=None), run("ls", loss__prior="train")))
    assert headings(table) == ["prior"]
    assert [row.config["loss.prior"] for row in table.rows] == [None, "train"]


def test_whole_numbers_stay_whole_beside_a_missing_key(run, frame):
    table = tabulate(frame(run("a"), run("b", loss__warmup=20), run("b", loss__warmup=5)))
    assert [row.config["loss.warmup"] for row in table.rows] == [None, 5, 20]
    assert all(isinstance(row.config["loss.warmup"], int | None) for row in table.rows)


def test_rows_go_by_dataset_model_loss_then_numbers_and_cross_entropy_comes_first(run, frame):
    wanted = [
        ("digits", "cnn", "cross_entropy", None),
        ("digits", "mlp", "cross_entropy", None),
        ("digits", "mlp", "brier", None),
        ("digits", "mlp", "ls", 0.05),
        ("digits", "mlp", "ls", 0.1),
        ("digits", "mlp", "ls", 10.0),  # as text it would stand before 0.05's neighbour
        ("wine", "mlp", "cross_entropy", None),
    ]
    runs = [run(loss, dataset__name=d, model__name=m, loss__epsilon=e) for d, m, loss, e in wanted]
    table = tabulate(frame(*reversed(runs)))
    keys = ("dataset.name", "model.name", "loss.name", "loss.epsilon")
    assert [tuple(row.config[key] for key in keys) for row in table.rows] == wanted
    assert headings(table) == ["dataset", "model", "loss", "epsilon"]
    assert [row.block for row in table.rows] == [0, 1, 1, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("metric", "values", "wanted"),
    [
        ("accuracy", (0.8, 0.9, 0.7), [False, True, False]),
        ("nll", (0.3, 0.2, 0.4), [False, True, False]),
        ("confidence_gap", (0.05, -0.02, -0.3), [False, True, False]),  # nearest 0, on either side
        ("mean_confidence", (0.8, 0.9, 0.7), [False, False, False]),  # neither way is better
        ("accuracy", (0.9, 0.9, 0.7), [True, True, False]),  # ties are all best
        ("nll", (math.nan, 0.2, 0.4), [False, True, False]),
    ],
)
def test_the_best_mean_is_marked_by_the_metrics_own_direction(run, frame, metric, values, wanted):
    runs = [run(loss, **{metric: value}) for loss, value in zip("abc", values, strict=True)]
    assert best(tabulate(frame(*runs), metrics=[metric], calibrations=["raw"])) == wanted


def test_means_of_the_same_values_in_another_order_tie(run, frame):
    # 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floating point.
    values = (0.1, 0.2, 0.3)
    runs = [run("a", seed, accuracy=v) for seed, v in enumerate(values)]
    runs += [run("b", seed, accuracy=v) for seed, v in enumerate(reversed(values))]
    assert best(tabulate(frame(*runs))) == [True, True]


def test_each_dataset_and_model_has_its_own_best_and_a_single_row_has_none(run, frame):
    table = tabulate(
        frame(
            run("a", accuracy=0.8),
            run("b", accuracy=0.7),
            run("a", dataset__name="wine", accuracy=0.2),
            run("b", dataset__name="wine", accuracy=0.3),
            run("a", dataset__name="wine", model__name="linear", accuracy=0.1),
        )
    )
    # Sorted: digits mlp a, b; wine linear a; wine mlp a, b.
    assert best(table) == [True, False, False, False, True]


def test_levels_of_label_noise_are_different_problems(run, frame):
    runs = [
        run(loss, dataset__label_noise=noise, accuracy=0.9 - noise + gain)
        for noise in (0.0, 0.2)
        for loss, gain in (("a", 0.0), ("b", 0.01))
    ]
    assert best(tabulate(frame(*runs))) == [False, True, False, True]


def test_nan_is_left_out_of_the_mean_and_the_note_counts_it(run, frame):
    values = (0.6, math.nan, 0.8)
    runs = [run("a", seed, confidence_of_errors=value) for seed, value in enumerate(values)]
    table = tabulate(frame(*runs), metrics=["confidence_of_errors"], calibrations=["raw"])
    assert table.rows[0].cells[0].mean == pytest.approx(0.7)
    assert (table.rows[0].cells[0].n, table.rows[0].n) == (2, 3)
    assert "confidence of errors: no value in 1 of 3 runs, left out of the mean." in table.notes


def test_a_metric_that_no_stored_run_has_is_missing_and_no_crash(run, frame):
    table = tabulate(frame(run()), metrics=["brier_score"], calibrations=["raw"])
    assert math.isnan(table.rows[0].cells[0].mean)
    assert table.rows[0].cells[0].n == 0


def test_an_infinite_value_has_a_mean_and_no_deviation(run, frame):
    cell = tabulate(frame(run("a", 0, nll=math.inf), run("a", 1, nll=0.2))).rows[0].cells[1]
    assert (cell.mean, cell.sd, cell.n) == (math.inf, None, 2)


def test_the_usual_columns_are_four_metrics_and_the_ece_after_temperature(run, frame):
    table = tabulate(frame(run(ece=0.1, scaled={"ece": 0.02})))
    assert [(column.metric, column.calibration) for column in table.metrics] == [
        ("accuracy", "raw"),
        ("nll", "raw"),
        ("ece", "raw"),
        ("confidence_gap", "raw"),
        ("ece", "temperature_scaled"),
    ]
    assert [table.rows[0].cells[i].mean for i in (2, 4)] == [0.1, 0.02]


def test_one_calibration_shows_the_four_under_it(run, frame):
    table = tabulate(frame(run()), calibrations=["temperature_scaled"])
    assert [column.calibration for column in table.metrics] == ["temperature_scaled"] * 4


def test_chosen_metrics_show_in_each_calibration_except_where_temperature_changes_nothing(run, frame):
    table = tabulate(frame(run()), metrics=["nll", "balanced_accuracy", "nll"])
    assert [(column.metric, column.calibration) for column in table.metrics] == [
        ("nll", "raw"),
        ("nll", "temperature_scaled"),
        ("balanced_accuracy", "raw"),
    ]


def test_directions_come_from_the_metrics_themselves(run, frame):
    table = tabulate(frame(run()), metrics=list(library.ALL))
    assert {column.metric: column.better for column in table.metrics} == {
        name: metric.better for name, metric in library.ALL.items()
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["acuracy"]}, "no metric named 'acuracy'; did you mean accuracy?"),
        ({"calibrations": ["temperature"]}, "no calibration named 'temperature'; did you mean temperature_scaled?"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(run, frame, options, message):
    with pytest.raises(ConfigError) as caught:
        tabulate(frame(run()), **options)
    assert str(caught.value) == message


def test_no_runs_at_all_says_how_to_train_one():
    with pytest.raises(RequestError, match="no finished runs; train some first: lossbench train"):
        tabulate(pd.DataFrame())


def test_the_number_of_seeds_is_common_or_nothing(run, frame):
    runs = [run("a", 0), run("a", 1), run("b", 0)]
    assert tabulate(frame(*runs)).n is None
    assert tabulate(frame(*runs[:2])).n == 2


def test_the_notes_say_what_the_numbers_rest_on(run, frame):
    assert tabulate(frame(run("a", 0), run("a", 1)), metrics=["ece", "mce"]).notes == (
        "Mean ± half the 95 % interval (Student t) over 2 seeds.",
        "ECE, MCE: 15 bins of equal width.",
        "T-scaled: after one temperature fitted on the validation split.",
        "MCE: no value in 2 of 2 runs, left out of the mean.",
        "MCE (T-scaled): no value in 2 of 2 runs, left out of the mean.",
    )


OURS, TIMM = "lossbench.models.resnet18", "lossbench.models.timm_model"


def test_models_of_one_name_have_their_family_before_it(run, frame):
    torchvision = "lossbench.models.torchvision_model"
    runs = [run(model__name="resnet18", model___target_=made) for made in (OURS, TIMM, torchvision)]
    table = tabulate(frame(*runs))
    assert headings(table) == ["model"]
    assert [row.config["model.name"] for row in table.rows] == ["resnet18", "timm/resnet18", "torchvision/resnet18"]
    assert table.title == ("digits", "cross_entropy")


def test_a_model_whose_name_one_function_has_is_called_by_that_name_alone(run, frame):
    runs = [run(model__name=name, model___target_=made) for name, made in (("resnet18", TIMM), ("mlp", OURS))]
    assert [row.config["model.name"] for row in tabulate(frame(*runs)).rows] == ["mlp", "resnet18"]


def test_models_of_one_name_and_family_have_the_path_of_their_function(run, frame):
    runs = [run(model__name="resnet18", model___target_=made) for made in (OURS, "mine.resnet18")]
    names = [row.config["model.name"] for row in tabulate(frame(*runs)).rows]
    assert names == ["lossbench.models.resnet18/resnet18", "mine.resnet18/resnet18"]


def test_a_filter_that_leaves_one_value_stands_in_the_title(run, frame):
    runs = frame(run("ls", 0, loss__epsilon=0.1), run("ls", 1, loss__epsilon=0.1), run("ls", 0, loss__epsilon=0.2))
    assert tabulate(runs, where=["loss.epsilon=0.1"]).title == ("digits", "mlp", "ls", "epsilon 0.1")
    assert tabulate(runs, where=["loss.epsilon=0.1,0.2"]).title == ("digits", "mlp", "ls")
    assert tabulate(runs, where=["seed=0", "loss=ls"]).title == ("digits", "mlp", "ls", "seed 0")


def test_settings_that_no_column_shows_are_noted_when_the_loss_itself_is_not_swept(run, frame):
    settings = {"loss__epsilon": 0.1, "loss__temperature": 1.0, "loss__prior": None}
    by_rate = tabulate(frame(*[run("ls", optimizer__rate=rate, **settings) for rate in (0.1, 0.2)]))
    assert "ls: epsilon=0.1, temperature=1." in by_rate.notes
    by_epsilon = tabulate(frame(*[run("ls", **{**settings, "loss__epsilon": e}) for e in (0.1, 0.2)]))
    assert not any(note.startswith("ls:") for note in by_epsilon.notes)


def test_a_distilled_loss_names_its_teacher(run, frame):
    student = run("distillation", loss__alpha=0.9, teacher__model__name="cnn", teacher__loss__name="focal")
    assert "distillation: alpha=0.9, teacher.model=cnn, teacher.loss=focal." in tabulate(frame(run(), student)).notes


def test_a_row_without_a_teacher_is_not_said_to_have_one(run, frame):
    teacher = {"teacher__model__name": "mlp", "teacher__loss__name": "focal"}
    runs = [
        run("ls", loss__epsilon=0.1, dataset__learn="all"),
        run("ls", loss__epsilon=0.1, dataset__learn="new", **teacher),
    ]
    notes = tabulate(frame(*runs)).notes
    assert "ls: epsilon=0.1." in notes
    assert "ls with learn=new: teacher.model=mlp, teacher.loss=focal." in notes


OFF = {"dataset__mixup": 0.0, "dataset__cutmix": 0.0, "dataset__old_classes": 0, "dataset__learn": "all"}


def test_a_run_older_than_a_setting_that_is_off_is_a_seed_of_the_same_row(run, frame):
    table = tabulate(frame(run("a", 0), run("a", 1), run("a", 2, **OFF)))
    assert [row.n for row in table.rows] == [3]
    assert table.rows[0].config["dataset.learn"] == "all"
    assert not any("Left out" in note for note in table.notes)


@pytest.mark.parametrize(
    ("key", "other"),
    [("dataset__mixup", 0.2), ("dataset__cutmix", 1.0), ("dataset__old_classes", 5), ("dataset__learn", "new")],
)
def test_a_run_older_than_a_setting_is_another_row_than_one_that_has_it_on(run, frame, key, other):
    table = tabulate(frame(run("a", 0), run("a", 1, **OFF), run("a", 1, **{**OFF, key: other})))
    assert sorted(row.n for row in table.rows) == [1, 2]
    assert {row.config[key.replace("__", ".")] for row in table.rows} == {OFF[key], other}


def test_an_older_run_counts_once_where_the_same_was_trained_again(run, frame):
    table = tabulate(frame(run("a", 0, nll=9.0), run("a", 1, nll=1.0), run("a", 0, nll=2.0, **OFF)))
    (row,) = table.rows
    assert sorted(row.cells[1].values) == [1.0, 2.0]
    assert "Left out: 1 run of an older version whose settings and seed newer ones have." in table.notes


def test_older_runs_alone_are_left_as_they_are_and_so_is_a_data_set_of_ones_own(run, frame):
    assert "dataset.mixup" not in tabulate(frame(run("a", 0), run("a", 1))).rows[0].config
    mine = [run("a", seed, dataset__name="mine", **settings) for seed, settings in enumerate(({}, OFF))]
    assert [row.n for row in tabulate(frame(*mine)).rows] == [1, 1]


def test_a_teachers_older_settings_are_off_too(run, frame):
    students = [
        run("distillation", 0, teacher__dataset__label_noise=0.0),
        run("distillation", 1, teacher__dataset__label_noise=0.0, teacher__dataset__mixup=0.0),
        run("cross_entropy", 1),
    ]
    rows = tabulate(frame(*students)).rows
    assert [(row.config["loss.name"], row.n, row.config["teacher.dataset.mixup"]) for row in rows] == [
        ("cross_entropy", 1, None),
        ("distillation", 2, 0),
    ]


def test_what_all_rows_share_and_is_not_the_default_is_noted(run, frame):
    # digits' defaults: no mixup, 20 epochs; a setting that has a column, or that one row alone has, is no note
    settings = {"dataset__mixup": 0.2, "dataset__shift": 0, "batch_size": 64, "model__hidden": "[128]"}
    rows = [run(loss, epochs=5, **settings, dataset__flip=flip) for loss, flip in (("a", False), ("b", True))]
    notes = tabulate(frame(*rows)).notes
    assert "Other than the defaults: dataset.mixup=0.2, epochs=5." in notes
    assert not any(note.startswith("Other") for note in tabulate(frame(run(), run("focal"))).notes)


def test_what_the_rows_of_one_model_or_data_set_share_and_others_lack_is_noted(run, frame):
    # the defaults: gaussians lie 2.0 apart; the mlp has hidden=[128], the cnn width=16
    of = [("digits", "mlp", {"model__hidden": "[16]"}), ("digits", "cnn", {"model__width": 16})]
    of += [("gaussians", "mlp", {"model__hidden": "[16]", "dataset__separation": 5})]
    runs = [
        run(loss, dataset__name=data, model__name=model, **settings) for loss in "ab" for data, model, settings in of
    ]
    notes = tabulate(frame(*runs)).notes
    assert {"gaussians: separation=5.", "mlp: hidden=[16]."} <= set(notes)
    assert not any(note.startswith(("cnn:", "digits:", "Other")) for note in notes)
    shown = tabulate(frame(*runs), rows=["dataset", "model", "loss", "hidden"]).notes
    assert not any(note.startswith("mlp:") for note in shown)


def test_what_goes_with_a_data_set_that_goes_across_is_said_once(run, frame):
    runs = [run(loss, dataset__name=d, dataset__mixup=m) for loss in "ab" for d, m in (("digits", 0.2), ("wine", 0))]
    (note,) = [note for note in tabulate(frame(*runs), across=["dataset"]).notes if note.startswith("digits:")]
    assert note == "digits: dataset.mixup=0.2."


def test_a_data_set_of_ones_own_has_no_defaults_to_differ_from(run, frame):
    rows = [run(loss, dataset__name="mine", dataset__mixup=0.2) for loss in "ab"]
    assert not any(note.startswith("Other") for note in tabulate(frame(*rows)).notes)


def test_a_temperature_fitted_on_new_classes_alone_is_said_to_be(run, frame):
    rows = [run(loss, dataset__learn="new", dataset__old_classes=5) for loss in "ab"]
    warning = "With dataset.learn=new validation has the new classes alone, and so has what was fitted on it."
    assert warning in tabulate(frame(*rows)).notes
    assert warning not in tabulate(frame(*rows), calibrations=["raw"]).notes
    assert warning not in tabulate(frame(run())).notes


def test_a_temperature_at_the_bound_of_its_search_is_said_to_be(run, frame):
    runs = frame(run("a"), run("b", 1), run("a", 2))
    runs.loc[runs["run"] == "run-1", "temperature"] = 0.01
    runs.loc[runs["run"] == "run-2", "temperature"] = 10_000.0
    warnings = (
        "In 1 of 3 runs the temperature is the lower end of the search, as every validation example is right: what was "
        "fitted on validation says little.",
        "In 1 of 3 runs the temperature is the upper end of the search, as hardly more validation examples are right "
        "than by chance: what was fitted on validation says little.",
    )
    assert set(warnings) <= set(tabulate(runs).notes)
    assert not any("of the search" in note for note in tabulate(runs, calibrations=["raw"]).notes)
    assert not any("of the search" in note for note in tabulate(frame(run())).notes)


def test_rows_of_too_few_seeds_are_said_not_to_be_tested(run, frame):
    three = [
        run(loss, seed, accuracy=accuracy, nll=0.1 * accuracy, ece=0.0, confidence_gap=0.0)
        for loss, accuracies in (("a", (0.8, 0.81, 0.82)), ("b", (0.9, 0.92, 0.91)))
        for seed, accuracy in enumerate(accuracies)
    ]
    two = [run(loss, seed, dataset__name="wine", nll=nll) for loss, nll in (("a", 0.3), ("b", 0.4)) for seed in (0, 1)]
    note = "Not tested: 1 of 4 rows, which share fewer than 3 runs with the best."
    assert note in tabulate(frame(*three, *two)).notes
    assert not any(note.startswith("Not tested") for note in tabulate(frame(*three)).notes)


def test_what_else_rows_of_one_data_set_and_model_differ_in_is_said(run, frame):
    note = "Not the loss alone: rows that are held against each other also differ in epochs (20, 30)."
    assert note in tabulate(frame(run("a"), run("b", epochs=30))).notes
    apart = tabulate(frame(run("a"), run("b", dataset__name="wine", epochs=30)))
    assert not any(note.startswith("Not the loss alone") for note in apart.notes)


def test_a_run_that_went_astray_does_not_round_the_others_away(run, frame):
    table = tabulate(frame(*[run(loss, nll=nll) for loss, nll in (("a", 0.1193), ("b", 0.1201), ("c", 27059.0))]))
    assert "0.1193" in render(table)
