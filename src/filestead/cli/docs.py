"""Generates docs/cli.md from the command tables and from cyclopts: `python -m filestead.cli.docs`."""

import re
from collections.abc import Iterable, Iterator

from filestead.cli.admin.app import app
from filestead.cli.client.catalog.global_flags import GLOBAL_FLAGS
from filestead.cli.client.catalog.groups import GROUPS
from filestead.cli.client.grammar.model import Command, Flag
from filestead.cli.help import flag_help, flag_names, usage

INTRODUCTION = """# Command line

`filestead` has two halves. The client commands (`filestead files ...`, `filestead batches ...` and so on) take the
arguments of the official `openai` 1.8.0, send what it sends and print what it prints, to this server or any other with
the OpenAI API. Commands that it does not have are marked. The server commands work on an installation. `make docs`
writes this page.

## Errors and exit statuses

An error is a line on standard error that begins with `filestead: `, and mostly a second one with the remedy. A server's
error has its status line there (`GET "...": 404 Not Found (request id: ...)`) and its error object on standard output.

| status | commands | meaning |
| --- | --- | --- |
| 0 | all | done; `serve`: ended by SIGTERM |
| 1 | all | refused, not reachable, or an unusable command line; `healthcheck`: the server cannot serve |
| 1, 2, 3 | `verify` | it ran and found something: cosmetic, a leak that a sweep mends, a broken promise |
| 3 | `scrub` | it ran and found damaged contents |
| 3 | all | no such command |
| 4 | `batches run`, `wait` | the batch is completed, and some of its lines failed |
| 5 | `batches run`, `wait` | the batch failed, expired or was cancelled |
| 10 | `__complete` | the shell is to complete file names |
| 78 | server commands | a setting or the data directory is wrong; a restart does not help (EX_CONFIG) |
| 130, 141 | all | ended by Ctrl-C or a closed standard output: SIGINT and SIGPIPE, as a shell reports them |

## Client commands

The server is at `OPENAI_BASE_URL` (default `http://127.0.0.1:8080/v1`), the key in `OPENAI_API_KEY`; `OPENAI_ORG_ID`
and `OPENAI_PROJECT_ID` name organization and project, `OPENAI_CUSTOM_HEADERS` holds `Name: value` lines for more.

Flags may stand before or behind the command and its id, as `--name value`, `--name=value` or `-name value`; the last of
a repeated flag wins unless its values form a list, and `--` ends the flags. A text value `@path` is replaced by the
file's content (`\\@` is a plain `@`; the values of `files create --file` and `uploads:parts create --data` are always
paths). One document of YAML or JSON on standard input fills members that no flag sets; a member with a flag of its own
is of that flag's type. Piped inner members (`expires_after.seconds`) merge with those of flags; in a loop that reads
from standard input, give the commands `</dev/null`. `@-` is replaced by standard input, which then has no members.

A flag with a dot sets one member of a mapping: `--expires-after.days 7` is `--expires-after '{days: 7}'`. Where
mappings form a list (`--file.file-id`), a member that the last mapping has already begins the next one.

`--format-error` and `--transform-error` lay out the error object of a server. 408, 409, 429, 5xx and connection errors
are retried twice, except for a form with a file (`files create`, `uploads:parts create`).
"""

FORMATS = """### Formats

| `--format` | prints |
| --- | --- |
| `auto`, `json` | indented JSON, spelled as the server spelled it; a list is one object after the other |
| `jsonl` | one line each |
| `yaml` | YAML; the objects of a list follow each other without `---` |
| `pretty` | a box; texts are cut to the terminal's width |
| `raw` | the server's bytes; of a list the first page, with its envelope |
| `explore` | taken for `json`, with a warning |

`--transform` is a [GJSON](https://github.com/tidwall/gjson/blob/master/SYNTAX.md) path, applied to each object; a path
that leads nowhere prints the whole object, one that is not understood is an error. JSON is coloured on a terminal or
with `FORCE_COLOR=1`, and plain with `FORCE_COLOR=0`. A list longer than the terminal goes to `$PAGER` (default `less`);
one that fails ends the list with its status.

On a terminal, in every format and on standard error too, control characters and bidirectional controls that the server
sent are spelled out (`\\u001b`, `\\u202e`), so that no answer can command the terminal; with `-r`, lines and tabs stay.
Content of a file that is no text, or begins with control characters, is not printed on a terminal but saved in a new
file; later ones are spelled out; `content -o -` writes the bytes as they are. Pipes and files always get the bytes.

### Completion and man page

`filestead completion bash|zsh|fish` prints a script; its first line says where to put it. IDs of files, vector stores
and batches are offered from the server, the newest 100, if it responds within a second. `man filestead` has all of the
client commands on one page.

### What differs from the official command line

- `--file -` uploads standard input, also where data is already waiting in the pipe; `--filename` names it. `@-` reads
  a text from there in the same way.
- `files create` takes `--filename`, every command `--no-progress`; `--version` (`-v`, `-V`) prints our name and needs
  no valid settings.
- `--base-url` wins over an unusable `OPENAI_BASE_URL`; `PAGER` may have arguments; a piped body may begin with a BOM.
- `content -o` resumes an interrupted download, verifies the digest that the server gives, and puts the file in place
  when it is whole.
- The words on standard error are ours, name the request id, and say what to do.
- `files create` refuses a purpose that is a misspelling of a known one before anything is sent (`--any-purpose` sends
  it all the same), and a file name that is not UTF-8, ends in a backslash or has control characters (`--filename`
  renames).
- A redirect of a request that changes something to another origin, from https to http, or to an address with a user
  name is an error.
- `pretty` shows every member of an object under its own name. `openai` before 1.16.0 takes a name such as `a.b` for a
  GJSON path and shows what that leads to, or `null`; of a name that is repeated, every version repeats the first value.
- `explore` is not interactive. A negative index in `--transform` is an error.
- YAML or JSON on standard input that is not a mapping is refused; the official client sends it if no flag is set.
- `batches run`, `wait`, `results`, `retry` and `check` do not exist there.
"""


def page() -> str:
    """The text of docs/cli.md."""
    parts = [INTRODUCTION]
    for group in GROUPS.values():
        parts += ["\n".join(_command(command)) for command in group.commands]
    parts += ["\n".join(["### Flags of every client command", "", *_flags(GLOBAL_FLAGS)]), FORMATS]
    # Run by `python -m`, cyclopts leaves a part of that in the usage of subcommands.
    every = re.sub(r" -m filestead[\w.]*", "", str(app.generate_docs()))
    _, _, server = every.partition("\n## filestead ")
    server = ("\n## filestead " + server).replace("\n### ", "\n#### ").replace("\n## ", "\n### ")
    return "\n".join([*parts, "## Server commands", server.rstrip(), ""])


def _command(command: Command) -> Iterator[str]:
    yield from (f"### filestead {command.title}", "", f"{command.help}.", "", "```console")
    yield from (usage(command), "```", "")
    if command.description:
        yield from (command.description, "")
    yield from _flags(command.flags)
    for text, line in command.examples:
        yield from (f"{text}:" if text[-1].isalpha() else text, "", "```console", line, "```", "")


def _flags(flags: Iterable[Flag]) -> Iterator[str]:
    yield from ("| flag | |", "| --- | --- |")
    for flag in flags:
        yield f"| `{flag_names(flag)}` | {flag_help(flag)} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
