"""`filestead batches check`: the server's checks of a batch input file, on this machine."""

import json
import os
from collections.abc import Iterator

from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.grammar.parser import assign_positionals, require_flags
from filestead.cli.errors import CommandError
from filestead.client._upload.sources import BLOCK_BYTES
from filestead.decoders import DECODERS
from filestead.domain.batches.model import BatchError
from filestead.domain.batches.validation import LineValidator, ValidationResult

_FIRST_LINE = 32 * 1024 * 1024


def check(command: Command, args: ParsedArgs) -> None:
    """Print every fault of a file."""
    assign_positionals(command, args)
    require_flags(command, args)
    path: str = args.get("file")
    endpoint = args.get("endpoint") or first_url(path)
    result = check_file(path, endpoint, single_model=bool(args.get("single-model")))
    for error in result.errors:
        print(describe(path, error))
    if result.errors:
        raise CommandError(faults(path, result))
    model = f", model {result.model}" if result.model is not None else ""
    print(f"{path}: {result.total} {'request' if result.total == 1 else 'requests'} for {endpoint}{model}")


def check_file(path: str, endpoint: str, *, single_model: bool = False) -> ValidationResult:
    """Validate a file as a batch for an endpoint. Any model counts as served."""
    validator = LineValidator(endpoint, DECODERS, single_model=single_model, serves=lambda model: True)
    for block in _blocks(path):
        validator.feed(block)
    return validator.finish()


def describe(path: str, error: BatchError) -> str:
    """`requests.jsonl:3: invalid_url: The URL ... (url)`."""
    line = f":{error.line}" if error.line is not None else ""
    return f"{path}{line}: {error.code}: {error.message}{f' ({error.param})' if error.param else ''}"


def faults(path: str, result: ValidationResult) -> str:
    """A sentence that counts the faults."""
    count = len(result.errors)
    return f"{path} cannot run as a batch: {count} {'fault' if count == 1 else 'faults'}"


def first_url(path: str) -> str:
    """The `url` of the first line that is not blank. Raises `CommandError` if it has none."""
    with open(path, "rb") as file:
        line = b""
        while not line.strip() and (line := file.readline(_FIRST_LINE)):
            pass
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    url = request.get("url") if isinstance(request, dict) else None
    if isinstance(url, str) and url:
        return url
    if not line:
        raise CommandError(f"{path} has no line; a batch needs at least one request")
    raise CommandError(f"the first line of {path} has no url; name the endpoint with --endpoint")


def _blocks(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size == 0:
            return
        while block := file.read(BLOCK_BYTES):
            yield block
