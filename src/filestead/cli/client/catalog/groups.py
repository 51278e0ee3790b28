"""The groups of client commands, one for each resource. Dispatch, help, completion and docs/cli.md use them."""

from filestead.cli.client.catalog.files import FILE_COMMANDS

GROUPS = {"files": FILE_COMMANDS}
GROUP_HELP = {"files": "Upload, list, download and delete files"}
