"""Expiry of files: the range of `expires_after`, and the default for batch files."""

from filestead.domain.errors import BadAnchor, BadExpirySeconds, IncompleteExpiry
from filestead.domain.files.model import ExpiresAfter, Limits

MIN_SECONDS = 3_600
MAX_SECONDS = 2_592_000


def check(expires_after: ExpiresAfter | None) -> None:
    """Require both members, the anchor `created_at`, and 3,600 to 2,592,000 seconds."""
    if expires_after is None:
        return
    if expires_after.anchor is None:
        raise IncompleteExpiry("anchor")
    if expires_after.seconds is None:
        raise IncompleteExpiry("seconds")
    if expires_after.anchor != "created_at":
        raise BadAnchor(expires_after.anchor)
    if not MIN_SECONDS <= expires_after.seconds <= MAX_SECONDS:
        raise BadExpirySeconds(expires_after.seconds, MIN_SECONDS, MAX_SECONDS)


def lifetime(purpose: str, expires_after: ExpiresAfter | None, limits: Limits) -> int | None:
    """Seconds from creation to expiry; None means that the file never expires."""
    if expires_after is not None:
        return expires_after.seconds
    return limits.batch_expiry_seconds if purpose == "batch" else None
