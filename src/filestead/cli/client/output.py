"""Prints results and error objects: format, transform, colours and the pager.

Text is printed as the server sent it, except on a terminal (see `terminal.escaping`).
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator

from filestead.cli.client.formats import colour, json_text
from filestead.cli.client.grammar.model import ParsedArgs
from filestead.cli.errors import CommandError
from filestead.cli.terminal.escaping import ColouredText, escape_controls, escape_line
from filestead.cli.terminal.streams import warn, write

DEFAULT_COLUMNS = 80
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


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
        """Whether a page is printed unchanged; as in the official client, `raw` is case-sensitive here."""
        return self._format == "raw"

    def print_result(self, text: str) -> None:
        """Print one result, given as JSON text. Raises `CommandError` if the text is cut off."""
        with contextlib.suppress(json_text.TooManyTokens):  # Only --format raw prints a text of so many.
            _require_whole(json_text.parse(text))
        write(self._format_result(text))

    def print_results(self, items: Iterable[str]) -> None:
        """Print one result after another, through a pager if they fill the terminal."""
        texts = (self._format_result(item) for item in items)
        if not self.terminal or self._format.lower() == "yaml":
            for text in texts:
                write(text)
            return
        columns, rows = shutil.get_terminal_size()
        buffered: list[str] = []
        lines = 0
        try:
            for text in texts:
                buffered.append(text)
                lines += _count_lines(text, columns)
                if lines >= rows - 3:
                    buffered, first = [], buffered
                    _print_through_pager(self._title, first, texts)
                    return
        finally:
            for text in buffered:  # Also when the next page fails.
                write(text)

    def print_error(self, text: str) -> None:
        """Print the error object of a response, to standard output as the official client does."""
        formatter = _Formatter(self._error_format.lower(), "Error", unquoted=False, terminal=self.terminal)
        write(formatter.format(_transform(text, self._error_transform, "--transform-error")))

    def _format_result(self, text: str) -> str:
        formatter = _Formatter(self._format.lower(), self._title, unquoted=self._unquoted, terminal=self.terminal)
        return formatter.format(_transform(text, self._transform))


class _Formatter:
    """Formats a value for `--format`."""

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
            return _format_yaml(value, json_text.trailing_text(text))
        if self._format == "jsonl":
            # What follows is printed with it, as by the official client.
            line = json_text.format_compact(value) + json_text.without_spaces(json_text.trailing_text(text))
        else:
            line = json_text.format_indented(value)
        return ColouredText(colour.add_colours(line) + "\n") if _use_colours(terminal=self._terminal) else line + "\n"

    def _box(self, value: json_text.Value | None) -> str:
        from filestead.cli.client.formats import boxes  # noqa: PLC0415 - needed only for this format

        columns = shutil.get_terminal_size().columns if self._terminal else DEFAULT_COLUMNS
        colours = boxes.use_colours(terminal=self._terminal)
        box = boxes.draw_box(value, self._title, columns=columns, colours=colours, terminal=self._terminal)
        return ColouredText(box)


def _count_lines(text: str, columns: int) -> int:
    """The lines of a text on a terminal, which wraps long ones."""
    lines = _COLOURS.sub("", text).removesuffix("\n").split("\n")
    if all(len(line) * 2 <= columns for line in lines):
        return len(lines)
    from filestead.cli.client.formats.boxes import display_width  # noqa: PLC0415 - needed only for long lines

    return sum(max(1, -(-display_width(line) // columns)) for line in lines)


def parse_page(text: str) -> tuple[list[json_text.Value], bool]:
    """The items of a list page, and whether more may follow: only a literal `false` ends a list.

    Raises `CommandError` if the text is cut off or not JSON.
    """
    page = json_text.parse(text)
    _require_whole(page)
    try:
        json.JSONDecoder().raw_decode(text.lstrip(" \t\r\n"))
    except (ValueError, RecursionError) as error:
        raise CommandError(f"the response is not JSON: {error}") from None
    found = {json_text.unquote(key): item for key, item in json_text.members(page)} if page and page.keys else {}
    data = found.get("data")
    more = found.get("has_more")
    items = data.items if data is not None and data.kind == "array" else []
    return items, bool(items) and (more is None or more.kind != "false")


def member_of(text: str, name: str) -> str:
    """A member of an object, spelled as in the text. Raises `CommandError` if there is none."""
    value = json_text.parse(text)
    _require_whole(value)
    for key, item in json_text.members(value) if value and value.keys else ():
        if json_text.unquote(key) == name:
            return json_text.format_compact(item)
    raise CommandError(f'the response has no member "{name}"')


def _require_whole(value: json_text.Value | None) -> None:
    if value is not None and value.cut_off:
        raise CommandError("the response is cut off: its JSON ends too early; try again")


def _transform(text: str, path: str, flag: str = "--transform") -> str:
    """The value at the GJSON path; the whole text if there is none. Raises `CommandError` for an unsupported path."""
    if not path:
        return text
    from filestead.cli.client.formats import gjson  # noqa: PLC0415 - needed only for --transform

    try:
        found = gjson.select(text, path)
    except gjson.UnsupportedPath as error:
        raise CommandError(f"{flag}: {error}") from None
    return text if found is None else found


def _format_yaml(value: json_text.Value, trailing: str) -> str:
    from filestead.cli.client.formats import yaml_text  # noqa: PLC0415 - needed only for this format

    try:
        documents = [yaml_text.format_yaml(value)]
        for text in json_text.sequence(trailing):
            following = json_text.parse(text)
            if following is None:
                raise ValueError(f"the response is not JSON from {text[:20]!r} on")
            documents.append(yaml_text.format_yaml(following))
        return "---\n".join(documents)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _use_colours(*, terminal: bool) -> bool:
    forced = os.environ.get("FORCE_COLOR")
    return forced != "0" and (terminal or forced == "1")


def _escape_controls_in_value(value: json_text.Value) -> None:
    """Replace control characters in names and scalars with JSON escapes, before the value is formatted or coloured."""
    pending = [value]
    while pending:
        value = pending.pop()
        value.raw = escape_line(value.raw)
        value.keys[:] = map(escape_line, value.keys)
        pending += value.items


def _print_through_pager(title: str, head: list[str], rest: Iterator[str]) -> None:
    """Print through $PAGER; quitting the pager ends the list. Raises `CommandError` with its status if it fails."""
    import shlex  # noqa: PLC0415 - needed only for a pager
    import subprocess  # noqa: PLC0415

    command = os.environ.get("PAGER", "").strip() or "less"
    try:
        pager = shlex.split(command)
    except ValueError as error:
        raise CommandError(f"cannot parse PAGER ({command}): {error}") from None
    if shutil.which(pager[0]) is None:
        raise CommandError(f'pager "{pager[0]}" not found; set PAGER, or pipe the list through cat')
    prompt = f"-r -P {title}"
    process = subprocess.Popen(  # noqa: S603 - the user's own pager
        pager, stdin=subprocess.PIPE, env={**os.environ, "LESS": prompt, "MORE": prompt}
    )
    assert process.stdin is not None
    previous_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with contextlib.suppress(BrokenPipeError):
            for text in itertools.chain(head, rest):
                process.stdin.write(escape_controls(text).encode("utf-8", "surrogateescape"))
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()
        signal.signal(signal.SIGINT, previous_handler)
    if process.returncode:
        # A shell reports a signal as 128 and its number.
        status = process.returncode if process.returncode > 0 else 128 - process.returncode
        raise CommandError(f"the pager {command} ended with status {status}", exit_status=status)
