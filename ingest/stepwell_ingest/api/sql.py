"""The handler of `POST /v1/sql`: runs a user's query and sends its rows as JSON or CSV while they are read.

Receives JSON, {"query": "SELECT …", "timeout_s": 10, "values": "text", "hints": true}; all but the query is optional.
JSON answers are {"columns": [{"name", "type"}, …], "rows": [[…], …], "truncated": false, "elapsed_ms": 12}; where
something fails after the first byte, "error" takes the place of "truncated". CSV has neither, so an incomplete answer
ends without its last chunk. The query is cancelled when its client disconnects.
"""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from aiohttp import web

from stepwell.errors import Error, UsageError
from stepwell_ingest.api.query import Query
from stepwell_ingest.config import Sql
from stepwell_ingest.read.sql import Column, Rows, SqlReader
from stepwell_ingest.read.values import as_safe_json, as_text

_MAX_BATCH_ROWS = 4096
_FIELDS = ("query", "timeout_s", "values", "hints")
_HINT = '{"query": "SELECT run, state FROM runs LIMIT 10"}'


class SqlServices(Protocol):
    """The services that SQL needs."""

    @property
    def sql(self) -> SqlReader: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """The body of a request, checked.

    Attributes:
        query: one statement.
        timeout_s: the time-out of the query in seconds.
        texts: each value is sent as text, exactly as in CSV; NULL stays null.
        hints: a JSON answer without values lists names in the query that do not exist.
    """

    query: str
    timeout_s: float
    texts: bool = False
    hints: bool = False


async def sql(services: SqlServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Runs the query of the body and sends its rows.

    Raises:
        UsageError: the body or the query is invalid; nothing was sent.
        ConnectionResetError: the client is gone.
    """
    limits = services.sql.limits
    wanted = await _wanted(request, limits)
    as_csv = query["format"] == "csv" or (query["format"] is None and _prefers_csv(request.headers.get("Accept", "")))
    answer = CsvAnswer(request, limits) if as_csv else JsonAnswer(request, limits, wanted.texts)
    work = asyncio.ensure_future(_answer(services.sql, wanted, answer))
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=limits.look_s)
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client is gone")
        return await work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def _wanted(request: web.Request, limits: Sql) -> Wanted:
    raw = bytearray()
    async for piece in request.content.iter_any():
        raw += piece
        if len(raw) > limits.query_bytes:
            raise UsageError("the query is too long", detail=f"the limit is {limits.query_bytes:,} bytes")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise UsageError("the body must be JSON", detail=str(error), hint=_HINT) from error
    query = body.get("query") if isinstance(body, dict) else None
    if not isinstance(query, str) or not query.strip().strip(";"):
        raise UsageError("the body has no query", hint=_HINT)
    if "\0" in query:
        raise UsageError("the query has a NUL character", hint="Postgres does not accept it in a statement")
    timeout_s = body.get("timeout_s", limits.statement_s)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or timeout_s <= 0:
        raise UsageError("'timeout_s' must be a number of seconds above 0", detail=repr(timeout_s)[:80])
    if unknown := sorted(set(body) - set(_FIELDS)):
        raise UsageError(f"unknown field {unknown[0][:80]!r}", hint=f"known fields are {', '.join(_FIELDS)}")
    values, hints = body.get("values", "json"), body.get("hints", False)
    if values not in ("json", "text"):
        raise UsageError("'values' must be json or text", detail=repr(values)[:80])
    if not isinstance(hints, bool):
        raise UsageError("'hints' must be true or false", detail=repr(hints)[:80])
    return Wanted(query, timeout_s, values == "text", hints)


def _prefers_csv(accept: str) -> bool:
    kinds = [part.partition(";")[0].strip() for part in accept.split(",")]
    return "text/csv" in kinds and "application/json" not in kinds


async def _answer(reader: SqlReader, wanted: Wanted, answer: JsonAnswer | CsvAnswer) -> web.StreamResponse:
    try:
        async with asyncio.timeout(reader.limits.answer_s), reader.ask(wanted.query, wanted.timeout_s) as rows:
            truncated, empty = await _send(rows, answer, reader.limits)
            hints = await rows.absent_names(wanted.query) if wanted.hints and empty else []
    except Error as error:
        return await answer.fail(error)
    return await answer.end(truncated, hints)


async def _send(rows: Rows, answer: JsonAnswer | CsvAnswer, limits: Sql) -> tuple[bool, bool]:
    """Sends rows up to the limits.

    Returns:
        Whether more rows remain, and whether no value was found: avg() and count() of nothing are NULL and 0.
    """
    count = 1  # the first row shows how large rows are
    sent, empty = 0, True
    while True:
        count = min(count, limits.rows - sent + 1)
        found = [tuple(row)[: len(rows.columns)] for row in await rows.fetch(count)]
        ended, kept = len(found) < count, found[: limits.rows - sent]
        size = await answer.send(rows.columns, kept)
        sent += len(kept)
        empty = empty and not any(value for row in kept for value in row)
        if size is None or len(kept) < len(found):
            return True, empty
        if ended:
            return False, empty
        count = max(1, min(_MAX_BATCH_ROWS, 4 * count, count * limits.batch_bytes // max(1, size)))


class Answer:
    """An answer under way.

    Args:
        request: the request to answer.
        limits: the most bytes of one answer.
    """

    content_type = ""

    def __init__(self, request: web.Request, limits: Sql) -> None:
        self._request = request
        self._bytes_left = limits.answer_bytes
        self._began = time.monotonic()
        self._response: web.StreamResponse | None = None

    def _fits(self, lines: list[bytes]) -> int:
        """The number of `lines` for which the answer has room."""
        for number, line in enumerate(lines):
            self._bytes_left -= len(line)
            if self._bytes_left < 0:
                return number
        return len(lines)

    async def _write(self, *pieces: bytes) -> None:
        if self._response is None:
            self._response = web.StreamResponse(
                headers={"Content-Type": self.content_type, "Cache-Control": "no-store"}
            )
            await self._response.prepare(self._request)
        if data := b"".join(pieces):
            await self._response.write(data)

    async def _close(self) -> web.StreamResponse:
        assert self._response is not None
        await self._response.write_eof()
        return self._response


class JsonAnswer(Answer):
    """An answer as one JSON object.

    Args:
        texts: send each value as text.
    """

    content_type = "application/json"
    _first = True

    def __init__(self, request: web.Request, limits: Sql, texts: bool = False) -> None:
        super().__init__(request, limits)
        self._convert = _text_or_null if texts else as_safe_json

    async def send(self, columns: Sequence[Column], rows: Sequence[Any]) -> int | None:
        """Sends a batch; returns its size in bytes, or None where not all rows fit."""
        lines = [orjson.dumps([self._convert(value) for value in row]) for row in rows]
        fits = self._fits(lines)
        head = b""
        if self._response is None:
            head = b'{"columns":' + orjson.dumps([column._asdict() for column in columns]) + b',"rows":['
        separator = b"" if self._first or not fits else b","
        body = b",".join(lines[:fits])
        await self._write(head, separator, body)
        self._first = self._first and not fits
        return len(body) if fits == len(lines) else None

    async def end(self, truncated: bool, hints: Sequence[str] = ()) -> web.StreamResponse:
        """Sends the end of the answer."""
        end: dict[str, Any] = {"truncated": truncated, "elapsed_ms": round((time.monotonic() - self._began) * 1000)}
        if hints:
            end["hints"] = list(hints)
        await self._write(b"],", orjson.dumps(end)[1:], b"\n")
        return await self._close()

    async def fail(self, error: Error) -> web.StreamResponse:
        """Ends the answer with `error`; where nothing was sent yet, raises it, so that the status reports it."""
        if self._response is None:
            raise error
        await self._write(b"],", orjson.dumps({"error": error.as_dict()})[1:], b"\n")
        return await self._close()


class CsvAnswer(Answer):
    """An answer as CSV: a line with the names of the columns, then one line for each row; NULL is empty."""

    content_type = "text/csv; charset=utf-8"

    async def send(self, columns: Sequence[Column], rows: Sequence[Any]) -> int | None:
        """As in `JsonAnswer`."""
        lines = [_csv_line([_text_or_null(value) for value in row]) for row in rows]
        fits = self._fits(lines)
        head = _csv_line([column.name for column in columns]) if self._response is None else b""
        body = b"".join(lines[:fits])
        await self._write(head, body)
        return len(body) if fits == len(lines) else None

    async def end(self, truncated: bool, hints: Sequence[str] = ()) -> web.StreamResponse:
        """Ends the answer; a truncated one is left without its last chunk, so that no client takes it for complete."""
        if truncated:
            raise ConnectionAbortedError("the answer is larger than the limit")
        return await self._close()

    async def fail(self, error: Error) -> web.StreamResponse:
        """As in `JsonAnswer`; an answer that has begun is left without its last chunk."""
        if self._response is None:
            raise error
        raise ConnectionAbortedError(str(error)) from error


def _text_or_null(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, orjson.Fragment) or (isinstance(value, list | tuple) and _has_fragment(value)):
        return orjson.dumps(as_safe_json(value)).decode()
    return as_text(value)


def _has_fragment(values: Sequence[Any]) -> bool:
    return any(
        isinstance(value, orjson.Fragment) or (isinstance(value, list | tuple) and _has_fragment(value))
        for value in values
    )


def _csv_line(cells: list[str | None]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue().encode()
