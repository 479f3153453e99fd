"""What a README shows: names come back from a markdown parser as they went in."""

import html
import re

import pytest
from markdown_it import MarkdownIt

from lossbench.report import render, tabulate

HOSTILE = [
    """a_b&50%#<c>|d"e'f""",
    "<script>alert(1)</script>",
    "**bold** _it_ ~~gone~~ `code`",
    "[link](http://example.com) ![image](x)",
    r"back\slash \* trailing\\",
    "{braces} $x^2$ ~ ^",
    "=1+1",
    "http://evil.example/a_b https://x.y",
    "WWW.evil.com www.evil.com",
    "@user a@b.example #1",
    "שלום ε 数",
    "x" * 200,
]


def shown(markdown):
    """The text of every cell of the first table, as a reader sees it."""
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)
    cells = re.findall(r"<t[dh](?: [^>]*)?>(.*?)</t[dh]>", page.partition("</table>")[0], re.DOTALL)
    assert not re.search(r"<(?!/?strong>|!-- -->)[^>]+>", "".join(cells)), cells  # no markup but our own
    return [html.unescape(re.sub("</?strong>|<!-- -->", "", cell)) for cell in cells]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_as_it_is(run, frame, name):
    text = render(tabulate(frame(run(name, accuracy=0.8), run("plain")), metrics=["accuracy"]), "markdown")
    assert name in shown(text)
    assert "<script" not in text


def test_a_name_becomes_no_link_and_mentions_no_one(run, frame):
    """GitHub links addresses in what it reads, and users and issues in the text that comes of it."""
    name = "http://evil.example www.evil.com @user #1"
    text = render(tabulate(frame(run(name), run("plain"))), "markdown")
    assert "http&#58;//evil.example www&#46;evil.com @<!-- -->user \\#<!-- -->1" in text
    page = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    assert not re.search(r"<a |@user|#1", page)


def test_line_breaks_are_spaces_and_control_characters_are_written_out(run, frame):
    text = render(tabulate(frame(run("a\nb\x1b[0m\u202e"), run("plain"))), "markdown")
    assert r"a b\x1b[0m\u202e" in shown(text)


def test_an_underscore_is_escaped_only_where_it_would_emphasise(run, frame):
    text = render(tabulate(frame(run("_a_b_"), run("label_smoothing"))), "markdown")
    assert r"| \_a_b\_ " in text
    assert "| label_smoothing |" in text


def test_what_goes_across_stands_before_each_metric(run, frame):
    runs = [run(loss, dataset__name=data) for data in ("wine", "digits") for loss in ("a", "b")]
    table = tabulate(frame(*runs, run("c")), metrics=["accuracy"], across=["dataset"])
    assert render(table, "markdown").splitlines()[2:7] == [
        "| loss | digits: accuracy ↑ | wine: accuracy ↑ |",
        "| ---- | -----------------: | ---------------: |",
        "| a    | **0.9000**         | **0.9000**       |",
        "| b    | **0.9000**         | **0.9000**       |",
        "| c    | **0.9000**         |                  |",
    ]
