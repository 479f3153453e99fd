"""Build the site: `scripts/docs`, or `python docs/site/build.py [FOLDER]`.

README.md, docs/ and results/ are laid out beside the generated reference as they lie in the repository, so that a link
between two pages leads to the same place here and there. Warnings are errors.
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from pathlib import Path

import configs_page
import reference
import verbs_page
from sphinx.cmd.build import main as sphinx

ROOT = Path(__file__).parents[2]
KEPT = {".md", ".csv", ".json", ".tex", ".svg", ".pdf", ".png", ".html"}  # of results/
NOT_KEPT = ("runs", "claims", "demo", ".*")


def build(folder: Path) -> int:
    """Build the site in `folder`/html.

    Args:
        folder: also gets `source`, what the site is made of. What is in the two goes; nothing is kept from the build
            before, since Sphinx would leave old lists of all pages beside the text of pages that did not change.

    Returns:
        Sphinx's exit code.
    """
    source, html = folder / "source", folder / "html"
    for old in (source, html):
        shutil.rmtree(old, ignore_errors=True)
    lay_out(source)
    with tempfile.TemporaryDirectory() as memory:
        return sphinx(["-q", "-W", "--keep-going", "-c", str(ROOT / "docs"), "-d", memory, str(source), str(html)])


def lay_out(source: Path) -> None:
    """Copy and generate the pages."""
    shutil.copytree(ROOT / "docs", source / "docs", ignore=shutil.ignore_patterns("_build", "site", "conf.py", "__*"))
    shutil.copytree(ROOT / "results", source / "results", ignore=_unfit)
    for path in [*ROOT.glob("*.md"), ROOT / "LICENSE"]:
        shutil.copy2(path, source)
    pages = {**reference.pages(), "configs": configs_page.page(), "command_line": verbs_page.page()}
    (source / "docs/reference").mkdir()
    for name, text in pages.items():
        (source / f"docs/reference/{name}.md").write_text(text, encoding="utf-8")
    with (source / "docs/index.md").open("a", encoding="utf-8") as index:
        index.write(contents(source, list(pages)))


def contents(source: Path, references: list[str]) -> str:
    """Return what stands at the left of every page, and below the first: every page under its heading."""
    docs = source / "docs"
    begin = [f"/docs/{name}" for name in ("tutorial", "compare") if any(docs.glob(f"{name}.*"))]
    manual = (source / "README.md").read_text(encoding="utf-8")

    def place(path: Path) -> tuple[float, str]:
        """How-to pages in the order in which the manual names them, others after them."""
        found = manual.find(f"docs/howto/{path.name}")
        return (found if found >= 0 else math.inf, path.name)

    groups = {
        "Begin": [*begin, "The manual </README>"],
        "How to": [f"/docs/howto/{path.stem}" for path in sorted(docs.glob("howto/*.md"), key=place)],
        "Reference": [f"/docs/reference/{name}" for name in references],
        "What holds, and what it costs": [
            f"/docs/{path.stem}" for path in sorted(docs.glob("*.md")) if path.stem not in ("index", "tutorial")
        ],
        "Results": [
            "/results/README",
            *(f"/{path.relative_to(source).with_suffix('')}" for path in sorted(source.glob("results/**/*/README.md"))),
        ],
        "Project": ["/CONTRIBUTING", "/CHANGELOG"],
    }
    return "".join(
        "\n".join(["\n```{toctree}", ":maxdepth: 1", f":caption: {heading}", "", *entries, "```\n"])
        for heading, entries in groups.items()
        if entries
    )


def _unfit(folder: str, names: list[str]) -> set[str]:
    return shutil.ignore_patterns(*NOT_KEPT)(folder, names) | {
        name for name in names if (Path(folder) / name).is_file() and Path(name).suffix not in KEPT
    }


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs/_build").resolve()))
