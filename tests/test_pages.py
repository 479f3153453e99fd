"""What stands in the tutorial and the how-to pages runs; what stands elsewhere can be composed."""

from __future__ import annotations

from pathlib import Path

import pages
import pytest
from support import Lossbench

from hydra_plugins._lossbench import SweepLauncher
from lossbench import checking, config

RUN = [
    "docs/tutorial.md",
    "docs/tables.md",
    *(f"docs/howto/{p.name}" for p in sorted((pages.ROOT / "docs/howto").glob("*.md"))),
]
QUICK = [
    "docs/tutorial.md",
    *(f"docs/howto/{name}.md" for name in ("overconfident", "own-data", "own-loss", "own-model")),
]
# Of the other pages all that they train is composed; the slow tests run them.
ALL = sorted(
    path.relative_to(pages.ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docs/howto/*.md", "results/**/README.md")
    for path in pages.ROOT.glob(pattern)
)  # fmt: skip

PAGE = """# One

```sh
lossbench train a=1 \\
    'b=[1,2]'  # why
# lossbench: no
cat > file <<'EOF'
lossbench train c=1
EOF
```

<!-- not run: needs Slurm -->
```sh
torchrun -m lossbench train -q d=1
```

## `Two` words, [again](file#)
## One
"""


def test_a_page_is_read_as_the_shell_reads_it() -> None:
    first, second = pages.blocks(PAGE)
    train, cat = pages.commands(first)
    assert pages.words(train) == ["lossbench", "train", "a=1", "b=[1,2]"]
    assert cat == "cat > file <<'EOF'\nlossbench train c=1\nEOF"
    assert (first.not_run, second.not_run) == ("", "needs Slurm")
    assert [list(pages.trained(block)) for block in (first, second)] == [[["a=1", "b=[1,2]"]], [["d=1"]]]


def test_a_heading_is_found_by_the_anchor_that_github_gives_it() -> None:
    assert pages.slugs(PAGE) == {"one", "two-words-again", "one-1"}


def test_a_link_to_a_file_or_a_heading_that_is_not_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# Here\n")
    page = tmp_path / "page.md"
    page.write_text("# Top\n[a](there.md#here) [b](there.md#gone) [c](gone.md) [d](#top) [e](#gone) `[f](code)`\n")
    assert pages.broken_links(page) == ["there.md#gone", "gone.md", "#gone"]


def test_a_command_that_no_test_can_run_must_say_so(
    lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="no test knows how to run 'rm -r results'"):
        pages.run("```sh\nrm -r results\n```\n", tmp_path, lossbench, monkeypatch)


def test_a_command_that_fails_is_found(lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="no dataset"):
        pages.run("```sh\nlossbench train dataset=moons\n```\n", tmp_path, lossbench, monkeypatch)


@pytest.mark.parametrize("page", [pytest.param(page, marks=[] if page in QUICK else pytest.mark.slow) for page in RUN])
def test_the_blocks_of_a_page_run_in_the_order_they_stand(
    page: str, lossbench: Lossbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pages.run(pages.page(page), tmp_path, lossbench, monkeypatch) > 0


@pytest.mark.parametrize("page", ALL)
def test_every_training_that_a_page_names_can_be_asked_for(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with config.session(None):  # Hydra finds the launchers
        pass
    for launcher in SweepLauncher.__subclasses__():  # theirs ask a cluster, of which there is none
        monkeypatch.setattr(launcher, "check", lambda self, runs, configs: None)
    ran = page in QUICK or page == "README.md"
    for block in pages.blocks(pages.page(page)):
        if block.language == "sh" and (block.not_run or not ran):
            for overrides in pages.trained(block):
                with config.session(None) as hydra:
                    plan = hydra.plan(overrides)
                runs = plan.runs or plan.samples
                assert runs
                for run in runs:
                    if run["seed"] == runs[0]["seed"]:  # those of the other seeds are the same but for it
                        checking.check(run)


@pytest.mark.parametrize("page", ALL)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    assert pages.broken_links(pages.ROOT / page) == []
