"""Each numbered case of batches is shown by a test that has its number in its name: `test_case_7_...`, `test_cases_5_6_...`.

The numbers are those of the acceptance cases that the feature was built from; `CASES` says what each is about.
"""

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
NAME = re.compile(r"^(?:async )?def test_cases?_((?:\d+_)(?:(?:and_)?\d+_)*)", re.MULTILINE)

CASES = {
    1: "three lines: all keys, their order and their nulls; counts; no error file",
    2: "bytes on the wire: indented, cancel compact",
    3: "one line of three is refused by the model server",
    4: "all lines are refused: completed, without an output file",
    5: "a window that is not offered",
    6: "an endpoint that there is not",
    7: "an unknown input file",
    8: "the input file of another project",
    9: "an input file of another purpose",
    10: "a line that is not JSON",
    11: "missing members",
    12: "a line for another endpoint",
    13: "streaming",
    14: "the same id in line 1 and line 50,000",
    15: "two models, where one is required and where not",
    16: "50,001 lines",
    17: "an input of more than 200 MiB",
    18: "an empty input",
    19: "byte order mark, CRLF, blank lines, no last newline",
    20: "ids of any characters and length",
    21: "metadata that are too many or of another type",
    22: "cancelled while validating",
    23: "cancelled after four of eight lines",
    24: "cancelled twice, and after the end",
    25: "the window ends with one of ten lines done",
    26: "kill -9 at random moments",
    27: "two nodes, one of them frozen and woken",
    28: "a model server that answers 429",
    29: "a model server that is down and comes back",
    30: "a key that the model server refuses",
    31: "a line that never gets a response",
    32: "a model server whose best parallelism is 16",
    33: "a model server that queues without limit",
    34: "ten shared prefixes in a cache of two",
    35: "a small batch of another project beside a large one",
    36: "50,000 lines of 200 MiB in constant memory",
    37: "pages of batches of one second; limits",
    38: "the input file is deleted after create",
    39: "expiry of the files of results",
    40: "the quota is full while it runs",
    41: "results are read while it runs, in whole lines",
    42: "an idempotency key",
    43: "webhook deliveries that are repeated",
    44: "a line that names a server",
    45: "the official Python and Node packages and the official commands; those of Go and .NET are not at hand",
}
NOT_APPLICABLE: dict[int, str] = {}
"""Why a case has no test: what it takes exists only at the hosted service, for example."""
CASES_OF_UPLOADS = range(46, 52)
"""The same list numbers what is expected of uploads in parts."""


def shown() -> dict[int, list[str]]:
    """The test files by the number of a case."""
    found: dict[int, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for numbers in NAME.findall(path.read_text()):
            for number in re.findall(r"\d+", numbers):
                found.setdefault(int(number), []).append(path.name)
    return found


def test_every_case_has_a_test() -> None:
    missing = {number: text for number, text in CASES.items() if number not in shown()} | NOT_APPLICABLE
    assert missing == NOT_APPLICABLE


def test_every_number_is_that_of_a_case() -> None:
    assert set(shown()) <= {*CASES, *CASES_OF_UPLOADS}
    assert not set(shown()) & set(NOT_APPLICABLE)
