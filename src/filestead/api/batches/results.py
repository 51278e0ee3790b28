"""Responses with the results of a batch, which may still run: whole lines, ranges, waiting for more.

While it runs, the length is unknown (`bytes 0-99/*`), and a response ends with a line. Afterwards its file is sent.
"""

from dataclasses import dataclass, replace

from filestead.api.batches import parsing
from filestead.api.batches.shapes import STATUS_HEADER
from filestead.api.http import ranges
from filestead.api.http.errors import ApiError, ErrorResponse
from filestead.api.http.messages import Request, Response, StreamingResponse
from filestead.domain.access import Principal
from filestead.domain.batches.model import ResultKind
from filestead.domain.batches.results import ResultReader, Results


@dataclass(slots=True)
class ResultResponses:
    """Builds the responses."""

    reader: ResultReader

    async def respond(self, request: Request, principal: Principal, batch_id: str, kind: ResultKind) -> Response:
        """Respond to a GET or HEAD for results."""
        header = request.headers.get("range") if request.method == "GET" else None
        asked = ranges.parse_growing_range(header)
        start, end = asked or (0, None)
        wait = parsing.wait_seconds(request)
        results = await self.reader.wait(principal, batch_id, kind, beyond=start, seconds=wait)
        status = {STATUS_HEADER: results.batch.status.value}
        try:
            if results.file is not None:
                content = ranges.evaluate_preconditions_and_range(
                    results.file, request.headers, ranges=request.method == "GET"
                )
            else:
                content = await self._while_running(principal, results, start, end, partial=asked is not None)
        except ApiError as error:  # of a client that has read everything, and learns from the status that it is all
            raise ApiError(replace(error.response, headers={**error.response.headers, **status})) from None
        content.headers.update(status)
        if content.status in (204, 304):
            return Response(status_code=content.status, headers=content.headers)
        content.headers["content-length"] = str(content.end - content.start)
        if request.method == "HEAD":
            return Response(status_code=content.status, headers=content.headers)
        blocks = self.reader.read(principal, results, content.start, content.end)
        return StreamingResponse(await ranges.with_first_block_read(blocks), content.status, content.headers)

    async def _while_running(
        self, principal: Principal, results: Results, start: int, end: int | None, *, partial: bool
    ) -> ranges.ContentResponse:
        """Decide what to send of results that have no file (yet)."""
        headers = {**ranges.CONTENT_HEADERS}
        if start > results.size or (start == results.size and results.complete and partial):
            size = str(results.size)
            message = f"The requested range is not within the results, which have {size} bytes so far."
            raise ApiError(ErrorResponse(416, message, "range", headers={"content-range": f"bytes */{size}"}))
        if start == results.size:
            return ranges.ContentResponse(200 if results.complete else 204, start, start, headers)
        end = results.size if end is None else min(end, results.size)
        whole = await self.reader.end_of_lines(principal, results, start, end)
        if whole == start:
            message = "The requested range has no end of a line: ask for more, or leave its end out."
            raise ApiError(ErrorResponse(416, message, "range", headers={"content-range": f"bytes */{results.size}"}))
        if not partial:
            return ranges.ContentResponse(200, start, whole, headers)
        headers["content-range"] = f"bytes {start}-{whole - 1}/*"
        return ranges.ContentResponse(206, start, whole, headers)
