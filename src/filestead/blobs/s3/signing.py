"""Presigned URLs (Signature Version 4 in the query), for requests that the driver does not offer.

These are downloads with a file name, and listing and aborting incomplete uploads (`incomplete.py`).
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit


@dataclass(frozen=True, slots=True)
class Credentials:
    """Static credentials of an object store. Their `repr` shows the id only."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class Signer:
    """Signs requests to one bucket, with path-style addresses."""

    def __init__(
        self, endpoint: str, bucket: str, region: str, credentials: Credentials, clock: Callable[[], float]
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._bucket = bucket
        self._region = region
        self._credentials = credentials
        self._clock = clock

    def url(self, method: str, key: str, query: Mapping[str, str], *, seconds: int) -> str:
        """A URL that is valid for one method on one object, for `seconds`."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        scope = f"{now:%Y%m%d}/{self._region}/s3/aws4_request"
        fields = {
            **query,
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self._credentials.access_key_id}/{scope}",
            "X-Amz-Date": f"{now:%Y%m%dT%H%M%SZ}",
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
        }
        if self._credentials.session_token is not None:
            fields["X-Amz-Security-Token"] = self._credentials.session_token
        base = urlsplit(self._endpoint)
        path = quote(f"{base.path}/{self._bucket}/{key}".removesuffix("/"))
        encoded = "&".join(f"{quote(name, safe='')}={quote(fields[name], safe='')}" for name in sorted(fields))
        request = f"{method}\n{path}\n{encoded}\nhost:{base.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signature = self._sign(f"AWS4-HMAC-SHA256\n{now:%Y%m%dT%H%M%SZ}\n{scope}\n{digest}", scope)
        return f"{base.scheme}://{base.netloc}{path}?{encoded}&X-Amz-Signature={signature}"

    def download(self, key: str, disposition: str, *, seconds: int) -> str:
        """A URL from which a browser saves the object under the name in `disposition`."""
        query = {
            "response-content-disposition": disposition,
            "response-content-type": "application/octet-stream",
            "response-cache-control": "private, no-store",
        }
        return self.url("GET", key, query, seconds=seconds)

    def _sign(self, text: str, scope: str) -> str:
        key = f"AWS4{self._credentials.secret_access_key}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()
