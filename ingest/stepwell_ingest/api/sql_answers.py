"""Answers of `POST /v1/sql` as JSON and CSV, written to the client while the rows are read.

Each class sends batches of rows and keeps the limit of bytes. Promises that a client never takes an incomplete answer
for a complete one: JSON says at its end whether it is complete, and an incomplete answer in another format (Arrow and
Parquet: `sql_arrow.py`) ends without its last chunk.
"""

from __future__ import annotations

import csv
import io
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import web

from stepwell.errors import Error
from stepwell_ingest.config import Sql
from stepwell_ingest.read.sql import Column
from stepwell_ingest.read.values import as_safe_json, as_text


class Answer(ABC):
    """An answer under way.

    Args:
        request: the request to answer.
        limits: contains the most bytes of one answer.
    """

    content_type = ""

    def __init__(self, request: web.Request, limits: Sql) -> None:
        self._request = request
        self._bytes_left = limits.answer_bytes
        self._began = time.monotonic()
        self._response: web.StreamResponse | None = None

    @abstractmethod
    async def send(self, columns: Sequence[Column], rows: Sequence[Any]) -> int | None:
        """Sends a batch; returns its size in bytes, or None if not all rows fit."""

    async def end(self, truncated: bool, hints: Sequence[str] = ()) -> web.StreamResponse:
        """Ends a complete answer.

        Raises:
            ConnectionAbortedError: the answer is truncated. It is left without its last chunk, so that no client takes
                it for complete.
        """
        if truncated:
            raise ConnectionAbortedError("the answer is larger than the limit")
        return await self._close()

    async def fail(self, error: Error) -> web.StreamResponse:
        """Reports that the answer has failed.

        Raises:
            Error: `error`, if nothing was sent yet; it becomes the status.
            ConnectionAbortedError: in all other cases; the answer is left without its last chunk.
        """
        if self._response is None:
            raise error
        raise ConnectionAbortedError(str(error)) from error

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
        texts: whether to send each value as text.
    """

    content_type = "application/json"
    _first = True

    def __init__(self, request: web.Request, limits: Sql, texts: bool = False) -> None:
        super().__init__(request, limits)
        self._convert = text_or_null if texts else as_safe_json

    async def send(self, columns: Sequence[Column], rows: Sequence[Any]) -> int | None:
        """Sends a batch; returns its size in bytes, or None if not all rows fit."""
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
        """Ends the answer with `error`; if nothing was sent yet, raises it, so that the status reports it."""
        if self._response is None:
            raise error
        await self._write(b"],", orjson.dumps({"error": error.as_dict()})[1:], b"\n")
        return await self._close()


class CsvAnswer(Answer):
    """An answer as CSV: a line with the names of the columns, then one line for each row; NULL is empty."""

    content_type = "text/csv; charset=utf-8"

    async def send(self, columns: Sequence[Column], rows: Sequence[Any]) -> int | None:
        """As in `JsonAnswer`."""
        lines = [_csv_line([text_or_null(value) for value in row]) for row in rows]
        fits = self._fits(lines)
        head = _csv_line([column.name for column in columns]) if self._response is None else b""
        body = b"".join(lines[:fits])
        await self._write(head, body)
        return len(body) if fits == len(lines) else None


def text_or_null(value: Any) -> str | None:
    """A value as `stepwell sql` shows it; None for NULL."""
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
