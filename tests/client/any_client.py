"""One interface to both clients, so that each test is written once and runs for both."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filestead import AsyncFilesClient, FileDeleted, FileObject, FilesClient, ListFilesResponse

KINDS = ("sync", "async")


class AnyClient:
    """A `FilesClient`, or an `AsyncFilesClient` that runs in its own event loop."""

    def __init__(self, kind: str, **options: Any) -> None:
        self.kind = kind
        self._runner = asyncio.Runner() if kind == "async" else None
        self.client: Any = AsyncFilesClient(**options) if self._runner else FilesClient(**options)

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self.client, name)(*args, **kwargs)
        return self._runner.run(result) if self._runner else result

    def _iterate(self, name: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        items = getattr(self.client, name)(*args, **kwargs)
        if self._runner is None:
            return items
        return self._pull(items)

    def _pull(self, items: Any) -> Iterator[Any]:
        runner = self._runner
        assert runner is not None

        async def pull() -> Any:
            return await anext(items, None)

        try:
            while (item := runner.run(pull())) is not None:
                yield item
        finally:
            runner.run(items.aclose())

    def create_file(self, *args: Any, **kwargs: Any) -> FileObject:
        return self._call("create_file", *args, **kwargs)

    def list_files(self, **kwargs: Any) -> ListFilesResponse:
        return self._call("list_files", **kwargs)

    def iter_files(self, **kwargs: Any) -> Iterator[FileObject]:
        return self._iterate("iter_files", **kwargs)

    def retrieve_file(self, file_id: str) -> FileObject:
        return self._call("retrieve_file", file_id)

    def delete_file(self, file_id: str) -> FileDeleted:
        return self._call("delete_file", file_id)

    def download_file(self, *args: Any, **kwargs: Any) -> Any:
        return self._call("download_file", *args, **kwargs)

    def stream_file(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        return self._iterate("stream_file", *args, **kwargs)

    def close(self) -> None:
        if self._runner:
            self._runner.run(self.client.close())
            self._runner.close()
        else:
            self.client.close()


def partial_files_in(folder: Path) -> list[str]:
    """The partial files of downloads in a directory."""
    return sorted(path.name for path in folder.iterdir() if ".part" in path.name)
