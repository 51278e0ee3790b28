"""The Python client of any OpenAI-compatible Files API. The names in `__all__` are public, the modules are private."""

from typing import TYPE_CHECKING

from filestead.client._download.download import FileContent
from filestead.client.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    FilesteadError,
    IntegrityError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RedirectError,
    SourceChanged,
    UnprocessableEntityError,
)
from filestead.client.sync import FilesClient
from filestead.wire import FileDeleted, FileObject, ListFilesResponse

if TYPE_CHECKING:
    from filestead.client.aio import AsyncFilesClient

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncFilesClient",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "ConflictError",
    "FileContent",
    "FileDeleted",
    "FileObject",
    "FilesClient",
    "FilesteadError",
    "IntegrityError",
    "InternalServerError",
    "ListFilesResponse",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RedirectError",
    "SourceChanged",
    "UnprocessableEntityError",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # asyncio takes longer to import than all the rest of this package.
        if name == "AsyncFilesClient":
            from filestead.client.aio import AsyncFilesClient  # noqa: PLC0415

            return AsyncFilesClient
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
