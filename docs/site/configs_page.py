"""The page of the configs: every yaml below conf/ with its keys, their defaults and the comments behind them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml
from markdown_table import escaped, table

from lossbench.catalogue import conf_dir

INCLUDED = "defaults"  # the name of a config whose keys this one has, too
INTRODUCTION = """# Configs

`GROUP=NAME` chooses one config of a group, a dotted key sets a value in it: `lossbench train loss=focal loss.gamma=3`.
`???` must be given. A folder of your own, laid out like these, is `--config-dir`.
"""


def anchor(group: str, name: str) -> str:
    """Return what a link to a config ends in."""
    return f"{group}-{name}"


def page() -> str:
    """Return the page as Markdown."""
    conf = conf_dir()
    parts = [
        INTRODUCTION,
        "## Values of a training",
        _config(conf / "config.yaml"),
    ]
    for folder in sorted(path for path in conf.iterdir() if path.is_dir()):
        parts.append(f"## {folder.name.replace('_', ' ').capitalize()}")
        for path in sorted(folder.glob("*.yaml")):
            chosen = f"+{folder.name}" if folder.name == "experiment" else folder.name
            title = f"`{chosen}={path.stem}`" if not path.stem.startswith("_") else "Every one of them"
            parts.append(f"({anchor(folder.name, path.stem)})=\n### {title}\n")
            parts.append(_experiment(path) if folder.name == "experiment" else _config(path))
    return "\n\n".join(parts) + "\n"


def _experiment(path: Path) -> str:
    """An experiment is its command, what to expect and all it sets: the file as it is."""
    return f"```yaml\n{path.read_text(encoding='utf-8').strip()}\n```"


def _config(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    head = [line.lstrip("# ") for line in _leading_comments(text.splitlines())]
    rows = list(_rows(text))
    called = [value for key, value, _ in rows if key == "_target_"]
    included = [value for key, value, _ in rows if key == INCLUDED]
    shown = [
        [f"`{key}`", f"`{value}`" if value else "", escaped(why)]
        for key, value, why in rows
        if key not in ("_target_", INCLUDED)
    ]
    return "\n\n".join(
        [
            *(["  \n".join(escaped(line) for line in head)] if head else []),
            *(f"Calls {{py:obj}}`{name}`." for name in called),
            *([table(["key", "default", ""], shown)] if shown else []),
            *(f"And [those of every {path.parent.name}](#{anchor(path.parent.name, name)})." for name in included),
        ]
    )


def _leading_comments(lines: list[str]) -> list[str]:
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line for line in lines[:first] if not line.startswith("# @")]


def _rows(text: str) -> Iterator[tuple[str, str, str]]:
    """Dotted key, default as it is written, and comment of everything that can be set."""
    lines = text.splitlines()
    root = yaml.compose(text)
    if isinstance(root, yaml.MappingNode):
        yield from _below(root, "", lines)


def _below(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[tuple[str, str, str]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if name == "defaults":
            yield from _defaults(value, lines)
        elif isinstance(value, yaml.MappingNode):
            above = _comments_above(key.start_mark.line, lines)
            if above:
                yield name, "", above
            yield from _below(value, f"{name}.", lines)
        else:
            yield name, _source(value, lines), _comment_behind(value, lines)


def _defaults(node: yaml.SequenceNode, lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """The configs that one is composed of: `group: name`, or the name of one whose keys it has, too."""
    for item in node.value:
        if isinstance(item, yaml.MappingNode):
            for key, value in item.value:
                if not key.value.startswith("override "):
                    yield key.value.lstrip("/"), _source(value, lines), _comment_behind(value, lines)
        elif item.value.startswith("_") and item.value != "_self_":
            yield INCLUDED, item.value, ""


def _source(node: yaml.Node, lines: list[str]) -> str:
    start, end = node.start_mark, node.end_mark
    return lines[start.line][start.column : end.column] if start.line == end.line else yaml.serialize(node).strip()


def _comment_behind(node: yaml.Node, lines: list[str]) -> str:
    return lines[node.end_mark.line][node.end_mark.column :].strip().lstrip("# ")


def _comments_above(line: int, lines: list[str]) -> str:
    first = line
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return " ".join(comment.lstrip("# ") for comment in lines[first:line])
