"""`completion`, which prints a shell's script, and `complete`, which that calls at every TAB.

Typer's own scripts break a word at `=`, in bash, and end it with a space, as in `loss. epsilon`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

SCRIPTS = {
    # What readline replaces begins after the last = or :, unless the word is quoted.
    "bash": """_lossbench() {
    local line=${COMP_LINE:0:COMP_POINT} word before=
    word=${line##*[[:space:]]}
    case $word in [\\'\\"]*) ;; *) before=${word%"${word##*[=:]}"} ;; esac
    mapfile -t COMPREPLY < <(lossbench complete -- "$line" 2>/dev/null)
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    case ${COMPREPLY[0]} in *[=./]) compopt -o nospace ;; esac
}
complete -o bashdefault -o default -F _lossbench lossbench
""",
    "zsh": """#compdef lossbench
_lossbench() {
    local -a found
    found=(${(f)"$(lossbench complete -- "${(j: :)words[1,CURRENT]}" 2>/dev/null)"})
    if (( ! $#found )); then _files; return; fi
    compadd -S '' -- ${(M)found:#*[=./]}
    compadd -- ${found:#*[=./]}
}
compdef _lossbench lossbench
""",
    "fish": """function __lossbench
    set -l found (lossbench complete -- (commandline -cp | string collect) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete --command lossbench --no-files --arguments '(__lossbench)'
""",
}


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Which shell.")],
) -> None:
    """Print what makes TAB complete verbs, options and their values, overrides and runs in a shell.

    In ~/.bashrc or ~/.zshrc: eval "$(lossbench completion bash)", or zsh, after compinit there. In
    ~/.config/fish/config.fish: lossbench completion fish | source
    """
    print(SCRIPTS[shell], end="")


def complete(context: typer.Context, line: str) -> None:
    """Print what the last word of a command line could be, one a line; nothing where files could stand."""
    words = _words(line)
    for candidate in _candidates(context.find_root(), words[1:-1], words[-1]):
        if candidate.startswith(words[-1]):
            print(candidate)


def _words(line: str) -> list[str]:
    """Divide a line as a shell does, the last word being the one to complete."""
    for end in ("", "'", '"'):  # a quotation may still be open
        try:
            words = shlex.split(line + end)
        except ValueError:
            continue
        return [*words, ""] if line[-1:].isspace() and not end else words
    return [""]


def _candidates(root: Any, words: Sequence[str], begun: str) -> Iterable[str]:
    verbs = root.command.commands
    if not words:
        return [name for name, verb in verbs.items() if not verb.hidden] + ["--help"]
    verb, *typed = words
    if verb not in verbs:
        return []
    options = {name: one for one in verbs[verb].params for name in one.opts if name.startswith("-")}
    values = {one.name: typed[typed.index(name) + 1] for name, one in options.items() if name in typed[:-1]}
    results = Path(values.get("results_dir", "results"))
    if typed and typed[-1] in options and not options[typed[-1]].is_flag:
        option = options[typed[-1]]
        return _choices(option, root) or _of_runs(option.name, begun, results)
    if begun.startswith("-"):
        return [*(name for name in options if name.startswith("--")), "--help"]
    arguments = [one for one in verbs[verb].params if one.param_type_name == "argument"]
    given = [
        word
        for before, word in zip(["", *typed], typed, strict=False)
        if not word.startswith("-") and (before not in options or options[before].is_flag)
    ]
    if not arguments:
        return []
    argument = arguments[min(len(given), len(arguments) - 1)]
    own = Path(values["config_dir"]) if "config_dir" in values else None
    return _choices(argument, root) or _of(argument.name, verb, given, begun, own, results)


def _choices(parameter: Any, root: Any) -> list[str]:
    """Return the values that the signature of a verb lists; none for a file or any text."""
    return [item.value for item in parameter.shell_complete(root, "") if item.type == "plain"]


def _of(name: str, verb: str, given: Sequence[str], begun: str, own: Path | None, results: Path) -> Iterable[str]:
    """Return what an argument could be, by its name."""
    from lossbench import catalogue

    folders = [*filter(None, [own]), catalogue.conf_dir()]
    if name == "overrides":
        from lossbench import config

        if own and not own.is_dir():
            return []
        with config.session(own) as hydra:
            if verb != "check":
                return hydra.completions(given, begun)
            # Of one loss, whose hyperparameters have no `loss.` before them there.
            chosen = [f"loss={given[0]}", *(f"loss.{one}" for one in given[1:])]
            return [one.removeprefix("loss.") for one in hydra.completions(chosen, f"loss.{begun}")]
    if name == "loss":
        return [loss for loss, _ in catalogue.catalogue("losses", folders)]
    if name == "name":
        from lossbench.recipes.recipe import recipes

        return [recipe.name for recipe in recipes(folders)[0]]
    runs = results / "runs"
    return [path.name for path in runs.iterdir() if not path.name.endswith(".partial")] if runs.is_dir() else []


def _of_runs(name: str, begun: str, results: Path) -> list[str]:
    """Return what the value of an option could be, by its name: what there is in the finished runs."""
    if name not in ("where", "baseline", "metrics", "select", "ranks", "calibration", "rows", "columns", "sort", "x"):
        return []
    from lossbench import catalogue, index
    from lossbench.store import Store

    store = Store(results)
    records = index.records(store.runs, store.run_ids(), store.record)[0].values()
    settings = _settings([record.settings for record in records])
    key, equals, _ = begun.partition("=")
    if name in ("where", "baseline"):
        if not equals:
            return [f"{key}=" for key in settings]
        known: Iterable[str] = settings.get(key, ())
    elif name == "calibration":
        known = dict.fromkeys(calibration for record in records for calibration in record.values["test"])
    else:
        there = dict.fromkeys(metric for record in records for metric in (*record.metrics, *record.beside))
        metrics = there or [metric for metric, _ in catalogue.catalogue("metrics", [])]  # of a file, without runs
        known = [*(settings if name in ("rows", "columns", "sort", "x") else ()), *(metrics if name != "x" else ())]
    # Several values have commas between, but those within a list are its own.
    listed = begun[: 1 + max(begun.rfind("="), -1 if "[" in begun else begun.rfind(","))]
    return [listed + one for one in known]


def _settings(of_runs: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the settings that tell runs apart, as a filter names them, and their values."""
    from lossbench.settings import GIVEN, written

    found: dict[str, dict[str, None]] = {}
    for settings in of_runs:
        for key, value in settings.items():
            if not key.endswith("_target_") and not key.startswith("fingerprint.") and key != "sources":
                found.setdefault(key, {})[written(value).replace(" ", "")] = None  # of a list
    return {key.removesuffix(".name"): [*known] for key, known in found.items() if len(known) > 1 or key in GIVEN}
