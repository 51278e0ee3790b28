"""How results and errors are printed: format, transform, colours and the pager.

Bytes go out as they came, but to a terminal (see `terminal`).
"""

import contextlib
import itertools
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator

from filestead.cli.client import colour, json_text
from filestead.cli.client.grammar import Words
from filestead.cli.client.terminal import Painted, visible, visible_line

PIPED_COLUMNS = 80


class Failed(Exception):
    """A command cannot go on; the message goes to standard error, and the exit code is 1."""


class Output:
    """Standard output of one command."""

    def __init__(self, said: Words, title: str) -> None:
        self._title = title
        self._format = str(said.get("format", "auto"))
        self._transform = str(said.get("transform", ""))
        self._unquoted = bool(said.get("raw-output"))
        self._error_format = str(said.get("format-error", "auto"))
        self._error_transform = str(said.get("transform-error", ""))
        self.terminal = sys.stdout.isatty()

    @property
    def prints_pages(self) -> bool:
        """Whether a page is printed as it came; the official client minds the case of `raw` here."""
        return self._format == "raw"

    def result(self, text: str) -> None:
        """Print one result, which is JSON text, or should be."""
        write(self._laid_out(text))

    def results(self, items: Iterable[str]) -> None:
        """Print one result after the other, through a pager if they fill the terminal."""
        texts = (self._laid_out(item) for item in items)
        if not self.terminal or self._format.lower() == "yaml":
            with contextlib.suppress(BrokenPipeError):  # `list | head` has what it wants.
                for text in texts:
                    write(text)
            return
        rows = shutil.get_terminal_size().lines
        head: list[str] = []
        try:
            for text in texts:
                head.append(text)
                if sum(map(str.count, head, "\n" * len(head))) >= rows - 3:
                    head, started = [], head
                    _page(self._title, started, texts)
                    return
        finally:
            for text in head:  # Also what came before a page that failed.
                write(text)

    def error(self, text: str) -> None:
        """Print the error object of an answer, on standard output as the official client does."""
        layout = _Layout(self._error_format.lower(), "Error", unquoted=False, terminal=self.terminal)
        write(layout.apply(_transformed(text, self._error_transform)))

    def _laid_out(self, text: str) -> str:
        layout = _Layout(self._format.lower(), self._title, unquoted=self._unquoted, terminal=self.terminal)
        return layout.apply(_transformed(text, self._transform))


class _Layout:
    """One value in a format."""

    def __init__(self, format_: str, title: str, *, unquoted: bool, terminal: bool) -> None:
        self._title = title
        self._unquoted = unquoted
        self._terminal = terminal
        if format_ == "explore":
            warn("the format explore is not supported; falling back to json")
        self._format = {"auto": "json", "explore": "json"}.get(format_, format_)

    def apply(self, text: str) -> str:
        value = json_text.parse(text) if self._unquoted or self._format != "raw" else None
        if self._unquoted and value is not None and value.kind == "string":
            return value.text + "\n"
        if self._format == "raw":
            return json_text.first_value(text) + "\n"
        if self._terminal and value is not None:
            _make_visible(value)
        if self._format == "pretty":
            return self._box(value)
        if value is None:
            return "\n" if self._format == "jsonl" else ""
        if self._format == "yaml":
            return _yaml(value)
        line = json_text.compact(value) if self._format == "jsonl" else json_text.indented(value)
        return Painted(colour.paint(line) + "\n") if _colours_wanted(terminal=self._terminal) else line + "\n"

    def _box(self, value: json_text.Value | None) -> str:
        from filestead.cli.client import boxes  # noqa: PLC0415 - loaded for its format

        columns = shutil.get_terminal_size().columns if self._terminal else PIPED_COLUMNS
        colours = boxes.colours_wanted(terminal=self._terminal)
        return Painted(boxes.box(value, self._title, columns=columns, colours=colours))


def write(text: str) -> None:
    """Write to standard output at once; a terminal gets visible text."""
    if sys.stdout.isatty():
        text = visible(text)
    write_bytes(text.encode("utf-8", "surrogateescape"))


def write_bytes(data: bytes | memoryview) -> None:
    """Write bytes to standard output at once: what a full disk or a gone reader refuses is known here, not at exit."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(sys.stdout.fileno(), rest) :]


def warn(text: str) -> None:
    """Say something beside the result."""
    print(f"filestead: {text}", file=sys.stderr)


def items_of_page(text: str) -> tuple[list[json_text.Value], bool]:
    """The items of a list page, and whether more may follow: only a real `false` ends a list."""
    page = json_text.parse(text)
    found = {json_text.unquote(key): item for key, item in json_text.members(page)} if page and page.keys else {}
    data = found.get("data")
    more = found.get("has_more")
    items = data.items if data is not None and data.kind == "array" else []
    return items, bool(items) and (more is None or more.kind != "false")


def _transformed(text: str, path: str) -> str:
    """What the path leads to; the whole text where it leads nowhere."""
    if not path:
        return text
    from filestead.cli.client import gjson  # noqa: PLC0415 - loaded where it is asked for

    found = gjson.select(text, path)
    return text if found is None else found


def _yaml(value: json_text.Value) -> str:
    from filestead.cli.client import yaml_text  # noqa: PLC0415 - loaded for its format

    try:
        return yaml_text.dump(value)
    except ValueError as error:
        raise Failed(str(error)) from None


def _colours_wanted(*, terminal: bool) -> bool:
    forced = os.environ.get("FORCE_COLOR")
    return forced != "0" and (terminal or forced == "1")


def _make_visible(value: json_text.Value) -> None:
    """Spell the control characters in names and scalars as JSON escapes, before anything is laid out or coloured."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        value.raw = visible_line(value.raw)
        value.keys[:] = map(visible_line, value.keys)
        waiting += value.items


def _page(title: str, head: list[str], rest: Iterator[str]) -> None:
    """Print through $PAGER, which is on the terminal too; quitting it ends the list."""
    named = os.environ.get("PAGER", "").strip() or "less"
    try:
        pager = shlex.split(named)
    except ValueError as error:
        raise Failed(f"PAGER is {named}, which cannot be read: {error}") from None
    if shutil.which(pager[0]) is None:
        raise Failed(f'the pager "{pager[0]}" cannot be found; set PAGER, or pipe the list through cat')
    prompt = f"-r -P {title}"
    process = subprocess.Popen(  # noqa: S603 - the user's own pager
        pager, stdin=subprocess.PIPE, env={**os.environ, "LESS": prompt, "MORE": prompt}
    )
    assert process.stdin is not None
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with contextlib.suppress(BrokenPipeError):
            for text in itertools.chain(head, rest):
                process.stdin.write(visible(text).encode("utf-8", "surrogateescape"))
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
        signal.signal(signal.SIGINT, before)
