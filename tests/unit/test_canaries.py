"""The search for secrets in the logs of all servers that tests start finds them."""

import base64
from pathlib import Path

import httpx2
import pytest

from filestead.domain.access import new_secret
from tests.support import canaries
from tests.support.servers import run_command

KEY = "sk-planted-0123456789"


def test_what_is_given_to_a_server_is_searched_in_its_log(tmp_path: Path) -> None:
    upstream_key, word = "sk-upstream-0123456789", base64.b64encode(bytes(24)).decode()
    (tmp_path / "secret").write_text("whsec_" + word + "\n")
    (tmp_path / "filestead.toml").write_text(f'[[upstreams]]\nurl = "http://x"\napi_key = "{upstream_key}"\n')
    environment = {
        "FILESTEAD_BOOTSTRAP_KEY": KEY,
        "FILESTEAD_DATABASE_URL": "postgresql://user:pass%2Fword-1@host/name",
        "FILESTEAD_WEBHOOK_SECRET_FILE": str(tmp_path / "secret"),
        "FILESTEAD_CONFIG": str(tmp_path / "filestead.toml"),
        "AWS_SECRET_ACCESS_KEY": "aws-secret-key",
        "FILESTEAD_PORT": "0123456789",
    }
    canaries.plant(tmp_path, "sk-made-later-0123")
    known = canaries.secrets_of(environment, tmp_path)
    assert known == {KEY, "pass/word-1", "whsec_" + word, upstream_key, "aws-secret-key", "sk-made-later-0123"}
    canaries.assert_absent("a line\nsk-plan...6789\n", known)
    for secret in known:
        with pytest.raises(AssertionError, match="the log has a secret"):
            canaries.assert_absent(f"a line\nrequest of {secret}\n", known)


def test_keys_that_are_made_are_known_by_the_response_and_by_their_form(tmp_path: Path) -> None:
    made, other = new_secret(), new_secret()
    hook = canaries.watch(tmp_path)
    url = "http://server/v1/organization/projects/proj_1/api_keys"
    for method in ("GET", "POST"):
        assert made not in canaries.secrets_of({}, tmp_path)
        hook(httpx2.Response(200, json={"value": made}, request=httpx2.Request(method, url)))
    assert made in canaries.secrets_of({}, tmp_path)
    assert made in canaries.secrets_of_all()
    for key in (made, other):
        with pytest.raises(AssertionError, match="a span has a secret"):
            canaries.assert_absent(f"a {key} b", set(), what="a span")
        with pytest.raises(AssertionError, match="a metric has a secret"):
            hook(
                httpx2.Response(
                    200, text=f'x{{key="{key}"}}', request=httpx2.Request("GET", "http://server/v1/metrics")
                )
            )
        canaries.assert_absent(f"a {key} b", set(), shows_key=True)
    canaries.assert_absent(f"a {other[:20]} b", canaries.secrets_of_all())


def test_what_a_command_prints_is_searched(tmp_path: Path) -> None:
    """`keys create` shows its own key, and no other one."""
    key = run_command(tmp_path, "keys", "create", "--project", "p")
    assert key.returncode == 0
    canaries.plant(tmp_path, "a project, by chance")
    with pytest.raises(AssertionError, match="a command's output has a secret"):
        run_command(tmp_path, "keys", "create", "--project", "p", "--scope", "a project, by chance")


@pytest.mark.parametrize(
    "text", ["Traceback (most", "in app/x.py", "psycopg.errors.X", "SELECT a FROM b", "<a.B object at 0x7f>"]
)
def test_error_responses_that_tell_of_the_inside_are_found(text: str) -> None:
    with pytest.raises(AssertionError, match="an error response says"):
        canaries.check_error(httpx2.Response(500, json={"error": {"message": text}}))
    canaries.check_error(httpx2.Response(200, json={"message": text}))
    canaries.check_error(httpx2.Response(404, json={"error": {"message": "No such File object: file-x"}}))
