"""What a task is: a function `(file, arguments) -> iterable of bytes`, named `"package.module:function"`.

`file` is the input, opened for reading and buffered, `arguments` what JSON carried. The task runs in a process that
cannot open files or import modules: what it needs later must be imported by its module, or by the function that the
pool is given as `prepare`.
"""

import importlib
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, TypeVar

Task = Callable[[BinaryIO, Any], Iterable[bytes]]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_ATTRIBUTE = "__sandbox_rejections__"


def rejects(*exceptions: type[Exception]) -> Callable[[_Function], _Function]:
    """Declare exceptions that are results of a task; the parent raises `TaskRejected` for them.

    Its `kind` is the attribute `kind` of the exception, or the name of its class; its message is `str(exception)`.
    """

    def decorate(function: _Function) -> _Function:
        setattr(function, _ATTRIBUTE, exceptions)
        return function

    return decorate


def rejections_of(function: Callable[..., Any]) -> tuple[type[Exception], ...]:
    """Return the exceptions that a task declares."""
    declared: tuple[type[Exception], ...] = getattr(function, _ATTRIBUTE, ())
    return declared


def load(name: str) -> Callable[..., Any]:
    """Import a function by its name."""
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function
