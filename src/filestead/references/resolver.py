"""Resolves the files of a request: looks each one up, checks it, and puts its content where its id was."""

import asyncio
import json
import mimetypes
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import msgspec

from filestead.domain.errors import FileNotFound, FileReferenceRejected
from filestead.domain.files.digester import RunInThread
from filestead.domain.files.model import File
from filestead.domain.forwarding.interfaces import FileMode
from filestead.references.drafts import Draft, Part, mentions_files
from filestead.references.images import IMAGE_TYPES, data_url, image_type
from filestead.references.texts import NoText, Text, Texts

MIB = 1024 * 1024
MAX_IMAGE_BYTES = 20 * MIB
MAX_DOCUMENT_BYTES = 32 * MIB
MAX_TOTAL_BYTES = 50 * MIB
"""Of all files of one request, as at the hosted service."""
MAX_REFERENCES = 100
AT_ONCE = 4
"""Requests of a process whose files are read at a time; each may need twice `MAX_TOTAL_BYTES` of memory."""

ReadContent = Callable[[File], AsyncGenerator[bytes]]


class FileSource(Protocol):
    """What is needed of the repository of files."""

    async def get(self, project_id: str, file_id: str) -> File:
        """A visible file of a project. Raises `FileNotFound`."""


@dataclass(slots=True)
class _Budget:
    """What the files of one request have taken so far."""

    bytes: int = 0
    tokens: int = 0


class ReferenceResolver:
    """A `FileResolver`."""

    def __init__(
        self, files: FileSource, read: ReadContent, texts: Texts, *, max_tokens: int, run_in_thread: RunInThread
    ) -> None:
        """`max_tokens` is the limit for the texts of one request."""
        self._files = files
        self._read = read
        self._texts = texts
        self._max_tokens = max_tokens
        self._run_in_thread = run_in_thread
        self._places = asyncio.Semaphore(AT_ONCE)

    def concerns(self, body: bytes, mode: FileMode) -> bool:
        """As in `FileResolver`."""
        return mode != "off" and mentions_files(body)

    async def resolve(self, project_id: str, body: bytes, mode: FileMode) -> bytes:
        """As in `FileResolver`."""
        if not self.concerns(body, mode):
            return body
        try:
            draft = Draft(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body  # the model server says what is wrong with it
        if not draft.parts:
            return body
        if len(draft.parts) > MAX_REFERENCES:
            part = draft.parts[MAX_REFERENCES]
            raise FileReferenceRejected(f"A request can name at most {MAX_REFERENCES} files.", part.member)
        async with self._places:
            budget = _Budget()
            for part in draft.parts:
                await self._resolve_part(project_id, part, mode, budget)
            resolved: bytes = await self._run_in_thread(draft.encode)
            return resolved

    async def _resolve_part(self, project_id: str, part: Part, mode: FileMode, budget: _Budget) -> None:
        try:
            file = await self._files.get(project_id, part.file_id)
        except FileNotFound:
            # Of another project, expired and unknown: one and the same.
            raise FileReferenceRejected(f"No such File object: {part.file_id[:200]}", part.member) from None
        if not part.is_image and mode == "text" and (text := self._texts.find(file)) is not None:
            self._set_text(part, file, text, budget)
            return
        content = await self._content(part, file, budget)
        media_type = image_type(content)
        if media_type is not None:
            if file.bytes > MAX_IMAGE_BYTES:
                raise _rejected(part, file, f"images can have at most {MAX_IMAGE_BYTES} bytes")
            part.set_image(await self._run_in_thread(data_url, media_type, content))
        elif part.is_image:
            raise _rejected(part, file, f"its content is no image; supported are {IMAGE_TYPES}")
        elif mode == "data":
            guessed = mimetypes.guess_type(file.filename)[0] or "application/octet-stream"
            part.set_data(file.filename, await self._run_in_thread(data_url, guessed, content))
        else:
            await self._extract(part, file, content, budget)

    async def _content(self, part: Part, file: File, budget: _Budget) -> bytes:
        limit = MAX_IMAGE_BYTES if part.is_image else MAX_DOCUMENT_BYTES
        if file.bytes > limit:
            raise _rejected(part, file, f"it has {file.bytes} bytes, and the limit is {limit}")
        if not file.bytes:
            raise _rejected(part, file, "it is empty")
        budget.bytes += file.bytes
        if budget.bytes > MAX_TOTAL_BYTES:
            raise _rejected(part, file, f"the files of this request have more than {MAX_TOTAL_BYTES} bytes together")
        async with aclosing(self._read(file)) as blocks:
            return b"".join([block async for block in blocks])

    async def _extract(self, part: Part, file: File, content: bytes, budget: _Budget) -> None:
        try:
            text = await self._texts.extract(file, content)
        except NoText as error:
            raise _rejected(part, file, str(error)) from None
        self._set_text(part, file, text, budget)

    def _set_text(self, part: Part, file: File, text: Text, budget: _Budget) -> None:
        budget.tokens += text.tokens
        if budget.tokens > self._max_tokens:
            raise _rejected(part, file, f"the texts of this request have more than {self._max_tokens} tokens together")
        name = json.dumps(file.filename, ensure_ascii=False)
        part.set_text(f"File {name}:\n{text.text}\nEnd of file {name}.")


def _rejected(part: Part, file: File, reason: str) -> FileReferenceRejected:
    return FileReferenceRejected(f"Invalid file {file.id}: {reason}.", part.member, "invalid_file")
