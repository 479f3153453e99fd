"""How Sphinx builds the site; what it is made of is laid out by site/build.py (scripts/docs)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "site"))

import docstrings
import notebook_page
from docutils import nodes

import lossbench

project = "lossbench"
version = release = lossbench.__version__
root_doc = "docs/index"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}

# Tables of results are pages that only their README leads to. Fences of GitHub's may name what Pygments cannot read.
suppress_warnings = ["toc.not_included", "misc.highlighting_failure"]
myst_heading_anchors = 4  # named as GitHub names them
smartquotes = False  # 'seed=range(3)' is to be copied

autodoc_typehints = "none"  # types and shapes stand in the docstrings
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False

html_theme = "furo"
html_title = f"lossbench {version}"
html_static_path = ["site/site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False


def _read_notebook(app: Any, docname: str, source: list[str]) -> None:
    if app.env.doc2path(docname).suffix == ".ipynb":
        source[0] = notebook_page.markdown(source[0])


def _dashes(app: Any, doctree: nodes.document, docname: str) -> None:
    """Sphinx writes ` -- ` between a parameter and what it is, and leaves the rest to what would bend quotes, too."""
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def _begin_here(app: Any, failed: Exception | None) -> None:
    """The first page lies in docs/, as its links need it; whoever opens the folder is sent there."""
    if failed is None and app.builder.name == "html":
        page = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=docs/index.html">'
        (app.outdir / "index.html").write_text(f'{page}<a href="docs/index.html">lossbench</a>\n')


def setup(app: Any) -> None:
    """Connect what reads our docstrings and notebooks."""
    app.connect("source-read", _read_notebook)
    app.connect("autodoc-process-docstring", docstrings.process, priority=400)  # before napoleon
    app.connect("doctree-resolved", _dashes)
    app.connect("build-finished", _begin_here)
