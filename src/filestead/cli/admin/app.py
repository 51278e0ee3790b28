"""The server half of the command line, in cyclopts: commands on the installation in FILESTEAD_DATA_DIR."""

from cyclopts import App, CycloptsError
from cyclopts.exceptions import MissingArgumentError, UnknownCommandError, UnusedCliTokensError

from filestead.cli.admin.failures import exit_status
from filestead.cli.command_names import KEY_SYNONYMS
from filestead.cli.errors import UnknownCommand, UsageError

app = App(name="filestead", version_flags=[], suppress_keyboard_interrupt=False)
for _name, _target in {
    "serve": "filestead.cli.admin.serve:serve",
    "keys": "filestead.cli.admin.keys:keys",
    "audit": "filestead.cli.admin.audit:audit",
    "verify": "filestead.cli.admin.verify:verify",
    "scrub": "filestead.cli.admin.scrub:scrub",
    "sweep": "filestead.cli.admin.sweep:sweep",
    "migrate": "filestead.cli.admin.migrate:migrate",
    "copy": "filestead.cli.admin.copy:copy",
    "backup": "filestead.cli.admin.backup:backup",
    "restore": "filestead.cli.admin.backup:restore",
    "upstreams": "filestead.cli.admin.upstreams:upstreams",
    "top": "filestead.cli.admin.top.command:top",
    "healthcheck": "filestead.cli.admin.healthcheck:healthcheck",
}.items():
    app.command(_target, name=_name)


def run(words: list[str]) -> int:
    """Run a server command and return its exit status. Raises `UsageError` and `UnknownCommand`."""
    try:
        return exit_status(lambda: app(words, exit_on_error=False, print_error=False))
    except UnknownCommandError as error:
        raise _translate_unknown_command(error) from None
    except CycloptsError as error:
        raise UsageError(_usage_message(error)) from None


def _translate_unknown_command(error: UnknownCommandError) -> UnknownCommand:
    above = list(error.command_chain or ())
    found = app
    for word in above:
        found = found[word]
    names = [name for name in found if not name.startswith("-")]
    return UnknownCommand(" ".join(["filestead", *above]), (error.unused_tokens or [""])[0], names, KEY_SYNONYMS)


def _usage_message(error: CycloptsError) -> str:
    """The message of cyclopts, worded as those of the client commands."""
    error.verbose = False
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        if error.keyword is not None or error.argument.tokens:
            return f"{name} requires a value"
        return f"missing required {'flag' if name.startswith('-') else 'argument'} {name}"
    if isinstance(error, UnusedCliTokensError):
        return f"unexpected extra arguments: {' '.join(error.unused_tokens or ())}"
    text = str(error).strip().rstrip(".")
    text = text.replace("Unknown option: ", "unknown flag ").replace(". Did you mean", "; did you mean")
    return text[:1].lower() + text[1:]
