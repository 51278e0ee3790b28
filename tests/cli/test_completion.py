"""Completion, in the real shells."""

import os
import pty
import re
import select
import subprocess
import time

import pytest

from filestead.cli.client.catalog.files import CREATE_PURPOSES
from filestead.cli.client.catalog.global_flags import FORMATS, GLOBAL_FLAGS
from filestead.cli.client.catalog.groups import GROUPS
from filestead.cli.completion import find_candidates
from tests.cli.commandline import CommandLine, Done
from tests.e2e.programs import find_program

GROUP_NAMES = [
    "files",
    "batches",
    "uploads",
    "uploads:parts",
    "vector-stores",
    "vector-stores:files",
    "vector-stores:file-batches",
]
COMMANDS = [
    *GROUP_NAMES,
    "serve",
    "keys",
    "audit",
    "verify",
    "scrub",
    "sweep",
    "migrate",
    "copy",
    "backup",
    "restore",
    "upstreams",
    "top",
    "healthcheck",
    "completion",
]
FILES = [command.name for command in GROUPS["files"].commands]
HELP = ["help", "h"]
CREATE_FLAGS = [
    f"--{flag.name}" for flag in GROUPS["files"].commands[0].flags if "." in flag.name or flag.location == "body"
]
GLOBAL_NAMES = [name for flag in GLOBAL_FLAGS for name in (f"--{flag.name}", f"-{flag.short}") if len(name) > 1]

CASES = [
    ("", COMMANDS),
    ("fi", ["files"]),
    ("vec", GROUP_NAMES[4:]),
    ("vector-stores:f", GROUP_NAMES[5:]),
    ("vector-stores:file-batches ", ["create", "retrieve", "cancel", "list-files", *HELP]),
    ("vector-stores search vs_1 --ranking-options.", ["--ranking-options.ranker", "--ranking-options.score-threshold"]),
    ("vector-stores search vs_1 --rewrite-query --max-n", ["--max-num-results"]),
    ("vector-stores:files list vs_1 --filter ", ["in_progress", "completed", "failed", "cancelled"]),
    ("files ", [*FILES, *HELP]),
    ("files h", HELP),
    ("files re", ["retrieve"]),
    ("files nope ", [*FILES, *HELP]),
    ("files create --fil", ["--file", "--filename"]),
    ("files create --", [*CREATE_FLAGS, "--any-purpose", "--filename", "--no-parts", "--no-resume", "--help"]),
    ("files create --form", ["--format", "--format-error"]),
    ("files content -", ["--file-id", "--output", "-o", "--help", "-h"]),
    ("files list -r", ["-r"]),
    ("--", [name for name in GLOBAL_NAMES if name[1] == "-"] + ["--help"]),
    ("-", [*GLOBAL_NAMES, "--help", "-h"]),
    (
        "vector-stores update --",
        [
            "--vector-store-id",
            "--expires-after",
            "--expires-after.anchor",
            "--expires-after.days",
            "--metadata",
            "--name",
            "--help",
        ],
    ),
    ("files create --purpose ", list(CREATE_PURPOSES)),
    ("files list --purpose batch", ["batch", "batch_output"]),
    ("files list --order ", ["asc", "desc"]),
    ("files list --format ", list(FORMATS)),
    ("--format json files ", [*FILES, *HELP]),
    ("--format files files ", [*FILES, *HELP]),
    ("--debug files list --ord", ["--order"]),
    ("files list --after --format --ord", ["--order"]),
    ("files retrieve create --pur", []),
    ("files retrieve ", []),
    ("batches re", ["retrieve", "results", "retry"]),
    ("batches retrieve ", []),
    ("batches run x.jsonl --det", ["--detach"]),
    ("batches run x.jsonl --endpoint /v1/ch", ["/v1/chat/completions"]),
    ("serve --po", ["--port"]),
    ("keys ", ["create", "list", "revoke"]),
    ("keys create --sc", ["--scope"]),
    ("verify --", ["--deep", "--repair", "--yes", "--json", "--data-dir"]),
    ("completion ", ["bash", "zsh", "fish"]),
]
NAMES = [words or "nothing" for words, _ in CASES]


def candidates(cli: CommandLine, line: str, style: str) -> Done:
    *before, last = line.split(" ")
    return cli("__complete", *before, last, env={"COMPLETION_STYLE": style})


@pytest.mark.parametrize(("line", "wanted"), CASES, ids=NAMES)
def test_candidates(line: str, wanted: list[str]) -> None:
    found = find_candidates(line.split(" "))
    assert found is not None
    assert [word for word, _ in found] == wanted


@pytest.mark.parametrize(
    "line",
    [
        "files create --file ",
        "files content x -o ",
        "files list --mtls-client-key-file ",
        "batches run ",
        "batches check x",
    ],
)
def test_names_of_files_are_left_to_the_shell(bare: CommandLine, line: str) -> None:
    assert candidates(bare, line, "bash") == Done(10, b"", "")


@pytest.mark.parametrize("style", ["zsh", "fish"])
def test_candidates_have_one_line_of_help(bare: CommandLine, style: str) -> None:
    for line in ("", "files create --", "keys create --"):
        for row in candidates(bare, line, style).out.splitlines():
            assert re.fullmatch(r"[\w.:-]+\t\S[^\t]*", row), row


def test_a_style_that_is_none(bare: CommandLine) -> None:
    done = candidates(bare, "fi", "tcsh")
    assert (done.code, done.data) == (1, b"")
    assert "COMPLETION_STYLE must be one of bash, zsh, fish" in done.err


# --- bash -----------------------------------------------------------------------------------------------------------

IN_BASH = """
source <(filestead completion bash)
complete -p filestead >/dev/null || exit 9
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_filestead
printf '%s\\n' "${COMPREPLY[@]}"
"""


def in_bash(cli: CommandLine, *words: str) -> list[str]:
    command = [find_program("bash"), "--norc", "-c", IN_BASH, "bash", "filestead", *words]
    done = subprocess.run(command, cwd=cli.folder, env=cli.env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return sorted(done.stdout.split("\n")[:-1]) if done.stdout != "\n" else []


@pytest.mark.parametrize(("line", "wanted"), CASES[::3], ids=NAMES[::3])
def test_bash(bare: CommandLine, line: str, wanted: list[str]) -> None:
    words = [part for word in line.split(" ") for part in re.split("(:)", word)]
    prefix, _ = re.fullmatch("(.*:)?(.*)", line.split(" ")[-1]).groups("")
    assert in_bash(bare, *words) == sorted(word.removeprefix(prefix) for word in wanted)


def test_bash_completes_values_behind_an_equals_sign(bare: CommandLine) -> None:
    # bash takes `=` for a word of its own.
    assert in_bash(bare, "files", "list", "--order", "=") == ["asc", "desc"]
    assert in_bash(bare, "files", "list", "--order", "=", "d") == ["desc"]
    assert in_bash(bare, "files", "list", "--order", "=", "desc", "--lim") == ["--limit"]


def test_bash_completes_names_with_a_colon(bare: CommandLine) -> None:
    # bash takes `:` for a word of its own, and replaces only what is behind it.
    assert in_bash(bare, "vector-stores", ":", "fi") == ["file-batches", "files"]
    assert in_bash(bare, "vector-stores", ":") == ["file-batches", "files"]
    assert in_bash(bare, "vector-stores", ":", "files", "cre") == ["create"]
    assert in_bash(bare, "--base-url", "http", ":", "//a", ":", "1/v1", "files", "cre") == ["create"]


def test_bash_completes_names_of_files(bare: CommandLine) -> None:
    for name in ("data one.jsonl", "data.txt", "other"):
        (bare.folder / name).touch()
    assert in_bash(bare, "files", "create", "--file", "da") == ["data one.jsonl", "data.txt"]


# --- fish -----------------------------------------------------------------------------------------------------------


def in_fish(cli: CommandLine, line: str) -> dict[str, str]:
    script = "filestead completion fish | source; complete -C $argv[1]"
    command = [find_program("fish"), "--no-config", "-c", script, f"filestead {line}"]
    done = subprocess.run(command, cwd=cli.folder, env=cli.env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [row.partition("\t") for row in done.stdout.splitlines()]
    return {word: text for word, _, text in rows}


@pytest.mark.parametrize(("line", "wanted"), CASES[1::3], ids=NAMES[1::3])
def test_fish(bare: CommandLine, line: str, wanted: list[str]) -> None:
    assert sorted(in_fish(bare, line)) == sorted(wanted)


def test_fish_shows_help_values_behind_an_equals_sign_and_names_of_files(bare: CommandLine) -> None:
    assert in_fish(bare, "files re") == {"retrieve": "Show a file object"}
    assert in_fish(bare, "files list --order=d") == {"--order=desc": ""}
    (bare.folder / "data.jsonl").touch()
    assert list(in_fish(bare, "files create --file da")) == ["data.jsonl"]


# --- zsh ------------------------------------------------------------------------------------------------------------


def in_zsh(cli: CommandLine, *lines: str) -> list[str]:
    """What zsh writes for each line and a Tab: the line as it is completed in <<>>, and candidates listed before it."""
    program = find_program("zsh")
    # On a terminal, as zsh completes nowhere else; Control-X shows the line, and empties it.
    setup = (
        "PROMPT='' RPROMPT='' LISTMAX=10000; unsetopt prompt_cr prompt_sp; bindkey -e; autoload -U compinit; compinit -u -D\n"
        'eval "$(filestead completion zsh)"\n'
        'show() { print -r -- "<<$BUFFER>>"; BUFFER=""; }; zle -N show; bindkey "^X" show; print "rea""dy"\n'
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cli.folder)
        os.execve(program, [program, "-f", "-i"], {**cli.env, "TERM": "dumb", "COLUMNS": "200"})
    try:
        os.write(terminal, setup.encode())
        read_until(terminal, rb"ready\r")
        found = []
        for line in lines:
            os.write(terminal, f"filestead {line}\t\x18".encode())
            found.append(read_until(terminal, rb"<<.*>>").decode())
        return found
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def read_until(terminal: int, pattern: bytes) -> bytes:
    data, deadline = b"", time.monotonic() + 30
    while not re.search(pattern, data, re.DOTALL):
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, data
        data += os.read(terminal, 65536)
    return data


ZSH_CASES = {
    "fi": "files ",
    "files re": "files retrieve ",
    "files create --purp": "files create --purpose ",
    "files list --order d": "files list --order desc ",
    "files list --order=d": "files list --order=desc ",
    "keys rev": "keys revoke ",
    "vector-stores:file-": "vector-stores:file-batches ",
    "files create --file da": "files create --file data.jsonl ",
}


def test_zsh(bare: CommandLine) -> None:
    (bare.folder / "data.jsonl").touch()
    *completed, listed = in_zsh(bare, *ZSH_CASES, "files ")
    for shown, wanted in zip(completed, ZSH_CASES.values(), strict=True):
        assert f"<<filestead {wanted}>>" in shown
    for command in GROUPS["files"].commands:
        assert re.search(rf"{command.name} +-- {command.help}", listed), listed


# --- whatever shells there are --------------------------------------------------------------------------------------


def test_the_script_names_its_place(bare: CommandLine) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert f"filestead completion {shell}" in bare("completion", shell).out
    for words in ((), ("tcsh",), ("bash", "zsh")):
        done = bare("completion", *words)
        assert (done.code, done.data) == (1, b"")
