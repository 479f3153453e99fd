"""What our Markdown pages hold: blocks of code, which can be run, and links, which can be followed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import Lossbench

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^(?:<!-- not run: (.+?) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALL = ("dataset.n_train=20", "dataset.n_test=4", "dataset.size=16")  # what makes the shapes so


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str
    not_run: str  # why not; empty where a test runs it


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    return [Block(language, code, why) for why, language, code in BLOCK.findall(text)]


def commands(block: Block) -> list[str]:
    """The commands of a block for the shell, each with its continued lines, its here-document, and no comment line."""
    found: list[str] = []
    lines = iter(block.text.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command = command[:-1] + next(lines)
        if heredoc := re.search(r"<<'(\w+)'$", command):
            for more in lines:
                command += f"\n{more}"
                if more == heredoc[1]:
                    break
        if command.strip() and not command.startswith("#"):
            found.append(command)
    return found


def words(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def trained(block: Block) -> Iterator[list[str]]:
    """The overrides of each `lossbench train` in a block, by torchrun or not."""
    for command in commands(block):
        if command.startswith(("lossbench train", "torchrun ")):
            _, _, overrides = f"{shlex.join(words(command))} ".partition("lossbench train ")
            yield [word for word in shlex.split(overrides) if not word.startswith("-")]


def quick(arguments: list[str]) -> list[str]:
    """Make trainings short: smaller ones, by the same path."""
    fewer = [re.sub(r"^seed=range\(\d+\)$", "seed=range(2)", word) for word in arguments]
    return [*fewer, "epochs=1", *(SMALL if "dataset=shapes" in arguments else ())]


def run(text: str, folder: Path, lossbench: Lossbench, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the blocks of a page in the order they stand, in one folder, and count what was run.

    `lossbench` and Python run in this process, which has paid for importing torch. A command whose next line is
    `# lossbench: …` must end with that message.
    """
    count = 0
    for block in blocks(text):
        if block.not_run or block.language not in ("sh", "python"):
            continue
        if block.language == "python":
            monkeypatch.chdir(folder)
            exec(compile(block.text, "<page>", "exec"), {"__name__": "__main__"})
            count += 1
            continue
        for command in commands(block):
            count += _run(command, block, folder, lossbench)
    for name, module in list(sys.modules.items()):  # another page may write one of the same name
        if (getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
    return count


def _run(command: str, block: Block, folder: Path, lossbench: Lossbench) -> bool:
    match words(command):
        case ["lossbench", verb, *arguments]:
            answer = lossbench(verb, *(quick(arguments) if verb == "train" else arguments))
            message = re.search(re.escape(command) + r"\n# (lossbench: .+)", block.text)
            assert answer.returncode == (2 if message else 0), (command, answer.stderr)
            if message:
                assert answer.stderr.strip() == message[1]
        case ["cat" | "mkdir", *_]:
            subprocess.run(["bash", "-ec", command], cwd=folder, check=True)
        case ["pip", "install", *_]:  # what tests run in has it all
            return False
        case [script, *_] if script.startswith("scripts/"):
            assert (ROOT / script).stat().st_mode & 0o100, script
            return False
        case _:
            raise AssertionError(f"no test knows how to run {command!r}; say `<!-- not run: why -->` before the block")
    return True


def slugs(text: str) -> set[str]:
    """What a link to a heading of the page ends in, as GitHub makes it."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", BLOCK.sub("", text), re.MULTILINE):
        shown = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading.replace("`", ""))
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        same = sum(1 for other in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        found.add(f"{slug}-{same}" if same else slug)
    return found


def broken_links(path: Path) -> list[str]:
    """The links of a page within the repository that lead to no file, or to no heading of it."""
    text = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", path.read_text(encoding="utf-8")))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        if not there.exists() or (anchor and anchor not in slugs(there.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken
