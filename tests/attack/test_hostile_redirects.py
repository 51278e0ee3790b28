"""A server that sends a client elsewhere: what is repeated there, and what goes along."""

from collections.abc import Iterator

import pytest

from filestead import APIStatusError, RedirectError
from filestead.client._transport.exchange import RequestHead, Send, redirect_request
from tests.client.any_client import KINDS, AnyClient
from tests.client.proxy import Fault, Proxy, raw_response

SECRETS = {"authorization", "openai-organization", "openai-project", "api-key", "cookie", "proxy-authorization"}


@pytest.fixture
def other() -> Iterator[Proxy]:
    with Proxy(0, [Fault(response=raw_response("404 X"))] * 5) as proxy:
        yield proxy


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", ["301 X", "302 X", "307 X", "308 X"])
def test_a_delete_is_not_repeated_elsewhere(other: Proxy, kind: str, status: str) -> None:
    with Proxy(0, [Fault(response=raw_response(status, f"Location: {other.base_url}/files/file-2"))]) as proxy:
        client = AnyClient(kind, base_url=proxy.base_url, api_key="k", max_retries=0)
        with pytest.raises(RedirectError, match="a DELETE is not repeated at another origin; use that address"):
            client.delete_file("file-1")
        client.close()
        assert len(proxy.seen) == 1
    assert other.seen == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", ["301 X", "302 X", "303 X", "307 X", "308 X"])
def test_no_credentials_go_elsewhere(other: Proxy, kind: str, status: str) -> None:
    secrets = {"api-key": "s", "Cookie": "s", "Proxy-Authorization": "s", "X-Custom": "s"}
    with Proxy(0, [Fault(response=raw_response(status, f"Location: {other.base_url}/files/x"))]) as proxy:
        client = AnyClient(
            kind, base_url=proxy.base_url, api_key="k", organization="o", project="p", default_headers=secrets, max_retries=0
        )  # fmt: skip
        with pytest.raises(APIStatusError):
            client.retrieve_file("x")
        client.close()
    assert set(other.seen[0].headers) == {"host", "accept", "accept-encoding", "user-agent"}
    assert not SECRETS & set(other.seen[0].headers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_in_the_address_is_no_credential(other: Proxy, kind: str) -> None:
    there = other.base_url.replace("http://", "http://user:password@")
    with Proxy(0, [Fault(response=raw_response("307 X", f"Location: {there}/files/x"))]) as proxy:
        client = AnyClient(kind, base_url=proxy.base_url, api_key="k", max_retries=0)
        with pytest.raises(RedirectError):
            client.retrieve_file("x")
        client.close()
    assert other.seen == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["http://host/y", "http://host:443/y", "http://other/y"])
def test_tls_is_not_given_up(method: str, status: int, location: str) -> None:
    with pytest.raises(RedirectError, match="not protected by TLS|not repeated"):
        redirect_request(Send(RequestHead(method, "https://host/v1/x", ()), b"{}"), status, location)


@pytest.mark.parametrize("status", [307, 308])
def test_a_post_is_not_repeated_elsewhere(status: int) -> None:
    sent = Send(RequestHead("POST", "http://host/v1/x", (("Content-Type", "application/json"),)), b"{}")
    with pytest.raises(RedirectError, match="a POST is not repeated at another origin"):
        redirect_request(sent, status, "http://other/x")
    assert redirect_request(sent, status, "/v1/y").body == b"{}"
