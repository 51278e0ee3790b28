"""Each sentence of `KeyRepository`."""

import pytest

from filestead.domain.access import CACHE_SECONDS, DEFAULT_SCOPES, Authenticator, Key, Scope, digest_of
from filestead.domain.errors import KeyNotFound, UnknownKey
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio


async def create(rows: Rows, name: str, **changes: object) -> Key:
    values: dict[str, object] = {
        "key_id": f"key_{name}",
        "digest": f"digest-{name}",
        "hint": f"sk-{name}",
        "organization": "default",
        "project": "one",
        "user": None,
        "scopes": DEFAULT_SCOPES,
        "expires_after_seconds": None,
    }
    return await rows.keys.create(**{**values, **changes})  # type: ignore[arg-type]


async def test_a_key_is_found_by_its_digest_only(rows: Rows) -> None:
    await create(rows, "a", scopes=frozenset({Scope.READ, Scope.SYSTEM}))
    found = await rows.keys.find("digest-a")
    assert found is not None
    assert (found.key_id, found.project_name, found.organization_name) == ("key_a", "one", "default")
    assert found.scopes == {Scope.READ, Scope.SYSTEM}
    assert await rows.keys.find("digest-b") is None
    assert await rows.keys.find("") is None


async def test_keys_with_the_same_names_share_project_and_user(rows: Rows) -> None:
    for name in ("a", "b"):
        await create(rows, name, user="ada")
    await create(rows, "c", user="bob", project="two")
    await create(rows, "d", organization="other", user="ada")
    a, b, c, d = [await rows.keys.find(f"digest-{name}") for name in "abcd"]
    assert a and b and c and d
    assert (a.project_id, a.user_id, a.organization_id) == (b.project_id, b.user_id, b.organization_id)
    assert a.project_id != c.project_id
    assert a.organization_id == c.organization_id
    assert a.user_id != c.user_id
    assert len({a.project_id, c.project_id, d.project_id}) == 3
    assert d.user_id != a.user_id


async def test_a_key_without_a_user_gets_its_own_user(rows: Rows) -> None:
    await create(rows, "a")
    await create(rows, "b")
    a, b = await rows.keys.find("digest-a"), await rows.keys.find("digest-b")
    assert a and b
    assert a.user_id != b.user_id


async def test_creating_a_key_with_a_known_digest_returns_the_existing_key(rows: Rows) -> None:
    first = await create(rows, "a")
    again = await create(rows, "b", digest="digest-a", project="other")
    assert again == first
    assert [key.id for key in await rows.keys.list()] == ["key_a"]


async def test_expired_and_revoked_keys_are_not_found(rows: Rows) -> None:
    await create(rows, "a", expires_after_seconds=10)
    await create(rows, "b")
    rows.clock.pass_(9)
    assert await rows.keys.find("digest-a")
    rows.clock.pass_(1)
    assert await rows.keys.find("digest-a") is None
    revoked = await rows.keys.revoke("key_b")
    assert revoked.revoked_at == int(rows.clock.now)
    rows.clock.pass_(5)
    assert await rows.keys.find("digest-b") is None
    assert (await rows.keys.revoke("key_b")).revoked_at == revoked.revoked_at
    with pytest.raises(KeyNotFound):
        await rows.keys.revoke("key_c")


@pytest.mark.promise("S-04")
async def test_a_server_keeps_a_valid_key_for_seconds_and_an_unknown_one_not_at_all(rows: Rows) -> None:
    now = 100.0
    authenticator = Authenticator(rows.keys, monotonic=lambda: now)
    with pytest.raises(UnknownKey):
        await authenticator.authenticate("secret")
    await create(rows, "a", digest=digest_of("secret"))
    found = await authenticator.authenticate("secret")
    await rows.keys.revoke("key_a")
    now += CACHE_SECONDS - 0.1
    assert await authenticator.authenticate("secret") == found
    now += 0.1
    with pytest.raises(UnknownKey):
        await authenticator.authenticate("secret")


async def test_a_digest_may_be_any_text(rows: Rows) -> None:
    await create(rows, "a")
    for odd in ("\0", "%s", "'; --"):
        assert await rows.keys.find(odd) is None


async def test_list_is_oldest_first(rows: Rows) -> None:
    for name in "cab":
        await create(rows, name)
        rows.clock.pass_(1)
    assert [key.id for key in await rows.keys.list()] == ["key_c", "key_a", "key_b"]
