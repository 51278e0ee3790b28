"""The names of the commands outside the client tables, and synonyms that users try instead of the right name."""

SYNONYMS = {
    **dict.fromkeys(("upload", "add", "put", "push", "send", "new", "post", "store", "import"), "create"),
    **dict.fromkeys(("get", "show", "info", "stat", "describe", "view", "inspect"), "retrieve"),
    **dict.fromkeys(("download", "cat", "fetch", "read", "save", "pull", "export"), "content"),
    **dict.fromkeys(("rm", "remove", "del", "unlink", "erase"), "delete"),
    **dict.fromkeys(("ls", "dir", "all"), "list"),
}
"""Names that other programs use for these commands."""

GROUP_SYNONYMS = {
    **SYNONYMS,
    **dict.fromkeys(("attach",), "create"),
    **dict.fromkeys(("detach",), "delete"),
    **dict.fromkeys(("edit", "modify", "set", "change", "patch", "rename"), "update"),
    **dict.fromkeys(("find", "query", "ask", "grep"), "search"),
    **dict.fromkeys(("abort", "stop"), "cancel"),
}
"""The same for all groups of client commands; a group without the meant command ignores them."""

KEY_SYNONYMS = {**SYNONYMS, **dict.fromkeys(("delete", "rm", "remove", "del", "disable"), "revoke")}

TOP_LEVEL_SYNONYMS = {
    **{word: f"files {name}" for word, name in SYNONYMS.items()},
    **{name: f"files {name}" for name in SYNONYMS.values()},
    **dict.fromkeys(("start", "run", "server"), "serve"),
    **dict.fromkeys(("check", "fsck"), "verify"),
    **dict.fromkeys(("gc", "prune"), "sweep"),
    "file": "files",
    "search": "vector-stores search",
    "vs": "vector-stores",
    "batch": "batches",
    "key": "keys",
    "upgrade": "migrate",
    "version": "--version",
}
"""Words that users type instead of a top-level command, such as a subcommand without its group."""

SERVER_COMMANDS = {
    "serve": "Serve the OpenAI Files API",
    "keys": "Create, list and revoke API keys",
    "audit": "Show the audit log, and check its hash chain",
    "verify": "Check that every file has its content and no orphaned data is left",
    "scrub": "Find damaged contents while servers run, at a bounded rate",
    "sweep": "Remove the content of expired and deleted files now",
    "migrate": "Migrate the database of a shared installation to this version",
    "copy": "Copy an embedded or shared installation to another one",
    "backup": "Write a backup of the installation while servers run",
    "restore": "Restore a backup to an empty installation",
    "upstreams": "Check the model servers that run batches",
    "top": "Show what a running server does, live in the terminal",
    "healthcheck": "Check whether the server on this machine is ready",
}
"""Their flags and help are in `admin/`, which is imported only to run them: it requires the server libraries."""

SHELL_COMMANDS = {"completion": "Print the completion script for bash, zsh or fish"}

HELP_WORDS = ("help", "h")
"""The commands of every group that show its help screen."""
