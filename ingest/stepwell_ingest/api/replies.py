"""Streamed answers of pages and buckets, as batches of columns or as JSON, whichever the client accepts.

The stream says how it ended: its last batch has "end" (with the sampling, and the step at which to continue), or
"error" when something failed after the first byte. An answer without either was cut off.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import Any

import numpy as np
import orjson
from aiohttp import web

from stepwell.errors import Error
from stepwell.wire import columns
from stepwell.wire.columns import Column
from stepwell_ingest.config import Reads
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.rows import Page

#: The leading columns of a page, which belong to its rows and to no metric; the head's "index" is their number.
_STEP, _WRITER, _TIME = "step", "writer", "time"
_JSON = "application/json"
_LARGE = 128 * 1024


class Reply:
    """An answer under way.

    Args:
        request: the request to answer.
        limits: contains the longest time for which a client may accept no data (`send_s`).
    """

    def __init__(self, request: web.Request, limits: Reads) -> None:
        self._request = request
        self._send_s = limits.send_s
        self._response: web.StreamResponse | None = None
        self._first = True
        self.as_json = _JSON in request.headers.get("Accept", "")

    async def send(self, batch: tuple[list[Column], int, dict[str, Any]], json: Iterator[bytes]) -> None:
        """Sends one batch, or its items as JSON."""
        if not self.as_json:
            await self._write(*columns.encode(*batch))
            return
        texts = list(json)
        if texts:
            await self._write(b"" if self._first else b",", b",".join(texts))
            self._first = False

    async def end(self, head: dict[str, Any]) -> web.StreamResponse:
        """Sends the last batch, which is only a head."""
        if self.as_json:
            await self._write(b"],", orjson.dumps(head)[1:], b"\n")
        else:
            await self._write(*columns.encode([], 0, head))
        assert self._response is not None
        await self._response.write_eof()
        return self._response

    async def fail(self, error: Error) -> web.StreamResponse:
        """Sends `error` as the last batch; raises it when nothing was sent yet, so that it becomes the answer's
        status."""
        if self._response is None:
            raise error
        return await self.end({"error": error.as_dict()})

    async def _write(self, *pieces: bytes | memoryview) -> None:
        async with asyncio.timeout(self._send_s):
            if self._response is None:
                kind = _JSON if self.as_json else columns.CONTENT_TYPE
                self._response = web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-store"})
                await self._response.prepare(self._request)
                if self.as_json:
                    await self._response.write(b'{"items":[')
            for piece in _joined(pieces):
                await self._response.write(piece)


async def answer_json(
    request: web.Request, database: Database, read: Callable[[], Awaitable[object]]
) -> web.StreamResponse:
    """Reads and sends one JSON value; the room that it takes is held until the client has taken it.

    Args:
        read: returns the value, which has about `Reads.answer_bytes` at most.

    Raises:
        OverloadedError: there is no room; nothing was sent.
        TimeoutError: the client has taken nothing for `send_s`.
    """
    # The values are held three times: as rows, as texts in Python and as the body.
    async with database.room(3 * database.limits.answer_bytes) as held:
        body = orjson.dumps(await read(), option=orjson.OPT_APPEND_NEWLINE)
        held.resize(len(body))
        return await _send_body(request, body, database.limits.send_s)


async def _send_body(request: web.Request, body: bytes, send_s: float) -> web.StreamResponse:
    if len(body) < _LARGE:  # less than the kernel takes at once
        return web.Response(body=body, content_type=_JSON)
    response = web.StreamResponse(headers={"Content-Type": _JSON, "Content-Length": str(len(body))})
    await response.prepare(request)
    view = memoryview(body)
    for start in range(0, len(body), _LARGE):
        async with asyncio.timeout(send_s):
            await response.write(view[start : start + _LARGE])
    async with asyncio.timeout(send_s):
        await response.write_eof()
    return response


async def answer_members(
    request: web.Request, database: Database, read: Callable[[str | None], Awaitable[tuple[list[bytes], str | None]]]
) -> web.StreamResponse:
    """Sends a JSON object whose members are read in parts; see `answer_json`.

    Args:
        read: returns members after a key (None: from the first one on), and the key after which to continue (None:
            these are the last).

    Raises:
        Error: `read` failed before anything was sent.
        ConnectionAbortedError: `read` failed later; the answer is left without its end.
        TimeoutError: the client has taken nothing for `send_s`.
    """
    response: web.StreamResponse | None = None
    after: str | None = None
    first = True
    while True:
        async with database.room(3 * database.limits.answer_bytes) as held:
            try:
                members, after = await read(after)
            except Error as error:
                if response is None:
                    raise
                raise ConnectionAbortedError(str(error)) from error  # no client accepts an object without its end
            body = b"".join([b"{" if first else b",", b",".join(members), b"}\n" if after is None else b""])
            del members
            held.resize(len(body))
            if first and after is None:
                return await _send_body(request, body, database.limits.send_s)
            if response is None:
                response = web.StreamResponse(headers={"Content-Type": _JSON})
                await response.prepare(request)
            view, first = memoryview(body), False
            for start in range(0, len(body), _LARGE):
                async with asyncio.timeout(database.limits.send_s):
                    await response.write(view[start : start + _LARGE])
        if after is None:
            await response.write_eof()
            return response


def _joined(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The same bytes with small pieces joined: each separate write makes an HTTP chunk and takes some 20 µs."""
    small: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        if len(piece) >= _LARGE:
            if small:
                yield b"".join(small)
                small, size = [], 0
            yield piece
            continue
        small.append(piece)
        size += len(piece)
        if size >= _LARGE:
            yield b"".join(small)
            small, size = [], 0
    if size:
        yield b"".join(small)


def page_batch(page: Page) -> tuple[list[Column], int, dict[str, Any]]:
    """A page as columns, rows and head for `columns.encode`."""
    index = [Column(_STEP, page.steps), Column(_WRITER, page.writer)]
    if page.times is not None:
        index.append(Column(_TIME, page.times))
    head = {"kind": "rows", "index": len(index), "writers": page.writers, "next_step": page.next_step}
    return [*index, *page.columns], len(page.steps), head


def page_as_json(page: Page) -> Iterator[bytes]:
    """The rows of a page as JSON objects. Numbers that JSON cannot express are "NaN", "Infinity" and "-Infinity"."""
    rows: list[dict[str, Any]] = [
        {"_step": step, "_writer": page.writers[writer]}
        for step, writer in zip(page.steps.tolist(), page.writer.tolist(), strict=True)
    ]
    if page.times is not None:
        for row, time in zip(rows, page.times.tolist(), strict=True):
            row["_timestamp"] = time / 1e6
    for column in page.columns:
        at = range(len(rows)) if column.rows is None else column.rows.tolist()
        for row, value in zip(at, _as_json(column), strict=True):
            rows[row][column.name] = value
    yield from map(orjson.dumps, rows)  # a generator: clients that accept columns never pay for it


def batch_as_json(batch: tuple[list[Column], int, dict[str, Any]]) -> Iterator[bytes]:
    """A whole batch as one object: its head, and a list for each column."""
    found, _, head = batch
    yield orjson.dumps({**head, "columns": {column.name: list(_as_json(column)) for column in found}})


def _as_json(column: Column) -> Iterator[Any]:
    if not isinstance(column.values, np.ndarray):
        return map(orjson.Fragment, column.values)
    if column.values.dtype.kind == "f":
        return (value if math.isfinite(value) else _word(value) for value in column.values.tolist())
    return iter(column.values.tolist())


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


async def ahead(pages: AsyncGenerator[Page, None]) -> AsyncGenerator[Page, None]:
    """The same pages, with the next one read while the current one is being sent."""
    following = asyncio.ensure_future(anext(pages, None))
    try:
        while (page := await following) is not None:
            following = asyncio.ensure_future(anext(pages, None))
            yield page
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
