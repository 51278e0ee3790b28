"""What the driver of the object store raises, as the domain's failures.

The driver's own texts never pass: they may quote the access key and the address. Only the status and the store's error
code are kept.
"""

import contextlib
import logging
import re
from collections.abc import Iterator

from obstore import exceptions as driver

from filestead.blobs.s3.proxy import DESTINATION_REFUSED, REDIRECT_REFUSED, UNREACHABLE
from filestead.domain.errors import BlobNotFound, BlobStoreUnavailable, DomainError, StorageFailed, StorageFull

log = logging.getLogger("filestead")

CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
STATUS = re.compile(r"status code: ([0-9]{3})")

FULL = {"507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "StorageFull", "NoSpaceLeft"}
BUSY = {"429", "SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted", "Throttling"}
DENIED = {
    "401",
    "403",
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}
SKEWED = {"RequestTimeTooSkewed", "RequestExpired"}

# What the driver's proxy says of a request that it did not pass on, or whose answer it did not.
BY_PROXY: dict[str, tuple[type[DomainError], str]] = {
    REDIRECT_REFUSED: (
        StorageFailed,
        "the object store answered with a redirect, which is never followed: name the address of the store itself as "
        "the endpoint",
    ),
    DESTINATION_REFUSED: (StorageFailed, "the connection is refused (FILESTEAD_ALLOW_LINK_LOCAL; see the log)"),
    UNREACHABLE: (BlobStoreUnavailable, "the object store does not answer"),
    "421": (StorageFailed, "the request or its answer was refused (see the log)"),  # an answer to HEAD has no code
}

# What the driver says of a request that got no whole answer.
NO_ANSWER = ("HTTP error", "error sending request", "error decoding response", "timed out", "connection")


class OutOfRange(StorageFailed):
    """The blob ends before the range begins."""


class AlreadyThere(StorageFailed):
    """An object of this name is there already."""


@contextlib.contextmanager
def translate_s3_errors(what: str, key: str = "") -> Iterator[None]:
    """Turn the driver's errors into the domain's."""
    try:
        yield
    except DomainError:
        raise
    except (driver.BaseError, OSError, ValueError) as error:
        # Not chained: a log of the cause would print what the driver quotes.
        raise failure(what, key, error) from None


def failure(what: str, key: str, error: Exception) -> DomainError:
    """The domain's failure for an error of the driver."""
    if isinstance(error, TimeoutError):
        return BlobStoreUnavailable(f"{what}: the object store did not answer in time")
    text = str(error)
    signs = {match[1] for match in (STATUS.search(text), CODE.search(text)) if match is not None}
    seen = " ".join(sorted(signs)) or "no answer"
    if signs & SKEWED:
        log.error("the object store refuses signatures as this machine's clock is over 15 minutes off: set the clock")
        return BlobStoreUnavailable(f"{what}: the clock of this machine is off ({seen})")
    if "NoSuchBucket" in signs:
        return StorageFailed(f"{what}: the bucket does not exist (NoSuchBucket)")
    for sign, (kind, words) in BY_PROXY.items():
        if sign in signs:
            return kind(f"{what}: {words}")
    return _by_type(what, key, error, seen) or _by_signs(what, text, signs, seen)


def _by_type(what: str, key: str, error: Exception, seen: str) -> DomainError | None:
    if isinstance(error, FileNotFoundError | driver.NotFoundError):
        return BlobNotFound(key)
    if isinstance(error, driver.AlreadyExistsError):
        return AlreadyThere(f"{what}: an object of this name is there already")
    if isinstance(error, driver.PreconditionError | driver.NotModifiedError):
        return StorageFailed(f"{what}: the object is not the one it was")
    if isinstance(error, driver.PermissionDeniedError | driver.UnauthenticatedError):
        log.error("the object store refuses the credentials (%s)", seen)
        return BlobStoreUnavailable(f"{what}: the object store refuses the credentials ({seen})")
    return None


def _by_signs(what: str, text: str, signs: set[str], seen: str) -> DomainError:
    if signs & FULL:
        return StorageFull(f"{what}: the object store is full ({seen})")
    if signs & DENIED:
        log.error("the object store refuses the credentials (%s)", seen)
        return BlobStoreUnavailable(f"{what}: the object store refuses the credentials ({seen})")
    if signs & {"416", "InvalidRange"}:
        return OutOfRange(f"{what}: the object ends before the range")
    if signs & BUSY or any(sign.isdecimal() and sign >= "500" for sign in signs):
        return BlobStoreUnavailable(f"{what}: the object store failed ({seen})")
    if not signs and any(words in text for words in NO_ANSWER):
        return BlobStoreUnavailable(f"{what}: the object store does not answer")
    return StorageFailed(f"{what}: the object store failed ({seen})")
