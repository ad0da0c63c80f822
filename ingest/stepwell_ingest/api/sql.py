"""The handler of `POST /v1/sql`: runs a user's query and sends its rows while they are read, as JSON, CSV, Arrow or
Parquet.

Receives JSON, {"query": "SELECT …", "timeout_s": 10, "values": "text", "hints": true}; all but the query is optional.
JSON answers are {"columns": [{"name", "type"}, …], "rows": [[…], …], "truncated": false, "elapsed_ms": 12}; if
something fails after the first byte, "error" takes the place of "truncated". Other formats have neither of these
fields, so an incomplete answer ends without its last chunk. The query is cancelled when its client disconnects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import orjson
from aiohttp import web

from stepwell.errors import Error, UsageError
from stepwell_ingest.api.query import Query
from stepwell_ingest.api.sql_answers import Answer, CsvAnswer, JsonAnswer
from stepwell_ingest.api.sql_arrow import ArrowAnswer, ParquetAnswer, import_pyarrow
from stepwell_ingest.config import Sql
from stepwell_ingest.read.sql import Rows, SqlReader

_MAX_BATCH_ROWS = 4096
#: The classes of answers by `format`, without JSON, whose class takes one more argument.
_ANSWERS: Mapping[str, type[Answer]] = {"csv": CsvAnswer, "arrow": ArrowAnswer, "parquet": ParquetAnswer}
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
        texts: whether each value is sent as text, exactly as in CSV; NULL stays null.
        hints: whether a JSON answer without values lists names in the query that do not exist.
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
    format_ = query["format"] or _accepted(request.headers.get("Accept", ""))
    if format_ in ("arrow", "parquet"):
        await asyncio.to_thread(import_pyarrow)  # the first time takes up to a second
    answer = JsonAnswer(request, limits, wanted.texts) if format_ == "json" else _ANSWERS[format_](request, limits)
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
        raise UsageError(f"unknown field {unknown[0][:80]!r}", hint=f"the fields are {', '.join(_FIELDS)}")
    values, hints = body.get("values", "json"), body.get("hints", False)
    if values not in ("json", "text"):
        raise UsageError("'values' must be json or text", detail=repr(values)[:80])
    if not isinstance(hints, bool):
        raise UsageError("'hints' must be true or false", detail=repr(hints)[:80])
    return Wanted(query, timeout_s, values == "text", hints)


def _accepted(accept: str) -> str:
    """The format that an Accept header asks for: the first one that is known, else JSON."""
    kinds = [part.partition(";")[0].strip() for part in accept.split(",")]
    known = {
        "application/json": "json",
        **{kind.content_type.partition(";")[0]: name for name, kind in _ANSWERS.items()},
    }
    return "json" if "application/json" in kinds else next((known[kind] for kind in kinds if kind in known), "json")


async def _answer(reader: SqlReader, wanted: Wanted, answer: Answer) -> web.StreamResponse:
    try:
        async with asyncio.timeout(reader.limits.answer_s), reader.ask(wanted.query, wanted.timeout_s) as rows:
            truncated, empty = await _send(rows, answer, reader.limits)
            hints = await rows.absent_names(wanted.query) if wanted.hints and empty else []
    except Error as error:
        return await answer.fail(error)
    return await answer.end(truncated, hints)


async def _send(rows: Rows, answer: Answer, limits: Sql) -> tuple[bool, bool]:
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
