"""`--ranks`: average ranks over data sets, Friedman's test and Nemenyi's critical difference."""

import json
import math

import pytest

from lossbench.errors import ConfigError, RequestError
from lossbench.report import render, tabulate


@pytest.fixture
def three_datasets(run, frame):
    """Ranks of nll: a, b, c are 1 2 3, 1 2 3, 2 1 3; their averages 4/3, 5/3, 3, and p = e^{-7/3} = 0.097."""
    nll = {"digits": (0.1, 0.2, 0.3), "iris": (1.0, 2.0, 3.0), "wine": (0.2, 0.1, 0.3)}
    return [
        run(loss, seed, dataset__name=data, nll=value + 0.001 * seed)
        for data, values in nll.items()
        for loss, value in zip("abc", values, strict=True)
        for seed in (0, 1)
    ]


def test_losses_are_ranked_by_their_means_and_averaged_over_datasets(three_datasets, frame):
    table = tabulate(frame(*three_datasets), ranks="nll")
    assert table.ranks.rows == (("a", pytest.approx(4 / 3)), ("b", pytest.approx(5 / 3)), ("c", 3))
    assert table.ranks.p == pytest.approx(math.exp(-7 / 3))
    assert table.ranks.n == 3
    lines = render(table, "markdown").splitlines()
    assert lines[lines.index("**Average ranks by NLL ↓**") + 2 :][:5] == [
        "| ranked | average rank |",
        "| ------ | -----------: |",
        "| a      | 1.33         |",
        "| b      | 1.67         |",
        "| c      | 3.00         |",
    ]
    assert "Friedman test of no difference: p = 0.097." in lines[-1]
    assert "more than 1.91 apart: Nemenyi's critical difference." in lines[-1]  # 2.343·√(12/18)
    assert json.loads(render(table, "json"))["ranks"]["average"] == pytest.approx({"a": 4 / 3, "b": 5 / 3, "c": 3})


def test_a_higher_accuracy_has_the_lower_rank(run, frame):
    runs = [
        run(loss, dataset__name=data, accuracy=accuracy)
        for data in ("digits", "wine")
        for loss, accuracy in (("a", 0.7), ("b", 0.9), ("c", 0.8))
    ]
    assert [name for name, _ in tabulate(frame(*runs), ranks="accuracy").ranks.rows] == ["b", "c", "a"]
    assert "Two blocks are hardly enough" in render(tabulate(frame(*runs), ranks="accuracy"), "markdown")


def test_a_metric_that_is_only_ranked_by_is_shown_too(three_datasets, frame):
    table = tabulate(frame(*three_datasets), metrics=["accuracy"], ranks="nll", calibrations=["raw"])
    assert [column.metric for column in table.metrics] == ["accuracy", "nll"]


def test_settings_of_one_loss_are_ranked_apart(run, frame):
    runs = [
        run("ls", dataset__name=data, loss__epsilon=epsilon, nll=epsilon)
        for data in ("digits", "wine")
        for epsilon in (0.0, 0.1, 0.2)
    ]
    ranked = tabulate(frame(*runs), ranks="nll").ranks.rows
    assert ranked == (("epsilon=0", 1), ("epsilon=0.1", 2), ("epsilon=0.2", 3))


def test_what_validation_picked_is_ranked_as_its_loss_whatever_was_picked(run, frame):
    # On digits ls has two ε to pick from, on wine one: its rows read `picked` and 0.2, and are one loss all the same.
    epsilons = {"digits": (0.1, 0.2), "wine": (0.2,)}
    runs = [run("ls", dataset__name=d, loss__epsilon=e, nll=0.2) for d, of in epsilons.items() for e in of]
    runs += [
        run(loss, dataset__name=d, nll=n) for d in epsilons for loss, n in (("cross_entropy", 0.1), ("focal", 0.3))
    ]
    ranked = tabulate(frame(*runs), select="nll", ranks="nll").ranks
    assert ranked.rows == (("cross_entropy", 1), ("ls", 2), ("focal", 3))
    assert not ranked.left_out


def test_what_lacks_a_mean_somewhere_is_left_out_and_named(three_datasets, run, frame):
    runs = frame(*three_datasets, run("d"), *[run("e", dataset__name=d, nll=math.nan) for d in ("digits", "iris")])
    table = tabulate(runs, ranks="nll")
    assert [name for name, _ in table.ranks.rows] == ["a", "b", "c"]
    assert "Not ranked, for want of a mean in some block: d." in render(table, "markdown")


def test_two_losses_or_one_dataset_are_too_few(run, frame):
    runs = [run(loss) for loss in "abc"] + [run(loss, dataset__name="wine") for loss in "ab"]
    with pytest.raises(RequestError) as caught:
        tabulate(frame(*runs), ranks="nll")
    assert str(caught.value) == (
        "ranks need at least 3 losses on each of at least 2 datasets or models; there are 2 on 2"
    )
    with pytest.raises(RequestError, match="there are 3 on 1"):
        tabulate(frame(*runs[:3]), ranks="nll")


def test_two_rows_of_one_name_cannot_be_ranked(run, frame):
    runs = frame(*[run(loss, dataset__name=d, nll=1.0) for d in ("digits", "wine") for loss in "aabc"])
    runs["sources"] = [f"{i // 4 % 2}" for i in range(len(runs))]
    with pytest.raises(RequestError, match="two rows of one dataset and model are both a; leave one out"):
        tabulate(runs, ranks="nll")


def test_a_metric_that_does_not_judge_or_is_misspelt_is_refused(three_datasets, frame):
    with pytest.raises(ConfigError, match="mean_confidence does not say which of its values are better"):
        tabulate(frame(*three_datasets), ranks="mean_confidence")
    with pytest.raises(ConfigError, match="no metric named 'nl'; did you mean nll"):
        tabulate(frame(*three_datasets), ranks="nl")


def test_a_dataset_whose_rows_are_of_different_data_is_left_out_and_said_to_be(three_datasets, run, frame):
    other = [
        run(loss, dataset__name="other", nll=nll, fingerprint__data=loss)
        for loss, nll in (("a", 3.0), ("b", 2.0), ("c", 1.0))
    ]
    alone, table = (tabulate(frame(*runs), ranks="nll") for runs in (three_datasets, [*three_datasets, *other]))
    assert (table.ranks.rows, table.ranks.n, table.ranks.unlike) == (alone.ranks.rows, 3, 1)
    said = "Left out, for their runs of one seed differ in data or initial weights: 1 of the datasets or models."
    assert said in render(table, "markdown")
    assert said not in render(alone, "markdown")
    with pytest.raises(RequestError, match="there are 3 on 1, and 1 whose runs of one seed differ in data"):
        tabulate(frame(*three_datasets[:6], *other), ranks="nll")
