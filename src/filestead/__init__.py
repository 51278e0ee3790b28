"""Filestead: the OpenAI Files API on your own machines.

The client's names (`from filestead import FilesClient`) are loaded when they are asked for.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # Type checkers know the name; importing `typing` would cost more than all of this module.

if TYPE_CHECKING:
    from filestead.client import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        # Names of submodules are asked for too; the client's begin with a capital.
        if name[0].isupper():
            from filestead import client  # noqa: PLC0415

            if name in client.__all__:
                return getattr(client, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
