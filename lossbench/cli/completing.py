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
    """Print what makes TAB complete verbs, options, overrides and runs in a shell.

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
    if typed and typed[-1] in options and not options[typed[-1]].is_flag:
        return _choices(options[typed[-1]], root)
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
    values = {one.name: typed[typed.index(name) + 1] for name, one in options.items() if name in typed[:-1]}
    return _choices(argument, root) or _of(argument.name, verb, given, begun, values)


def _choices(parameter: Any, root: Any) -> list[str]:
    """Return the values that the signature of a verb lists; none for a file or any text."""
    return [item.value for item in parameter.shell_complete(root, "") if item.type == "plain"]


def _of(name: str, verb: str, given: Sequence[str], begun: str, values: Mapping[str, str]) -> Iterable[str]:
    """Return what an argument could be, by its name."""
    from lossbench import catalogue

    own = Path(values["config_dir"]) if "config_dir" in values else None
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
        return [loss for loss, _ in catalogue.catalogue("losses", [*filter(None, [own]), catalogue.conf_dir()])]
    if name == "kind":
        if verb == "list":
            return catalogue.KINDS
        from lossbench.report.figures import KINDS

        return KINDS
    runs = Path(values.get("results_dir", "results")) / "runs"
    return [path.name for path in runs.iterdir() if not path.name.endswith(".partial")] if runs.is_dir() else []
