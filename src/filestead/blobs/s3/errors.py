"""Errors of the object store and of its driver, translated to errors of the domain.

The driver's own messages are never passed on: they may quote the access key and the address. Only the status and the
store's error code are kept.
"""

import contextlib
import logging
import re
from collections.abc import Iterator

from obstore import exceptions as driver

from filestead.blobs.s3.proxy import DESTINATION_REFUSED, REDIRECT_REFUSED, UNREACHABLE
from filestead.domain.errors import BlobNotFound, BlobStoreUnavailable, DomainError, StorageFailed, StorageFull
from filestead.http_client.errors import EndpointFailure, EndpointRefused, EndpointTimeout

log = logging.getLogger("filestead")

CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
STATUS = re.compile(r"status code: ([0-9]{3})")

STORE_FULL = {"507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "StorageFull", "NoSpaceLeft"}
TEMPORARY = {
    "429",
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "OperationAborted",
    "Throttling",
}
ACCESS_DENIED = {
    "401",
    "403",
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}
CLOCK_SKEW = {"RequestTimeTooSkewed", "RequestExpired"}

# Responses of the driver's proxy in place of the store's.
PROXY_ERRORS: dict[str, tuple[type[DomainError], str]] = {
    REDIRECT_REFUSED: (
        StorageFailed,
        "the object store answered with a redirect, which is never followed: set the endpoint to the address of the "
        "store itself",
    ),
    DESTINATION_REFUSED: (StorageFailed, "the connection was refused (FILESTEAD_ALLOW_LINK_LOCAL; see the log)"),
    UNREACHABLE: (BlobStoreUnavailable, "the object store does not respond"),
    "421": (StorageFailed, "the request or its response was refused (see the log)"),  # a response to HEAD has no code
}

# Parts of the driver's messages about a request without a complete response.
NO_RESPONSE = ("HTTP error", "error sending request", "error decoding response", "timed out", "connection")


class RangeNotSatisfiable(StorageFailed):
    """The object ends before the range starts."""


class ObjectExists(StorageFailed):
    """An object of this name exists already."""


@contextlib.contextmanager
def translate_s3_errors(operation: str, key: str = "") -> Iterator[None]:
    """Raise errors of the driver as errors of the domain; `operation` begins their message."""
    try:
        yield
    except DomainError:
        raise
    except (driver.BaseError, OSError, ValueError) as error:
        # Not chained: a log of the cause would print what the driver quotes.
        raise domain_error(operation, key, error) from None


def domain_error(operation: str, key: str, error: Exception) -> DomainError:
    """The domain's error for an error of the driver."""
    if isinstance(error, TimeoutError):
        return BlobStoreUnavailable(f"{operation}: the object store did not respond in time")
    text = str(error)
    codes = {match[1] for match in (STATUS.search(text), CODE.search(text)) if match is not None}
    shown = " ".join(sorted(codes)) or "no response"
    return (
        _of_installation(operation, codes, shown)
        or _by_type(operation, key, error, shown)
        or _by_codes(operation, text, codes, shown)
    )


def response_error(operation: str, key: str, status: int, body: str) -> DomainError:
    """The domain's error for a response of the store that is no success."""
    codes = {str(status)}
    if 300 <= status < 400:
        codes.add(REDIRECT_REFUSED)
    if (match := CODE.search(body)) is not None:
        codes.add(match[1])
    shown = " ".join(sorted(codes))
    if (found := _of_installation(operation, codes, shown)) is not None:
        return found
    if status == 404:
        return BlobNotFound(key)
    if status == 412:
        return StorageFailed(f"{operation}: the object was replaced")
    return _by_codes(operation, "", codes, shown)


def failure_error(operation: str, failure: EndpointFailure) -> DomainError:
    """The domain's error for a request without a complete response."""
    if isinstance(failure, EndpointRefused):
        log.error("a request to the object store was refused: %s", failure)
        error_type, message = PROXY_ERRORS[DESTINATION_REFUSED]
        return error_type(f"{operation}: {message}")
    if isinstance(failure, EndpointTimeout):
        return BlobStoreUnavailable(f"{operation}: the object store did not respond in time")
    return BlobStoreUnavailable(f"{operation}: the object store does not respond")


def _of_installation(operation: str, codes: set[str], shown: str) -> DomainError | None:
    """Errors whose cause is the configuration, or the machine."""
    if codes & CLOCK_SKEW:
        log.error("the object store rejects signatures: the clock of this machine is off by over 15 minutes; set it")
        return BlobStoreUnavailable(f"{operation}: the clock of this machine is wrong ({shown})")
    if "NoSuchBucket" in codes:
        return StorageFailed(f"{operation}: the bucket does not exist (NoSuchBucket)")
    for code, (error_type, message) in PROXY_ERRORS.items():
        if code in codes:
            return error_type(f"{operation}: {message}")
    return None


def _by_type(operation: str, key: str, error: Exception, shown: str) -> DomainError | None:
    if isinstance(error, FileNotFoundError | driver.NotFoundError):
        return BlobNotFound(key)
    if isinstance(error, driver.AlreadyExistsError):
        return ObjectExists(f"{operation}: an object of this name exists already")
    if isinstance(error, driver.PreconditionError | driver.NotModifiedError):
        return StorageFailed(f"{operation}: the object was replaced")
    if isinstance(error, driver.PermissionDeniedError | driver.UnauthenticatedError):
        return _access_denied(operation, shown)
    return None


def _by_codes(operation: str, text: str, codes: set[str], shown: str) -> DomainError:
    if codes & STORE_FULL:
        return StorageFull(f"{operation}: the object store is full ({shown})")
    if codes & ACCESS_DENIED:
        return _access_denied(operation, shown)
    if codes & {"416", "InvalidRange"}:
        return RangeNotSatisfiable(f"{operation}: the object ends before the range")
    if codes & TEMPORARY or any(code.isdecimal() and code >= "500" for code in codes):
        return BlobStoreUnavailable(f"{operation}: the object store failed ({shown})")
    if not codes and any(part in text for part in NO_RESPONSE):
        return BlobStoreUnavailable(f"{operation}: the object store does not respond")
    return StorageFailed(f"{operation}: the object store failed ({shown})")


def _access_denied(operation: str, shown: str) -> DomainError:
    log.error("the object store rejects the credentials (%s)", shown)
    return BlobStoreUnavailable(f"{operation}: the object store rejects the credentials ({shown})")
