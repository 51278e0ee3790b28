"""The names of commands that both halves know: server commands, tools, and the synonyms of other programs."""

SYNONYMS = {
    **dict.fromkeys(("upload", "add", "put", "push", "send", "new", "post", "store", "import"), "create"),
    **dict.fromkeys(("get", "show", "info", "stat", "describe", "view", "inspect"), "retrieve"),
    **dict.fromkeys(("download", "cat", "fetch", "read", "save", "pull", "export"), "content"),
    **dict.fromkeys(("rm", "remove", "del", "unlink", "erase"), "delete"),
    **dict.fromkeys(("ls", "dir", "all"), "list"),
}
"""What other programs call our commands."""

KEY_SYNONYMS = {**SYNONYMS, **dict.fromkeys(("delete", "rm", "remove", "del", "disable"), "revoke")}

TOP_LEVEL_SYNONYMS = {
    **{word: f"files {name}" for word, name in SYNONYMS.items()},
    **{name: f"files {name}" for name in SYNONYMS.values()},
    **dict.fromkeys(("start", "run", "server"), "serve"),
    **dict.fromkeys(("check", "fsck"), "verify"),
    **dict.fromkeys(("gc", "prune"), "sweep"),
    "file": "files",
    "key": "keys",
    "upgrade": "migrate",
    "version": "--version",
}
"""What people type where a group is missing, or by another program's name for it."""

SERVER_COMMANDS = {
    "serve": "Serve the OpenAI Files API",
    "keys": "Create, list and revoke API keys",
    "verify": "Check that every file has its bytes and nothing is left over",
    "sweep": "Remove the bytes of expired and deleted files now",
    "migrate": "Bring the database of a shared installation to this version",
    "copy": "Copy an installation, embedded or shared, to another",
    "healthcheck": "Ask the server on this machine whether it can serve",
}
"""Their flags and help are in `admin.py`, which is loaded only for them: it needs the server's libraries."""

SHELL_COMMANDS = {"completion": "Print the completion script of a shell: bash, zsh or fish"}
