"""Errors of the command line. `main.py` prints each as one line on standard error and maps it to an exit status."""

from collections.abc import Iterable, Mapping


class UsageError(Exception):
    """The arguments are invalid; the message names the argument and the remedy."""


class UnknownCommand(Exception):
    """The command does not exist; the message suggests a similar one."""

    def __init__(self, prefix: str, word: str, names: Iterable[str], synonyms: Mapping[str, str]) -> None:
        """`prefix` is the command line before `word`, `names` the valid words, `synonyms` other words for them."""
        names = list(names)
        intended = synonyms.get(word.lower())
        if intended is None or intended.split(" ")[0] not in names:
            intended = closest_match(word, names)
        hint = f"did you mean '{prefix} {intended}'?" if intended else f"run '{prefix} --help' for a list of commands"
        super().__init__(f"unknown command '{word}'; {hint}")


class CommandError(Exception):
    """The command failed; the message goes to standard error. The exit status is 1, or that of a failed pager."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def closest_match(word: str, names: Iterable[str]) -> str | None:
    """The name most similar to a mistyped word, or None."""
    import difflib  # noqa: PLC0415 - needed only for errors

    return next(iter(difflib.get_close_matches(word, list(names), n=1, cutoff=0.5)), None)
