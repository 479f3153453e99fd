"""The site builds without a warning, has everything in its reference, and needs no network."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pages
import pytest

from lossbench import data, errors, losses, metrics, models, statistics
from lossbench.catalogue import conf_dir
from lossbench.cli.verbs import app

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
SECTIONS = r"(?:Args|Attributes|Raises|Returns|Yields):"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(pages.ROOT / "docs/site/build.py"), str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")
    return folder / "html"


def reference(site: Path, name: str) -> str:
    return (site / f"docs/reference/{name}.html").read_text(encoding="utf-8")


def shown(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", html))


class Loads(HTMLParser):
    """What a page has the browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if LOADED.get(tag) == name]


def fetched(html: str) -> list[str]:
    parser = Loads()
    parser.feed(html)
    return [*parser.found, *re.findall(r"(?:@import |url\()['\"]?([^'\")]+)", html)]


def is_elsewhere(address: str) -> bool:
    return re.match(r"(https?:)?//", address) is not None


def test_what_a_page_fetches_from_elsewhere_is_seen() -> None:
    page = (
        "<a href='https://a'></a><script src='//b'></script><style>@import 'https://c'; p {x: url(https://d)}</style>"
    )
    assert [address for address in fetched(page) if is_elsewhere(address)] == ["//b", "https://c", "https://d"]


def test_no_page_of_the_site_fetches_anything_from_elsewhere(site: Path) -> None:
    paths = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(paths) > 30
    for path in paths:
        assert [a for a in fetched(path.read_text(encoding="utf-8")) if is_elsewhere(a)] == [], path


def test_the_site_begins_at_a_page_that_is_there(site: Path) -> None:
    (target,) = re.findall(r"url=([^\"]+)", (site / "index.html").read_text())
    assert (site / target).is_file()


@pytest.mark.parametrize(
    ("page", "package", "names"),
    [
        ("losses", losses, losses.__all__),
        ("metrics", metrics, [*metrics.ALL, "evaluate", "class_tightness"]),
        ("models", models, models.__all__),
        ("datasets", data, data.__all__),
        ("errors", errors, [name for name in vars(errors) if name.endswith("Error")]),
        ("statistics", statistics, ["compare", "t_interval", "holm", "friedman"]),
    ],
    ids=["losses", "metrics", "models", "datasets", "errors", "statistics"],
)
def test_everything_that_is_exported_has_its_place_in_the_reference(
    site: Path, page: str, package: object, names: list[str]
) -> None:
    html = reference(site, page)
    assert [name for name in names if f'id="{package.__name__}.{name}"' not in html] == []  # type: ignore[attr-defined]


def test_formulas_stand_as_they_are_written(site: Path) -> None:
    text, lines = shown(reference(site, "losses")), []
    for name in losses.__all__:
        before_sections = re.split(rf"^{SECTIONS}$", inspect.getdoc(getattr(losses, name)) or "", flags=re.MULTILINE)[0]
        lines += re.findall(r"^    (\S.*)$", before_sections, re.MULTILINE)
    assert len(lines) > 40
    assert [line for line in lines if line not in text] == []


def test_every_config_stands_there_with_its_keys(site: Path) -> None:
    html = reference(site, "configs")
    paths = list(conf_dir().glob("*/*.yaml"))
    assert len(paths) > 60
    ids = {path: re.sub("[-_]+", "-", f"{path.parent.name}-{path.stem}") for path in paths}  # as docutils makes them
    assert [path for path, anchor in ids.items() if f'id="{anchor}"' not in html] == []
    focal = shown(html.partition('id="loss-focal"')[2].partition("</section>")[0])
    assert re.search(r"gamma\s+2\.0\s+γ ≥ 0; 0 is cross-entropy", focal)


def test_every_verb_stands_there_with_its_options(site: Path) -> None:
    text = shown(reference(site, "command_line"))
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        assert (f"lossbench {name} " in text) == (not command.hidden), name
    assert re.search(r"--quiet, -q\s+Print the results and nothing else\.", text)
    assert re.search(r"--split test\|val\s+test\s+Which examples\.", text)


def test_a_metric_says_which_values_are_better(site: Path) -> None:
    text = shown(reference(site, "metrics"))
    assert re.search(r"\bece\s+↓\slower\s+Expected calibration error", text)
    assert re.search(r"\bconfidence_gap\s+→\s0\s+Mean confidence minus accuracy", text)


def test_the_notebook_is_shown_with_its_outputs(site: Path) -> None:
    html = (site / "docs/compare.html").read_text(encoding="utf-8")
    notebook = pages.page("docs/compare.ipynb")
    assert html.count('<div class="output">') == notebook.count('"text/html"') + notebook.count('"image/svg+xml"') > 1


def test_a_docstring_is_read_as_it_is_meant() -> None:
    spec = importlib.util.spec_from_file_location("docstrings", pages.ROOT / "docs/site/docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    docstrings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docstrings)
    lines = [
        "Of |x| and `y`.",
        "",
        "    a_ = b*",
        "",
        "    c",
        "",
        "Text.",
        "",
        "Raises:",
        "    ShapeError: if `z` is 2*x.",
    ]
    assert docstrings.restructured(lines) == [
        r"Of \|x\| and ``y``.", "", "::", "", "    a_ = b*", "", "    c", "", "Text.", "",
        "Raises:", r"    ~lossbench.errors.ShapeError: if ``z`` is 2\*x.",
    ]  # fmt: skip
