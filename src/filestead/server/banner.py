"""What `serve` prints when it starts: its address, and lines to paste. Each paragraph is flush left and works alone.

The key is in at most one line; the others read it from the environment.
"""

import shlex
from pathlib import Path

from filestead.server.program import program
from filestead.settings import Settings, secret_as_shell_word


def banner(settings: Settings, port: int, metrics_port: int | None, new_key: str | None, key_file: Path | None) -> str:
    """Return the text for standard output.

    `new_key` is the key that this start has created, and `key_file` the file with the first key, if they exist.
    """
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.host in ("0.0.0.0", "::"):  # noqa: S104 - configured, not a default
        host = "127.0.0.1"
    base = f"http://{host}:{port}/v1"
    storage = f"Data directory: {settings.storage_location}"
    if settings.database_url is not None:
        storage = f"Node of a shared installation: PostgreSQL and {settings.storage_location}"
    lines = [f"Filestead serves {base}", storage]
    if metrics_port is not None:
        metrics_host = f"[{settings.metrics_host}]" if ":" in settings.metrics_host else settings.metrics_host
        lines.append(f"Metrics: http://{metrics_host}:{metrics_port}/metrics")
    if new_key is not None:
        return "\n".join([*lines, "", *_key_lines(settings, base, new_key, key_file), *_first_steps()])
    if key_file is not None:
        lines.append(f"The first key is still in {key_file}: read it, then delete the file")
    lines.append(f"Keys: `{program()} keys list`; a new one: `{program()} keys create --project default`")
    return "\n".join(lines)


def _key_lines(settings: Settings, base: str, new_key: str, key_file: Path | None) -> list[str]:
    """Return a heading and the two variables that every official client reads."""
    value = new_key
    heading = "Your first key (shown only this once):"
    if settings.bootstrap_key is not None:
        value = secret_as_shell_word("bootstrap_key") or "...  # bootstrap_key in the configuration file"
        heading = "Your key is the bootstrap key. In a shell that has the variable:"
    elif key_file is not None:
        value = f'"$(cat {shlex.quote(str(key_file))})"'
        heading = (
            f"Your first key is in {key_file} (readable only by you). Delete the file after you have saved the key:"
        )
    return [heading, "", f"export OPENAI_BASE_URL={base}", f"export OPENAI_API_KEY={value}", ""]


def _first_steps() -> list[str]:
    return [
        "Upload a file with curl:",
        "",
        "echo 'Hello, Filestead' | curl $OPENAI_BASE_URL/files -H \"Authorization: Bearer $OPENAI_API_KEY\" "
        "-F purpose=user_data -F 'file=@-;filename=hello.txt'",
        "",
        "with the command line:",
        "",
        f"{program()} files list",
        "",
        "or with Python (pip install openai):",
        "",
        "from openai import OpenAI",
        "client = OpenAI()",
        'file = client.files.create(file=("hello.txt", b"Hello, Filestead"), purpose="user_data")',
        "print(file.id, client.files.content(file.id).read())",
        "",
    ]
