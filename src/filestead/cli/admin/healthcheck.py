"""`filestead healthcheck`: what a container or a supervisor asks."""

import http.client
import sys

from filestead import settings

TIMEOUT_SECONDS = 5.0


def healthcheck(*, host: str | None = None, port: str | None = None) -> int:
    """Ask the server on this machine whether it can serve; exit status 0 if it can, 1 if not, with the reason.

    Parameters
    ----------
    host
        The address that the server listens on (FILESTEAD_HOST).
    port
        The port that it listens on (FILESTEAD_PORT).
    """
    loaded = settings.load(host=host, port=port)
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(loaded.host, loaded.host)  # noqa: S104
    connection = http.client.HTTPConnection(address, loaded.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        body = answer.read(4096).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer from {address} port {loaded.port}: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    print(body, file=sys.stdout if answer.status == http.client.OK else sys.stderr)
    return 0 if answer.status == http.client.OK else 1
