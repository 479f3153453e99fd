"""Whatever is typed behind `lossbench train` is a plan or one message: by examples that hypothesis makes up."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import tree

from lossbench import checking, config
from lossbench.errors import RequestError, one_line

KEYS = [
    *config.GROUPS,
    *("seed", "epochs", "batch_size", "keep", "results_dir", "metrics", "teacher", "hydra", "experiment"),
    *("loss.epsilon", "loss.class_weights", "loss.prior", "loss._target_", "loss.hard", "loss.name", "loss.a.b"),
    *("model.hidden", "model._target_", "dataset.label_noise", "dataset.sample_weights", "dataset.learn"),
    *("optimizer.learning_rate", "schedule.warmup", "device.name", "device.threads", "metrics.n_bins"),
    *("teacher.id", "teacher.loss", "teacher.model", "teacher.epochs", "loss@teacher.loss", "model@loss", "loss@"),
    *("hydra/launcher", "hydra/sweeper", "hydra.sweep.dir", "hydra.launcher._target_", "hydra.sweeper.params"),
    *("hydra.mode", "hydra.job.name", "hydra.searchpath", "hydra.verbose", "hydra.run.dir", "hydra.job.env_set"),
]
WORDS = [
    *("digits", "wine", "mlp", "linear", "dice", "focal", "label_smoothing", "distillation", "sum", "sgd", "cpu"),
    *("null", "true", "false", "nan", "inf", "-inf", "???", "0", "1", "-1", "0.1", "1e-3", "1e400", "9" * 30, "١"),
    *("best", "train", "inverse", "../model/mlp", "a/b", ".", "..", "/", "os.system", "lossbench.losses.dice"),
    *("é", "ε", "\x00", "\x1b[2J", "\n", "\u202e", "\ud800", "", " ", "\t", "$", "\\", "'", '"', "#", "%", "{}", "[]"),
]

text = st.text(max_size=12) | st.text(alphabet=string.printable, max_size=20)
words = st.sampled_from(WORDS)
quoted = st.builds(lambda mark, inside: f"{mark}{inside}{mark}", st.sampled_from("'\""), words | text)
numbers = st.one_of(st.integers(), st.floats(), st.integers(-3, 3)).map(str)
interpolations = st.builds(
    "${{{}}}".format,
    st.sampled_from(
        ["seed", "loss", "loss.epsilon", ".", "..epochs", "nothing", "oc.env:HOME", "oc.env:NO,1", "now:%Y"]
    )
    | st.sampled_from(
        ["now:%Y", "hydra:runtime.cwd", "oc.decode:'['", "oc.create:{a:1}", "a:b", "${seed}", "", "loss[0]"]
    )
    | text,
)
values = st.recursive(
    words | numbers | quoted | interpolations,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.tuples(words | quoted, inner), max_size=2).map(
            lambda items: "{" + ",".join(f"{key}:{value}" for key, value in items) + "}"
        ),
        st.lists(inner, min_size=1, max_size=3).map(",".join),
        st.builds(
            lambda function, items: f"{function}({','.join(items)})",
            st.sampled_from(
                ["choice", "range", "interval", "glob", "sort", "shuffle", "tag", "int", "float", "str", "bool", "f"]
            ),
            st.lists(inner | st.sampled_from(["*", "d*", "3", "step=1", "reverse=true"]), max_size=3),
        ),
    ),
    max_leaves=4,
)
overrides = st.builds(
    lambda sign, key, equals, value: f"{sign}{key}{equals}{value}",
    st.sampled_from(["", "", "", "", "+", "++", "~"]),
    st.sampled_from(KEYS) | st.text(alphabet="abc._/@-é ", max_size=8),
    st.sampled_from(["=", "=", "=", "=", "=", "", "==", " = "]),
    values,
)
requests = st.lists(text | overrides | overrides | overrides, min_size=1, max_size=3)


def is_a_plan_or_one_message(request: Sequence[str], folder: Path) -> None:
    before, said = tree(folder), "a plan"
    try:
        with config.session() as hydra:
            plan = hydra.plan(request)
        for settings_of_a_run in (plan.runs or ())[:3]:
            checking.check(settings_of_a_run)
    except RequestError as error:
        said = one_line(str(error))
    assert said.strip()
    assert tree(folder) == before


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(request=requests)
def a_few(folder: Path, request: Sequence[str]) -> None:
    is_a_plan_or_one_message(request, folder)


@settings(max_examples=2000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(request=requests)
def many(folder: Path, request: Sequence[str]) -> None:
    is_a_plan_or_one_message(request, folder)


def test_arbitrary_overrides_are_a_plan_or_one_message_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a_few(tmp_path)


@pytest.mark.slow
def test_2000_arbitrary_overrides_are_a_plan_or_one_message_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    many(tmp_path)
