import pytest

from lossbench.errors import ConfigError, RequestError
from lossbench.report import tabulate
from lossbench.report.selection import value


@pytest.fixture
def runs(run, frame):
    return frame(
        run("cross_entropy", 0, model__hidden="[64, 64]"),
        run("label_smoothing", 0, loss__epsilon=0.1, model__hidden="[64, 64]", loss__squared=True),
        run("label_smoothing", 1, loss__epsilon=0.1, model__hidden="[64, 64]", loss__squared=True),
        run("label_smoothing", 0, loss__epsilon=0.2, model__hidden="[128]", loss__squared=False),
        run("focal", 0, dataset__name="wine", loss__gamma=2.0, model__hidden="[128]"),
    )


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ([], 5),
        (["dataset=digits"], 4),
        (["dataset.name=digits"], 4),
        (["loss=focal,cross_entropy"], 2),
        (["loss.epsilon=0.1"], 2),
        (["loss.epsilon=.10"], 2),  # numbers compare as numbers
        (["loss.epsilon=1e-1,0.2"], 3),
        (["loss.epsilon=null"], 2),
        (["seed=1"], 1),
        (["seed=0.0"], 4),
        (["loss.squared=true"], 2),
        (["loss.squared=False"], 1),
        (["model.hidden=[64,64]"], 3),  # a comma within brackets is the list's own
        (["model.hidden=[64, 64],[128]"], 5),
        (["run=run-3"], 1),
        (["loss=label_smoothing", "seed=0"], 2),
    ],
)
def test_filters_keep_the_runs_that_meet_all_of_them(runs, where, count):
    assert sum(row.n for row in tabulate(runs, where=where).rows) == count


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("digits", "a filter is key=value, such as loss=label_smoothing; got 'digits'"),
        ("loss=", "a filter is key=value, such as loss=label_smoothing; got 'loss='"),
        ("=focal", "a filter is key=value, such as loss=label_smoothing; got '=focal'"),
        ("epsilon=0.1", "no run has a key 'epsilon'; did you mean loss.epsilon?"),
        ("name=digits", "no run has a key 'name'; did you mean dataset.name or "),  # each that it could be
        ("datset=digits", "no run has a key 'datset'; did you mean dataset?"),
        ("accuracy=0.9", "no run has a key 'accuracy'"),  # a result is no setting
        ("loss=focl", "no run has loss=focl; did you mean focal?"),
        ("loss=focal,dice", "no run has loss=dice; known: cross_entropy, focal, label_smoothing"),
        ("loss.epsilon=0.3", "no run has loss.epsilon=0.3; there are: null, 0.1, 0.2"),
        ("loss.squared=1", "no run has loss.squared=1; there are: null, false, true"),
    ],
)
def test_a_filter_that_cannot_be_met_says_what_is_there(runs, condition, message):
    with pytest.raises(ConfigError) as caught:
        tabulate(runs, where=[condition])
    assert str(caught.value).startswith(message)


def test_filters_that_hold_one_by_one_and_not_together_say_so(runs):
    with pytest.raises(RequestError, match="no run has all of dataset=wine, seed=1"):
        tabulate(runs, where=["dataset=wine", "seed=1"])


@pytest.mark.parametrize(
    ("cell", "plain"), [(float("nan"), None), (None, None), (15.0, 15), (0.5, 0.5), ("nan", "nan"), (True, True)]
)
def test_cells_become_plain_values(cell, plain):
    assert value(cell) == plain
    assert type(value(cell)) is type(plain)
