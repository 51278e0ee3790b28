"""One project or address that uses as much as it can: upload slots, lookups of invalid keys."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from filestead.api.http.client_address import ClientAddressResolver
from filestead.api.http.client_limits import MAX_TRACKED_ADDRESSES, WRONG_KEY_BURST, WrongKeyLimiter
from tests.attack.test_quota_while_streaming import open_upload
from tests.support.servers import KEY, Server, new_key, run_command, wait_for_uploads


def upload(server: Server, key: str) -> httpx2.Response:
    form = {"data": {"purpose": "user_data"}, "files": {"file": ("a.txt", b"hello")}}
    return httpx2.post(server.base_url + "/files", headers={"Authorization": f"Bearer {key}"}, timeout=30, **form)


def test_one_project_cannot_use_all_upload_slots(tmp_path: Path) -> None:
    with Server(tmp_path / "data", max_uploads=4) as server, contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(open_upload(server, None, sent=10))
        wait_for_uploads(server, 2)
        response = upload(server, KEY)
        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"
        assert "the limit of a project is 2" in response.json()["error"]["message"]
        assert upload(server, new_key(server, "--project", "other")).status_code == 200
        stack.close()
        deadline = time.monotonic() + 30
        while (response := upload(server, KEY)).status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert response.status_code == 200, "a slot is free again when its upload ends"


def list_files(server: Server, key: str, forwarded: str | None = None) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {key}"} | ({"X-Forwarded-For": forwarded} if forwarded else {})
    return httpx2.get(server.base_url + "/files", headers=headers, timeout=30)


def list_files_repeatedly(server: Server, count: int, forwarded: str | None = None) -> list[httpx2.Response]:
    with ThreadPoolExecutor(48) as pool:
        return list(
            pool.map(lambda number: list_files(server, f"sk-wrong-{number}-0123456789", forwarded), range(count))
        )


@pytest.mark.promise("S-07")
def test_requests_with_invalid_keys_are_limited_and_valid_keys_are_not(tmp_path: Path) -> None:
    with Server(tmp_path / "data", wrong_keys_per_minute=1) as server:
        statuses = [response.status_code for response in list_files_repeatedly(server, WRONG_KEY_BURST + 50)]
        assert statuses.count(429) >= 30
        assert statuses.count(401) >= WRONG_KEY_BURST
        refused = list_files(server, "sk-wrong-again-0123456789")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.elapsed.total_seconds() >= 1
        assert list_files(server, KEY).status_code == 200, "an honest neighbour behind the same address"
        assert list_files(server, new_key(server, "--project", "new")).status_code == 200


def test_only_a_trusted_proxy_can_set_the_address_of_a_client(tmp_path: Path) -> None:
    with Server(tmp_path / "data", wrong_keys_per_minute=1, trusted_proxies="127.0.0.0/8, ::1") as server:
        list_files_repeatedly(server, WRONG_KEY_BURST + 5, forwarded="192.0.2.1")
        assert list_files(server, "sk-wrong", forwarded="192.0.2.1").status_code == 429
        assert list_files(server, "sk-wrong", forwarded="198.51.100.7, 192.0.2.1").status_code == 429, (
            "the last one counts"
        )
        assert list_files(server, "sk-wrong", forwarded="192.0.2.1, 198.51.100.7").status_code == 401
    with Server(tmp_path / "untrusting", wrong_keys_per_minute=1) as server:
        list_files_repeatedly(server, WRONG_KEY_BURST + 5, forwarded="192.0.2.1")
        assert list_files(server, "sk-wrong", forwarded="192.0.2.2").status_code == 429


class ForwardedRequest:
    """A request as `ClientAddressResolver` sees it."""

    def __init__(self, host: str, *forwarded: str) -> None:
        self.client_host = host
        self.headers = httpx2.Headers([("x-forwarded-for", value) for value in forwarded])
        self.headers.getlist = lambda name: list(forwarded)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("host", "forwarded", "client"),
    [
        ("192.0.2.9", ("198.51.100.1",), "192.0.2.9"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("198.51.100.1, 10.0.0.2",), "198.51.100.1"),
        ("10.0.0.1", ("198.51.100.1", "203.0.113.5"), "203.0.113.5"),
        ("10.0.0.1", ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        ("10.0.0.1", ("2001:db8:1:2:3::4",), "2001:db8:1:2::/64"),
        ("10.0.0.1", ("::ffff:198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("unknown",), "unknown"),
        ("10.0.0.1", (" , ",), "10.0.0.1"),
    ],
)
def test_the_client_address_is_resolved_through_trusted_proxies(
    host: str, forwarded: tuple[str, ...], client: str
) -> None:
    from ipaddress import ip_network

    assert ClientAddressResolver((ip_network("10.0.0.0/8"),)).resolve(ForwardedRequest(host, *forwarded)) == client  # type: ignore[arg-type]


def test_recorded_addresses_are_limited_in_number_and_expire() -> None:
    now = 0.0
    limiter = WrongKeyLimiter(60, monotonic=lambda: now)
    for number in range(MAX_TRACKED_ADDRESSES + 500):
        assert limiter.record(f"address-{number}") is None
    assert len(limiter._arrivals) == MAX_TRACKED_ADDRESSES
    outcomes = [limiter.record("a") for _ in range(WRONG_KEY_BURST + 10)]
    assert [outcome is None for outcome in outcomes] == [True] * WRONG_KEY_BURST + [False] * 10
    now = 5.0
    assert [limiter.record("a") is None for _ in range(6)] == [True] * 5 + [False]
    assert all(WrongKeyLimiter(0, monotonic=lambda: now).record("a") is None for _ in range(10_000))


@pytest.mark.parametrize("networks", ["10.0.0.0/33", "example.org", "10.0.0.1,", ""])
def test_trusted_proxies_must_be_addresses_or_networks(tmp_path: Path, networks: str) -> None:
    done = run_command(tmp_path / "data", "serve", trusted_proxies=networks or " ")
    assert done.returncode == 78
    assert "FILESTEAD_TRUSTED_PROXIES" in done.stderr
