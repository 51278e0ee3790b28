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

from filestead.cli.client.formats import colour, json_text
from filestead.cli.client.grammar.model import ParsedArgs
from filestead.cli.errors import CommandError
from filestead.cli.terminal.escaping import ColouredText, escape_controls, escape_line
from filestead.cli.terminal.streams import warn, write

DEFAULT_COLUMNS = 80


class Output:
    """Standard output of one command."""

    def __init__(self, args: ParsedArgs, title: str) -> None:
        self._title = title
        self._format = str(args.get("format", "auto"))
        self._transform = str(args.get("transform", ""))
        self._unquoted = bool(args.get("raw-output"))
        self._error_format = str(args.get("format-error", "auto"))
        self._error_transform = str(args.get("transform-error", ""))
        self.terminal = sys.stdout.isatty()

    @property
    def prints_raw_pages(self) -> bool:
        """Whether a page is printed as it came; the official client minds the case of `raw` here."""
        return self._format == "raw"

    def print_result(self, text: str) -> None:
        """Print one result, which is JSON text, or should be."""
        write(self._format_text(text))

    def print_results(self, items: Iterable[str]) -> None:
        """Print one result after the other, through a pager if they fill the terminal."""
        texts = (self._format_text(item) for item in items)
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
                    _print_through_pager(self._title, started, texts)
                    return
        finally:
            for text in head:  # Also what came before a page that failed.
                write(text)

    def print_error(self, text: str) -> None:
        """Print the error object of an answer, on standard output as the official client does."""
        formatter = _Formatter(self._error_format.lower(), "Error", unquoted=False, terminal=self.terminal)
        write(formatter.format(_transform(text, self._error_transform)))

    def _format_text(self, text: str) -> str:
        formatter = _Formatter(self._format.lower(), self._title, unquoted=self._unquoted, terminal=self.terminal)
        return formatter.format(_transform(text, self._transform))


class _Formatter:
    """One value in a format."""

    def __init__(self, format_: str, title: str, *, unquoted: bool, terminal: bool) -> None:
        self._title = title
        self._unquoted = unquoted
        self._terminal = terminal
        if format_ == "explore":
            warn("the format explore is not supported; falling back to json")
        self._format = {"auto": "json", "explore": "json"}.get(format_, format_)

    def format(self, text: str) -> str:
        value = json_text.parse(text) if self._unquoted or self._format != "raw" else None
        if self._unquoted and value is not None and value.kind == "string":
            return value.text + "\n"
        if self._format == "raw":
            return json_text.from_first_value(text) + "\n"
        if self._terminal and value is not None:
            _escape_controls_in_value(value)
        if self._format == "pretty":
            return self._box(value)
        if value is None:
            return "\n" if self._format == "jsonl" else ""
        if self._format == "yaml":
            return _format_yaml(value)
        line = json_text.format_compact(value) if self._format == "jsonl" else json_text.format_indented(value)
        return ColouredText(colour.add_colours(line) + "\n") if _use_colours(terminal=self._terminal) else line + "\n"

    def _box(self, value: json_text.Value | None) -> str:
        from filestead.cli.client.formats import boxes  # noqa: PLC0415 - loaded for its format

        columns = shutil.get_terminal_size().columns if self._terminal else DEFAULT_COLUMNS
        colours = boxes.use_colours(terminal=self._terminal)
        return ColouredText(boxes.draw_box(value, self._title, columns=columns, colours=colours))


def parse_page(text: str) -> tuple[list[json_text.Value], bool]:
    """The items of a list page, and whether more may follow: only a real `false` ends a list."""
    page = json_text.parse(text)
    found = {json_text.unquote(key): item for key, item in json_text.members(page)} if page and page.keys else {}
    data = found.get("data")
    more = found.get("has_more")
    items = data.items if data is not None and data.kind == "array" else []
    return items, bool(items) and (more is None or more.kind != "false")


def _transform(text: str, path: str) -> str:
    """What the path leads to; the whole text where it leads nowhere."""
    if not path:
        return text
    from filestead.cli.client.formats import gjson  # noqa: PLC0415 - loaded where it is asked for

    found = gjson.select(text, path)
    return text if found is None else found


def _format_yaml(value: json_text.Value) -> str:
    from filestead.cli.client.formats import yaml_text  # noqa: PLC0415 - loaded for its format

    try:
        return yaml_text.format_yaml(value)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _use_colours(*, terminal: bool) -> bool:
    forced = os.environ.get("FORCE_COLOR")
    return forced != "0" and (terminal or forced == "1")


def _escape_controls_in_value(value: json_text.Value) -> None:
    """Spell the control characters in names and scalars as JSON escapes, before anything is laid out or coloured."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        value.raw = escape_line(value.raw)
        value.keys[:] = map(escape_line, value.keys)
        waiting += value.items


def _print_through_pager(title: str, head: list[str], rest: Iterator[str]) -> None:
    """Print through $PAGER, which is on the terminal too; quitting it ends the list."""
    named = os.environ.get("PAGER", "").strip() or "less"
    try:
        pager = shlex.split(named)
    except ValueError as error:
        raise CommandError(f"PAGER is {named}, which cannot be read: {error}") from None
    if shutil.which(pager[0]) is None:
        raise CommandError(f'the pager "{pager[0]}" cannot be found; set PAGER, or pipe the list through cat')
    prompt = f"-r -P {title}"
    process = subprocess.Popen(  # noqa: S603 - the user's own pager
        pager, stdin=subprocess.PIPE, env={**os.environ, "LESS": prompt, "MORE": prompt}
    )
    assert process.stdin is not None
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with contextlib.suppress(BrokenPipeError):
            for text in itertools.chain(head, rest):
                process.stdin.write(escape_controls(text).encode("utf-8", "surrogateescape"))
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
        signal.signal(signal.SIGINT, before)
