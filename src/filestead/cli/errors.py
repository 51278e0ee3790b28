"""Errors of the command line: each is one line on standard error, and an exit code in `main.py`."""

import difflib
from collections.abc import Iterable, Mapping


class UsageError(Exception):
    """The words of a command make no sense; the message says which and what to do."""


class UnknownCommand(Exception):
    """There is no such command; the message names the one that was probably meant."""

    def __init__(self, above: str, word: str, names: Iterable[str], synonyms: Mapping[str, str]) -> None:
        """`above` is the command line so far, `names` what may follow it, `synonyms` other words for some of them."""
        names = list(names)
        meant = synonyms.get(word.lower())
        if meant is None or meant.split(" ")[0] not in names:
            meant = closest_match(word, names)
        hint = f"did you mean '{above} {meant}'?" if meant else f"run '{above} --help' for the commands"
        super().__init__(f"there is no command '{word}'; {hint}")


class CommandError(Exception):
    """A command cannot go on; the message goes to standard error, and the exit code is 1."""


def closest_match(word: str, names: Iterable[str]) -> str | None:
    """The name that a mistyped word is most like."""
    return next(iter(difflib.get_close_matches(word, list(names), n=1, cutoff=0.5)), None)
