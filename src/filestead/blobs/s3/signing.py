"""Signature Version 4, for requests that do not go through the driver.

In the query of presigned URLs: downloads with a file name, and listing and aborting incomplete uploads
(`incomplete.py`). In headers: reads (`objects.py`).
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


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
        path = self._path(base.path, key).removesuffix("/")
        encoded = "&".join(f"{quote(name, safe='')}={quote(fields[name], safe='')}" for name in sorted(fields))
        request = f"{method}\n{path}\n{encoded}\nhost:{base.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        signature = self._sign(request, now, scope)
        return f"{base.scheme}://{base.netloc}{path}?{encoded}&X-Amz-Signature={signature}"

    def download(self, key: str, disposition: str, *, seconds: int) -> str:
        """A URL from which a browser saves the object under the name in `disposition`."""
        query = {
            "response-content-disposition": disposition,
            "response-content-type": "application/octet-stream",
            "response-cache-control": "private, no-store",
        }
        return self.url("GET", key, query, seconds=seconds)

    def read_request(self, key: str, more: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """The path of an object, and the headers with which a GET of it is accepted for some minutes.

        `more` are headers (`x-amz-...`, in lower case) that are sent and signed, too.
        """
        now = datetime.fromtimestamp(self._clock(), UTC)
        scope = f"{now:%Y%m%d}/{self._region}/s3/aws4_request"
        base = urlsplit(self._endpoint)
        path = self._path(base.path, key)
        headers = {"x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}", **more}
        if self._credentials.session_token is not None:
            headers["x-amz-security-token"] = self._credentials.session_token
        signed = dict(sorted({"host": base.netloc, **headers}.items()))
        lines, names = "".join(f"{name}:{value}\n" for name, value in signed.items()), ";".join(signed)
        signature = self._sign(f"GET\n{path}\n\n{lines}\n{names}\n{EMPTY_SHA256}", now, scope)
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._credentials.access_key_id}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return path, headers

    def _path(self, base: str, key: str) -> str:
        """The path of an object; that of the endpoint is encoded already."""
        return quote(base, safe="/%") + quote(f"/{self._bucket}/{key}")

    def _sign(self, request: str, now: datetime, scope: str) -> str:
        """The signature of a request in its canonical form."""
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{now:%Y%m%dT%H%M%SZ}\n{scope}\n{digest}"
        key = f"AWS4{self._credentials.secret_access_key}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()
