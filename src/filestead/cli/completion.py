"""Completion for bash, zsh and fish: `filestead completion SHELL` prints a script that runs `filestead __complete`.

`__complete WORDS...` prints the candidates for the last word, one per line (for zsh and fish with a tab and a help
text), and exits with 10 if the shell should complete file names. As in the official client, COMPLETION_STYLE names
the shell.
"""

import contextlib
import os
from collections.abc import Iterable

from filestead.cli.client.catalog.global_flags import GLOBAL_FLAGS
from filestead.cli.client.catalog.groups import GROUPS
from filestead.cli.client.grammar.model import Command, Flag, ParsedArgs
from filestead.cli.client.grammar.parser import assign_positionals, parse_args
from filestead.cli.command_names import HELP_WORDS, SERVER_COMMANDS, SHELL_COMMANDS
from filestead.cli.errors import UsageError

EXIT_COMPLETE_FILES = 10
HELP = "Show this help"

BASH = r"""# bash completion: add  eval "$(filestead completion bash)"  to ~/.bashrc
_filestead() {
    local current found status word join=
    local -a words=()
    # bash splits words at colons; `vector-stores:files` is one word.
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        if [[ ${#words[@]} -gt 0 && ( -n "$join" || "$word" == :* ) ]]; then
            words[-1]+="$word"
        else
            words+=("$word")
        fi
        [[ "$word" == *: ]] && join=1 || join=
    done
    current="${words[-1]#=}"
    words[-1]="$current"
    found="$(COMPLETION_STYLE=bash filestead __complete "${words[@]}" 2>/dev/null)"
    status=$?
    if [ "$status" -eq 10 ]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -W "$found" -- "$current")
    fi
    [[ "$current" == *:* ]] && COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*:}"}"}")
    return 0
}
complete -F _filestead filestead
"""

ZSH = r"""#compdef filestead
# zsh completion: add  eval "$(filestead completion zsh)"  to ~/.zshrc, after compinit
_filestead() {
    local found exit_code
    found="$(COMPLETION_STYLE=zsh filestead __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"
    exit_code=$?
    if (( exit_code == 10 )); then
        _files
    else
        local -a candidates
        local line
        for line in "${(@f)found}"; do
            [[ -n "$line" ]] && candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        done
        _describe 'filestead' candidates
    fi
}
compdef _filestead filestead
"""

FISH = r"""# fish completion: filestead completion fish > ~/.config/fish/completions/filestead.fish
function __filestead_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found (COMPLETION_STYLE=fish filestead __complete $words[2..-1] 2>/dev/null)
    if test $status -eq 10
        __fish_complete_path (commandline -ct)
    else
        printf '%s\n' $found
    end
end
complete -c filestead -f -a '(__filestead_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
Candidates = list[tuple[str, str]]


def run(name: str, words: list[str]) -> int:
    """`completion SHELL` and `__complete WORDS...`."""
    if name == "completion":
        if len(words) != 1 or words[0] not in SCRIPTS:
            raise UsageError(f"expected a shell: filestead completion {'|'.join(SCRIPTS)}")
        print(SCRIPTS[words[0]], end="")
        return 0
    style = os.environ.get("COMPLETION_STYLE", "")
    if style not in SCRIPTS:
        raise UsageError(f"COMPLETION_STYLE must be one of {', '.join(SCRIPTS)}")
    candidates = find_candidates(words or [""])
    if candidates is None:
        return EXIT_COMPLETE_FILES
    for word, text in candidates:
        print(word if style == "bash" else f"{word}\t{text.partition(chr(10))[0]}")
    return 0


def find_candidates(words: list[str]) -> Candidates | None:
    """The candidates for the last word with their help; None if it is a file name."""
    *before, current = words
    before = [word for word in before if word != "="]  # bash splits `--name=value` into three words.
    prefix = ""
    if current.startswith("-") and "=" in current:
        name, _, current = current.partition("=")
        before, prefix = [*before, name], f"{name}="
    if before[:1] and before[0] in SERVER_COMMANDS:
        candidates: Candidates | None = _server_candidates(before)
    elif before == ["completion"]:
        candidates = [(shell, "") for shell in SCRIPTS]
    else:
        candidates = _client_candidates(before, current)
    if candidates is None:
        return None
    return [(prefix + word, text) for word, text in candidates if word.startswith(current)]


def _client_candidates(before: list[str], current: str) -> Candidates | None:
    names, last_flag = _split_words(before)
    commands = GROUPS[names[0]].commands if names and names[0] in GROUPS else ()
    command = next((entry for entry in commands if names[1:2] == [entry.name]), None)
    flags = (*(command.flags if command else ()), *GLOBAL_FLAGS)
    flag = _flag_awaiting_value(last_flag, flags)
    if flag is not None:
        values = flag.choices or flag.suggestions
        return [(value, "") for value in values] or _ids(command, flag, before[:-1])
    if current.startswith("-"):
        return _flags(command, current)
    if not names:
        groups = {name: group.help for name, group in GROUPS.items()}
        return list({**groups, **SERVER_COMMANDS, **SHELL_COMMANDS}.items())
    if command is None:
        return [
            *((entry.name, entry.help) for entry in commands),
            *((name, "Show the commands") for name in HELP_WORDS),
        ]
    if any(flag.location == "path" and flag.kind == "path" for flag in command.flags):
        return None
    return _ids_for_positional(command, before)


def _flags(command: Command | None, current: str) -> Candidates:
    """The flags of the command, as in the official client; those of every command if none of its own matches."""
    flags = _in_order(command) if command else GLOBAL_FLAGS
    own = [*_names_of_flags(flags), ("--help", HELP), ("-h", HELP)]
    if any(name.startswith(current) for name, _ in own):
        return own
    return _names_of_flags(GLOBAL_FLAGS)


def _in_order(command: Command) -> list[Flag]:
    """The order of the official client: path flags, required ones, others by member, and those that are not sent."""
    wire_names = {flag.name: flag.wire_name for flag in command.flags}

    def key(flag: Flag) -> tuple[int, str, bool]:
        if flag.location == "path" or flag.required:
            return flag.location != "path", "", False
        return (
            3 if flag.location == "client" and not flag.parent else 2,
            wire_names[flag.parent or flag.name],
            bool(flag.parent),
        )

    return sorted(command.flags, key=key)


def _names_of_flags(flags: Iterable[Flag]) -> Candidates:
    return [(name, flag.help) for flag in flags for name in (f"--{flag.name}", f"-{flag.short}") if len(name) > 1]


def _ids_for_positional(command: Command, before: list[str]) -> Candidates:
    args = _parse_before(command, before)
    flag = next((flag for flag in command.flags if flag.location == "path" and flag.name not in args.values), None)
    return _ids(command, flag, before) or [] if flag else []


def _ids(command: Command | None, flag: Flag, before: list[str]) -> Candidates | None:
    """The ids that a flag may have, from the server; None if it has no ids."""
    if command is None:
        return None
    from filestead.cli.client import listed_ids  # noqa: PLC0415 - loads the client

    args = _parse_before(command, before)
    path = listed_ids.list_path(command, flag, args)
    if path is None:
        return [] if flag.location == "path" else None
    return listed_ids.find_ids(path, args)


def _parse_before(command: Command, before: list[str]) -> ParsedArgs:
    """The flags before the word to complete, with the path flags that positionals set."""
    args = ParsedArgs()
    with contextlib.suppress(UsageError):
        parse_args(before, (*command.flags, *GLOBAL_FLAGS), args)
        args.positionals = args.positionals[2:]
        assign_positionals(command, args)
    return args


def _split_words(words: list[str]) -> tuple[list[str], str]:
    """The words that belong to no flag, and the last word if it is a flag that awaits its value."""
    commands = [command for group in GROUPS.values() for command in group.commands]
    flags = [*GLOBAL_FLAGS, *(flag for command in commands for flag in command.flags)]
    names: list[str] = []
    last_flag = ""
    for word in words:
        if last_flag:
            last_flag = ""
        elif not word.startswith("-"):
            names.append(word)
        elif _flag_awaiting_value(word, flags) is not None:
            last_flag = word
    return names, last_flag


def _flag_awaiting_value(word: str, flags: Iterable[Flag]) -> Flag | None:
    """The flag that the word names, if the next word is its value."""
    name = word.lstrip("-")
    return next((flag for flag in flags if name in {flag.name, flag.short} and name and flag.kind != "switch"), None)


def _server_candidates(before: list[str]) -> Candidates:
    """Subcommands and flags of a server command, from cyclopts; empty if the server is not installed."""
    try:
        from filestead.cli.admin.app import app  # noqa: PLC0415 - loads the server's libraries
    except ModuleNotFoundError:
        return []
    command = app
    for word in before:
        if not word.startswith("-") and word in command:
            command = command[word]
    names: Candidates = [(name, command[name].help) for name in command if not name.startswith("-")]
    if command.default_command is not None:
        for argument in command.assemble_argument_collection(parse_docstring=True):
            text = " ".join((argument.parameter.help or "").split())
            names += [(name, text) for name in argument.names if name.startswith("--")]
    return names
