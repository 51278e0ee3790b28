"""Signed addresses (Signature Version 4 in the query), for what the driver cannot ask.

That is a download with a name of its own, and which uploads were begun under a key and never finished.
"""

import hashlib
import hmac
import html
import http.client
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from filestead.domain.errors import StorageFailed, StoreUnavailable

SECONDS = 5
"""How long each step of a request may take."""

MAX_ANSWER = 4 * 1024 * 1024
UPLOAD = re.compile(r"<Upload>.*?</Upload>", re.DOTALL)
KEY = re.compile(r"<Key>(.*?)</Key>", re.DOTALL)
UPLOAD_ID = re.compile(r"<UploadId>(.*?)</UploadId>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Lasting credentials of an object store; only the key's name is ever shown."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class Signer:
    """Signs requests for one bucket, addressed by path."""

    def __init__(
        self, endpoint: str, bucket: str, region: str, credentials: Credentials, clock: Callable[[], float]
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._bucket = bucket
        self._region = region
        self._credentials = credentials
        self._clock = clock

    def url(self, method: str, key: str, query: Mapping[str, str], *, seconds: int) -> str:
        """An address that is good for one method on one object, for so many seconds."""
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

    def _sign(self, text: str, scope: str) -> str:
        key = f"AWS4{self._credentials.secret_access_key}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()

    def abort_uploads(self, key: str) -> int:
        """Throw away every unfinished upload to `key`, with its parts; returns how many there were. Blocks."""
        found = 0
        for upload in UPLOAD.findall(self._send("GET", "", {"uploads": "", "prefix": key})):
            name, upload_id = KEY.search(upload), UPLOAD_ID.search(upload)
            if name is not None and upload_id is not None and html.unescape(name[1]) == key:
                self._send("DELETE", key, {"uploadId": html.unescape(upload_id[1])})
                found += 1
        return found

    def _send(self, method: str, key: str, query: Mapping[str, str]) -> str:
        url = urlsplit(self.url(method, key, query, seconds=60))
        connect = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = connect(url.hostname or "", url.port, timeout=SECONDS)
        try:
            connection.request(method, f"{url.path}?{url.query}")
            answer = connection.getresponse()
            body = answer.read(MAX_ANSWER).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            raise StoreUnavailable("unfinished uploads: the object store does not answer") from None
        finally:
            connection.close()
        if answer.status >= 500:
            raise StoreUnavailable(f"unfinished uploads: the object store failed ({answer.status})")
        if answer.status >= 400 and answer.status != 404:  # gone meanwhile is as good
            raise StorageFailed(f"unfinished uploads: the object store refused ({answer.status})")
        return body
