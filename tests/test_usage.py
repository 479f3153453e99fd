"""A command that cannot be read is one line: what was expected, what came, the nearest name. Nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer
from support import Lossbench, files_below

from lossbench import __version__
from lossbench.catalogue import KINDS
from lossbench.cli.looking import list_
from lossbench.cli.usage import explain

WRONG = {
    ("report", "--split", "tets"): "no --split 'tets'; did you mean test? (lossbench report --help)",
    ("curve", "relability"): "no kind 'relability'; did you mean reliability? (lossbench curve --help)",
    ("runs", "--status=done"): "no --status 'done'; known: failed, finished, interrupted, running, unreadable",
    ("raport",): "no command 'raport'; did you mean report? (lossbench --help)",
    ("report", "--splitt", "val"): "no option --splitt; did you mean --split? (lossbench report --help)",
    ("train", "epochs=1", "--quite"): "no option --quite; did you mean --quiet? (lossbench train --help)",
    ("diff", "aaaa"): "OTHER is missing (lossbench diff --help)",
    ("curve",): "KIND is missing: one of reliability, risk_coverage, temperature (lossbench curve --help)",
    ("list",): "KIND is missing: one of losses, models, datasets, optimizers, schedules, trackers, metrics, experi",
    ("list", "loses"): "no kind 'loses'; did you mean losses? (lossbench list --help)",
    ("train", "=3"): "cannot read '=3': expected key=value, and there is no key",
    ("train", "+=abc"): "cannot read '+=abc': expected key=value, and there is no key",
    ("show", "a", "b", "c"): "show does not take so many arguments; left over: b c (lossbench show --help)",
    ("evaluate", "--n-bins", "many"): "--n-bins must be a whole number; got many (lossbench evaluate --help)",
    ("evaluate", "--threshold=high"): "--threshold must be a number; got high (lossbench evaluate --help)",
    ("evaluate", "--n-bins"): "--n-bins takes a value (lossbench evaluate --help)",
    ("runs", "--limit", "0"): "--limit must be 1 or more; got 0 (lossbench runs --help)",
    ("train", "--quiet=yes"): "option '--quiet' does not take a value (lossbench train --help)",
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.items(), ids=map(" ".join, WRONG))
def test_a_wrong_command_is_one_line_with_the_nearest_name(
    lossbench: Lossbench, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    answer = lossbench(*arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith(f"lossbench: {message}")
    assert files_below(tmp_path) == []


def test_no_command_at_all_is_the_help(lossbench: Lossbench) -> None:
    answer = lossbench()
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "Usage: lossbench [OPTIONS] COMMAND" in answer.stdout


def test_what_can_be_listed_is_what_the_catalogue_knows() -> None:
    assert {*get_args(get_args(get_type_hints(list_, include_extras=True)["kind"])[0])} == {*KINDS}


def test_the_version_is_one_line(lossbench: Lossbench, tmp_path: Path) -> None:
    answer = lossbench("--version")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"lossbench {__version__}\n", "")


def test_what_typer_words_in_another_way_is_passed_on_in_one_line() -> None:
    error = typer.BadParameter("The sky\nis falling.", param_hint="'--output'")
    assert explain(error, ["report"]) == "--output: The sky is falling (lossbench report --help)"
    assert explain(typer.TyperException("Something\nelse."), ["report"]) == "something else (lossbench report --help)"


def test_a_kind_of_value_is_named_even_where_the_value_is_not_seen() -> None:
    error = typer.BadParameter("Input should be a valid integer", param_hint="'--n-bins'")
    assert explain(error, ["evaluate"]) == "--n-bins must be a whole number (lossbench evaluate --help)"
