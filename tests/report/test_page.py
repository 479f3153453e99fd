"""The page in a real browser: it sorts, filters, chooses, draws, and asks the network for nothing."""

from __future__ import annotations

import csv
import functools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from frames_by_hand import frame as make_frame
from frames_by_hand import run as make_run
from support import compose

from lossbench.report import tabulate
from lossbench.report.page import _library, as_json, page
from lossbench.report.page.details import Command, details
from lossbench.report.page.plots import plots
from lossbench.report.page.rows import MOST_EPOCHS, first_block, first_choice, gather, training_curves
from lossbench.report.table import Table
from lossbench.store import Store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open the page with")
HOSTILE = """<script>alert(1)</script>"'&</script> ${1+1} datum['x'].y \u202e"""


def write_run(folder: Path, run_id: str, config: dict[str, Any], accuracy: float, epochs: int = 2) -> None:
    """What the page reads of a run: two bins, of 10 and of 30 examples, and a history."""
    path = folder / "runs" / run_id
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    bins = {"lo": [0.4, 0.8], "hi": [0.6, 1.0], "n": [10, 30], "confidence": [0.5, 0.9], "accuracy": [0.5, accuracy]}
    reliability = {"test": {"raw": bins, "temperature_scaled": bins}}
    (path / "metrics.json").write_text(json.dumps({"reliability": reliability}))
    environment = {"versions": {"lossbench": "0.1.0"}, "finished_at": "2026-01-02T03:04:05+0000", "wall_seconds": 1.5}
    (path / "environment.json").write_text(json.dumps(environment))
    with (path / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "train_loss", "val_loss", "val_accuracy"])
        writer.writerows([epoch, 1 / epoch, 2 / epoch, accuracy] for epoch in range(1, epochs + 1))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three losses, three seeds each, on digits; one of them on wine."""
    folder = tmp_path_factory.mktemp("results")
    for i, (loss, _, seed) in enumerate(RUNS):
        write_run(folder, f"run-{i}", compose("loss=label_smoothing", f"loss.epsilon={loss}", f"seed={seed}"), 0.6)
    return Store(folder)


# ε, accuracy and seed; paired by seed. Sorted by accuracy: ε = 0.2, 0, 0.1.
RUNS = [(epsilon, accuracy, seed) for epsilon, accuracy in ((0, 0.9), (0.1, 0.95), (0.2, 0.8)) for seed in range(3)]


@pytest.fixture(scope="module")
def table(store: Store) -> Table:
    runs = [
        make_run("label_smoothing", seed, loss__epsilon=epsilon, accuracy=accuracy + 0.001 * seed * (1 + 10 * epsilon))
        for epsilon, accuracy, seed in RUNS
    ]
    return tabulate(make_frame(*runs), store=store)


@functools.cache
def compose_once() -> dict[str, Any]:
    return compose("loss=label_smoothing")


def text_of(table: Table, store: Store, **extra: Any) -> str:
    return page(table, store, command="lossbench report -o report.html", **extra)


@pytest.fixture(scope="module")
def written(table: Table, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text_of(table, store), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page; whatever it says on the console, throws or asks the network for fails the test."""
    complaints: list[str] = []
    opened = []

    def visit(path: Path, width: int = 1200, **options: Any) -> Any:
        tab = browser.new_page(viewport={"width": width, "height": 900}, **options)
        opened.append(tab)
        url = path.as_uri()
        tab.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        tab.on("request", lambda request: request.url == url or complaints.append(f"request: {request.url[:80]}"))
        tab.add_init_script("window.alert = (text) => { window.alerted = text }")
        tab.goto(url)
        tab.evaluate("() => window.lossbench.ready")
        return tab

    yield visit
    for tab in opened:
        tab.close()
    assert complaints == []


def first_column(tab: Any) -> list[str]:
    return [cell.strip() for cell in tab.locator("tr.row:visible .wide").all_inner_texts()]


def data_of(tab: Any, view: str, name: str) -> list[dict[str, Any]]:
    tab.evaluate("() => new Promise(requestAnimationFrame)")
    return tab.evaluate(
        f"async () => {{ const v = lossbench.views.{view}; await v.runAsync(); return v.data('{name}') }}"
    )


@needs_chromium
def test_a_click_on_a_heading_sorts_and_another_turns_it_round(visit, written):
    tab = visit(written)
    header = tab.locator("th", has=tab.locator("button", has_text="accuracy"))
    header.locator("button").click()
    assert first_column(tab) == ["0.2", "0", "0.1"]
    assert header.get_attribute("aria-sort") == "ascending"
    header.locator("button").click()
    assert first_column(tab) == ["0.1", "0", "0.2"]
    assert header.get_attribute("aria-sort") == "descending"
    assert tab.locator("th[aria-sort=none]").count() == tab.locator("#rows thead th").count() - 1


@needs_chromium
def test_the_first_column_sorts_by_its_own_values(visit, table, store, tmp_path):
    """Written as a report with --sort accuracy writes it: 0.1, 0, 0.2."""
    order = [1, 0, 2]
    path = tmp_path / "report.html"
    path.write_text(text_of(replace(table, rows=tuple(table.rows[i] for i in order)), store), encoding="utf-8")
    tab = visit(path)
    assert first_column(tab) == ["0.1", "0", "0.2"]
    header = tab.locator("#rows thead th").first
    header.locator("button").click()
    assert first_column(tab) == ["0", "0.1", "0.2"]
    header.locator("button").click()
    assert first_column(tab) == ["0.2", "0.1", "0"]


@needs_chromium
def test_the_keyboard_reaches_the_table_past_the_rest_and_sorts(visit, written):
    tab = visit(written)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the table"
    tab.keyboard.press("Enter")
    for _ in range(6):  # filter, list of ε, the box that scrolls, ε, accuracy
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.textContent").startswith("accuracy"):
            break
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    tab.keyboard.press("Enter")
    assert first_column(tab) == ["0.2", "0", "0.1"]


@needs_chromium
def test_words_and_lists_filter_rows(visit, written):
    tab = visit(written)
    tab.fill("#filter", "0.1")
    assert first_column(tab) == ["0.1"]
    assert tab.inner_text("#shown") == "1 of 3 rows"
    tab.fill("#filter", "")
    tab.select_option("#filters select", "0.2")
    assert first_column(tab) == ["0.2"]
    tab.fill("#filter", "nothing")
    assert first_column(tab) == []


@needs_chromium
def test_the_ticked_rows_are_drawn_pooled_over_seeds(visit, written):
    tab = visit(written)
    assert {bin["series"] for bin in data_of(tab, "reliability", "bins")} == {"ε=0", "ε=0.1", "ε=0.2"}
    for box in tab.locator("tr.row input").all()[1:]:
        box.uncheck()
    bins = data_of(tab, "reliability", "bins")
    # Three seeds of 10 and 30 examples. ECE: 30/40 · |0.6 − 0.9| = 0.225.
    kept = [{name: bin[name] for name in ("series", "n", "accuracy", "ece")} for bin in bins]
    assert kept == [
        {"series": "ε=0", "n": 30, "accuracy": 0.5, "ece": 0.225},
        {"series": "ε=0", "n": 90, "accuracy": 0.6, "ece": 0.225},
    ]
    assert "ε=0 (ECE 0.225)" in tab.inner_text("#reliability")
    assert "ε=0.1" not in tab.inner_text("#reliability")
    losses = [row["mean"] for row in data_of(tab, "training", "epochs") if row["quantity"] == "validation loss"]
    assert losses == [2, 1]


@needs_chromium
def test_a_click_on_a_point_ticks_its_row(visit, written):
    tab = visit(written)
    box = tab.locator("tr.row input").nth(0)
    assert box.is_checked()
    point = tab.locator("#scatter svg .mark-symbol path").nth(0)  # of the rows in grey, which lie below
    point.dispatch_event("click")
    assert not box.is_checked()
    assert [row["series"] for row in data_of(tab, "scatter", "chosen")] == ["ε=0.1", "ε=0.2"]


@needs_chromium
def test_a_row_says_how_it_was_made(visit, written):
    tab = visit(written)
    made = tab.locator("details.made").nth(2)
    made.locator("summary").first.click()
    assert made.locator("code").first.inner_text() == (
        "lossbench train loss=label_smoothing loss.epsilon=0.2 seed=0,1,2"
    )
    assert "run-6" in made.inner_text()
    made.locator(".config summary").click()
    made.locator(".config pre", has_text="loss.epsilon: 0.2\n").wait_for()
    made.locator(".config pre", has_text="optimizer.name: sgd\n").wait_for()  # what all runs share
    text = made.locator(".config pre").inner_text()
    assert [f"only run-{6 + seed}:\nseed: {seed}\n" in f"{text}\n" for seed in range(3)] == [True] * 3


@needs_chromium
def test_the_dark_scheme_has_its_own_figures_and_follows_a_change(visit, written):
    from playwright.sync_api import expect

    tab = visit(written)
    tick = "#sweep svg .role-axis-label text"
    light = tab.locator(tick).first.get_attribute("fill")
    tab.emulate_media(color_scheme="dark")
    expect(tab.locator(tick).first).not_to_have_attribute("fill", light)  # asked again and again, without eval
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"


@needs_chromium
def test_a_phone_scrolls_the_table_and_not_the_page(visit, written):
    tab = visit(written, width=360)
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    assert tab.evaluate("(b => b.scrollWidth > b.clientWidth)(document.querySelector('.scroll'))")
    assert tab.locator("tr.row .narrow").all_inner_texts() == ["ε=0", "ε=0.1", "ε=0.2"]


@needs_chromium
def test_paper_has_no_controls_and_nothing_folded_that_matters(visit, written):
    tab = visit(written)
    assert tab.pdf(format="A4").startswith(b"%PDF")
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not tab.locator("#filters").is_visible()
    assert tab.locator("details.unfold:not([open])").count() == 0
    assert tab.locator("#reliability svg").is_visible()


@needs_chromium
def test_names_from_runs_are_text_wherever_they_stand(visit, tmp_path):
    """In the table, in lists to choose from, in figures, in commands and configs: nothing runs, nothing is parsed."""
    config = compose("seed=0")
    config["loss"]["name"] = config["model"]["name"] = HOSTILE
    for i in range(3):
        write_run(tmp_path, f"run-{i}", config, 0.6)
    runs = [
        make_run(name, loss__epsilon=epsilon, model__name=HOSTILE, accuracy=accuracy)
        for name, epsilon, accuracy in ((HOSTILE, 0, 0.7), (HOSTILE, HOSTILE, 0.8), ("plain", 0.1, 0.9))
    ]
    store = Store(tmp_path)
    table = tabulate(make_frame(*runs), store=store)
    path = tmp_path / "report.html"
    path.write_text(text_of(table, store, messages=[f"skipped {HOSTILE}"]), encoding="utf-8")
    tab = visit(path)
    shown = HOSTILE.replace("\u202e", r"\u202e")
    assert shown in tab.inner_text("h1")
    assert tab.locator(".messages li").inner_text() == f"skipped {shown}"
    assert shown in first_column(tab)
    assert any(shown in row["series"] for row in data_of(tab, "reliability", "bins"))
    tips = []
    for point in tab.locator("#scatter svg .mark-symbol").last.locator("path").all():
        point.hover()
        tips.append(tab.locator("#vg-tooltip-element.visible").inner_text())
    assert len(tips) == 3
    assert sum(shown in tip for tip in tips) == 2
    tab.locator("details.made").first.locator("summary").first.click()
    tab.locator("details.made .config summary").first.click()
    tab.locator(".config pre", has_text=f"loss.name: {HOSTILE}"[:40]).wait_for()
    tab.select_option("#filters select >> nth=0", "plain")
    assert first_column(tab) == ["plain"]
    assert tab.locator("script").count() == 3  # data, Vega, the page's own
    assert tab.evaluate("window.alerted") is None
    tab.evaluate("alert('seen')")
    assert tab.evaluate("window.alerted") == "seen"  # had anything called it


def test_json_in_a_page_cannot_end_its_script():
    text = as_json({"name": "</script><!--\u2028&"})
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == {"name": "</script><!--\u2028&"}


def test_students_of_named_teachers_have_a_command_each(tmp_path):
    """A teacher by its id has one seed, and a student of another seed may not have it."""
    for seed in range(2):
        config = compose("loss=distillation", f"seed={seed}")
        config["teacher"]["id"] = f"digits-mlp-focal-s{seed}-12345678"
        write_run(tmp_path, f"run-{seed}", config, 0.6)
    table = tabulate(make_frame(make_run("distillation", 0), make_run("distillation", 1)))
    (made,) = details(table, Store(tmp_path)).rows
    assert [command.text for command in made.commands] == [
        f"lossbench train loss=distillation teacher.id=digits-mlp-focal-s{seed}-12345678 seed={seed}" for seed in (0, 1)
    ]


def test_a_run_of_an_older_lossbench_has_a_command_of_its_own_which_says_so(tmp_path):
    older = compose("seed=1")
    del older["dataset"]["mixup"]
    write_run(tmp_path, "run-0", compose("seed=0"), 0.6)
    write_run(tmp_path, "run-1", older, 0.6)
    store, table = Store(tmp_path), tabulate(make_frame(make_run(), make_run("cross_entropy", 1)))
    (made,) = details(table, store).rows
    assert made.commands == (Command("lossbench train seed=0", False), Command("lossbench train seed=1", True))
    assert text_of(table, store).count("Made by an older lossbench: trains under a new id.") == 1


def test_each_run_lists_what_its_config_has_alone(tmp_path):
    for seed, epsilon in enumerate((0.1, 0.2)):  # as validation chose for each seed
        write_run(
            tmp_path, f"run-{seed}", compose("loss=label_smoothing", f"loss.epsilon={epsilon}", f"seed={seed}"), 0.6
        )
    configs = details(tabulate(make_frame(make_run(), make_run("cross_entropy", 1))), Store(tmp_path)).configs
    assert configs["runs"] == [[{"loss.epsilon": "0.1", "seed": "0"}, {"loss.epsilon": "0.2", "seed": "1"}]]
    assert configs["rows"] == [{}]
    assert configs["common"]["loss.name"] == "label_smoothing"


@pytest.mark.parametrize("damage", [None, 3, "x", [], {}])
def test_a_damaged_config_has_no_command_or_one_but_is_no_program_error(damage, tmp_path):
    whole = compose("loss=distillation")
    for key in set(whole) - {"seed"}:
        write_run(tmp_path / key, "run-0", {**whole, key: damage}, 0.6)
        (made,) = details(tabulate(make_frame(make_run())), Store(tmp_path / key)).rows
        assert len(made.commands) <= 1


def test_figures_begin_with_the_dataset_of_most_compared_rows():
    """Wine alone has a baseline, and digits more rows."""
    runs = [make_run(loss, dataset__name=dataset, accuracy=0.5 + 0.1 * (loss > "d"))
            for dataset, losses in (("digits", "bcde"), ("wine", "abc")) for loss in losses]  # fmt: skip
    table = tabulate(make_frame(*runs))
    assert [table.rows[i].config["dataset.name"] for i in sorted(first_choice(table))] == ["digits"] * 4
    table = tabulate(make_frame(*runs), baseline=["loss=a"])
    assert first_block(table) == 1
    assert [table.rows[i].config["loss.name"] for i in sorted(first_choice(table))] == ["a", "b", "c"]


def test_a_hundred_runs_make_a_page_of_at_most_two_megabytes(tmp_path):
    epsilons = [i / 40 for i in range(20)]
    runs = [(epsilon, seed) for epsilon in epsilons for seed in range(5)]
    for i, (epsilon, seed) in enumerate(runs):
        config = compose_once() | {"seed": seed}
        config["loss"] = {**config["loss"], "epsilon": epsilon}
        write_run(tmp_path, f"run-{i}", config, 0.6, epochs=100)
    frame = make_frame(*[make_run("label_smoothing", seed, loss__epsilon=epsilon) for epsilon, seed in runs])
    store = Store(tmp_path)
    table = tabulate(frame, store=store)
    assert sum(row.n for row in table.rows) == 100
    text = text_of(table, store)
    assert text.count('class="run"') == 100
    assert len(text.encode()) <= 2_000_000


def test_the_library_is_bundled_once_and_again_where_its_copy_is_damaged(tmp_path, monkeypatch):
    bundled = []
    monkeypatch.setattr("vl_convert.javascript_bundle", lambda code: bundled.append(code) or "vega</script>")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def library():
        _library.cache_clear()
        return _library()

    assert [library(), library()] == [r"vega<\/script>"] * 2
    assert len(bundled) == 1
    (kept,) = (tmp_path / "cache/lossbench").iterdir()  # and nothing else is left
    kept.write_text(kept.read_text().replace("vega", "evil"))
    assert library() == r"vega<\/script>"
    assert len(bundled) == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # where nothing can be kept
    assert library() == r"vega<\/script>"
    assert len(bundled) == 3
    _library.cache_clear()


def test_the_page_is_one_small_file_that_may_fetch_nothing(table, store):
    text = text_of(table, store)
    assert len(text.encode()) < 1_200_000
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy[1]
    assert not re.search(r'<[^>]* on\w+="|<(?:img|link|iframe)\b', text.partition("<script")[0])


def test_runs_without_bins_or_files_are_in_the_table_and_the_page_says_what_is_missing(tmp_path):
    table = tabulate(make_frame(make_run("a"), make_run("b")))
    text = text_of(table, Store(tmp_path))
    assert "these runs are older than stored bins" in text
    assert "no command to repeat it" in text


def test_what_was_swept_is_drawn_and_what_has_its_value_by_chance_is_not(tmp_path):
    runs = [make_run("smooth", loss__epsilon=epsilon) for epsilon in (0, 0.1, 0.2)]
    table = tabulate(make_frame(*runs, make_run("other", loss__epsilon=0)), metrics=["nll"], calibrations=["raw"])
    sweep = plots(table, gather(table, Store(tmp_path)))["sweeps"]["0"]
    assert sweep["of"].endswith("ε")
    points = json.dumps(sweep["spec"])
    assert '"x": 0.2' in points
    assert '"other"' not in points


def test_two_values_are_no_sweep(tmp_path):
    table = tabulate(make_frame(*[make_run("smooth", loss__epsilon=epsilon) for epsilon in (0, 0.1)]))
    assert plots(table, gather(table, Store(tmp_path)))["sweeps"] == {}


def test_long_training_is_thinned_and_keeps_its_ends(tmp_path):
    for seed in range(2):
        write_run(tmp_path, f"run-{seed}", compose(), 0.59 + 0.02 * seed, epochs=1000)
    curves = training_curves(Store(tmp_path), ["run-0", "run-1"])
    points = curves["validation accuracy"]
    assert len(points) == MOST_EPOCHS
    assert (points[0][0], points[-1][0]) == (1, 1000)
    # 0.59 and 0.61: mean 0.6, s = 0.01414, t(0.975, 1) = 12.706, half = 12.706 · 0.01414 / √2 = 0.12706.
    assert points[0][1:] == pytest.approx([0.6, 0.6 - 0.12706, 0.6 + 0.12706], abs=1e-5)


def test_the_band_of_an_accuracy_ends_where_accuracies_do(tmp_path):
    for seed in range(2):
        write_run(tmp_path, f"run-{seed}", compose(), 0.5 + 0.2 * seed)
    points = training_curves(Store(tmp_path), ["run-0", "run-1"])["validation accuracy"]
    # 0.5 and 0.7: half = 12.706 · 0.1414 / √2 = 1.2706, and 0.6 ∓ 1.2706 is beyond 0 and 1.
    assert points == [[1, 0.6, 0.0, 1.0], [2, 0.6, 0.0, 1.0]]


def test_the_ending_of_the_file_asks_for_a_page(lossbench, tmp_path):
    assert lossbench("train", "dataset=wine", "model=linear", "epochs=1", "seed=0,1", "--quiet").returncode == 0
    answer = lossbench("report", "-o", "report.html")
    assert answer.returncode == 0, answer.stderr
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "lossbench report -o report.html" in text
    assert "lossbench train dataset=wine model=linear epochs=1 seed=0,1" in text
